"""Merging clusters bottom-up: what a stage ends with."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
import numpy.typing as npt
from jax.typing import ArrayLike
from scipy import sparse

from dbc_jax.cluster import checks, constraints, scores
from dbc_jax.cluster.criteria.criterion import (
  Criterion,
  check_criterion,
)
from dbc_jax.cluster.engines import choice, dense, matrix_free
from dbc_jax.labels import apart


class MergeResult(NamedTuple):
  """What `merge_clusters` did.

  Attributes:
    labels: [N] int32, contiguous 0..K-m-1. A cluster keeps the place, among
      the others, of the lowest starting cluster it contains.
    pairs: [m, 2] int32, each ascending, in SciPy's numbering: the starting
      clusters are 0..K-1, and merge t makes cluster K + t. m is num_merges, or
      less where cannot-links leave no pair.
    scores: [m] float32. What each pair was chosen by.
    engine: how it was computed: 'dense', on a matrix, 'matrix_free', or
      'sparse', by similarities.
    united: [u, 2] int32, what must-links united before. It is a tree of its
      own, numbered as `pairs`, from the clusters that were passed; it leaves K
      of them, the starting clusters of `pairs`. Their labels, which a cut of
      `pairs` needs, are `labels_after(united, labels, u)`.
  """

  labels: np.ndarray
  pairs: np.ndarray
  scores: np.ndarray
  engine: str
  united: np.ndarray


def _scipy_pairs(slots: np.ndarray, num_clusters: int) -> np.ndarray:
  """Pairs of slots (kept, absorbed) in SciPy's numbering."""
  names = np.arange(num_clusters)
  pairs = np.empty_like(slots)
  for t, (kept, absorbed) in enumerate(slots):
    pairs[t] = sorted((names[kept], names[absorbed]))
    names[kept] = num_clusters + t
  return pairs


def _relabel(
  labels: np.ndarray, slots: np.ndarray, num_clusters: int
) -> np.ndarray:
  """Labels after the merges, contiguous, in the order of the slots."""
  homes = np.arange(num_clusters)
  # Backwards, so that a slot is sent to where its keeper itself ends up.
  for kept, absorbed in slots[::-1]:
    homes[absorbed] = homes[kept]
  _, contiguous = np.unique(homes, return_inverse=True)
  return contiguous[labels].astype(np.int32)


