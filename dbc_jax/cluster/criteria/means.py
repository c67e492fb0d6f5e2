"""Means of clusters that merge, in float64 and in little memory; for SSD.

The mean of a single sample is its feature. Only clusters of several have a row
of their own, so that the first stage does not hold all features twice more.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.typing import ArrayLike

from dbc_jax import values
from dbc_jax.cluster import checks

_BLOCK_SIZE = 512


class Means(NamedTuple):
  """Means of the clusters in slots 0..C-1."""

  features: Array  # [N, D] of the samples; D is 0 if means are not needed
  sample: Array  # [C] int32, a member of each cluster
  home: Array  # [C] int32, its row in `rows`, or -1 if it has one member
  rows: Array  # [R, D] float64
  num_rows: Array  # int32, those in use

  def of(self, slots: Array) -> Array:
    """The means [S, D] float64 of some clusters."""
    # With x[i] or of a single slot XLA copies all of x in a loop; `take` of
    # several does not.
    own = jnp.take(self.features, self.sample[slots], axis=0)
    homes = self.home[slots]
    rows = jnp.take(self.rows, jnp.maximum(homes, 0), axis=0)
    return jnp.where(homes[:, None] < 0, own.astype(jnp.float64), rows)

  def merged(self, a: Array, b: Array, mean: Array) -> 'Means':
    """After b joined a, in slot a; `mean` is that of both."""
    known = jnp.maximum(self.home[a], self.home[b])
    home = jnp.where(known < 0, self.num_rows, known)
    return self._replace(
      home=self.home.at[a].set(home),
      rows=self.rows.at[home].set(mean),
      num_rows=self.num_rows + (known < 0).astype(jnp.int32),
    )


@jax.jit
def _sums_and_deviations(
  features: Array,
  members: Array,
  homes: Array,
  sizes: Array,
  num_blocks: ArrayLike,
) -> tuple[Array, Array]:
  """Means [R, D] and SSD [R] of clusters that have a row.

  `members` [P] and their rows `homes` [P] are padded, with homes of R, which
  are dropped; they fill num_blocks blocks.
  """

  def block(k: Array) -> tuple[Array, Array]:
    index = lax.dynamic_slice(members, (k * _BLOCK_SIZE,), (_BLOCK_SIZE,))
    home = lax.dynamic_slice(homes, (k * _BLOCK_SIZE,), (_BLOCK_SIZE,))
    return jnp.take(features, index, axis=0).astype(jnp.float64), home

  def add(k: Array, sums: Array) -> Array:
    values, home = block(k)
    return sums.at[home].add(values, mode='drop')

  def deviate(k: Array, ssd: Array) -> Array:
    values, home = block(k)
    centres = means.at[home].get(mode='clip')
    squares = jnp.sum((values - centres) ** 2, axis=1)
    return ssd.at[home].add(squares, mode='drop')

  zeros = jnp.zeros((len(sizes), features.shape[1]))
  means = lax.fori_loop(0, num_blocks, add, zeros) / sizes[:, None]
  zeros = jnp.zeros(len(sizes))
  return means, lax.fori_loop(0, num_blocks, deviate, zeros)


def _of_several(
  features: Array,
  labels: np.ndarray,
  home: np.ndarray,
  sizes: np.ndarray,
  num_rows: int,
) -> tuple[Array, Array]:
  """Rows [R, D] and their SSD [R] of the clusters that have a home."""
  members = np.flatnonzero(home[labels] >= 0).astype(np.int32)
  padding = (0, -len(labels) % _BLOCK_SIZE + len(labels) - len(members))
  homes = np.pad(home[labels][members], padding, constant_values=num_rows)
  row_sizes = np.ones(num_rows)
  row_sizes[home[home >= 0]] = sizes[home >= 0]
  return _sums_and_deviations(
    features,
    jnp.asarray(np.pad(members, padding)),
    jnp.asarray(homes),
    jnp.asarray(row_sizes),
    -(-len(members) // _BLOCK_SIZE),
  )


def start_means(
  features: Array, labels: np.ndarray, capacity: int
) -> tuple[Means, Array]:
  """Means of the starting clusters, and SSD [capacity]; any merges may follow.

  To be called, and its results used, in float64 mode.
  """
  sizes = np.bincount(labels, minlength=capacity)
  sample = np.zeros(capacity, np.int32)
  sample[labels] = np.arange(len(labels))
  several = np.flatnonzero(sizes > 1)
  home = np.full(capacity, -1, np.int32)
  home[several] = np.arange(len(several))
  # A merge takes a row if it joins two single samples. So many rows are enough
  # for any clusters, and loops compile once.
  num_rows = max(1, len(labels) // 2)
  rows = jnp.zeros((num_rows, features.shape[1]))
  ssd = np.zeros(capacity)
  if len(several):
    rows, deviations = _of_several(features, labels, home, sizes, num_rows)
    ssd[several] = np.asarray(deviations)[: len(several)]
  means = Means(
    features=features,
    sample=jnp.asarray(sample),
    home=jnp.asarray(home),
    rows=rows,
    num_rows=jnp.int32(len(several)),
  )
  return means, jnp.asarray(ssd)


def sum_squared_deviations(
  features: ArrayLike, labels: ArrayLike, num_clusters: int
) -> Array:
  """Spread of each cluster about its mean.

      SSD[c] = sum_{i in c} ||x_i - mean_c||^2

  Args:
    features: [N, D] floating point.
    labels: [N] integer, contiguous 0..K-1. Cluster of each sample.
    num_clusters: K.

  Returns:
    [K] float32, >= 0; 0 for a cluster of one.

  Raises:
    ValueError: features are not [N, D] or not finite; labels are of another
      length or not contiguous, or do not name num_clusters clusters.

  Source: Zeng et al., E-cluster, Eq. 7.
  """
  num_clusters = values.whole(num_clusters, 'num_clusters', 1)
  features = checks.check_features(features)
  labels, _ = checks.check_labels(labels, len(features), num_clusters)
  with jax.enable_x64(True):
    _, ssd = start_means(jnp.asarray(features), labels, num_clusters)
    found = ssd.astype(jnp.float32)
  if not np.isfinite(np.asarray(found)).all():
    raise ValueError(
      'features: got deviations beyond 3e38, which float32 does not hold; '
      'divide all features by one number.'
    )
  return found
