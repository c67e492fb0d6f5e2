"""Bottom-up clustering of any features, as an estimator of scikit-learn."""

import numbers
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, ClusterMixin
from sklearn.utils.validation import validate_data

from dbc_jax import values
from dbc_jax.cluster import constraints
from dbc_jax.cluster.criteria.criterion import Criterion
from dbc_jax.cluster.distances.jaccard import (
  jaccard_distances,
  jaccard_similarities,
)
from dbc_jax.cluster.engines.choice import choose_engine
from dbc_jax.cluster.hierarchy import labels_after
from dbc_jax.cluster.linked import (
  Links,
  heed_links,
  labels_of_count,
  regrouping,
)
from dbc_jax.cluster.merge import merge_clusters
from dbc_jax.cluster.validity import choose_clustering, validity_indices

_METRICS = ('euclidean', 'jaccard', 'precomputed')
_NUM_COUNTS = 20
_SHARE_OF_DISTANCES = 0.8


class BottomUpClustering(ClusterMixin, BaseEstimator):
  """Merges single samples, best pair first, up to a whole tree; and cuts it.

  Args:
    n_clusters: where to cut; None chooses among 20 numbers, from half of the
      samples down to two: that of the highest silhouette, or where no
      silhouette shows any structure, of the best agreement with neighbours.
    criterion: the name of a `Criterion`.
    reg_weight: weight of its regulariser.
    metric: 'euclidean': distances of the rows as they are; 'jaccard': of their
      reciprocal neighbourhoods; 'precomputed': X is a distance matrix [N, N].
    jaccard_k1: neighbours that are looked at; fewer where there are fewer.
    jaccard_k2: neighbours that are averaged over.
    memory_budget_gb: as in `merge_clusters`. 'precomputed' needs a matrix
      [N, N] and more, which must fit; so does 'jaccard' by criteria that the
      sparse engine does not know.

  Attributes:
    labels_: [N] int32, contiguous; a cluster's number rises with its first
      sample.
    n_clusters_: how many there are.
    children_: [N - 1, 2] int32, the clusters that merge; the samples are
      0..N-1, merge t makes N + t.
    distances_: [N - 1] float64, the score of each. Scores can fall from one to
      the next, unlike those of scikit-learn's linkages.
    n_leaves_: N.

  Source: the method is that of `merge_clusters`.
  """

  def __init__(
    self,
    n_clusters: int | None = None,
    *,
    criterion: str = 'average',
    reg_weight: float = 0.0,
    metric: str = 'euclidean',
    jaccard_k1: int = 20,
    jaccard_k2: int = 3,
    memory_budget_gb: float | None = None,
  ):
    self.n_clusters = n_clusters
    self.criterion = criterion
    self.reg_weight = reg_weight
    self.metric = metric
    self.jaccard_k1 = jaccard_k1
    self.jaccard_k2 = jaccard_k2
    self.memory_budget_gb = memory_budget_gb

  def fit(
    self,
    X: Any,
    y: Any = None,
    *,
    must_link: ArrayLike | None = None,
    cannot_link: ArrayLike | None = None,
  ) -> Self:
    """Clusters the rows of X.

    The clusters of the tree unite where a must-link joins them, and `children_`
    has no merge that would hold a cannot-link: it may be no whole tree.

    Args:
      X: [N, D], or [N, N] distances where they are precomputed; N >= 2.
      y: not read.
      must_link: [P, 2] integer, rows of X: two samples of one cluster.
      cannot_link: [P, 2] integer, rows of X: two samples of two clusters.

    Returns:
      Itself.

    Raises:
      ValueError: X is not finite or has a single row, distances are no
        distance matrix, a value that a parameter does not take, a memory
        budget that is too small, or links that are no rows or contradict each
        other.
    """
    del y
    X = validate_data(
      self, X, dtype=(np.float64, np.float32), ensure_min_samples=2
    )
    count = len(X)
    self._check(X)
    criterion = Criterion(self.criterion, self.reg_weight)
    alone = np.arange(count)
    constraints.resolve(alone, must_link, cannot_link)
    # Before the distances are computed.
    engine = choose_engine(
      criterion,
      X.shape,
      count,
      given_distances=self.metric != 'euclidean',
      jaccard=self.metric == 'jaccard',
      memory_budget_gb=self.memory_budget_gb,
    )
    features, given = self._features_and_distances(X, engine.name)
    tree = merge_clusters(
      features,
      alone,
      count - 1,
      criterion,
      **given,
      cannot_link=cannot_link,
      memory_budget_gb=self.memory_budget_gb,
    )
    n_clusters = self.n_clusters
    if n_clusters is None:
      n_clusters = choose_count(
        tree.pairs, features, given.get('distances'), count
      )
    self.children_ = tree.pairs
    self.distances_ = tree.scores.astype(np.float64)
    self.n_leaves_ = count
    must, cannot = (
      np.reshape([] if x is None else x, (-1, 2)).astype(np.int64)
      for x in (must_link, cannot_link)
    )
    links = Links(must, cannot)
    if not links:
      merges = count - int(n_clusters)
      self.labels_ = labels_after(tree.pairs, alone, merges)
    else:
      rows = np.zeros((count, 1), np.float32) if features is None else features
      regroup = regrouping(rows, criterion, **given)
      self.labels_, _ = labels_of_count(
        tree.pairs,
        alone,
        int(n_clusters),
        lambda labels: heed_links(labels, links, regroup),
      )
    self.n_clusters_ = int(self.labels_.max()) + 1
    return self

  def _check(self, X: np.ndarray) -> None:
    values.choice(self.metric, 'metric', _METRICS)
    n_clusters = self.n_clusters
    if n_clusters is not None and (
      not isinstance(n_clusters, numbers.Integral)
      or not 1 <= n_clusters <= len(X)
    ):
      raise ValueError(
        f'n_clusters: got {n_clusters!r}, expected a whole number in '
        f'1..{len(X)}, the number of samples, or None'
      )
    for name in ('jaccard_k1', 'jaccard_k2'):
      values.whole(getattr(self, name), name, 1)
    if self.metric == 'precomputed' and X.shape[0] != X.shape[1]:
      raise ValueError(
        f'X: got shape {X.shape}, expected [N, N]: metric is precomputed'
      )

  def _features_and_distances(
    self, X: np.ndarray, engine: str
  ) -> tuple[np.ndarray | None, dict[str, Any]]:
    """Features, and what stands for their distances, by its argument."""
    if self.metric == 'precomputed':
      return None, {'distances': X.astype(np.float32)}
    if self.metric == 'jaccard':
      k1 = min(self.jaccard_k1, len(X) - 1)
      k2 = min(self.jaccard_k2, k1 + 1, len(X) - 1)
      if engine == 'sparse':
        budget = self.memory_budget_gb
        return X, {
          'similarities': jaccard_similarities(
            X, k1=k1, k2=k2, memory_budget_gb=budget
          )
        }
      return X, {'distances': np.asarray(jaccard_distances(X, k1=k1, k2=k2))}
    return X, {}

  def __sklearn_tags__(self) -> Any:
    tags = super().__sklearn_tags__()
    tags.input_tags.pairwise = self.metric == 'precomputed'
    return tags


def choose_count(
  pairs: np.ndarray,
  features: np.ndarray | None,
  distances: np.ndarray | None = None,
  count: int | None = None,
) -> int:
  """A number of clusters for a whole tree, by features or distances alone.

  Args:
    pairs: [m, 2], as `MergeResult.pairs` from single samples; where links left
      no more merges, m < N - 1.
    features: [N, D]; or None with distances.
    distances: [N, N], which the indices are of where there are no features.
    count: N; None where the tree is whole.

  Returns:
    One of 20 numbers from N / 2 to 2, or the fewest that the tree has, at
    geometric distances.
  """
  count = count or len(pairs) + 1
  least = max(2, count - len(pairs))
  most = max(least, count // 2)
  counts = np.unique(np.geomspace(most, least, _NUM_COUNTS).round().astype(int))
  counts = [int(each) for each in counts[::-1]]
  alone = np.arange(count)
  indices = [
    validity_indices(
      features,
      labels_after(pairs, alone, count - each),
      distances=distances if features is None else None,
    )
    for each in counts
  ]
  # Chosen on real features and on the demo's: docs/criteria.md.
  share = _SHARE_OF_DISTANCES if features is None else 1.0
  return counts[choose_clustering(indices, share=share)[0]]
