"""Sets of reciprocal neighbours and their overlap, sparse, in SciPy.

Given the nearest of each sample, the rest has some k1 entries a row.
"""

import numpy as np
from scipy import sparse

_PAIRS_AT_ONCE = 4096


def indicator(ranks: np.ndarray) -> sparse.csr_array:
  """[N, N] with ones at (i, j) for each j in ranks[i]."""
  n, count = ranks.shape
  offsets = np.arange(0, n * count + 1, count)
  return sparse.csr_array((np.ones(n * count), ranks.ravel(), offsets), (n, n))


def _reciprocal(ranks: np.ndarray) -> sparse.csr_array:
  """[N, N] with ones where i and j are among the neighbours of each other."""
  near = indicator(ranks)
  return near.multiply(near.T).tocsr()


def _extended(ranks: np.ndarray, half: int) -> sparse.csr_array:
  """R(i, k1) and the sets R(c, half) of its members c that it mostly covers."""
  wide, narrow = _reciprocal(ranks), _reciprocal(ranks[:, : half + 1])
  shared = (wide @ narrow.T).multiply(wide).tocoo()
  covered = 3 * shared.data > 2 * narrow.sum(axis=1)[shared.col]
  members = sparse.csr_array(
    (shared.data[covered], (shared.row[covered], shared.col[covered])),
    wide.shape,
  )
  return (wide + members @ narrow).tocsr()


def _weights(
  features: np.ndarray, furthest: np.ndarray, sets: sparse.csr_array
) -> sparse.csr_array:
  """V: exp(-d) at the members of each row's set, scaled to sum 1."""
  pairs = sets.tocoo()
  values = np.empty(pairs.nnz)
  for i in range(0, pairs.nnz, _PAIRS_AT_ONCE):
    block = slice(i, i + _PAIRS_AT_ONCE)
    x, y = features[pairs.row[block]], features[pairs.col[block]]
    gaps = np.subtract(x, y, dtype=np.float64)
    values[block] = np.einsum('pd,pd->p', gaps, gaps)
  # Where all samples are equal the furthest is at 0, as is every other.
  values = np.exp(-values / np.where(furthest > 0, furthest, 1)[pairs.row])
  sums = np.bincount(pairs.row, values, len(features))
  return sparse.csr_array(
    (values / sums[pairs.row], (pairs.row, pairs.col)), sets.shape
  )


def neighbourhoods(
  features: np.ndarray,
  ranks: np.ndarray,
  furthest: np.ndarray,
  k1: int,
  k2: int,
) -> sparse.csr_array:
  """W of `jaccard_distances`, [N, N] float64, with sorted indices.

  From features [N, D], the nearest of each sample, itself included, in `ranks`
  [N, min(k1 + 1, N)], and the squared distance to the `furthest` [N].
  """
  weights = _weights(features, furthest, _extended(ranks, round(k1 / 2)))
  ranks = ranks[:, :k2]
  weights = (indicator(ranks) @ weights / ranks.shape[1]).tocsr()
  weights.sort_indices()
  return weights


def distances_of_row(
  i: int, rows: sparse.csr_array, columns: sparse.csc_array
) -> np.ndarray:
  """Jaccard distances [M] float32 from row i of `rows` of W.

  `columns` are M rows of W, stored by columns; indices of both are sorted.
  """
  own = slice(rows.indptr[i], rows.indptr[i + 1])
  members = rows.indices[own]
  starts = columns.indptr[members]
  counts = columns.indptr[members + 1] - starts
  ends = np.cumsum(counts)
  # Entries of all these columns, one column after the other.
  entries = np.arange(ends[-1]) + np.repeat(starts - ends + counts, counts)
  smaller = np.minimum(np.repeat(rows.data[own], counts), columns.data[entries])
  # Added in the order of the members, so that (i, j) and (j, i) round alike.
  # The sum of a row with itself is 1 but for rounding, which float32 removes.
  num_rows = columns.shape[0]  # pyright: ignore[reportOptionalSubscript]
  shared = np.bincount(columns.indices[entries], smaller, num_rows)
  shared = np.minimum(shared, 1).astype(np.float32)
  return 1 - shared / (2 - shared)
