"""What each merging criterion makes of one set of features, without training.

  python -m benchmarks.criteria_study --features=F.npz --figures=docs

F.npz holds `features` [N, D] and `pids` [N], which score and do nothing else;
with `camids` [N] all rows are also run on camera-centred features. N images
are merged down to the cluster counts of a run, N - m t with m = N / 20, and
the clusters compared with identities at each.

Parts:
  size    buc and average, whose regulariser counts members
  spread  dbc, ecluster and estat, whose regulariser measures spread
  peers   Ward's method, DBSCAN and HDBSCAN
  grid    Jaccard's k1 and k2 beside lambda
  ranked  pairs ranked once a stage, and dbc's Eq. 7: both start anew with
          each stage, where the other rows are one call that is cut

Results are appended to --out, one JSON object a line; what is there already is
not run again, so an interrupted call goes on.
"""

import itertools
import json
import pathlib
import time
from collections.abc import Iterator
from typing import NamedTuple

import jax
import numpy as np
from absl import app, flags
from sklearn import cluster as peers

from benchmarks.criteria_figures import DEFAULTS, JACCARD, draw
from dbc_jax import cluster
from dbc_jax.cluster.cuts.cut import floor_share
from dbc_jax.evaluation import clustering_scores

MERGE_SHARE = 0.05
SIZE = (
  *('buc:0', 'buc:0.003', 'buc:0.005'),
  *(f'average:{weight}' for weight in (0, 0.001, 0.002, 0.003, 0.005)),
)
SPREAD = (
  *('dbc:0', 'dbc:0.1', 'dbc:0.1:intra=mean', 'dbc:0.5'),
  *('ecluster:0', 'ecluster:0.1', 'ecluster:0.9', 'ecluster:0.9:ssd=printed'),
  *('estat:0', 'estat:0.1'),
)
DENSITY = (
  *(f'dbscan:{eps / 100}' for eps in range(40, 75, 5)),
  *('hdbscan:4', 'hdbscan:8'),
)
# k1 and k2 of Jaccard, with the lambdas that `average` is run with.
GRID = {
  (20, 6): (0.001, 0.002, 0.003, 0.004, 0.006),
  **{(k1, 6): (0.002, 0.003, 0.004) for k1 in (15, 25, 30)},
  (20, 3): (0.002, 0.003),
}
CHOSEN = 'jaccard-20-6'
# Other methods there, the criteria at lambdas that may suit it better.
CHOSEN_METHODS = (
  *('dbscan:0.45', 'dbscan:0.5', 'dbscan:0.55'),
  *('buc:0.01', 'buc:0.02', 'dbc:0.03'),
)
PARTS = ('size', 'spread', 'peers', 'grid', 'ranked')

_FEATURES = flags.DEFINE_string('features', None, 'F.npz.', required=True)
_OUT = flags.DEFINE_string(
  'out', 'runs/criteria_study.jsonl', 'Results, read and appended.'
)
_FIGURES = flags.DEFINE_string('figures', '', 'Folder of the figures, or none.')
_PARTS = flags.DEFINE_list('parts', list(PARTS), 'Parts that are run.')
_ONLY = flags.DEFINE_list('only', [], 'Methods that are run, or all.')
_SEED = flags.DEFINE_integer('seed', 0, 'Order of samples; with its own --out.')
_HALF = flags.DEFINE_integer(
  'half', None, 'Every other identity, 0 or 1; with its own --out.'
)


class Row(NamedTuple):
  """One line of the results: what is clustered, and how.

  Attributes:
    base: 'euclidean', 'squared' or 'jaccard-K1-K2'.
    centred: whether each camera's mean is taken out.
    method: 'NAME:LAMBDA', with ':OPTION=VALUE' of `Criterion` behind it;
      'dbscan:EPS' or 'hdbscan:MIN_CLUSTER_SIZE'.
  """

  base: str
  centred: bool
  method: str


class Data(NamedTuple):
  features: np.ndarray  # [N, D], unit rows.
  pids: np.ndarray
  camids: np.ndarray | None


def main(argv: list[str]) -> None:
  """Runs what is missing in --out, then prints the table."""
  del argv
  data = load(_FEATURES.value, _SEED.value, _HALF.value)
  out = pathlib.Path(_OUT.value)
  out.parent.mkdir(parents=True, exist_ok=True)
  rows = rows_of(_PARTS.value, data.camids is not None)
  for (base, centred), group in itertools.groupby(rows, lambda row: row[:2]):
    missing = [
      row
      for row in group
      if row not in read(out) and (row.method in _ONLY.value or not _ONLY.value)
    ]
    if missing:
      x, distances = base_distances(data, base, centred)
    for row in missing:
      start = time.perf_counter()
      scores = [score(labels, data.pids) for labels in run(row, x, distances)]
      line = row._asdict() | {
        'seconds': time.perf_counter() - start,
        'scores': scores,
      }
      with out.open('a') as file:
        file.write(json.dumps(line) + '\n')
      print(*row, f'{line["seconds"]:.0f} s', scores[-1], flush=True)
  results = read(out)
  print(table(results))
  if _FIGURES.value:
    draw(results, pathlib.Path(_FIGURES.value))


