"""Figures and trees of other tools beside ours, and which of them are right.

  pip install -e '.[bench]'
  python -m benchmarks.compare [--parts=rerank,ties] [--seeds=5]

Parts:
  rerank    torchreid's re-ranking
  jaccard   the Jaccard distance as SpCL's and Cluster Contrast's code has it
  precision mAP of torchmetrics and pytorch-metric-learning
  graph     scikit-learn's tree where a graph says which samples may merge
  inverted  SciPy's cuts of a tree in which a merge lies below an earlier one
  density   min_samples of hdbscan and scikit-learn
  ties      trees of SciPy, fastcluster and scikit-learn where distances tie

Right is what follows from the definition (benchmarks.by_definition). Images
are drawn: 60 persons, 4 to 20 crops each, six cameras, 64 numbers a crop. A
cell is the smallest and the largest value over the seeds.
"""

import importlib.metadata
import runpy
from collections.abc import Iterator

import numpy as np
from absl import app, flags, logging
from scipy.cluster import hierarchy
from scipy.spatial import distance
from sklearn import cluster, metrics, neighbors

from benchmarks.by_definition import (
  K1,
  K2,
  PEOPLE,
  Crops,
  heights_by_definition,
  in_order,
  jaccard_by_definition,
  members,
  passed_over,
  precision_by_definition,
)
from dbc_jax.cluster import (
  BottomUpClustering,
  Criterion,
  jaccard_distances,
  merge_clusters,
  to_scipy_linkage,
)
from dbc_jax.evaluation import evaluate_ranking, rerank_distances

WEIGHT = 0.3
# Of a part: what is measured, and its value in one draw of images.
Measured = Iterator[tuple[str, float]]

_PARTS = flags.DEFINE_list('parts', [], 'What to run; all without it.')
_SEEDS = flags.DEFINE_integer('seeds', 5, 'Draws of images.')


def rerank(crops: Crops) -> Measured:
  """torchreid, as its engine calls it and as the paper has it."""
  import torch

  folder = importlib.metadata.distribution('torchreid').locate_file('torchreid')
  call = runpy.run_path(f'{folder}/reid/utils/rerank.py')['re_ranking']
  squared = runpy.run_path(f'{folder}/reid/metrics/distance.py')[
    'compute_distance_matrix'
  ]
  sides = [crops.x[crops.queries], crops.x[~crops.queries]]
  q, g = (torch.tensor(side) for side in sides)
  given = [squared(*pair).numpy().clip(0) for pair in ((q, g), (q, q), (g, g))]
  joined = np.concatenate(sides)
  whole = distance.squareform(distance.pdist(joined))
  scaled = whole**2 / (whole**2).max(axis=1, keepdims=True)
  right = (1 - WEIGHT) * jaccard_by_definition(whole) + WEIGHT * scaled
  right = right[: len(q), len(q) :]
  as_called = call(*given, K1, K2, WEIGHT)
  plain = call(*[np.sqrt(d) for d in given], K1, K2, WEIGHT)
  ours = rerank_distances(*sides, k1=K1, k2=K2, distance_weight=WEIGHT)
  yield 'torchreid, largest error', np.abs(as_called - right).max()
  yield 'torchreid, given roots, largest error', np.abs(plain - right).max()
  yield 'ours, largest error', np.abs(ours - right).max()
  for name, found in (
    ('plain distances', whole[: len(q), len(q) :]),
    ('torchreid', as_called),
    ('ours', ours),
    ('right', right),
  ):
    yield f'{name}, mAP', 100 * precision_by_definition(crops, found)


def jaccard(crops: Crops) -> Measured:
  """The two changes that were read in SpCL and Cluster Contrast."""
  right = jaccard_by_definition(crops.distances)
  pairs = ~np.eye(len(right), dtype=bool) & (right < 1)
  for name, found in (
    (
      'both changes',
      jaccard_by_definition(crops.distances, neighbours=K1, scaled=False),
    ),
    (
      'k1 neighbours with the image itself',
      jaccard_by_definition(crops.distances, neighbours=K1),
    ),
    ('not scaled', jaccard_by_definition(crops.distances, scaled=False)),
    ('ours', np.asarray(jaccard_distances(crops.x, k1=K1, k2=K2))),
  ):
    error = np.abs(found - right)
    yield f'{name}, largest error', error.max()
    yield f'{name}, mean error of pairs below 1', error[pairs].mean()


