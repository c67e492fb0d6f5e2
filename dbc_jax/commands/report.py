"""Command line: writes the report of a run anew; lays its images out."""

import argparse
from pathlib import Path

from dbc_jax.commands import arguments

_EXAMPLE = """examples:
  dbc report --workdir=runs/best-folder
  dbc report --workdir=runs/best-folder --sort_into=by_cluster

The second makes a folder for each cluster, with links to its images.
"""


def main(argv: list[str] | None = None) -> None:
  """Writes report.html, clusters.csv and features.npz of the chosen stage."""
  args = _parse(argv)
  with arguments.one_line('The same command begins anew.'):
    _report(args)


def _parse(argv: list[str] | None) -> argparse.Namespace:
  parser = arguments.parser('report', __doc__, _EXAMPLE)
  parser.add_argument(
    '--workdir', type=arguments.folder, required=True, help='of a run'
  )
  parser.add_argument(
    '--root', help="where the run's images are, if they moved"
  )
  parser.add_argument(
    '--sort_into',
    type=arguments.folder,
    metavar='DIR',
    help='a new folder, with one folder a cluster',
  )
  parser.add_argument(
    '--copy', action='store_true', help='with --sort_into: copies, not links'
  )
  args = parser.parse_args(argv)
  if args.copy and not args.sort_into:
    parser.error('--copy is read with --sort_into only')
  return args


def _report(args: argparse.Namespace) -> None:
  from dbc_jax.run import identities, restore
  from dbc_jax.run.workdir import DEMO, find_workdir
  from dbc_jax.verbs.layout import check_images, check_layout, lay_out
  from dbc_jax.verbs.reports import rewrite_report

  if find_workdir(args.workdir) == DEMO:
    raise ValueError(
      'workdir: demo is the network that comes with the package, and nothing '
      'is written there; `dbc train best:demo` makes a run like it in '
      'runs/best-demo, with a report'
    )
  if args.sort_into:
    check_layout(args.sort_into)
  run = restore.restore_run(args.workdir)
  config = restore.data_config(run, None, {'root': args.root})
  data = restore.load_data(
    config,
    run.digest,
    identities=False,
    cameras=False,
    decoders=run.decoders,
  )
  if args.sort_into:
    if not config.data.root:
      raise ValueError(
        f'--sort_into: the images of {config.data.name} are no files'
      )
    check_images(Path(config.data.root), data.names['train'], data.frames)
  rewrite_report(args.workdir, run, data, config.data.root)
  if args.sort_into:
    count = lay_out(
      args.sort_into,
      Path(config.data.root),
      data.names['train'],
      identities.numbers(args.workdir, data.names['train'], run.labels),
      data.frames,
      copy=args.copy,
    )
    print(f'{args.sort_into}: {count} folders')


if __name__ == '__main__':
  main()
