"""Command line: writes a data set as TFDS records, for any program to read."""

import argparse
import time

import tensorflow_datasets as tfds

from dbc_jax.commands import arguments
from dbc_jax.data.export.prepared import default_data_dir, prepare
from dbc_jax.data.export.tfds_builders import BUILDERS

_EXAMPLE = """example:
  dbc prepare-data --dataset=market1501 --root=Market-1501 --data_dir=tfds

Nothing is downloaded: --root has the release, as for a training.
"""


def main(argv: list[str] | None = None) -> None:
  """Prepares a data set, and prints how to read it."""
  args = _parse(argv)
  root = args.root.absolute()
  start = time.monotonic()
  with arguments.one_line('The same command begins anew.'):
    if args.data_dir:
      data_dir = args.data_dir.absolute()
    else:
      data_dir = default_data_dir(args.dataset, root)
    folder, is_new = prepare(args.dataset, root, data_dir)
  if is_new:
    done = f'Written in {time.monotonic() - start:.0f} s'
  else:
    done = 'Already prepared, and no file has changed'
  splits = tfds.builder_from_directory(folder).info.splits.values()
  counts = ', '.join(f'{split.num_examples:,} {split.name}' for split in splits)
  size = sum(split.num_bytes for split in splits) / 1e6
  print(f"""{done}: {folder}
{counts}; {size:.1f} MB

To read it, with tensorflow-datasets, array_record and OpenCV alone:

  import tensorflow_datasets as tfds
  builder = tfds.builder_from_directory({str(folder)!r})
  train = builder.as_data_source('train')
  train[0]""")


def _parse(argv: list[str] | None) -> argparse.Namespace:
  parser = arguments.parser('prepare_data', __doc__, _EXAMPLE)
  parser.add_argument('--dataset', required=True, choices=BUILDERS)
  parser.add_argument(
    '--root', type=arguments.path, required=True, help='where its files are'
  )
  parser.add_argument(
    '--data_dir',
    type=arguments.path,
    help='what to write to; by default ROOT/tfds, or where that cannot be '
    'written a folder in ~/.cache/dbc_jax/tfds',
  )
  return parser.parse_args(argv)


if __name__ == '__main__':
  main()
