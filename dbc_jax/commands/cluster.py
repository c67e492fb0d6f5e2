"""Command line: clusters any features, of whatever network."""

import argparse

from dbc_jax.commands import arguments

_EXAMPLE = """examples:
  dbc cluster --features=features.npz --out=clusters.csv
  dbc cluster --features=features.parquet --out=clusters.csv \\
    --distance=jaccard --num_clusters=150

--features has `features` [N, D], and `paths` [N] where they are known.
"""


def main(argv: list[str] | None = None) -> None:
  """Clusters the features of a file."""
  args = _parse(argv)
  with arguments.one_line('Nothing was written.'):
    _cluster(args)


def _parse(argv: list[str] | None) -> argparse.Namespace:
  parser = arguments.parser('cluster', __doc__, _EXAMPLE)
  parser.add_argument(
    '--features', type=arguments.path, required=True, help='F.npz or F.parquet'
  )
  parser.add_argument('--out', type=arguments.path, required=True, help='F.csv')
  parser.add_argument(
    '--num_clusters',
    type=int,
    help='default: chosen among 20 numbers by the features alone',
  )
  parser.add_argument(
    '--criterion',
    default='average',
    help='average (the default), buc, dbc, ecluster, estat, or '
    'package.module:Rule',
  )
  parser.add_argument(
    '--reg_weight',
    type=float,
    default=0.002,
    help="weight of the criterion's regulariser; default: 0.002",
  )
  parser.add_argument(
    '--distance',
    choices=('jaccard', 'euclidean'),
    default='jaccard',
    help='jaccard (the default): of common neighbours; euclidean: of features',
  )
  parser.add_argument(
    '--corrections',
    type=arguments.path,
    metavar='F.csv',
    help='lines of a,b,same or a,b,different, by paths of --features',
  )
  parser.add_argument(
    '--memory_budget_gb',
    type=float,
    metavar='GB',
    help='memory that clustering may take; default: what is free now',
  )
  parser.add_argument('--overwrite', action='store_true')
  return parser.parse_args(argv)


def _cluster(args: argparse.Namespace) -> None:
  from dbc_jax import verbs
  from dbc_jax.cluster import BottomUpClustering, simplified_silhouettes
  from dbc_jax.devices import mesh
  from dbc_jax.reporting import busy, check_new, write_clusters

  if args.memory_budget_gb is not None and not args.memory_budget_gb > 0:
    raise ValueError(
      f'--memory_budget_gb: got {args.memory_budget_gb:g}, expected more than 0'
    )
  check_new('--out', args.out, overwrite=args.overwrite)
  given = verbs.read_features(args.features)
  count = len(given.features)
  if count < 2:
    raise ValueError(f'{args.features}: a single row is no clustering')
  wanted = args.num_clusters
  if wanted is not None and not 1 <= wanted < count:
    raise ValueError(
      f'--num_clusters: got {wanted}, expected 1 or more and less than the '
      f'{count} rows of {args.features}'
    )
  links = None
  if args.corrections is not None:
    links = verbs.links_of(args.corrections, given.names)
  budget, free = args.memory_budget_gb, mesh.free_memory()
  if budget is None and free is not None:
    budget = free / 1e9
  try:
    with busy(f'clustering {count:,} rows'):
      found = BottomUpClustering(
        wanted,
        criterion=args.criterion,
        reg_weight=args.reg_weight,
        metric=args.distance,
        memory_budget_gb=budget,
      ).fit(
        given.features,
        must_link=None if links is None else links.must,
        cannot_link=None if links is None else links.cannot,
      )
  except ValueError as error:
    field, _, rest = str(error).partition(':')
    if field != 'memory_budget_gb':
      option = {'name': 'criterion'}.get(field, field)
      raise ValueError(f'--{option}:{rest}') from error
    hints = []
    if args.distance == 'jaccard':
      hints.append('--distance=euclidean needs no matrix')
    if args.memory_budget_gb is None:
      hints.append('the default is what is free now')
    text = '; '.join([str(error).rstrip('.'), *hints])
    raise ValueError(f'--{text}') from error
  write_clusters(
    args.out,
    given.names,
    found.labels_,
    silhouettes=simplified_silhouettes(given.features, found.labels_),
  )
  print(f'{args.out}: {found.n_clusters_:,} clusters of {count:,} rows')
  if wanted is not None and wanted != found.n_clusters_:
    print(f'--corrections: they leave no way to {wanted:,} clusters')


if __name__ == '__main__':
  main()
