"""Command line: scores saved features by CMC, mAP and mINP."""

import argparse
import csv
import sys
import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from dbc_jax import evaluation
from dbc_jax.evaluation.truth import DEFAULT_RANKS, PROTOCOLS

_ARRAYS = ('features', 'pids', 'camids')
_SIDES = ('query', 'gallery')
_NAMES = {'map': 'mAP', 'map_trapz': 'mAP trapz', 'minp': 'mINP'}
_COLUMNS = ('query_index', 'pid', 'first_rank', 'ap', 'inp')


def main(argv: list[str] | None = None) -> None:
  """Scores saved features and prints a table."""
  args = _parse(argv)
  try:
    if args.alpha and args.query_expansion is None:
      raise ValueError('--alpha is read with --query_expansion=K only')
    if args.per_query and not args.per_query.parent.is_dir():
      raise ValueError(f'--per_query: no folder {args.per_query.parent}')
    arrays = _read(args.features, args.camera_rule or args.multi_query)
    _evaluate(args, arrays)
  except (ValueError, OSError) as error:
    sys.exit(f'Error: {error}'.replace(' camera_rule=', ' --camera_rule='))
  except KeyboardInterrupt:
    sys.exit('\nInterrupted.')


def _parse(argv: list[str] | None) -> argparse.Namespace:
  parser = argparse.ArgumentParser(
    prog='python -m dbc_jax.commands.evaluate',
    description=__doc__,
    allow_abbrev=False,
  )
  parser.add_argument(
    '--features',
    type=Path,
    required=True,
    help='.npz with query_features and gallery_features [N, D], query_pids, '
    'gallery_pids (-1: junk), query_camids and gallery_camids [N]',
  )
  parser.add_argument('--protocol', choices=PROTOCOLS, default=PROTOCOLS[0])
  parser.add_argument(
    '--camera_rule',
    type=_boolean,
    default=True,
    help='leaves out what shows the person of a query in its own camera; '
    'False needs no camids; default: True',
  )
  parser.add_argument(
    '--ranks',
    type=_ranks,
    help='such as 1,5,10; none beyond the gallery; default: '
    + ','.join(map(str, DEFAULT_RANKS)),
  )
  parser.add_argument(
    '--multi_query',
    action='store_true',
    help='averages the queries of a person in a camera',
  )
  parser.add_argument(
    '--query_expansion',
    type=int,
    metavar='K',
    help='averages each query with its nearest K of the gallery',
  )
  parser.add_argument(
    '--alpha',
    type=float,
    default=0.0,
    help='of --query_expansion: weights are similarities to this power; '
    'default: 0, all alike',
  )
  parser.add_argument(
    '--rerank',
    action='store_true',
    help='by k-reciprocal neighbours; takes 4 bytes a query and gallery image',
  )
  parser.add_argument(
    '--seed', type=int, default=0, help='of the protocol cuhk03; default: 0'
  )
  parser.add_argument(
    '--per_query', type=Path, metavar='OUT.csv', help='one row a query'
  )
  return parser.parse_args(argv)


def _boolean(text: str) -> bool:
  if text not in ('True', 'False'):
    raise argparse.ArgumentTypeError(f'expected True or False, got {text!r}')
  return text == 'True'


def _ranks(text: str) -> tuple[int, ...]:
  try:
    return tuple(map(int, text.split(',')))
  except ValueError:
    raise argparse.ArgumentTypeError(
      f'expected numbers and commas, got {text!r}'
    ) from None


def _read(path: Path, with_cameras: bool) -> dict[str, np.ndarray | None]:
  """The arrays by name; cameras that are not needed are None if missing."""
  names = [f'{side}_{what}' for side in _SIDES for what in _ARRAYS]
  try:
    loaded = np.load(path)
    if not isinstance(loaded, np.lib.npyio.NpzFile):
      raise ValueError('a single array')
    with loaded:
      files = loaded.files
      arrays = {name: loaded[name] for name in names if name in files}
  except (ValueError, EOFError, zipfile.BadZipFile) as error:
    raise ValueError(
      f'{path}: expected an .npz of plain arrays; write it by numpy.savez'
    ) from error
  optional = () if with_cameras else ('query_camids', 'gallery_camids')
  missing = [name for name in names if name not in [*files, *optional]]
  if missing:
    hint = ''
    if all(name.endswith('camids') for name in missing):
      hint = '; without cameras: --camera_rule=False, and no --multi_query'
    raise ValueError(
      f'{path}: lacks {", ".join(missing)}; it has '
      f'{", ".join(files) or "nothing"}{hint}'
    )
  return {name: arrays[name] if name in arrays else None for name in names}


def _evaluate(
  args: argparse.Namespace, arrays: dict[str, np.ndarray | None]
) -> None:
  """Features in, table out."""
  queries, gallery = (arrays[f'{side}_features'] for side in _SIDES)
  query_pids, query_camids = arrays['query_pids'], arrays['query_camids']
  if args.multi_query:
    queries, query_pids, query_camids = evaluation.pool_queries(
      queries, query_pids, query_camids
    )
  if args.query_expansion is not None:
    queries = evaluation.expand_queries(
      queries, gallery, k=args.query_expansion, alpha=args.alpha
    )
  ids = query_pids, arrays['gallery_pids'], query_camids
  ids += (arrays['gallery_camids'],)
  options = {
    'ranks': args.ranks,
    'camera_rule': args.camera_rule,
    'protocol': args.protocol,
    'seed': args.seed,
    'per_query': True,
  }
  if args.rerank:
    distances = evaluation.rerank_distances(queries, gallery)
    scores = evaluation.evaluate_ranking(distances, *ids, **options)
  else:
    scores = evaluation.rank_features(queries, gallery, *ids, **options)
  print(
    f'{args.features}: {len(queries):,} queries, {len(gallery):,} in the '
    f'gallery; {scores["num_valid_queries"]:,} queries have a match\n'
    f'protocol {args.protocol}, camera rule '
    f'{"on" if args.camera_rule else "off"}\n'
  )
  for key, value in scores.items():
    if key in _NAMES or key.startswith('rank'):
      name = _NAMES[key] if key in _NAMES else f'rank-{key[4:]}'
      print(f'{name:<10}{100 * value:6.2f} %')
  if args.per_query:
    index = scores['query_index']
    scores['pid'] = query_pids[index]
    _write(args.per_query, zip(*(scores[key] for key in _COLUMNS), strict=True))
    print(f'\nEach query: {args.per_query}')


def _write(path: Path, rows: Iterable[tuple[float, ...]]) -> None:
  with path.open('w', newline='', encoding='utf-8') as file:
    writer = csv.writer(file)
    writer.writerow(_COLUMNS)
    writer.writerows(rows)


if __name__ == '__main__':
  main()
