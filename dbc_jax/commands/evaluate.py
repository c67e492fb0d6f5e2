"""Command line: scores a run, or saved features, by CMC, mAP and mINP."""

import argparse
import json
from typing import Any

import numpy as np

from dbc_jax import evaluation
from dbc_jax.commands import arguments
from dbc_jax.evaluation.truth import DEFAULT_RANKS, PROTOCOLS
from dbc_jax.reporting import busy
from dbc_jax.reporting.npz import read_npz

_ARRAYS = ('features', 'pids', 'camids')
_SIDES = ('query', 'gallery')
_NAMES = {'map': 'mAP', 'map_trapz': 'mAP trapz', 'minp': 'mINP'}
_COLUMNS = ('query_index', 'pid', 'first_rank', 'ap', 'inp')
# Fields of a config that say which images are read.
_DATA_FIELDS = {
  'csv': str,
  'pattern': str,
  'num_identities': int,
  'identities_seed': int,
  'tracklets': arguments.boolean,
  'drop_queries': arguments.boolean,
  'skip_unreadable': arguments.boolean,
}

_EXAMPLE = """examples:
  dbc evaluate --workdir=runs/best-market1501 --json=scores.json
  dbc evaluate --workdir=runs/best-folder --config=ecluster:market1501 \\
    --root=Market-1501
  dbc evaluate --features=features.npz --camera_rule=False

The second scores a network on another data set. Identities are needed: a folder
of crops has them where a CSV names them (docs/data.md).
"""


def main(argv: list[str] | None = None) -> None:
  """Scores the features of a run or of a file and prints a table."""
  args = _parse(argv)
  with arguments.one_line(''):
    try:
      _check(args)
      found = _from_workdir(args) if args.workdir else _from_file(args)
      if found:
        _evaluate(args, *found)
    except ValueError as error:
      told = str(error).replace(' camera_rule=', ' --camera_rule=')
      raise ValueError(told) from error


def _parse(argv: list[str] | None) -> argparse.Namespace:
  parser = arguments.parser('evaluate', __doc__, _EXAMPLE)
  source = parser.add_mutually_exclusive_group(required=True)
  source.add_argument(
    '--features',
    type=arguments.path,
    help='.npz with query_features and gallery_features [N, D], query_pids, '
    'gallery_pids (-1: junk), query_camids and gallery_camids [N]',
  )
  source.add_argument('--workdir', type=arguments.path, help='of a run')
  _add_workdir_arguments(parser)
  parser.add_argument('--protocol', choices=PROTOCOLS, default=PROTOCOLS[0])
  parser.add_argument(
    '--camera_rule',
    type=arguments.boolean,
    help='leaves out what shows the person of a query in its own camera; '
    'False needs no camids; default: True, or as the run was scored',
  )
  parser.add_argument(
    '--leave_one_out',
    type=arguments.boolean,
    help="leaves out the gallery's images of the same pixels as a query; "
    'default: False, or as the run was scored',
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
    '--per_query',
    type=arguments.path,
    metavar='OUT.csv',
    help='one row a query, with its file where it is known',
  )
  parser.add_argument(
    '--json',
    type=arguments.path,
    metavar='OUT.json',
    help='the scores, shares of 1, for a program',
  )
  return parser.parse_args(argv)


def _add_workdir_arguments(parser: argparse.ArgumentParser) -> None:
  """All of them are None where they are not given."""
  group = parser.add_argument_group('with --workdir')
  group.add_argument(
    '--stage',
    help='chosen (without labels; the default), last, oracle (best by test '
    'identities), warmup or a number; of those that have a checkpoint',
  )
  group.add_argument(
    '--config',
    help='such as configs/ecluster.py:market1501: a data set to test on, in '
    'place of that of the run',
  )
  group.add_argument(
    '--root', '--config.data.root', help='where the files of the data set are'
  )
  for field, kind in _DATA_FIELDS.items():
    group.add_argument(f'--config.data.{field}', dest=field, type=kind)
  group.add_argument(
    '--save',
    type=arguments.path,
    metavar='F.npz',
    help='features of all images, as --features reads them, and the clusters '
    'of the training images',
  )


