"""Command line: takes images, such as those of a person, out of a run."""

import argparse

from dbc_jax.commands import arguments

_EXAMPLE = """examples:
  dbc forget --workdir=runs/best-folder 12
  dbc forget --workdir=runs/best-folder a/003.jpg a/004.jpg

The images go out of features, clusters, names, corrections, checkpoints, the
report and the cache, and the run leaves them out from now on. The image files
themselves are yours: delete them, before or after.
"""
_TRACES = """\
What still holds traces:
- the weights, which learned from these images with the others
- the image files themselves, lists of them, corrections that you wrote
  elsewhere, and copies of the workdir
- images of query and gallery: only training images can be forgotten
- what was written elsewhere: features, tables and pages of dbc embed, search,
  assign and export, galleries, exported networks
- other runs on these images, also those that went on from this one"""


def main(argv: list[str] | None = None) -> None:
  """Forgets, and says what still holds traces."""
  args = _parse(argv)
  with arguments.one_line('The same command ends what was begun.'):
    _forget(args)


def _parse(argv: list[str] | None) -> argparse.Namespace:
  parser = arguments.parser('forget', __doc__, _EXAMPLE)
  parser.add_argument(
    '--workdir', type=arguments.folder, required=True, help='of a run'
  )
  parser.add_argument(
    'what',
    nargs='+',
    metavar='ID|PATH',
    help='the number of a cluster, or the path of an image, as in clusters.csv',
  )
  parser.add_argument(
    '--root', help="where the run's images are, if they moved"
  )
  return parser.parse_args(argv)


def _forget(args: argparse.Namespace) -> None:
  from dbc_jax.verbs.forgetting import forget

  found = forget(args.workdir, args.what, root=args.root)
  print(
    f'{args.workdir}: images forgotten: {len(found.names):,}; left: '
    f'{found.left:,}. Gone with them: corrections: {found.corrections:,}; '
    f'files of the features cache: {found.cached:,}'
  )
  print(_TRACES)


if __name__ == '__main__':
  main()
