"""From distances between samples to distances between clusters."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from dbc_jax.cluster import checks

_BLOCK_SIZE = 512


@functools.partial(jax.jit, static_argnames=('num_clusters', 'reduce'))
def _reduce_blocks(
  distances: jax.Array,
  labels: jax.Array,
  order: jax.Array,
  num_clusters: int,
  reduce: str,
) -> jax.Array:
  """Mean or minimum of the distances of every two clusters, [K, K] float32.

  Rows are visited in the order of their clusters, a block at a time: a block
  then touches few, neighbouring rows of the result, and only the cluster that
  it may leave unfinished is carried into the next. So nothing but the result
  is of size [K, K], and each sum is kept in float64 until it is complete.
  There, sums of float32 distances are as good as exact: they do not depend on
  the order of a GPU's atomic additions, and the two halves agree.
  """
  n = distances.shape[0]
  if reduce == 'mean':
    segment, combine = jax.ops.segment_sum, jnp.add
    dtype, none = jnp.float64, 0.0
  else:
    segment, combine = jax.ops.segment_min, jnp.minimum
    dtype, none = jnp.float32, jnp.inf
  sizes = jax.ops.segment_sum(jnp.ones(n), labels, num_clusters)
  num_blocks = -(-n // _BLOCK_SIZE)
  # Padding rows belong to cluster K, which the scatter below drops.
  padding = (0, num_blocks * _BLOCK_SIZE - n)
  sorted_labels = jnp.pad(
    labels[order], padding, constant_values=num_clusters
  ).reshape(num_blocks, _BLOCK_SIZE)
  order = jnp.pad(order, padding).reshape(num_blocks, _BLOCK_SIZE)

  def body(k: jax.Array, state: tuple) -> tuple:
    out, carry, carried = state
    rows = jnp.take(distances, order[k], axis=0).astype(dtype)
    by_column = segment(rows.T, labels, num_clusters).T
    clusters = sorted_labels[k]
    first, last = clusters[0], jnp.minimum(clusters[-1], num_clusters - 1)
    # Every cluster occurs, so a block of B rows spans at most B of them;
    # padding alone can exceed that, and goes out of range to be dropped.
    block = segment(by_column, clusters - first, _BLOCK_SIZE)
    continued = jnp.where(carried == first, carry, none)
    block = block.at[0].set(combine(block[0], continued))
    carry = block[last - first]
    target = first + jnp.arange(_BLOCK_SIZE, dtype=first.dtype)
    if reduce == 'mean':
      block = block / (sizes.at[target].get(mode='clip')[:, None] * sizes)
    # Rows after `last` are not filled yet: the next blocks overwrite them.
    out = out.at[target].set(
      block.astype(jnp.float32),
      mode='drop',
      indices_are_sorted=True,
      unique_indices=True,
    )
    return out, carry, last

  state = (
    jnp.zeros((num_clusters, num_clusters), jnp.float32),
    jnp.full(num_clusters, none, dtype),
    jnp.asarray(-1, labels.dtype),
  )
  return lax.fori_loop(0, num_blocks, body, state)[0]


def _linkage(
  distances: jax.typing.ArrayLike,
  labels: jax.typing.ArrayLike,
  num_clusters: int,
  reduce: str,
) -> jax.Array:
  """Checks, then `_reduce_blocks` in float64 mode."""
  distances = checks.check_square(distances)
  labels, _ = checks.check_labels(labels, len(distances), num_clusters)
  order = np.argsort(labels, kind='stable').astype(np.int32)
  with jax.enable_x64(True):
    return _reduce_blocks(
      distances,
      jnp.asarray(labels),
      jnp.asarray(order),
      num_clusters=int(num_clusters),
      reduce=reduce,
    )


def mean_linkage(
  distances: jax.typing.ArrayLike,
  labels: jax.typing.ArrayLike,
  num_clusters: int,
) -> jax.Array:
  """Mean distance between the members of every two clusters.

      M[a, b] = 1/(n_a n_b) sum_{i in a, j in b} dist[i, j]

  Args:
    distances: [N, N] float32. Any distance, not only the Euclidean one.
    labels: [N] integer, contiguous 0..K-1. Cluster of each sample.
    num_clusters: K.

  Returns:
    [K, K] float32. The diagonal averages all n_a^2 ordered pairs of a
    cluster, self-pairs (zero) included.

  Raises:
    ValueError: distances are not square; labels are of another length or not
      contiguous, or do not name num_clusters clusters.

  Source: Ding et al., DBC, Eq. 4; Zeng et al., E-cluster, Eq. 6.
  """
  return _linkage(distances, labels, num_clusters, 'mean')


def min_linkage(
  distances: jax.typing.ArrayLike,
  labels: jax.typing.ArrayLike,
  num_clusters: int,
) -> jax.Array:
  """Smallest distance between the members of every two clusters.

      L[a, b] = min_{i in a, j in b} dist[i, j]

  Args:
    distances: [N, N] float32. Any distance, not only the Euclidean one.
    labels: [N] integer, contiguous 0..K-1. Cluster of each sample.
    num_clusters: K.

  Returns:
    [K, K] float32, zero diagonal where distances have one.

  Raises:
    ValueError: as `mean_linkage`.

  Source: Lin et al., BUC (AAAI 2019), the minimum distance criterion.
  """
  return _linkage(distances, labels, num_clusters, 'min')
