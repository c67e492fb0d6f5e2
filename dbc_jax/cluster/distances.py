"""Euclidean distances between samples; the base distance of every criterion."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from dbc_jax.cluster import checks

# 512 x 512 float64 blocks stay in a CPU's cache; a GPU does not mind.
_DEFAULT_BLOCK_SIZE = 512


def _first_equal_row(features: np.ndarray) -> np.ndarray:
  """[N] int32: for each row, the first row that holds the same numbers."""
  first: dict[bytes, int] = {}
  # Adding 0.0 turns -0.0 into 0.0: equal numbers, unequal bytes.
  rows = enumerate(features + 0.0)
  return np.array([first.setdefault(x.tobytes(), i) for i, x in rows], np.int32)


@functools.partial(jax.jit, static_argnames=('squared', 'block_size'))
def _blocked_distances(
  features: jax.Array, identity: jax.Array, squared: bool, block_size: int
) -> jax.Array:
  """All distances, by pairs of row blocks on and above the diagonal."""
  n = features.shape[0]
  features = features.astype(jnp.float64)
  norms = jnp.sum(features * features, axis=1)
  num_blocks = -(-n // block_size)
  # The last block starts early rather than run over the end. What it then
  # shares with the block before is written twice, the diagonal block last.
  starts = np.minimum(np.arange(num_blocks) * block_size, n - block_size)
  upper = np.triu_indices(num_blocks)
  row_starts, column_starts = (jnp.asarray(starts[k]) for k in upper)

  def block(array: jax.Array, start: jax.Array) -> jax.Array:
    return lax.dynamic_slice_in_dim(array, start, block_size)

  def body(k: jax.Array, out: jax.Array) -> jax.Array:
    i, j = row_starts[k], column_starts[k]
    gram = jnp.matmul(
      block(features, i), block(features, j).T, precision='highest'
    )
    values = block(norms, i)[:, None] + block(norms, j) - 2 * gram
    values = jnp.maximum(values, 0).astype(jnp.float32)
    if not squared:
      values = jnp.sqrt(values)
    same = block(identity, i)[:, None] == block(identity, j)
    values = jnp.where(same, 0, values)
    # A matrix product need not round x.y and y.x alike.
    values = jnp.where(i == j, jnp.minimum(values, values.T), values)
    out = lax.dynamic_update_slice(out, values, (i, j))
    return lax.dynamic_update_slice(out, values.T, (j, i))

  empty = jnp.zeros((n, n), jnp.float32)
  return lax.fori_loop(0, len(upper[0]), body, empty)


def pairwise_distances(
  features: jax.typing.ArrayLike,
  *,
  squared: bool = False,
  block_size: int | None = None,
) -> jax.Array:
  """Euclidean distance between every two samples.

      dist[i, j] = ||x_i - x_j||      or its square, if `squared`

  Within 1e-6 of exact arithmetic for features of unit length, also for
  near-duplicates. Equal rows are at exactly 0.

  Args:
    features: [N, D] floating point. Taken as they are: callers who want the
      distance between directions pass L2-normalised rows.
    squared: squared distances, as the public code of BUC and DBC has them.
    block_size: rows worked on at a time, default 512. It bounds the working
      memory beside the result and does not change the result beyond rounding.

  Returns:
    [N, N] float32, exactly symmetric, zero diagonal.

  Raises:
    ValueError: features are not [N, D] or not finite; block_size < 1.

  Source: the `dist` of Ding et al., DBC, Eq. 3-4, and Zeng et al., E-cluster,
    Eq. 6.
  """
  features = checks.check_features(features)
  if block_size is None:
    block_size = _DEFAULT_BLOCK_SIZE
  if block_size < 1:
    raise ValueError(
      f'block_size: got {block_size}, expected a number of rows >= 1; leave '
      f'it out for {_DEFAULT_BLOCK_SIZE}.'
    )
  # The Gram matrix ||x||^2 + ||y||^2 - 2 x.y is the only fast way, but it
  # cancels: in float32 a distance near zero is off by 4e-4, in float64 by
  # 2e-8. Float64 costs twice the time a product; only half of the products
  # are needed. Recomputing just the small distances in float32 would be no
  # cheaper where all are small, as with an untrained network. Exact zeros
  # come from comparing the rows themselves.
  with jax.enable_x64(True):
    return _blocked_distances(
      jnp.asarray(features),
      jnp.asarray(_first_equal_row(features)),
      squared=bool(squared),
      block_size=min(int(block_size), len(features)),
    )