def precision(crops: Crops) -> Measured:
  """One ranking: its mAP by three libraries."""
  import torch
  from pytorch_metric_learning.utils import accuracy_calculator
  from torchmetrics import retrieval

  q, g = crops.queries, ~crops.queries
  found = crops.distances[np.ix_(q, g)]
  same = crops.pids[q][:, None] == crops.gallery_pids
  own = same & (crops.camids[q][:, None] == crops.camids[g])
  kept = (crops.gallery_pids >= 0) & ~own
  query = np.broadcast_to(np.arange(q.sum())[:, None], same.shape)

  def torchmetrics(scores: np.ndarray, of: np.ndarray, **options) -> float:
    taken = (torch.tensor(each[of]) for each in (scores, same, query))
    return 100 * float(retrieval.RetrievalMAP(**options)(*taken))

  def metric_learning(k: int | None) -> float:
    call = accuracy_calculator.AccuracyCalculator(
      include=('mean_average_precision',), k=k, device=torch.device('cpu')
    )
    sides = (crops.x[q], crops.pids[q], crops.x[g], crops.gallery_pids)
    scores = call.get_accuracy(*(torch.tensor(side) for side in sides))
    return 100 * scores['mean_average_precision']

  pids = (crops.pids[q], crops.gallery_pids)
  camids = (crops.camids[q], crops.camids[g])
  everything = np.ones_like(kept)
  yield 'right', 100 * precision_by_definition(crops, found)
  yield 'ours', 100 * evaluate_ranking(found, *pids, *camids)['map']
  yield (
    'ours, trapezoid',
    100 * evaluate_ranking(found, *pids, *camids)['map_trapz'],
  )
  yield 'torchmetrics, all pairs, 2 - d', torchmetrics(2 - found, everything)
  yield 'torchmetrics, kept pairs, 2 - d', torchmetrics(2 - found, kept)
  yield (
    'torchmetrics, kept pairs, 2 - d, queries without a match skipped',
    torchmetrics(2 - found, kept, empty_target_action='skip'),
  )
  yield (
    'torchmetrics, the same with cosines',
    torchmetrics(1 - found**2 / 2, kept, empty_target_action='skip'),
  )
  yield (
    'torchmetrics, the same with -d',
    torchmetrics(-found, kept, empty_target_action='skip'),
  )
  yield 'pytorch-metric-learning', metric_learning(None)
  yield (
    'pytorch-metric-learning, k = twice the gallery',
    metric_learning(2 * int(g.sum())),
  )


def graph(crops: Crops) -> Measured:
  """Heights of merges, and clusters, with the 10 nearest as a graph."""
  nearest = neighbors.kneighbors_graph(crops.x, 10)
  for name, linkage in (
    ('average', np.mean),
    ('complete', np.max),
    ('single', np.min),
  ):
    tree = cluster.AgglomerativeClustering(
      PEOPLE, linkage=name, connectivity=nearest, compute_distances=True
    ).fit(crops.x)
    right = heights_by_definition(tree.children_, crops.distances, linkage)
    error = np.abs(tree.distances_ - right) / right
    yield f'scikit-learn, {name}, % of heights off', 100 * np.mean(error > 1e-6)
    yield f'scikit-learn, {name}, largest error, %', 100 * error.max()
    if name == 'average':
      yield 'scikit-learn, average, ARI', _ari(crops, tree.labels_)
  whole = cluster.AgglomerativeClustering(PEOPLE, linkage='average')
  yield (
    'scikit-learn, average, no graph, ARI',
    _ari(crops, whole.fit_predict(crops.x)),
  )
  tree = BottomUpClustering(PEOPLE).fit(crops.x)
  right = heights_by_definition(tree.children_, crops.distances, np.mean)
  error = np.abs(tree.distances_ - right) / right
  yield 'ours, average, % of heights off', 100 * np.mean(error > 1e-6)
  yield 'ours, average, largest error, %', 100 * error.max()
  yield 'ours, average, ARI', _ari(crops, tree.labels_)


def _ari(crops: Crops, labels: np.ndarray) -> float:
  return metrics.adjusted_rand_score(crops.pids, labels)