def _ranks(text: str) -> tuple[int, ...]:
  try:
    return tuple(map(int, text.split(',')))
  except ValueError:
    raise argparse.ArgumentTypeError(
      f'expected numbers and commas, got {text!r}'
    ) from None


def _check(args: argparse.Namespace) -> None:
  if args.alpha and args.query_expansion is None:
    raise ValueError('--alpha is read with --query_expansion=K only')
  for option in ('per_query', 'json', 'save'):
    path = getattr(args, option)
    if path and not path.parent.is_dir():
      raise ValueError(f'--{option}: no folder {path.parent}')
  for option in ('stage', 'config', 'save', 'root', *_DATA_FIELDS):
    if args.features and getattr(args, option) is not None:
      raise ValueError(f'{option} is read with --workdir only')


def _from_workdir(
  args: argparse.Namespace,
) -> tuple[str, dict[str, np.ndarray]] | None:
  """A title and the arrays, or None where there is nothing to score."""
  # Imported only here: the network and its checkpoints take seconds to load,
  # and saved features need neither.
  from dbc_jax.run import restore

  run = restore.restore_run(args.workdir, args.stage or 'chosen')
  trained = run.parts.config
  waiting = np.count_nonzero(run.labels < 0)
  print(
    f'stage {run.stage} of {args.workdir}: {trained.model.name}, '
    f'{run.labels.max() + 1:,} clusters of {len(run.labels):,} images'
    + (f', {waiting:,} of them in none' if waiting else ''),
    flush=True,
  )
  if args.camera_rule is None:
    args.camera_rule = trained.camera_rule
  if args.leave_one_out is None:
    args.leave_one_out = trained.leave_one_out
  changes = {field: getattr(args, field) for field in ('root', *_DATA_FIELDS)}
  config: Any = restore.data_config(run, args.config, changes)
  config.camera_rule = args.camera_rule
  config.leave_one_out = args.leave_one_out
  data = restore.load_data(
    config,
    None if args.config else run.digest,
    identities=not args.save,
    cameras=args.camera_rule or args.multi_query,
    decoders=run.decoders,
  )
  sizes = ', '.join(f'{len(x):,} {name}' for name, x in data.names.items())
  print(f'{config.data.name}: {sizes}', flush=True)
  if data.left_out:
    print(f'{len(data.left_out)} left out, the first: {data.left_out[0]}')
  wanted = _SIDES if data.truth.can_evaluate else ()
  if args.save and data.train is not None:
    wanted = 'train', *wanted
  with busy('embedding'):
    arrays: dict[str, Any] = restore.extract_arrays(run, data, wanted)
  if args.save:
    with args.save.open('wb') as file:
      np.savez(file, **arrays)
    print(f'{args.save}: {", ".join(arrays)}')
  if not data.truth.can_evaluate:
    print('No identities of queries and gallery: nothing is scored')
    return None
  return str(args.workdir), arrays


def _from_file(args: argparse.Namespace) -> tuple[str, dict[str, np.ndarray]]:
  """A title and the arrays; cameras that are not needed may be missing."""
  if args.camera_rule is None:
    args.camera_rule = True
  path = args.features
  names = [f'{side}_{what}' for side in _SIDES for what in _ARRAYS]
  wanted = (*names, 'query_names', 'copies')
  loaded = read_npz(path)
  files = list(loaded)
  arrays = {k: x for k, x in loaded.items() if k in wanted}
  optional = ('query_camids', 'gallery_camids')
  if args.camera_rule or args.multi_query:
    optional = ()
  missing = [name for name in names if name not in [*files, *optional]]
  if missing:
    hint = ''
    if all(name.endswith('camids') for name in missing):
      hint = '; without cameras: --camera_rule=False, and no --multi_query'
    raise ValueError(
      f'{path}: lacks {", ".join(missing)}; it has '
      f'{", ".join(files) or "nothing"}{hint}'
    )
  asked = arrays.get('query_names')
  if asked is not None and len(asked) != len(arrays['query_features']):
    raise ValueError(
      f'{path}: {len(asked)} query_names for '
      f'{len(arrays["query_features"])} query_features'
    )
  return str(path), arrays


