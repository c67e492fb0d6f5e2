"""Blocked passes over all pairs of samples, spread over the local devices.

`linkage_rows` gives the linkage of a few clusters at a time with all others.
What collects them decides the memory: a [K, K] matrix here, the best partner of
each cluster in `matrix_free`.
"""

import functools
from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from dbc_jax import parallel
from dbc_jax.cluster.sources import Source

# Columns of a tile. 512 x 512 float64 stay in a CPU's cache; a GPU does not
# mind.
TILE = 512
# Entries of a panel, [K, B]: B is 512 for up to 16,384 samples, then less.
_PANEL_ENTRIES = 2**23
_SMALLEST_BLOCK = 64


def block_size(num_samples: int) -> int:
  """Rows of a panel: a power of two that divides TILE."""
  block = TILE
  while block > _SMALLEST_BLOCK and block * num_samples > _PANEL_ENTRIES:
    block //= 2
  return block


class Layout(NamedTuple):
  """Samples in the order of their clusters, padded to whole tiles.

  Attributes:
    order: [P] int32, the sample at each position; 0 where there is none.
    slots: [P] int32, its cluster; `capacity` where there is none.
    sizes: [capacity] float64, members of each cluster; 1 where there is none.
  """

  order: jax.Array
  slots: jax.Array
  sizes: jax.Array


def make_layout(
  labels: np.ndarray, num_clusters: int, capacity: int, tile: int = TILE
) -> Layout:
  """The layout of `capacity` >= num_clusters clusters."""
  order = np.argsort(labels, kind='stable').astype(np.int32)
  padding = (0, -len(labels) % tile)
  sizes = np.ones(capacity)
  sizes[:num_clusters] = np.bincount(labels, minlength=num_clusters)
  return Layout(
    order=jnp.asarray(np.pad(order, padding)),
    slots=jnp.asarray(np.pad(labels[order], padding, constant_values=capacity)),
    sizes=jnp.asarray(sizes, jnp.float64),
  )