def merge_clusters(
  features: ArrayLike | None,
  labels: ArrayLike,
  num_merges: int,
  criterion: Criterion,
  *,
  distances: ArrayLike | None = None,
  similarities: sparse.sparray | None = None,
  must_link: npt.ArrayLike | None = None,
  cannot_link: npt.ArrayLike | None = None,
  memory_budget_gb: float | None = None,
  progress: Callable[[int, int], None] | None = None,
) -> MergeResult:
  """Merges the best pair of clusters, num_merges times.

  Sequential merging is exact. When a and b become q, for every other s

      M_qs   = (n_a M_as + n_b M_bs) / (n_a + n_b)
      M_qq   = (n_a^2 M_aa + n_b^2 M_bb + 2 n_a n_b M_ab) / (n_a + n_b)^2
      SSD_q  = SSD_a + SSD_b + n_a n_b / (n_a + n_b) ||mean_a - mean_b||^2
      min_qs = min(min_as, min_bs)

  and q stands where the lower of a and b stood. Of equal scores the lowest
  pair of places merges first. With `merge='ranked'` the pairs are ranked once,
  by the scores of the starting clusters. A pair that names an absorbed cluster
  is then skipped; buc unites the clusters in which the two now live.

  Must-links unite clusters first, which counts in no number of merges. Two
  clusters with a cannot-link between any of their members never merge. Where
  no other pair is left, or one cluster, merging ends early: `pairs` are fewer.

  Args:
    features: [N, D] floating point, taken as they are (callers pass
      L2-normalised rows). SSD is always of these. None with `distances` and a
      criterion without SSD.
    labels: [N] integer, contiguous 0..K-1. Cluster of each sample. A sample of
      -1, in no cluster, starts as one of its own; those come last, and count
      in K.
    num_merges: m, in 1..K-1.
    criterion: what to merge by.
    distances: [N, N] float32, symmetric, zero diagonal. The base distance, if
      not the Euclidean distance of the features.
    similarities: [N, N] sparse, symmetric, in [0, 1], in place of distances,
      which are 1 minus them. The diagonal is not read. For sequential merging
      by average, buc, dbc or ecluster (but for ssd='printed').
    must_link: [P, 2] integer, rows of features: two samples of one cluster.
    cannot_link: [P, 2] integer, rows of features: two samples of different
      clusters.
    memory_budget_gb: memory that the merging may take, in 1e9 bytes; None for
      80 % of what the device has. Where a [K, K] matrix takes more, linkages
      are recomputed from the features: the result is the same, it takes longer.
    progress: called before each merge, where linkages are recomputed, with how
      many are done and how many there are to be.

  Returns:
    A MergeResult.

  Raises:
    ValueError: features are missing or not finite; labels are of another
      length or not contiguous; num_merges is not in 1..K-1; distances are no
      distance matrix, or given with `squared`; features that are a distance
      matrix; memory_budget_gb is too small; a score that float32 does not hold;
      links that are no rows of features, or contradict labels or each other.

  Source: Ding et al., DBC, Algorithm 1 and Eq. 6; Zeng et al., E-cluster,
    Algorithm 1; Lin et al., BUC (AAAI 2019).
  """
  check_criterion(criterion)
  if features is None:
    alone = distances is None and similarities is None
    if alone or criterion.uses_deviations:
      raise ValueError(
        f'features: got None, expected [N, D]: {criterion.name!r} with '
        f'reg_weight={criterion.reg_weight:g}'
        + ('' if alone else ' needs them beside distances')
        + '; pass them, or distances and a criterion without SSD.'
      )
    # No rule reads them.
    features = np.zeros((len(np.asarray(labels)), 1), np.float32)
  features = checks.check_features(features)
  if distances is None and similarities is None:
    checks.check_no_distances(
      features,
      'pass them as distances=, and features=None (an estimator takes them by '
      "metric='precomputed').",
    )
  labels = apart(checks.check_shape(labels, len(features)))
  labels, num_clusters = checks.check_labels(labels, len(features))
  num_merges = checks.check_num_merges(num_merges, num_clusters)
  linked = constraints.resolve(labels, must_link, cannot_link)
  united = _scipy_pairs(linked.slots, num_clusters)
  labels, forbidden = linked.labels, linked.forbidden
  num_clusters -= len(united)
  num_merges = min(num_merges, num_clusters - 1)
  source: Any
  if similarities is not None:
    if distances is not None:
      raise ValueError(
        'similarities: got them together with distances, expected one of the '
        'two; leave out distances.'
      )
    source = checks.check_similarities(similarities, len(features))
    engine = choice.sparse_engine(
      criterion,
      source.nnz,
      num_clusters,
      features.shape[1] if criterion.uses_deviations else 0,
      memory_budget_gb=memory_budget_gb,
    )
    # Loads a compiler.
    from dbc_jax.cluster.engines.sparse import merge
  else:
    engine = choice.choose_engine(
      criterion,
      features.shape,
      num_clusters,
      given_distances=distances is not None,
      num_forbidden=0 if forbidden is None else len(forbidden),
      memory_budget_gb=memory_budget_gb,
    )
    merge = functools.partial(dense.merge, capacity=engine.capacity)
    if engine.name == 'matrix_free':
      merge = functools.partial(matrix_free.merge, progress=progress)
    with jax.enable_x64(True):
      source = scores.base_source(criterion, features, distances)
  with jax.enable_x64(True):
    slots, merge_scores = merge(
      criterion,
      source,
      features,
      labels,
      num_clusters,
      num_merges,
      forbidden=forbidden,
    )
  if len(slots) < num_merges:
    # All other pairs are forbidden, or scores are beyond float32.
    homes = _relabel(np.arange(num_clusters), slots, num_clusters)
    if forbidden is None or not constraints.all_forbidden(forbidden, homes):
      merge_scores = np.append(merge_scores, np.float32(np.inf))
  checks.check_scores(merge_scores)
  return MergeResult(
    labels=_relabel(labels, slots, num_clusters),
    pairs=_scipy_pairs(slots, num_clusters),
    scores=merge_scores,
    engine=engine.name,
    united=united,
  )