def _left_out(
  args: argparse.Namespace, arrays: dict[str, np.ndarray]
) -> np.ndarray | None:
  """Queries and their equals in the gallery [P, 2], where they are left out."""
  if not args.leave_one_out:
    return None
  for option in ('multi_query', 'query_expansion', 'rerank'):
    if getattr(args, option) not in (None, False):
      raise ValueError(
        f'--leave_one_out: got True with --{option}, which looks at the whole '
        'gallery before any query is ranked; set it to False, or take '
        f'--{option} away'
      )
  if 'copies' not in arrays:
    raise ValueError(
      f'--leave_one_out: {args.features} has no array copies, [P, 2], a query '
      'and its equal in the gallery; dbc evaluate --workdir=DIR --save=F.npz '
      'writes it'
    )
  return arrays['copies']


def _evaluate(
  args: argparse.Namespace, title: str, arrays: dict[str, np.ndarray]
) -> None:
  """Features in, table out."""
  left_out = _left_out(args, arrays)
  queries, gallery = (arrays[f'{side}_features'] for side in _SIDES)
  query_pids, query_camids = arrays['query_pids'], arrays.get('query_camids')
  if args.multi_query:
    queries, query_pids, query_camids = evaluation.pool_queries(
      queries, query_pids, arrays['query_camids']
    )
  if args.query_expansion is not None:
    queries = evaluation.expand_queries(
      queries, gallery, k=args.query_expansion, alpha=args.alpha
    )
  ids = query_pids, arrays['gallery_pids'], query_camids
  ids += (arrays.get('gallery_camids'),)
  options = {
    'ranks': args.ranks,
    'camera_rule': args.camera_rule,
    'protocol': args.protocol,
    'seed': args.seed,
    'per_query': True,
    'left_out': left_out,
  }
  if args.rerank:
    distances = evaluation.rerank_distances(queries, gallery)
    scores = evaluation.evaluate_ranking(distances, *ids, **options)
  else:
    scores = evaluation.rank_features(queries, gallery, *ids, **options)
  print(
    f'{title}: {len(queries):,} queries, {len(gallery):,} in the '
    f'gallery; {scores["num_valid_queries"]:,} queries have a match\n'
    f'protocol {args.protocol}, camera rule '
    f'{"on" if args.camera_rule else "off"}\n'
  )
  if left_out is not None:
    print(
      f'{len(np.unique(left_out[:, 0])):,} queries are ranked without their '
      'equals in the gallery (leave_one_out)\n'
    )
  for key, value in scores.items():
    if key in _NAMES or key.startswith('rank'):
      name = _NAMES[key] if key in _NAMES else f'rank-{key[4:]}'
      print(f'{name:<10}{100 * value:6.2f} %')
  if args.json:
    told = {key: x for key, x in scores.items() if np.ndim(x) == 0}
    told |= {'protocol': args.protocol, 'camera_rule': args.camera_rule}
    told['leave_one_out'] = left_out is not None
    arguments.write(args.json, json.dumps(told, indent=2) + '\n')
  if args.per_query:
    index = np.asarray(scores['query_index'])
    scores['pid'] = query_pids[index]
    columns = _COLUMNS
    names = arrays.get('query_names')
    if names is not None and not args.multi_query:
      scores['query'] = names[index]
      columns = 'query', *columns
    rows = [np.asarray(scores[key]) for key in columns]
    arguments.write_table(args.per_query, [columns, *zip(*rows, strict=True)])


if __name__ == '__main__':
  main()