def rows_of(parts: list[str], cameras: bool) -> Iterator[Row]:
  """Rows of the parts, those of one base distance next to each other."""
  both = (False, True) if cameras else (False,)
  for part in parts:
    for centred in both:
      if part in ('size', 'spread'):
        for base in (JACCARD, 'euclidean'):
          for method in SIZE if part == 'size' else SPREAD:
            yield Row(base, centred, method)
      elif part == 'peers':
        for base, methods in (
          (JACCARD, DENSITY),
          ('euclidean', ('hdbscan:4', 'hdbscan:8')),
          ('squared', ('estat:0', 'buc:0.003')),
        ):
          for method in methods:
            yield Row(base, centred, method)
      elif part == 'grid':
        for (k1, k2), weights in GRID.items():
          for weight in weights:
            yield Row(f'jaccard-{k1}-{k2}', centred, f'average:{weight}')
        for method in CHOSEN_METHODS:
          yield Row(CHOSEN, centred, method)
      elif part == 'ranked':
        if centred:
          continue
        yield Row('squared', False, 'buc:0.003:merge=ranked')
        for method in DEFAULTS:
          for base in (JACCARD, 'euclidean'):
            yield Row(base, False, f'{method}:merge=ranked')
        yield Row('euclidean', False, 'dbc:0.1:update=eq7')
      else:
        raise app.UsageError(f'--parts: got {part}, expected one of {PARTS}.')


def load(path: str, seed: int, half: int | None) -> Data:
  """The file, its samples shuffled: merging breaks ties by their order."""
  with np.load(path) as file:
    arrays = {key: file[key] for key in file.files}
  order = np.random.default_rng(seed).permutation(len(arrays['pids']))
  if half is not None:
    _, identities = np.unique(arrays['pids'], return_inverse=True)
    order = order[identities[order] % 2 == half]
  features = arrays['features'][order].astype(np.float32)
  features /= np.linalg.norm(features, axis=1, keepdims=True)
  camids = arrays['camids'][order].astype(int) if 'camids' in arrays else None
  return Data(features, arrays['pids'][order].astype(int), camids)


def base_distances(
  data: Data, base: str, centred: bool
) -> tuple[np.ndarray, jax.Array]:
  """The features that are clustered, and their distances."""
  x = data.features
  if centred:
    x = cluster.center_cameras(x, data.camids)
  if base.startswith('jaccard'):
    k1, k2 = map(int, base.split('-')[1:])
    return x, cluster.jaccard_distances(x, k1=k1, k2=k2)
  return x, cluster.pairwise_distances(x, squared=base == 'squared')


def run(row: Row, x: np.ndarray, distances: jax.Array) -> Iterator[np.ndarray]:
  """Labels at each cluster count; of a density method, its only labels."""
  name, value, *options = row.method.split(':')
  if name in ('dbscan', 'hdbscan'):
    yield density_labels(name, float(value), np.asarray(distances))
    return
  criterion = cluster.Criterion(
    name, float(value), **dict(option.split('=') for option in options)
  )
  num_samples = len(x)
  num_merges = floor_share(MERGE_SHARE, num_samples)
  cuts = range(0, num_samples - num_merges, num_merges)
  labels = np.arange(num_samples)
  if 'merge' in row.method or 'update' in row.method:
    yield labels
    for _ in cuts[1:]:
      labels = cluster.merge_clusters(
        x, labels, num_merges, criterion, distances=distances
      ).labels
      yield labels
  else:
    pairs = cluster.merge_clusters(
      x, labels, cuts[-1], criterion, distances=distances
    ).pairs
    for cut in cuts:
      yield cut_labels(pairs[:cut], num_samples)


def cut_labels(pairs: np.ndarray, num_samples: int) -> np.ndarray:
  """Labels [N] after these merges, each the number of a tree node."""
  homes = np.arange(num_samples + len(pairs))
  # Backwards, so that a node is sent to where its parent itself ends up.
  for t in reversed(range(len(pairs))):
    homes[pairs[t]] = homes[num_samples + t]
  return homes[:num_samples]


def density_labels(
  name: str, value: float, distances: np.ndarray
) -> np.ndarray:
  """Labels [N]; each noise point is a cluster of its own."""
  if name == 'dbscan':
    method = peers.DBSCAN(eps=value, min_samples=4, metric='precomputed')
  else:
    method = peers.HDBSCAN(
      min_cluster_size=int(value), metric='precomputed', copy=True
    )
  labels = method.fit_predict(distances)
  noise = labels < 0
  labels[noise] = labels.max() + 1 + np.arange(noise.sum())
  return labels


def score(labels: np.ndarray, pids: np.ndarray) -> dict[str, float]:
  """Agreement with identities, and what the clusters look like."""
  sizes = np.bincount(np.unique(labels, return_inverse=True)[1])
  return clustering_scores(labels, pids) | {
    'clusters': len(sizes),
    'largest': int(sizes.max()),
    'singletons': int((sizes == 1).sum()),
  }


def read(out: pathlib.Path) -> dict[Row, list[dict[str, float]]]:
  """Scores at each cluster count, of every row in --out."""
  lines = out.read_text().splitlines() if out.exists() else []
  results = {}
  for line in map(json.loads, lines):
    results[Row(line['base'], line['centred'], line['method'])] = line['scores']
  return results


def table(results: dict[Row, list[dict[str, float]]]) -> str:
  """Markdown: the best count by F, and the last count."""
  text = [
    '| base | centred | method | best F | at clusters | precision | recall '
    '| last F | ARI | clusters | largest | single |',
    '|---|---|---|---|---|---|---|---|---|---|---|---|',
  ]
  for row, scores in sorted(results.items()):
    best, last = max(scores, key=lambda s: s['pair_f']), scores[-1]
    cells = [
      row.base,
      'yes' if row.centred else '',
      row.method,
      *(f'{best["pair_f"]:.3f}', str(best['clusters'])),
      *(f'{best[key]:.3f}' for key in ('pair_precision', 'pair_recall')),
      *(f'{last[key]:.3f}' for key in ('pair_f', 'ari')),
      *(str(last[key]) for key in ('clusters', 'largest', 'singletons')),
    ]
    text.append(f'| {" | ".join(cells)} |')
  return '\n'.join(text)


if __name__ == '__main__':
  app.run(main)