def _panel(
  shared: tuple[Source, Layout],
  start: jax.Array,
  *,
  reduce: str,
  block: int,
  tile: int,
) -> jax.Array:
  """Distances of the samples at start.. with all clusters, [capacity, B].

  With reduce 'none', each sample is a cluster: [P, B].

  Column tiles begin with the one that holds the rows: of two clusters, all
  pairs of members are met from the one that is earlier in the layout. A cluster
  meets itself across tiles from one side only, which counts twice.
  """
  source, layout = shared
  order = lax.dynamic_slice(layout.order, (start,), (block,))
  own = lax.dynamic_slice(layout.slots, (start,), (block,))
  rows = source.prepare(order)
  diagonal = start // tile
  capacity = len(layout.sizes)

  def body(k: jax.Array, out: jax.Array) -> jax.Array:
    columns = lax.dynamic_slice(layout.order, (k * tile,), (tile,))
    slots = lax.dynamic_slice(layout.slots, (k * tile,), (tile,))
    values = source.tile(rows, columns)
    if reduce == 'none':
      return lax.dynamic_update_slice(out, values, (k * tile, jnp.int32(0)))
    if reduce == 'min':
      return out.at[slots].min(values, mode='drop')
    values = values.astype(jnp.float64)
    twice = (k > diagonal) & (slots[:, None] == own)
    return out.at[slots].add(jnp.where(twice, 2 * values, values), mode='drop')

  if reduce == 'none':
    out = jnp.zeros((len(layout.order), block), jnp.float32)
  elif reduce == 'min':
    out = jnp.full((capacity, block), jnp.inf, jnp.float32)
  else:
    out = jnp.zeros((capacity, block), jnp.float64)
  num_tiles = jnp.int32(len(layout.order) // tile)
  return lax.fori_loop(diagonal, num_tiles, body, out)


@functools.partial(jax.jit, static_argnames='reduce')
def _absorb(
  panel: jax.Array,
  start: jax.Array,
  layout: Layout,
  carry: tuple[jax.Array, jax.Array],
  reduce: str,
) -> tuple[jax.Array, jax.Array, tuple[jax.Array, jax.Array]]:
  """Clusters [B], their linkage rows [B, capacity] float32, and the carry.

  Only the cluster that a panel may leave unfinished is carried into the next;
  its row here is overwritten then. Sums stay in float64 until complete, where
  those of float32 distances are as good as exact: they do not depend on the
  order of a GPU's atomic additions.
  """
  capacity, num_rows = len(layout.sizes), panel.shape[2]
  panel = panel[0, :capacity]
  slots = lax.dynamic_slice(layout.slots, (start,), (num_rows,))
  clusters = slots[0] + jnp.arange(num_rows, dtype=slots.dtype)
  if reduce == 'none':
    return clusters, panel.T, carry
  carried, part = carry
  if reduce == 'mean':
    segment, combine, none = jax.ops.segment_sum, jnp.add, 0.0
  else:
    segment, combine, none = jax.ops.segment_min, jnp.minimum, jnp.inf
  first, last = slots[0], jnp.max(jnp.where(slots < capacity, slots, 0))
  # Every cluster occurs, so B rows span at most B of them; padding alone can
  # exceed that, and goes out of range to be dropped.
  rows = segment(panel.T, slots - first, num_rows)
  rows = rows.at[0].set(
    combine(rows[0], jnp.where(carried == first, part, none))
  )
  part = rows[last - first]
  if reduce == 'mean':
    sizes = layout.sizes.at[clusters].get(mode='clip')
    rows = rows / (sizes[:, None] * layout.sizes)
  return clusters, rows.astype(jnp.float32), (last, part)


def linkage_rows(
  source: Source, layout: Layout, num_samples: int, reduce: str, tile: int
) -> Iterator[tuple[jax.Array, jax.Array]]:
  """Clusters, [B], and their linkage with all clusters, [B, capacity].

  The entries of row a with the clusters b >= a are right, the others are not:
  a linkage is symmetric. Clusters come in order; one that fills several panels
  comes several times, complete the last time, and numbers of `capacity` or
  more, or of clusters still to come, may follow the last of a panel: all that
  matters is what is written last.

  Args:
    source: of the distances.
    layout: of the samples, with the same tile.
    num_samples: N.
    reduce: 'mean', 'min', or 'none' where every sample is a cluster.
    tile: columns of a tile.
  """
  block = min(tile, block_size(num_samples))
  capacity = len(layout.sizes)
  dtype = jnp.float64 if reduce == 'mean' else jnp.float32
  carry = (jnp.int32(-1), jnp.zeros(capacity, dtype))
  starts = np.arange(0, num_samples, block, dtype=np.int32)
  panels = parallel.map_blocks(
    _panel, (source, layout), starts, reduce=reduce, block=block, tile=tile
  )
  for start, panel in zip(starts, panels, strict=True):
    clusters, rows, carry = _absorb(panel, start, layout, carry, reduce)
    yield clusters, rows


@functools.partial(jax.jit, donate_argnums=0)
def _write(out: jax.Array, clusters: jax.Array, rows: jax.Array) -> jax.Array:
  return out.at[clusters].set(
    rows, mode='drop', indices_are_sorted=True, unique_indices=True
  )


@functools.partial(jax.jit, donate_argnums=0)
def _mirror(out: jax.Array) -> jax.Array:
  """Copies the upper triangle onto the lower one, in place."""
  n = len(out)
  tile = min(TILE, n)
  num_tiles = -(-n // tile)
  # The last tile starts early rather than run over the end.
  starts = jnp.asarray(np.minimum(np.arange(num_tiles) * tile, n - tile))

  def mirror_rows(i: jax.Array, out: jax.Array) -> jax.Array:
    # With a dynamic slice XLA copies all of `out` in the loop; `take` does not.
    rows = jnp.take(out, starts[i] + jnp.arange(tile), axis=0)
    # The last tile may share these columns, so they have to be right as well.
    own = lax.dynamic_slice_in_dim(rows, starts[i], tile, axis=1)
    own = jnp.triu(own) + jnp.triu(own, 1).T
    rows = lax.dynamic_update_slice_in_dim(rows, own, starts[i], axis=1)

    def put(j: jax.Array, out: jax.Array) -> jax.Array:
      values = lax.dynamic_slice_in_dim(rows, starts[j], tile, axis=1)
      return lax.dynamic_update_slice(out, values.T, (starts[j], starts[i]))

    return lax.fori_loop(i, num_tiles, put, out)

  return lax.fori_loop(0, num_tiles, mirror_rows, out)


def linkage_matrix(
  source: Source,
  labels: np.ndarray,
  num_clusters: int,
  reduce: str,
  *,
  capacity: int | None = None,
  tile: int = TILE,
) -> jax.Array:
  """Mean or minimum linkage [capacity, capacity] float32, exactly symmetric.

  To be called in float64 mode. Rows and columns of clusters that do not exist
  hold no meaning.
  """
  capacity = num_clusters if capacity is None else capacity
  if num_clusters == len(labels):
    reduce = 'none'
  layout = make_layout(labels, num_clusters, capacity, tile)
  out = jnp.zeros((capacity, capacity), jnp.float32)
  for clusters, rows in linkage_rows(source, layout, len(labels), reduce, tile):
    out = _write(out, clusters, rows)
  return _mirror(out)
