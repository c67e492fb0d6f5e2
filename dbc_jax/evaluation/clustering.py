"""How well clusters agree with identities: pair counts, ARI and NMI.

Called by the driver after each stage and by the evaluation command.
"""

import numpy as np
from numpy.typing import ArrayLike

from dbc_jax.evaluation.truth import JUNK_PID


def clustering_scores(labels: ArrayLike, pids: ArrayLike) -> dict[str, float]:
  """Agreement of cluster labels with identities, in O(N log N).

  All scores come from the contingency table n[c, p], the number of samples of
  identity p in cluster c. With T = sum_cp C(n[c, p], 2) the pairs rightly put
  together, P = sum_c C(n[c, .], 2) the pairs put together, A = sum_p
  C(n[., p], 2) the pairs of one identity and S = C(N, 2) all pairs,

      pair_precision = T / P     pair_recall = T / A     pair_f = 2 T / (P + A)
      ari = (T - P A / S) / ((P + A) / 2 - P A / S)
      nmi = 2 I(c; p) / (H(c) + H(p))

  Where the quotient is 0 / 0: pair precision is 0 if no two samples share a
  cluster, pair recall is 0 if no two share an identity, and pair F is 0 if
  both hold. `ari` and `nmi` are then 1 if clusters equal identities.

  Args:
    labels: [N] integers >= 0, the cluster of each sample.
    pids: [N] integers. Samples of pid -1 (junk) are left out.

  Returns:
    pair_precision, pair_recall, pair_f, ari and nmi.

  Raises:
    ValueError: shapes that disagree, labels below 0, or nothing to score.

  Source: Hubert and Arabie, Comparing Partitions (1985), for the adjusted
    Rand index; NMI is normalised by the arithmetic mean of the entropies.
  """
  labels, pids = np.asarray(labels), np.asarray(pids)
  for name, ids in (('labels', labels), ('pids', pids)):
    if ids.ndim != 1 or not np.issubdtype(ids.dtype, np.integer):
      raise ValueError(
        f'{name}: expected [N] integers, got {ids.shape} {ids.dtype}.'
      )
  if len(labels) != len(pids):
    raise ValueError(f'Got {len(labels)} labels, but {len(pids)} pids.')
  if (labels < 0).any():
    raise ValueError(
      f'labels: {(labels < 0).sum()} are below 0. A sample that belongs to no '
      'cluster needs a label of its own.'
    )
  known = pids != JUNK_PID
  if not known.any():
    raise ValueError(f'None of the {len(pids)} samples has an identity.')

  cells, clusters, identities = _table(labels[known], pids[known])
  right, together, alike = map(_pairs, (cells, clusters, identities))
  return {
    'pair_precision': right / together if together else 0.0,
    'pair_recall': right / alike if alike else 0.0,
    'pair_f': 2 * right / (together + alike) if together + alike else 0.0,
    'ari': _adjusted_rand(right, together, alike, int(known.sum())),
    'nmi': _normalized_information(cells, clusters, identities),
  }


def _table(
  labels: np.ndarray, pids: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Counts of the non-empty cells, of the clusters and of the identities."""
  _, labels, clusters = np.unique(
    labels, return_inverse=True, return_counts=True
  )
  _, pids, identities = np.unique(pids, return_inverse=True, return_counts=True)
  # The full table would have K x P cells; at most N of them hold anything.
  keys = labels.astype(np.int64) * len(identities) + pids
  _, cells = np.unique(keys, return_counts=True)
  return cells, clusters, identities


def _pairs(counts: np.ndarray) -> int:
  """Unordered pairs inside groups of the given sizes."""
  # A Python integer: products of two such numbers leave the int64 range.
  return int((counts.astype(np.int64) * (counts - 1) // 2).sum())


def _adjusted_rand(right: int, together: int, alike: int, size: int) -> float:
  """The adjusted Rand index, in exact integers up to the last division."""
  if right == together == alike:
    return 1.0  # Equal partitions, among them the 0 / 0 cases.
  pairs = size * (size - 1) // 2
  chance = together * alike
  return (
    2 * (right * pairs - chance) / ((together + alike) * pairs - 2 * chance)
  )


def _normalized_information(
  cells: np.ndarray, clusters: np.ndarray, identities: np.ndarray
) -> float:
  joint, first, second = map(_entropy, (cells, clusters, identities))
  if len(clusters) == len(identities) == len(cells):
    return 1.0  # Equal partitions, among them the 0 / 0 case.
  # I = H(c) + H(p) - H(c, p) can come out a rounding error below 0.
  return max(0.0, 2 * (first + second - joint) / (first + second))


def _entropy(counts: np.ndarray) -> float:
  share = counts / counts.sum()
  return float(-(share * np.log(share)).sum())
