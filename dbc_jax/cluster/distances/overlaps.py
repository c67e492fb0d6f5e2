"""How much rows of a sparse matrix overlap, compiled."""

from collections.abc import Callable

import numpy as np
from scipy import sparse

from dbc_jax.cluster.compiled import compiled


def jaccard_overlaps(
  weights: sparse.csr_array, check: Callable[[int], None]
) -> sparse.csr_array:
  """1 minus the Jaccard distance of every two rows that share a column.

      s_ij = sum_l min(W_il, W_jl) / sum_l max(W_il, W_jl)

  Args:
    weights: [N, N] float64 W, rows of sum 1, with sorted indices.
    check: called with the number of such pairs, before they take memory.

  Returns:
    [N, N] float32, symmetric, with sorted indices; 1 on the diagonal.
  """
  columns = weights.tocsc()
  rows = (weights.indptr, weights.indices, weights.data)
  turned = (columns.indptr, columns.indices, columns.data)
  counts = _count(*rows[:2], *turned[:2])
  ends = np.concatenate([[0], np.cumsum(counts)])
  check(int(ends[-1]))
  ids = np.empty(ends[-1], np.int32)
  values = np.empty(ends[-1], np.float32)
  _fill(rows, turned, ends, ids, values)
  found = sparse.csr_array((values, ids, ends), weights.shape)
  # A distance that float32 rounds to 1 is none.
  found.eliminate_zeros()
  return found


@compiled
def _count(starts, members, column_starts, column_rows):
  """How many rows share a column with each."""
  count = len(starts) - 1
  marks = np.full(count, -1, np.int64)
  counts = np.zeros(count, np.int64)
  for row in range(count):
    for place in range(starts[row], starts[row + 1]):
      column = members[place]
      for entry in range(column_starts[column], column_starts[column + 1]):
        other = column_rows[entry]
        if marks[other] != row:
          marks[other] = row
          counts[row] += 1
  return counts


@compiled
def _fill(rows, columns, ends, ids, values):
  starts, members, weights = rows
  column_starts, column_rows, column_weights = columns
  count = len(starts) - 1
  shared = np.zeros(count)
  for row in range(count):
    free = ends[row]
    # In the order of the columns, so that (i, j) and (j, i) round alike.
    for place in range(starts[row], starts[row + 1]):
      column, own = members[place], weights[place]
      for entry in range(column_starts[column], column_starts[column + 1]):
        other = column_rows[entry]
        if shared[other] == 0.0:
          ids[free] = other
          free += 1
        shared[other] += min(own, column_weights[entry])
    found = ids[ends[row] : free]
    found.sort()
    for i in range(len(found)):
      # As `distances_of_row` rounds: the sum of equal rows is 1 but for that.
      part = np.float32(min(shared[found[i]], 1.0))
      distance = np.float32(1.0) - part / (np.float32(2.0) - part)
      values[ends[row] + i] = np.float32(1.0) - distance
      shared[found[i]] = 0.0


@compiled
def asymmetry(starts, ids, values):
  """The largest |s_ij - s_ji| of a CSR array; without a second array.

  Args:
    starts, ids, values: its parts, with sorted indices and no zeros.
  """
  worst = 0.0
  # Rows are read in order, so each is met by its columns in order.
  places = starts[:-1].copy()
  for row in range(len(places)):
    for place in range(starts[row], starts[row + 1]):
      other = ids[place]
      end = starts[other + 1]
      while places[other] < end and ids[places[other]] < row:
        worst = max(worst, abs(values[places[other]]))
        places[other] += 1
      if places[other] < end and ids[places[other]] == row:
        worst = max(worst, abs(values[place] - values[places[other]]))
        places[other] += 1
      else:
        worst = max(worst, abs(values[place]))
  return worst
