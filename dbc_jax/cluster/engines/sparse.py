"""Merging by similarities of which most are zero, without a matrix.

For distances of which nearly all are exactly 1, as Jaccard's: of samples that
share no neighbour. With s = 1 - d kept where it is above 0, and S the sums over
the pairs of two clusters,

    M_ab = 1 - S_ab / (n_a n_b)        M_aa = 1 - 1 / n_a - S_aa / n_a^2
    S_qs = S_as + S_bs                 S_qq = S_aa + S_bb + 2 S_ab

or the largest s, for the minimum linkage. Clusters without an edge have M_ab =
1, so their score is the sum of one number of each, and the best such pair is
found among the smallest numbers. Memory grows with the edges, and every merge
leaves fewer of them.
"""

import numpy as np
from scipy import sparse

from dbc_jax.cluster.criteria.criterion import Criterion
from dbc_jax.cluster.engines.contraction import contract, fill
from dbc_jax.cluster.engines.separable import EQ7, Form, form_of
from dbc_jax.cluster.engines.state import Bars, Clusters, Graph, Scratch

# Places for rows of merged clusters, a share of the edges.
_SPARE = 0.25
_BLOCK = 4096  # rows


def merge(
  criterion: Criterion,
  similarities: sparse.csr_array,
  features: np.ndarray,
  labels: np.ndarray,
  num_clusters: int,
  num_merges: int,
  forbidden: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
  """As `matrix_free.merge`, by similarities [N, N] float32, symmetric.

  They are checked; their diagonal is not read. The criterion has a form.
  """
  form = form_of(criterion)
  assert form is not None
  graph, inner, free = _graph(similarities, labels, num_clusters, form.nearest)
  clusters = _clusters(criterion, form, inner, features, labels)
  scratch = Scratch(
    np.zeros(num_clusters, np.int64),
    np.zeros(num_clusters),
    np.zeros(num_clusters, np.int32),
    np.zeros(num_clusters, np.int64),
    np.zeros(1, np.int64),
  )
  bars = _bars(forbidden, num_clusters)
  return contract(form, graph, bars, clusters, scratch, free, num_merges)


def _graph(
  similarities: sparse.csr_array,
  labels: np.ndarray,
  num_clusters: int,
  nearest: bool,
) -> tuple[Graph, np.ndarray, int]:
  """Rows of the starting clusters, sums inside each, the first free place."""
  starts = similarities.indptr[:-1].astype(np.int64)
  lengths = np.diff(similarities.indptr).astype(np.int64)
  count = similarities.nnz
  size = int(count * (1 + _SPARE)) + num_clusters
  ids, values = np.empty(size, np.int32), np.empty(size)
  inner = np.zeros(num_clusters)
  order = np.argsort(labels, kind='stable')
  ends = np.cumsum(np.bincount(labels, minlength=num_clusters))
  graph = Graph(
    np.arange(num_clusters, dtype=np.int32),
    np.zeros(num_clusters, np.int64),
    np.zeros(num_clusters, np.int64),
    ids,
    values,
  )
  free = fill(
    graph,
    inner,
    (starts, lengths, similarities.indices, similarities.data),
    labels,
    order,
    ends,
    nearest,
  )
  return graph, inner, free


def _clusters(
  criterion: Criterion,
  form: Form,
  inner: np.ndarray,
  features: np.ndarray,
  labels: np.ndarray,
) -> Clusters:
  """Terms of the starting clusters."""
  sizes = np.bincount(labels).astype(np.float64)
  count = len(sizes)
  means, deviations = np.zeros((count, 0)), np.zeros(count)
  if criterion.uses_deviations:
    means = np.zeros((count, features.shape[1]))
    np.add.at(means, labels, features)
    means /= sizes[:, None]
    for start in range(0, len(labels), _BLOCK):
      block = slice(start, start + _BLOCK)
      gaps = features[block] - means[labels[block]]
      np.add.at(deviations, labels[block], np.einsum('nd,nd->n', gaps, gaps))
  prices = np.zeros(count)
  if form.price == EQ7:
    prices = 1 - 1 / sizes - inner / sizes**2
    if criterion.intra == 'sum':
      prices *= sizes
  return Clusters(sizes, inner, deviations, np.zeros(count), prices, means)


def _bars(forbidden: np.ndarray | None, num_clusters: int) -> Bars:
  """Chains of the pairs [P, 2] that never merge, both ways."""
  pairs = np.zeros((0, 2), np.int32) if forbidden is None else forbidden
  ends = np.concatenate([pairs, pairs[:, ::-1]]).astype(np.int32)
  heads = np.full(num_clusters, -1, np.int64)
  tails = heads.copy()
  following = np.full(len(ends), -1, np.int64)
  for place, (slot, _) in enumerate(ends):
    if heads[slot] < 0:
      heads[slot] = place
    else:
      following[tails[slot]] = place
    tails[slot] = place
  return Bars(heads, tails, following, np.ascontiguousarray(ends[:, 1]))