def inverted(crops: Crops) -> Measured:
  """Shares of numbers of clusters at which a cut is no cut of the tree."""
  ecluster = merge_clusters(
    crops.x,
    np.arange(len(crops.x)),
    len(crops.x) - 1,
    Criterion('ecluster', 0.9),
  )
  for name, tree in (
    ('SciPy, centroid', hierarchy.linkage(crops.x, 'centroid')),
    ('ours, E-cluster, scores', to_scipy_linkage(ecluster, heights='score')),
    ('ours, E-cluster, order', to_scipy_linkage(ecluster)),
  ):
    nodes = {frozenset(node) for node in members(tree[:, :2])}
    counts = range(20, len(crops.x) // 2, 20)
    broken = other = fewer = 0
    for count in counts:
      labels = hierarchy.cut_tree(tree, count)[:, 0]
      broken += not _groups(labels) <= nodes
      other += len(_groups(labels)) != count
      fewer += len(_groups(hierarchy.fcluster(tree, count, 'maxclust'))) < count
    yield f'{name}: inversions', (np.diff(tree[:, 2]) < 0).sum()
    yield (
      f'{name}: cut_tree joins what no merge joined, %',
      100 * broken / len(counts),
    )
    yield f'{name}: cut_tree gives another number, %', 100 * other / len(counts)
    yield f'{name}: fcluster gives fewer, %', 100 * fewer / len(counts)


def _groups(labels: np.ndarray) -> set[frozenset[int]]:
  return {
    frozenset(np.flatnonzero(labels == label).tolist())
    for label in np.unique(labels)
  }


def density(crops: Crops) -> Measured:
  """Clusters for one min_samples; and the tree of mutual reachability."""
  import hdbscan

  samples = 5
  theirs = hdbscan.HDBSCAN(
    5, min_samples=samples, approx_min_span_tree=False
  ).fit(crops.x)
  heights = np.sort(theirs.single_linkage_tree_.to_numpy()[:, 2])
  ordered = np.sort(crops.distances, axis=1)
  for name, column in (('with', samples - 1), ('without', samples)):
    core = ordered[:, column]
    reach = np.maximum(crops.distances, np.maximum(core, core[:, None]))
    np.fill_diagonal(reach, 0)
    right = hierarchy.linkage(distance.squareform(reach), 'single')[:, 2]
    error = np.abs(heights - np.sort(right)).max()
    yield f'hdbscan, heights off the {samples} nearest {name} itself', error
  for plus in (0, 1):
    ours = cluster.HDBSCAN(5, min_samples=samples + plus, copy=True)
    labels = ours.fit_predict(crops.x)
    agree = metrics.adjusted_rand_score(theirs.labels_, labels)
    yield f'ARI of hdbscan and scikit-learn, min_samples + {plus}', agree
  yield 'not placed by hdbscan, %', 100 * np.mean(theirs.labels_ < 0)
  same = cluster.HDBSCAN(5, min_samples=samples, copy=True).fit(crops.x)
  yield 'not placed by scikit-learn, %', 100 * np.mean(same.labels_ < 0)


def ties(crops: Crops) -> Measured:
  """Average linkage of whole numbers: how many of 64 signs differ."""
  import fastcluster

  codes = crops.x > 0
  flat = distance.pdist(codes, 'hamming') * codes.shape[1]
  square = distance.squareform(flat.round())
  trees = {
    'SciPy': lambda d: hierarchy.linkage(distance.squareform(d), 'average'),
    'fastcluster': lambda d: fastcluster.linkage(
      distance.squareform(d), 'average'
    ),
    'ours': lambda d: to_scipy_linkage(
      merge_clusters(
        crops.x,
        np.arange(len(d)),
        len(d) - 1,
        Criterion('average', 0.0),
        distances=d.astype(np.float32),
      ),
      heights='score',
    ),
  }
  order = np.random.default_rng(0).permutation(len(codes))
  labels = {}
  for name, make in trees.items():
    tree = make(square)
    passed = passed_over(tree[:, :2].astype(int), square)
    yield f'{name}, nearer pairs passed over, by at most', passed
    labels[name] = in_order(tree[:, :2], PEOPLE)
    again = make(square[np.ix_(order, order)])
    agree = metrics.adjusted_rand_score(
      labels[name][order], in_order(again[:, :2], PEOPLE)
    )
    yield f'{name}, ARI with itself in another order', agree
    yield f'{name}, ARI with persons', _ari(crops, labels[name])
  for name in ('SciPy', 'fastcluster'):
    agree = metrics.adjusted_rand_score(labels[name], labels['ours'])
    yield f'ARI of {name} and ours', agree
  agree = metrics.adjusted_rand_score(labels['SciPy'], labels['fastcluster'])
  yield 'ARI of SciPy and fastcluster', agree
  # The distances themselves do not tie.
  ours = trees['ours'](crops.distances)
  for name in ('SciPy', 'fastcluster'):
    tree = trees[name](crops.distances)
    away = np.abs(tree[:, 2] - ours[:, 2]).max()
    yield f'{name} and ours, no ties, heights apart by at most', away
    agree = metrics.adjusted_rand_score(
      in_order(tree[:, :2], PEOPLE), in_order(ours[:, :2], PEOPLE)
    )
    yield f'ARI of {name} and ours, no ties', agree


PARTS = (rerank, jaccard, precision, graph, inverted, density, ties)


def main(argv: list[str]) -> None:
  """Prints a table for each part."""
  del argv
  logging.set_verbosity(logging.WARNING)
  names = ('numpy', 'scipy', 'scikit-learn', 'torch', 'torchreid')
  names += ('torchmetrics', 'pytorch-metric-learning', 'faiss-cpu')
  names += ('hdbscan', 'fastcluster')
  print(', '.join(f'{n} {importlib.metadata.version(n)}' for n in names))
  for part in PARTS:
    if _PARTS.value and part.__name__ not in _PARTS.value:
      continue
    draws = [list(part(Crops(seed))) for seed in range(_SEEDS.value)]
    print(f'\n| {part.__name__} | smallest | largest |\n|---|---|---|')
    for row in zip(*draws, strict=True):
      values = [value for _, value in row]
      print(f'| {row[0][0]} | {min(values):.4g} | {max(values):.4g} |')


if __name__ == '__main__':
  app.run(main)
