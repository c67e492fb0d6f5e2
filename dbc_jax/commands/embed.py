"""Command line: features of images by the network of a run."""

import argparse

from dbc_jax.commands import arguments

_EXAMPLE = """example:
  dbc embed --workdir=runs/best-demo --images=crops --out=features.npz

The file has `features` [N, D] float32, rows of unit length, and `paths` [N].
"""


def main(argv: list[str] | None = None) -> None:
  """Embeds images and writes their features."""
  args = _parse(argv)
  with arguments.one_line('Nothing was written.'):
    _embed(args)


def _parse(argv: list[str] | None) -> argparse.Namespace:
  parser = arguments.parser('embed', __doc__, _EXAMPLE)
  arguments.add_network(parser, root=False)
  arguments.add_images(parser)
  parser.add_argument(
    '--out', type=arguments.path, required=True, help='F.npz or F.parquet'
  )
  parser.add_argument(
    '--full',
    action='store_true',
    help='a .parquet also has pictures, x and y of a t-SNE, and neighbours, '
    'for embedding-atlas and spotlight',
  )
  parser.add_argument(
    '--projector',
    type=arguments.folder,
    metavar='DIR',
    help='also writes the features and pictures there, for tensorboard '
    '--logdir=DIR, Projector',
  )
  parser.add_argument('--overwrite', action='store_true')
  return parser.parse_args(argv)


def _embed(args: argparse.Namespace) -> None:
  # Here, so that --help does not wait for the network.
  from dbc_jax import verbs
  from dbc_jax.run.extractor import FeatureExtractor
  from dbc_jax.verbs.files import check_out
  from dbc_jax.verbs.projector import check_projector, write_projector

  check_out(args.out, overwrite=args.overwrite)
  if args.projector is not None:
    check_projector(args.projector, overwrite=args.overwrite)
  if args.full and args.out.suffix != '.parquet':
    raise ValueError(f'--full goes with a .parquet; --out is {args.out}')
  extractor = FeatureExtractor.from_workdir(args.workdir, args.stage)
  sources = arguments.images(args, extractor)
  embedded = verbs.embed(extractor, sources)
  verbs.write_features(args.out, embedded, full=args.full)
  count, width = embedded.features.shape
  print(f'{args.out}: {count:,} features of {width} numbers')
  if args.projector is not None:
    write_projector(args.projector, embedded)
    print(f'{args.projector}: see it by tensorboard --logdir={args.projector}')


if __name__ == '__main__':
  main()
