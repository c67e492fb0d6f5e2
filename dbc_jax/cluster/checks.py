"""Checks of what callers hand to `dbc_jax.cluster`, each a clear ValueError."""

import itertools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.typing import ArrayLike
from scipy import sparse

from dbc_jax import values
from dbc_jax.labels import NOT_PLACED

# Two halves of a distance matrix may differ by rounding, not by more. Relative
# to the largest entry (or to 1, if all are smaller).
_SYMMETRY_TOLERANCE = 1e-6
# Float32 distances below are no longer exact.
_SMALLEST = 1e-30
_TILE = 512


def check_features(features: ArrayLike) -> np.ndarray:
  """Features as a host array, [N, D] float32 (float64 stays float64)."""
  features = values.reals(features, 'features')
  if features.dtype != np.float64:
    features = features.astype(np.float32, copy=False)
  if features.ndim != 2 or 0 in features.shape:
    raise ValueError(
      f'features: got shape {features.shape}, expected [N, D] with at least '
      'one row and one column; stack the feature vectors, one sample a row.'
    )
  finite = np.isfinite(features).all(axis=1)
  if not finite.all():
    row = int(np.argmin(finite))
    raise ValueError(
      f'features: row {row} holds NaN or infinity (as do '
      f'{int((~finite).sum())} rows in all), expected finite numbers; look at '
      'the network that made them, its training has probably diverged.'
    )
  return features


def check_shape(labels: ArrayLike, num_samples: int) -> np.ndarray:
  """Labels as [N] integers."""
  return values.integers(labels, 'labels', num_samples, 'one cluster')


def check_labels(
  labels: ArrayLike, num_samples: int, num_clusters: int | None = None
) -> tuple[np.ndarray, int]:
  """Labels as [N] int32 and the number of clusters they name."""
  labels = check_shape(labels, num_samples)
  found = np.unique(labels)
  if len(found) and found[0] == NOT_PLACED:
    raise ValueError(
      f'labels: got -1 for {np.count_nonzero(labels == NOT_PLACED)} samples, '
      'expected 0..K-1; outliers and noise are in no cluster: make each one '
      'of its own by labels[labels == -1] = labels.max() + 1 + '
      'np.arange((labels == -1).sum()), or leave their rows out.'
    )
  if not np.array_equal(found, np.arange(len(found))):
    raise ValueError(
      f'labels: got {len(found)} distinct values from {found[0]} to '
      f'{found[-1]}, expected every one of 0..K-1 to occur; renumber them '
      'with np.unique(labels, return_inverse=True)[1].'
    )
  if num_clusters is not None and num_clusters != len(found):
    raise ValueError(
      f'num_clusters: got {num_clusters}, expected {len(found)}, the number '
      'of clusters in labels; pass labels.max() + 1.'
    )
  return labels.astype(np.int32), len(found)


def check_no_distances(features: np.ndarray, instead: str) -> None:
  """Raises ValueError where features [N, D] are a distance matrix."""
  n, dim = features.shape
  if n != dim or n < 3 or features.diagonal().any() or features.min() < 0:
    return
  # All off the diagonal are zero in features that are all equal.
  if features.any() and np.allclose(features, features.T, 1e-5, 0):
    raise ValueError(
      f'features: got a symmetric matrix {features.shape} with zeros on its '
      'diagonal, which are distances and no features; ' + instead
    )


