"""The nearest of each sample, exactly: a search in float32, proved by float64.

A float32 product is off by so much at most. What is nearer than the last of
some more candidates by twice of that cannot be missed, so float64 is needed of
the candidates alone. Where that shows nothing, as of many samples that are all
but equal, the rows of a block are done in float64 whole.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from dbc_jax.cluster.distances.panels import TILE
from dbc_jax.cluster.distances.sources import FeatureSource, feature_source
from dbc_jax.devices.blocks import even_shares, fold_blocks

_BLOCK_SIZE = 128  # rows
# Candidates beyond the count that is asked for, and for the furthest.
_MORE, _FURTHEST = 11, 4
# In units of float32's rounding, the error of a sum of D products is below D
# times the sizes of its factors; squares and their sum add a few.
_FEW = 8


@dataclasses.dataclass(frozen=True)
class _NeighbourPass:
  """The nearest and the furthest of each sample, in order of their index."""

  count: int
  block: int

  def compute(self, source: FeatureSource, start: Array) -> tuple[Array, Array]:
    """Of the rows from `start` on: the nearest samples, and the furthest.

    Returns samples [B, count] int32, from the nearest on, ties to the lowest
    index, and the largest squared distance [B] float32.
    """
    rows = start + jnp.arange(self.block, dtype=jnp.int32)
    if source.num_samples < self.count + _MORE:
      return self._of_all(source, rows)
    near, far, sure = self._candidates(source, rows)
    return lax.cond(
      sure,
      lambda: self._of_candidates(source, rows, near, far),
      lambda: self._of_all(source, rows),
    )

  def _candidates(
    self, source: FeatureSource, rows: Array
  ) -> tuple[Array, Array, Array]:
    """Samples [B, C] and [B, _FURTHEST], and whether they surely suffice."""
    features = source.features.astype(jnp.float32)
    norms = source.norms.astype(jnp.float32)
    product = jnp.matmul(features[rows], features.T, precision='highest')
    distances = norms[rows, None] + norms - 2 * product
    # Without a barrier, XLA sorts all of a row for the parts that are read.
    (least, near), (most, far) = lax.optimization_barrier(
      (
        lax.top_k(-distances, self.count + _MORE),
        lax.top_k(distances, _FURTHEST),
      )
    )
    rounding = (features.shape[1] + _FEW) * float(np.finfo(np.float32).eps) / 2
    error = rounding * (norms[rows] + norms.max())
    sure = (least[:, self.count - 1] - least[:, -1] > 2 * error) & (
      most[:, 0] - most[:, -1] > 2 * error
    )
    return near, far, sure.all()

  def _of_candidates(
    self, source: FeatureSource, rows: Array, near: Array, far: Array
  ) -> tuple[Array, Array]:
    # Of equals top_k puts the first one first.
    near = jnp.sort(near, axis=1)
    prepared = source.prepare(rows)

    def distances(columns: Array, row: tuple[Array, ...]) -> Array:
      return source.tile(jax.tree.map(lambda x: x[None], row), columns)[:, 0]

    values = jax.vmap(distances)(near, prepared)
    chosen = lax.top_k(-values, self.count)[1]
    furthest = jax.vmap(distances)(far, prepared).max(axis=1)
    return jnp.take_along_axis(near, chosen, axis=1), furthest

  def _of_all(self, source: FeatureSource, rows: Array) -> tuple[Array, Array]:
    n = source.num_samples
    tile = min(TILE, n)
    prepared = source.prepare(rows)

    def body(k: Array, out: Array) -> Array:
      # The last tile starts early and writes some columns again.
      first = jnp.minimum(k * tile, n - tile)
      values = source.tile(prepared, first + jnp.arange(tile))
      return lax.dynamic_update_slice(out, values, (first, 0))

    out = jnp.zeros((n, self.block), jnp.float32)
    values = lax.fori_loop(0, -(-n // tile), body, out).T
    # A matrix product need not round equal columns alike, and they must tie.
    values = jnp.take(values, source.identity, axis=1)
    nearest = lax.top_k(-values, self.count)[1].astype(jnp.int32)
    return nearest, values.max(axis=1)

  def consume(
    self,
    carry: tuple[Array, Array],
    source: FeatureSource,
    start: Array,
    result: tuple[Array, Array],
  ) -> tuple[Array, Array]:
    del source
    return jax.tree.map(
      lambda out, rows: lax.dynamic_update_slice_in_dim(out, rows, start, 0),
      carry,
      result,
    )


def nearest(features: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
  """The nearest samples of each, and how far its furthest is.

  Args:
    features: [N, D], checked and plain.
    count: how many, at most N.

  Returns:
    Samples [N, count] int32 from the nearest on, the sample itself among them,
    ties to the lowest index; and squared distances [N] float32.
  """
  n = len(features)
  block = min(_BLOCK_SIZE, n)
  # The last block starts early and writes some rows again.
  starts = np.minimum(np.arange(0, n, block), n - block).astype(np.int32)
  with jax.enable_x64(True):
    source = feature_source(features, squared=True)
    empty = (jnp.zeros((n, count), jnp.int32), jnp.zeros(n, jnp.float32))
    ranks, furthest = fold_blocks(
      _NeighbourPass(count, block),
      empty,
      source,
      jnp.asarray(starts),
      even_shares(np.append(starts[1:], n)),
    )
    first_equal = np.asarray(source.identity)
  # Nor are equal rows of a product rounded alike.
  return np.asarray(ranks)[first_equal], np.asarray(furthest)[first_equal]
