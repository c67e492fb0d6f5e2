"""Merging clusters bottom-up: what a stage ends with."""

from typing import NamedTuple

import jax
import numpy as np

from dbc_jax.cluster import checks, criteria, ranked, sequential
from dbc_jax.cluster.criteria import Criterion


class MergeResult(NamedTuple):
  """What `merge_clusters` did.

  Attributes:
    labels: [N] int32, contiguous 0..K-m-1. A cluster keeps the place, among
      the others, of the lowest starting cluster it contains.
    pairs: [m, 2] int32, each ascending, in SciPy's numbering: the starting
      clusters are 0..K-1, and merge t makes cluster K + t.
    scores: [m] float32. What each pair was chosen by.
    engine: how it was computed: 'dense', on a [K, K] matrix.
  """

  labels: np.ndarray
  pairs: np.ndarray
  scores: np.ndarray
  engine: str


def _check_budget(
  criterion: Criterion,
  memory_budget_gb: float | None,
  shape: tuple[int, int],
  num_clusters: int,
) -> None:
  """Raises if the dense matrices do not fit the budget."""
  if memory_budget_gb is None:
    return
  num_samples, dim = shape
  # Distances and linkage in float32; the ranking's scores and masks.
  needed = 4 * num_samples**2 + 4 * num_clusters**2
  if criterion.merge == 'ranked':
    needed += 7 * num_clusters**2
  if criterion.uses_deviations:
    needed += 8 * num_clusters * dim
  if not memory_budget_gb * 1e9 >= needed:
    raise ValueError(
      f'memory_budget_gb: got {memory_budget_gb}, expected at least '
      f'{needed / 1e9:.3g}, which the dense engine needs for {num_samples} '
      f'samples in {num_clusters} clusters; raise it, or leave it out.'
    )


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
  features: jax.typing.ArrayLike,
  labels: jax.typing.ArrayLike,
  num_merges: int,
  criterion: Criterion,
  *,
  distances: jax.typing.ArrayLike | None = None,
  memory_budget_gb: float | None = None,
) -> MergeResult:
  """Merges the best pair of clusters, num_merges times.

  Sequential merging is exact. When a and b become q, for every other s

      M_qs   = (n_a M_as + n_b M_bs) / (n_a + n_b)
      M_qq   = (n_a^2 M_aa + n_b^2 M_bb + 2 n_a n_b M_ab) / (n_a + n_b)^2
      SSD_q  = SSD_a + SSD_b + n_a n_b / (n_a + n_b) ||mean_a - mean_b||^2
      min_qs = min(min_as, min_bs)

  and q stands where the lower of a and b stood. Of equal scores the lowest
  pair of places merges first. With `merge='ranked'` the pairs are ranked once,
  by the scores of the starting clusters; dbc, ecluster and estat then skip
  pairs that name an absorbed cluster, buc unites the clusters in which the
  two now live.

  Args:
    features: [N, D] floating point, taken as they are (callers pass
      L2-normalised rows). SSD is always of these.
    labels: [N] integer, contiguous 0..K-1. Cluster of each sample.
    num_merges: m, in 1..K-1.
    criterion: what to merge by.
    distances: [N, N] float32, symmetric, zero diagonal. The base distance, if
      not the Euclidean distance of the features.
    memory_budget_gb: memory that the merging may take, in 1e9 bytes; None for
      as much as it needs.

  Returns:
    A MergeResult.

  Raises:
    ValueError: features are not finite; labels are of another length or not
      contiguous; num_merges is not in 1..K-1; distances are no distance
      matrix, or given with `squared`; memory_budget_gb is too small.

  Source: Ding et al., DBC, Algorithm 1 and Eq. 6; Zeng et al., E-cluster,
    Algorithm 1; Lin et al., BUC (AAAI 2019).
  """
  features = checks.check_features(features)
  labels, num_clusters = checks.check_labels(labels, len(features))
  num_merges = checks.check_num_merges(num_merges, num_clusters)
  _check_budget(criterion, memory_budget_gb, features.shape, num_clusters)
  base = criteria.check_base_distances(criterion, distances, len(features))
  with jax.enable_x64(True):
    inter, terms, means = criteria.initial_state(
      criterion, features, labels, num_clusters, base
    )
    if criterion.merge == 'ranked':
      matrix = np.asarray(criteria.score_matrix(criterion, inter, terms))
      slots, scores = ranked.rank_merges(
        matrix, num_merges, follow=criterion.name == 'buc'
      )
    else:
      slots, scores, _ = sequential.merge_loop(
        criterion, inter, terms, means, num_merges
      )
      slots = np.asarray(slots)[:num_merges]
      scores = np.asarray(scores)[:num_merges]
  return MergeResult(
    labels=_relabel(labels, slots, num_clusters),
    pairs=_scipy_pairs(slots, num_clusters),
    scores=scores,
    engine='dense',
  )


def to_scipy_linkage(
  result: MergeResult, *, heights: str = 'order'
) -> np.ndarray:
  """The merges as a linkage matrix for `scipy.cluster.hierarchy`.

  Its leaves are the starting clusters. SciPy knows complete trees only, so
  the clusters that remained are joined, one after another, by rows on top.
  With heights 'order', `fcluster(Z, num_clusters, 'maxclust')` cuts the tree
  where the merging ended.

  Args:
    result: what `merge_clusters` returned.
    heights: 'order': merge t at height t + 1, always rising. 'score': at its
      score; these criteria have inversions, so a merge can lie below an
      earlier one. Scores below zero (rounding) become 0, and the rows on top,
      which have no score, get the highest.

  Returns:
    [K - 1, 4] float64: the two clusters, the height, the number of leaves.

  Raises:
    ValueError: heights is neither 'order' nor 'score'.

  Source: the format of `scipy.cluster.hierarchy.linkage`.
  """
  if heights not in ('order', 'score'):
    raise ValueError(
      f"heights: got {heights!r}, expected 'order' or 'score'; pass one of "
      'the two.'
    )
  num_merges = len(result.pairs)
  num_clusters = int(result.labels.max()) + 1 + num_merges
  pairs = [tuple(map(int, pair)) for pair in result.pairs]
  merged = {cluster for pair in pairs for cluster in pair}
  last, *others = sorted(set(range(num_clusters + num_merges)) - merged)
  for other in others:
    pairs.append(tuple(sorted((last, other))))
    last = num_clusters + len(pairs) - 1
  leaves = [1] * num_clusters
  for a, b in pairs:
    leaves.append(leaves[a] + leaves[b])
  if heights == 'order':
    values = np.arange(1.0, num_clusters)
  else:
    known = np.maximum(result.scores.astype(np.float64), 0)
    values = np.full(num_clusters - 1, known.max())
    values[:num_merges] = known
  return np.column_stack(
    [np.array(pairs, np.float64), values, leaves[num_clusters:]]
  )