@jax.jit
def _faults(distances: Array) -> Array:
  """Of a square matrix: largest entry, asymmetry, negativity, diagonal.

  The first is infinite if an entry is not finite; the others mean nothing then.
  Done by pairs of tiles, each beside the one opposite: no second matrix.
  """
  n = len(distances)
  tile = min(_TILE, n)
  # The last tile starts early rather than run over the end.
  starts = np.minimum(np.arange(-(-n // tile)) * tile, n - tile)
  pairs = np.array([*itertools.combinations_with_replacement(starts, 2)])
  pairs = jnp.asarray(pairs, jnp.int32)

  def body(k: Array, worst: Array) -> Array:
    i, j = pairs[k]
    both = jnp.stack(
      [
        lax.dynamic_slice(distances, (i, j), (tile, tile)),
        lax.dynamic_slice(distances, (j, i), (tile, tile)).T,
      ]
    )
    largest = jnp.where(jnp.isfinite(both).all(), jnp.abs(both).max(), jnp.inf)
    found = (largest, jnp.abs(both[0] - both[1]).max(), -both.min())
    return jnp.maximum(worst, jnp.stack(found))

  worst = lax.fori_loop(0, len(pairs), body, jnp.zeros(3))
  diagonal = jnp.abs(jnp.diagonal(distances)).max()
  return jnp.append(worst, diagonal)


def check_distances(
  distances: ArrayLike, num_samples: int | None = None
) -> Array:
  """Distances as [N, N] float32: finite, >= 0, symmetric, zero diagonal."""
  given = distances
  if not isinstance(given, Array):
    given = values.reals(given, 'distances')
  with np.errstate(over='ignore'):  # Found below.
    distances = jnp.asarray(given, dtype=jnp.float32)
  expected = '[N, N]' if num_samples is None else f'{(num_samples,) * 2}'
  if (
    distances.ndim != 2
    or distances.shape[0] != distances.shape[1]
    or 0 in distances.shape
    or num_samples not in (None, distances.shape[0])
  ):
    raise ValueError(
      f'distances: got shape {distances.shape}, expected {expected}; pass one '
      'square matrix over the samples that features and labels describe.'
    )
  largest, asymmetry, negative, diagonal = map(float, _faults(distances))
  if not math.isfinite(largest):
    row = int(np.argmin(np.asarray(jnp.isfinite(distances).all(axis=1))))
    if np.isfinite(np.asarray(given)[row]).all():
      raise ValueError(
        f'distances: row {row} has numbers of more than 3e38, expected those '
        'that float32 holds; divide all distances by one number.'
      )
    raise ValueError(
      f'distances: row {row} holds NaN or infinity, expected finite numbers; '
      'give samples that nothing links a large finite distance.'
    )
  if largest < _SMALLEST and np.asarray(given).any():
    raise ValueError(
      f'distances: got numbers below {_SMALLEST:g} alone, expected those that '
      'float32 holds; multiply all distances by one number.'
    )
  # Of distances that are all tiny, 1e-6 would be a large part.
  tolerance = min(_SYMMETRY_TOLERANCE * max(1.0, largest), 0.01 * largest)
  if asymmetry > tolerance:
    raise ValueError(
      f'distances: got entries (i, j) and (j, i) that differ by {asymmetry:g}, '
      'expected a symmetric matrix; pass (distances + distances.T) / 2.'
    )
  if tolerance < diagonal <= 0.01 * largest:
    raise ValueError(
      f'distances: got {diagonal:g} on the diagonal, expected zeros; rounding '
      'leaves as much of sqrt(2 - 2 X X^T): set it to zero by '
      'np.fill_diagonal(distances, 0).'
    )
  if diagonal > tolerance:
    raise ValueError(
      f'distances: got {diagonal:g} on the diagonal, expected zeros: the '
      'distance of a sample from itself; pass distances, not similarities.'
    )
  if negative > tolerance:
    raise ValueError(
      f'distances: got an entry of {-negative:g}, expected none below 0; pass '
      'distances, not similarities.'
    )
  return distances


def check_linkage(linkage: ArrayLike) -> Array:
  """A linkage of clusters as [K, K] float32, finite."""
  found = np.asarray(values.reals(linkage, 'mean_linkage'), np.float32)
  if found.ndim != 2 or len(found) != found.shape[1] or not found.size:
    raise ValueError(
      f'mean_linkage: got shape {found.shape}, expected [K, K]; pass what '
      'mean_linkage returns.'
    )
  if not np.isfinite(found).all():
    raise ValueError(
      'mean_linkage: got NaN, infinity or more than 3e38, expected finite '
      'numbers; look at the distances that it is of.'
    )
  return jnp.asarray(found)


def check_similarities(similarities: object, num_samples: int) -> Any:
  """Similarities as a CSR array [N, N] float32: in [0, 1], symmetric."""
  if not sparse.issparse(similarities):
    raise ValueError(
      f'similarities: got {type(similarities).__name__}, expected a sparse '
      'array of SciPy; pass what jaccard_similarities returns.'
    )
  found = sparse.csr_array(similarities, dtype=np.float32)
  if found.shape != (num_samples, num_samples):
    raise ValueError(
      f'similarities: got shape {found.shape}, expected '
      f'{(num_samples, num_samples)}; pass those of the same samples.'
    )
  # Both work on the caller's array, and change nothing that it says.
  found.sum_duplicates()
  found.eliminate_zeros()
  low, high = (
    float(x) for x in (found.data.min(initial=0), found.data.max(initial=0))
  )
  if not (low >= 0 and high <= 1 + _SYMMETRY_TOLERANCE):
    raise ValueError(
      f'similarities: got numbers from {low:g} to {high:g}, expected 0 to 1; '
      'pass 1 minus the distances.'
    )
  # Loads a compiler.
  from dbc_jax.cluster.distances.overlaps import asymmetry

  gap = asymmetry(found.indptr, found.indices, found.data)
  if not gap <= _SYMMETRY_TOLERANCE:
    raise ValueError(
      f'similarities: got entries (i, j) and (j, i) that differ by {gap:g}, '
      'expected a symmetric array; pass (s + s.T) / 2.'
    )
  return found


def check_scores(scores: np.ndarray) -> None:
  """Raises ValueError where float32 does not hold a score."""
  if not np.isfinite(scores).all():
    raise ValueError(
      'reg_weight: got scores beyond 3e38, which float32 does not hold; lower '
      'it, or divide all features or distances by one number.'
    )


def check_num_merges(num_merges: int, num_clusters: int) -> int:
  """The number of merges, if that many clusters allow it."""
  if num_clusters < 2:
    raise ValueError(
      'labels: got a single cluster, expected two or more; there is nothing to '
      'merge.'
    )
  if not values.is_whole(num_merges) or not 1 <= num_merges < num_clusters:
    raise ValueError(
      f'num_merges: got {num_merges!r}, expected an integer in '
      f'1..{num_clusters - 1} for {num_clusters} clusters; every merge takes '
      'one away and one has to remain.'
    )
  return int(num_merges)
