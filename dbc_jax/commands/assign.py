"""Command line: places new images in the clusters of a run, or in new ones."""

import argparse
import collections
import json

from dbc_jax.commands import arguments

_EXAMPLE = """example:
  dbc assign --workdir=runs/best-folder-small --images=new_crops --out=who.csv

Each image is known, new or unsure. Of the images of persons that are not in the
run, a share of --false_match_rate may be called known: a lower rate makes fewer
such mistakes, and more images unsure. Nothing is trained, and the run stays as
it is; dbc train ... --continue_from=WORKDIR trains on with more images.
"""


def main(argv: list[str] | None = None) -> None:
  """Assigns images and writes a table."""
  args = _parse(argv)
  with arguments.one_line('Nothing is written.'):
    _assign(args)


def _parse(argv: list[str] | None) -> argparse.Namespace:
  parser = arguments.parser('assign', __doc__, _EXAMPLE)
  arguments.add_network(parser)
  arguments.add_images(parser)
  parser.add_argument(
    '--out',
    type=arguments.path,
    required=True,
    metavar='F.csv',
    help='path, cluster, answer, nearest, probability, second',
  )
  parser.add_argument(
    '--false_match_rate',
    type=float,
    default=0.01,
    metavar='R',
    help='share of the images of unknown persons that may be called known; '
    'default: 0.01',
  )
  parser.add_argument(
    '--json', type=arguments.path, metavar='F', help='the same rows, too'
  )
  parser.add_argument('--overwrite', action='store_true')
  args = parser.parse_args(argv)
  if not 0 < args.false_match_rate < 1:
    parser.error('--false_match_rate: expected between 0 and 1')
  if args.out.suffix.lower() != '.csv':
    parser.error(f'--out: expected a .csv, got {args.out}')
  return args


def _assign(args: argparse.Namespace) -> None:
  from dbc_jax import verbs
  from dbc_jax.evaluation import learn_assignment
  from dbc_jax.reporting import check_new
  from dbc_jax.run.extractor import FeatureExtractor
  from dbc_jax.run.merger import make_criterion
  from dbc_jax.run.workdir import find_workdir

  check_new('--out', args.out, overwrite=args.overwrite)
  if args.json:
    check_new('--json', args.json, overwrite=args.overwrite)
  extractor = FeatureExtractor.from_workdir(args.workdir, args.stage)
  sources = arguments.images(args, extractor)
  workdir = find_workdir(args.workdir)
  own = verbs.of_run(extractor, workdir, root=args.root)
  arguments.warn_of_stage(extractor)
  assert own.clusters is not None
  assigner = learn_assignment(own.features, own.clusters)
  assigner.threshold(args.false_match_rate)  # Now, before any work.
  asked = verbs.embed_cached(extractor, sources)
  answers = verbs.assign(
    assigner,
    [*asked.names],
    asked.features,
    make_criterion(extractor.run.parts.config.cluster),
    false_match_rate=args.false_match_rate,
    first_new=verbs.first_free(workdir, own.clusters),
  )

  rows = [
    each._replace(probability=round(each.probability, 3)) for each in answers
  ]
  arguments.write_table(args.out, [verbs.Answer._fields, *rows])
  if args.json:
    listed = [row._asdict() for row in rows]
    arguments.write(args.json, json.dumps(listed, indent=2) + '\n')
  counts = collections.Counter(each.answer for each in answers)
  fresh = {each.cluster for each in answers if each.answer == 'new'}
  print(
    f'{len(answers)} images: {counts["known"]} known, {counts["new"]} new in '
    f'{len(fresh)} clusters, {counts["unsure"]} unsure, at a false-match rate '
    f'of {args.false_match_rate:g}'
  )


if __name__ == '__main__':
  main()
