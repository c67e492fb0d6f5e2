"""How well clusters agree with identities, and how large they are."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from dbc_jax import values
from dbc_jax.data.samples import JUNK_PID
from dbc_jax.labels import NOT_PLACED, apart


def clustering_scores(labels: ArrayLike, pids: ArrayLike) -> dict[str, float]:
  """Agreement of cluster labels with identities, in O(N log N).

  All scores come from the contingency table n[c, p], the number of samples of
  identity p in cluster c. With T = sum_cp C(n[c, p], 2) the pairs rightly put
  together, P = sum_c C(n[c, .], 2) the pairs put together, A = sum_p
  C(n[., p], 2) the pairs of one identity and S = C(N, 2) all pairs,

      pair_precision = T / P     pair_recall = T / A     pair_f = 2 T / (P + A)
      ari = (T - P A / S) / ((P + A) / 2 - P A / S)
      nmi = 2 I(c; p) / (H(c) + H(p))
      homogeneity = I(c; p) / H(p)     completeness = I(c; p) / H(c)
      purity = (1/N) sum_c max_p n[c, p]

  `v_measure`, the harmonic mean of homogeneity and completeness, is the same
  number as `nmi`. `identities_split` counts identities in more than one
  cluster, `clusters_merged` clusters of more than one identity.

  Where the quotient is 0 / 0: pair precision is 0 if no two samples share a
  cluster, pair recall is 0 if no two share an identity, and pair F is 0 if
  both hold. `ari` and `nmi` are then 1 if clusters equal identities, and
  homogeneity (completeness) is 1 if all are of one identity (cluster).

  Args:
    labels: [N] integers, the cluster of each sample; -1 for one that is in
      none, which counts as a cluster of its own.
    pids: [N] integers. Samples of pid -1 (junk) are left out.

  Returns:
    pair_precision, pair_recall, pair_f, ari, nmi, v_measure, homogeneity,
    completeness and purity, in [0, 1] (ari also below); identities_split and
    clusters_merged, whole numbers.

  Raises:
    ValueError: shapes that disagree, labels below -1, or nothing to score.

  Source: Hubert and Arabie, Comparing Partitions (1985), for the adjusted
    Rand index; Rosenberg and Hirschberg, V-Measure (2007), which is NMI
    normalised by the arithmetic mean of the entropies.
  """
  labels, pids = _checked(labels, 'labels'), _checked(pids, 'pids')
  if len(labels) != len(pids):
    raise ValueError(
      f'labels: got {len(labels)} for {len(pids)} pids, expected as many.'
    )
  labels = apart(labels)
  known = pids != JUNK_PID
  if not known.any():
    raise ValueError(
      f'pids: none of the {len(pids)} samples has an identity; all are -1.'
    )

  table = _Table.of(labels[known], pids[known])
  right, together, alike = map(
    _pairs, (table.cells, table.clusters, table.identities)
  )
  nmi, homogeneity, completeness = _information(table)
  largest = np.zeros(len(table.clusters), np.int64)
  np.maximum.at(largest, table.cluster_of_cell, table.cells)
  return {
    'pair_precision': right / together if together else 0.0,
    'pair_recall': right / alike if alike else 0.0,
    'pair_f': 2 * right / (together + alike) if together + alike else 0.0,
    'ari': _adjusted_rand(right, together, alike, int(known.sum())),
    'nmi': nmi,
    'v_measure': nmi,
    'homogeneity': homogeneity,
    'completeness': completeness,
    'purity': int(largest.sum()) / int(known.sum()),
    'identities_split': _num_repeated(table.identity_of_cell),
    'clusters_merged': _num_repeated(table.cluster_of_cell),
  }


def cluster_sizes(labels: ArrayLike) -> dict[str, float]:
  """What sizes alone tell of clusters, without identities.

  Args:
    labels: [N] integers, the cluster of each sample; -1 for one that is in
      none, and counts among all samples alone.

  Returns:
    num_clusters; singletons, the number of clusters of one sample;
    median_size, in samples; largest_share, of all samples in the largest
    cluster, in (0, 1].

  Raises:
    ValueError: labels below -1 or not [N] integers, or none in a cluster.
  """
  labels = _checked(labels, 'labels')
  apart(labels)  # So that a bad label is told.
  _, sizes = np.unique(labels[labels != NOT_PLACED], return_counts=True)
  if not len(sizes):
    raise ValueError('labels: there are none.')
  return {
    'num_clusters': len(sizes),
    'singletons': int((sizes == 1).sum()),
    'median_size': float(np.median(sizes)),
    'largest_share': int(sizes.max()) / len(labels),
  }


def _checked(ids: ArrayLike, name: str) -> np.ndarray:
  return values.integers(ids, name, None, 'one')


class _Table(NamedTuple):
  """Counts of the non-empty cells, of the clusters and of the identities."""

  cells: np.ndarray
  clusters: np.ndarray
  identities: np.ndarray
  cluster_of_cell: np.ndarray
  identity_of_cell: np.ndarray

  @classmethod
  def of(cls, labels: np.ndarray, pids: np.ndarray) -> '_Table':
    _, labels, clusters = np.unique(
      labels, return_inverse=True, return_counts=True
    )
    _, pids, identities = np.unique(
      pids, return_inverse=True, return_counts=True
    )
    # The full table would have K x P cells; at most N of them hold anything.
    keys = labels.astype(np.int64) * len(identities) + pids
    keys, cells = np.unique(keys, return_counts=True)
    return cls(cells, clusters, identities, *np.divmod(keys, len(identities)))


def _num_repeated(ids: np.ndarray) -> int:
  """How many numbers occur more than once."""
  return int((np.bincount(ids) > 1).sum())


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


def _information(table: _Table) -> tuple[float, float, float]:
  """NMI, homogeneity and completeness."""
  joint, first, second = map(
    _entropy, (table.cells, table.clusters, table.identities)
  )
  if len(table.clusters) == len(table.identities) == len(table.cells):
    return 1.0, 1.0, 1.0  # Equal partitions, among them the 0 / 0 case.
  # I = H(c) + H(p) - H(c, p) can come out a rounding error beyond its bounds.
  shared = min(max(0.0, first + second - joint), first, second)
  return (
    2 * shared / (first + second),
    shared / second if len(table.identities) > 1 else 1.0,
    shared / first if len(table.clusters) > 1 else 1.0,
  )


def _entropy(counts: np.ndarray) -> float:
  share = counts / counts.sum()
  return float(-(share * np.log(share)).sum())
