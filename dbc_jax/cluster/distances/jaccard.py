"""Jaccard distances of reciprocal neighbourhoods: a base distance of features.

Two samples are close if they agree on which samples are near. Everything but
the neighbour search is sparse, some k1 entries a row, and done by SciPy.
"""

import functools
import warnings

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.typing import ArrayLike
from scipy import sparse

from dbc_jax import values
from dbc_jax.cluster import checks
from dbc_jax.cluster.distances.neighbours import nearest
from dbc_jax.cluster.distances.reciprocal import (
  distances_of_row,
  neighbourhoods,
)
from dbc_jax.cluster.distances.sources import plain_features
from dbc_jax.cluster.engines.choice import check_pairs

_BLOCK_SIZE = 128  # rows


def _check_count(field: str, value: int, most: float, expected: str) -> int:
  if not values.is_whole(value) or not 1 <= value <= most:
    raise ValueError(
      f'{field}: got {value!r}, expected an integer {expected}; leave it out '
      'for the default, 30 for k1 and 6 for k2.'
    )
  return int(value)


@functools.partial(jax.jit, donate_argnames='out')
def _put_rows(out: Array, rows: Array, start: int) -> Array:
  return lax.dynamic_update_slice_in_dim(out, rows, start, axis=0)


def _neighbourhoods(features: ArrayLike, k1: int, k2: int) -> sparse.csr_array:
  """W of `jaccard_distances`, [N, N] float64, after checking all of it."""
  features = checks.check_features(features)
  checks.check_no_distances(
    features, 'pass the features that they are of, or merge by them themselves.'
  )
  features, _ = plain_features(features)
  k1 = _check_count('k1', k1, np.inf, '>= 1')
  k2 = _check_count('k2', k2, k1 + 1, f'in 1..{k1 + 1}, k1 + 1 at most')
  n = len(features)
  if k2 >= n > 1:
    raise ValueError(
      f'k2: got {k2} for {n} samples, expected at most {n - 1}: each would be '
      'averaged over all of them, and every distance would be zero.'
    )
  if k1 >= n > 1:
    warnings.warn(
      f'k1: got {k1} for {n} samples, which means all of them: distances then '
      'tell little; look at fewer neighbours',
      stacklevel=3,
    )
  ranks, furthest = nearest(features, min(k1 + 1, n))
  return neighbourhoods(features, ranks, furthest, k1, k2)


def jaccard_distances(
  features: ArrayLike, *, k1: int = 30, k2: int = 6
) -> Array:
  """Jaccard distance between the neighbourhoods of every two samples.

      d[i, j] = ||x_i - x_j||^2 / max_l ||x_i - x_l||^2
      R(i, k) = {j: j among the k + 1 nearest of i, and i among those of j}
      S(i)    = R(i, k1), and each R(c, h) for c in R(i, k1), h = k1 / 2, of
                which more than 2/3 lies in R(i, k1)
      V[i, j] = exp(-d[i, j]) / sum_{l in S(i)} exp(-d[i, l])   for j in S(i)
      W[i]    = mean of V[j] over the k2 nearest j of i
      J[i, j] = 1 - sum_l min(W[i, l], W[j, l]) / sum_l max(W[i, l], W[j, l])

  A sample is the nearest of itself, and ties go to the lowest index: of equal
  samples, the first of them is the nearest of all. h is rounded to the nearest
  integer, halves to the even one. Counts beyond N mean all samples,
  of which a warning tells.

  Args:
    features: [N, D] floating point, taken as they are (callers pass
      L2-normalised rows).
    k1: neighbours that are looked at. Some more than an identity has images.
    k2: neighbours that W averages over, in 1..k1 + 1; 1 averages nothing.

  Returns:
    [N, N] float32 in [0, 1], exactly symmetric, zero diagonal; equal samples
    are at exactly 0. It is the only array of that size.

  Raises:
    ValueError: features are not [N, D] or not finite; k1 or k2 out of range,
      or k2 not below N.

  Source: Zhong et al., Re-ranking person re-identification with k-reciprocal
    encoding, CVPR 2017, Eq. 2-10, with all samples as probes and gallery.
  """
  weights = _neighbourhoods(features, k1, k2)
  columns = weights.tocsc()
  n = columns.shape[0]  # pyright: ignore[reportOptionalSubscript]
  out = jnp.zeros((n, n), jnp.float32)
  for i in range(0, n, _BLOCK_SIZE):
    rows = range(i, min(i + _BLOCK_SIZE, n))
    block = np.stack([distances_of_row(row, weights, columns) for row in rows])
    out = _put_rows(out, block, i)
  return out


def jaccard_similarities(
  features: ArrayLike,
  *,
  k1: int = 30,
  k2: int = 6,
  memory_budget_gb: float | None = None,
) -> sparse.csr_array:
  """1 minus `jaccard_distances`, without what is zero.

  Most samples share no neighbour: of 12,936 crops some 300 do with one, with
  k1 = 20 and k2 = 3. So the memory grows with N, and the time, but for the
  search for neighbours, which is exact and takes N^2 D.

  Args:
    features, k1, k2: as `jaccard_distances` takes them.
    memory_budget_gb: as of `merge_clusters`, which takes the similarities.

  Returns:
    [N, N] float32 in (0, 1], exactly symmetric, 1 on the diagonal.

  Raises:
    ValueError: as `jaccard_distances`; or so many pairs share a neighbour that
      the budget is too small to merge by them.
  """
  # Loads a compiler.
  from dbc_jax.cluster.distances.overlaps import jaccard_overlaps

  return jaccard_overlaps(
    _neighbourhoods(features, k1, k2),
    lambda count: check_pairs(count, memory_budget_gb),
  )
