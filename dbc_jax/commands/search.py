"""Command line: finds the images of a gallery that are nearest to a query."""

import argparse
import json
from pathlib import Path
from typing import Any

from dbc_jax.commands import arguments
from dbc_jax.data.samples import printable

_EXAMPLE = """examples:
  dbc search --workdir=runs/best-folder --query=her.jpg
  dbc search --workdir=runs/best-folder --query=her.jpg --gallery=new_crops \\
    --html=found.html

Without --gallery it searches the images that the run was trained on, and tells
their clusters.
"""
_QUERIES_SHOWN = 5


def main(argv: list[str] | None = None) -> None:
  """Searches, and prints or writes what it found."""
  args = _parse(argv)
  with arguments.one_line(''):
    _search(args)


def _parse(argv: list[str] | None) -> argparse.Namespace:
  parser = arguments.parser('search', __doc__, _EXAMPLE)
  arguments.add_network(parser)
  parser.add_argument(
    '--query',
    type=arguments.path,
    required=True,
    help='an image, a folder or a .csv',
  )
  parser.add_argument(
    '--gallery',
    type=arguments.path,
    help='a folder, a .csv, or a .npz or .parquet of `dbc embed`; default: the '
    'images of the run',
  )
  parser.add_argument(
    '--tracklets',
    action='store_true',
    help='each sub-folder of --query and --gallery is one tracklet',
  )
  arguments.add_pattern(parser, '--query and --gallery')
  parser.add_argument(
    '--top', type=int, default=20, help='matches of a query; default: 20'
  )
  for kind in ('json', 'csv', 'html'):
    parser.add_argument(
      f'--{kind}', type=arguments.path, metavar='F', help='writes F'
    )
  parser.add_argument('--overwrite', action='store_true')
  args = parser.parse_args(argv)
  if args.top < 1:
    parser.error('--top: expected 1 or more')
  return args


def _search(args: argparse.Namespace) -> None:
  from dbc_jax import verbs
  from dbc_jax.reporting import check_new
  from dbc_jax.run import identities
  from dbc_jax.run.extractor import FeatureExtractor
  from dbc_jax.run.workdir import find_workdir
  from dbc_jax.verbs.searching import calibration_of
  from dbc_jax.verbs.sheet import write_sheet

  for kind in ('json', 'csv', 'html'):
    if path := getattr(args, kind):
      check_new(f'--{kind}', path, overwrite=args.overwrite)
  folders = [x for x in (args.query, args.gallery) if x and x.is_dir()]
  if args.tracklets and not folders:
    raise ValueError('--tracklets: neither --query nor --gallery is a folder')
  lists = [x for x in (args.query, args.gallery) if _is_list(x)]
  if args.pattern and lists and args.gallery in (None, *lists):
    raise ValueError(
      f'--pattern: {lists[0]}: a .csv tells cameras by its camid'
    )
  extractor = FeatureExtractor.from_workdir(args.workdir, args.stage)

  def find(option: str) -> verbs.Sources:
    # What is no folder of the two has no sub-folders, and a list no pattern.
    where = getattr(args, option)
    return arguments.sources(
      f'--{option}',
      where,
      extractor,
      tracklets=args.tracklets and where.is_dir(),
      pattern='' if _is_list(where) else args.pattern,
    )

  queries = find('query')
  own = verbs.of_run(extractor, find_workdir(args.workdir), root=args.root)
  arguments.warn_of_stage(extractor)
  if args.gallery is None:
    gallery = own
  elif args.gallery.suffix in ('.npz', '.parquet'):
    gallery = verbs.read_features(args.gallery)
  else:
    gallery = verbs.embed_cached(extractor, find('gallery'))
  if verbs.uses_cameras(extractor) and queries.camids is None:
    arguments.warn_of_cameras('--query')
  asked = verbs.embed(extractor, queries)
  assert own.clusters is not None
  calibration, prior = None, 0.5
  if (known := calibration_of(own.features, own.clusters)) is not None:
    calibration, prior = known
  found = verbs.search(
    asked.features,
    gallery.features,
    top=args.top,
    calibration=calibration,
    prior=prior,
  )

  rows = [
    {
      'query': asked.names[i],
      'rank': rank,
      'path': gallery.names[match.index],
      'distance': round(match.distance, 4),
      'probability': match.probability and round(match.probability, 4),
      **_cluster(gallery, match.index),
    }
    for i, matches in enumerate(found)
    for rank, match in enumerate(matches, start=1)
  ]
  listed = identities.read(find_workdir(args.workdir)) or []
  names = {each.id: each.name for each in listed}
  is_written = bool(args.json or args.csv)
  _print(rows, args.top, len(found), names, written=is_written)
  if args.json:
    arguments.write(args.json, json.dumps(rows, indent=2) + '\n')
  if args.csv:
    lines = [[*rows[0]], *([*row.values()] for row in rows)]
    arguments.write_table(args.csv, lines)
  if args.html:
    title = f'Search for {args.query}'
    missing = write_sheet(args.html, title, asked, gallery, found)
    told = f'{args.html}: the pictures'
    if missing:
      told += f', but for {missing} that are no files here'
      if args.gallery is None and extractor.run.parts.config.data.root:
        told += "; --root=DIR says where the run's images are now"
    print(told)


def _is_list(path: Path | None) -> bool:
  return path is not None and path.suffix.lower() == '.csv'


def _cluster(gallery: Any, index: int) -> dict[str, Any]:
  if gallery.clusters is None:
    return {}
  return {'cluster': int(gallery.clusters[index])}


def _title(row: dict[str, Any], names: dict[int, str]) -> str:
  """What people call the cluster of a row."""
  if 'cluster' not in row:
    return ''
  number = row['cluster']
  if number < 0:
    return 'in no cluster'
  name = names.get(number)
  return f'cluster {number}' + (f', {printable(name)}' if name else '')


def _print(
  rows: list[dict[str, Any]],
  top: int,
  count: int,
  names: dict[int, str],
  *,
  written: bool,
) -> None:
  """A table of the first queries; `names` of clusters by their numbers."""
  from dbc_jax.reporting.summary import aligned

  shown = rows if not written else rows[:top]
  shown = shown[: _QUERIES_SHOWN * top]
  last = None
  lines: list[list[str]] = []
  for row in shown:
    if row['query'] != last:
      last = row['query']
      lines.append([printable(last), '', '', ''])
    probability = row['probability']
    lines.append(
      [
        f'{row["rank"]:>4}  {printable(row["path"])}',
        f'{row["distance"]:.3f}',
        '' if probability is None else f'{100 * probability:.0f} %',
        _title(row, names),
      ]
    )
  heads = ['rank  path', 'distance', 'same person', '']
  print('\n'.join(aligned([heads, *lines], num_left=1)))
  if len(shown) < len(rows):
    print(f'... of {count} queries; --csv, --json or --html has all of them')


if __name__ == '__main__':
  main()
