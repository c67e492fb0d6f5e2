"""Command line: places new images in the clusters of a run, or in new ones."""

import argparse
import collections
import csv
import io
import sys

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
  try:
    _assign(args)
  except (ValueError, OSError) as error:
    sys.exit(f'Error: {error}')
  except KeyboardInterrupt:
    sys.exit('\nInterrupted. Nothing is written.')


def _parse(argv: list[str] | None) -> argparse.Namespace:
  parser = arguments.parser('assign', __doc__, _EXAMPLE)
  arguments.add_network(parser)
  parser.add_argument(
    '--images',
    type=arguments.path,
    required=True,
    help='an image, a folder or a .csv',
  )
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
    '--tracklets',
    action='store_true',
    help='each sub-folder of --images is one tracklet',
  )
  arguments.add_pattern(parser, '--images')
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
  extractor = FeatureExtractor.from_workdir(args.workdir, args.stage)
  sources = arguments.sources(
    '--images',
    args.images,
    extractor,
    tracklets=args.tracklets,
    pattern=args.pattern,
  )
  workdir = find_workdir(args.workdir)
  own = verbs.of_run(extractor, workdir, root=args.root)
  arguments.warn_of_stage(extractor, workdir)
  assert own.clusters is not None
  assigner = learn_assignment(own.features, own.clusters)
  assigner.threshold(args.false_match_rate)  # Now, before any work.
  if verbs.uses_cameras(extractor) and sources.camids is None:
    arguments.warn_of_cameras('--images')
  asked = verbs.embed_cached(extractor, sources)
  answers = verbs.assign(
    assigner,
    [*asked.names],
    asked.features,
    make_criterion(extractor.run.parts.config.cluster),
    false_match_rate=args.false_match_rate,
    first_new=verbs.first_free(workdir, own.clusters),
  )

  text = io.StringIO()
  writer = csv.writer(text, lineterminator='\n')
  writer.writerow(verbs.Answer._fields)
  for each in answers:
    *facts, probability, second = each
    writer.writerow([*facts, f'{probability:.3f}', second])
  arguments.write(args.out, text.getvalue())
  counts = collections.Counter(each.answer for each in answers)
  fresh = {each.cluster for each in answers if each.answer == 'new'}
  print(
    f'{len(answers)} images: {counts["known"]} known, {counts["new"]} new in '
    f'{len(fresh)} clusters, {counts["unsure"]} unsure, at a false-match rate '
    f'of {args.false_match_rate:g}'
  )


if __name__ == '__main__':
  main()
