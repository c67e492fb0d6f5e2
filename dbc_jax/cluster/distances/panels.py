"""Blocked passes over all pairs of samples, spread over the local devices.

A panel holds the distances of a block of samples to all others; the linkage of
its clusters with all others comes out of it. What keeps them decides the
memory: a [K, K] matrix here, the best partner of each cluster in `matrix_free`.
"""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from dbc_jax.cluster.distances.sources import MatrixSource, Source
from dbc_jax.cluster.linkages import Linkage
from dbc_jax.devices.blocks import fold_blocks

# Columns of a tile. 512 x 512 float64 stay in a CPU's cache; a GPU does not
# mind.
TILE = 512
# Entries of a panel, [K, B], 16 MB of float64: B is 128 for 16,384 samples.
_PANEL_ENTRIES = 2**21
_SMALLEST_BLOCK = 64


def block_size(num_samples: int) -> int:
  """Rows of a panel: a power of two that divides TILE."""
  block = TILE
  while block > _SMALLEST_BLOCK and block * num_samples > _PANEL_ENTRIES:
    block //= 2
  return block


@functools.partial(
  jax.tree_util.register_dataclass,
  data_fields=('order', 'slots', 'sizes'),
  meta_fields=('tile', 'single'),
)
@dataclasses.dataclass(frozen=True)
class Layout:
  """Samples in the order of their clusters, padded to whole tiles."""

  order: Array  # [P] int32, the sample at each position; 0 where none is.
  slots: Array  # [P] int32, its cluster; `capacity` where none is.
  sizes: Array  # [capacity] float64, members of each cluster; 1 where none is.
  tile: int  # Columns of a tile.
  single: bool  # Each sample is a cluster, which leaves nothing to combine.


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
    tile=tile,
    single=num_clusters == len(labels),
  )


class Carry(NamedTuple):
  """What a panel leaves to the next: the cluster that it may not finish."""

  cluster: Array  # int32
  row: Array  # [capacity], its combined distances so far


def first_carry(capacity: int, linkage: Linkage) -> Carry:
  """Before the first panel."""
  return Carry(jnp.int32(-1), jnp.zeros(capacity, linkage.dtype))


def compute_panel(
  source: Source, layout: Layout, start: Array, linkage: Linkage, block: int
) -> Array:
  """Distances of the samples at start.. with all clusters, [capacity, B].

  Where each sample is a cluster it is [P, B].

  Column tiles begin with the one that holds the rows: of two clusters, all
  pairs of members are met from the one that is earlier in the layout. A cluster
  meets itself across tiles from one side only, which counts twice.
  """
  tile = layout.tile
  order = lax.dynamic_slice(layout.order, (start,), (block,))
  own = lax.dynamic_slice(layout.slots, (start,), (block,))
  rows = source.prepare(order)
  diagonal = start // tile

  def body(k: Array, out: Array) -> Array:
    columns = lax.dynamic_slice(layout.order, (k * tile,), (tile,))
    slots = lax.dynamic_slice(layout.slots, (k * tile,), (tile,))
    values = source.tile(rows, columns)
    if layout.single:
      return lax.dynamic_update_slice(out, values, (k * tile, jnp.int32(0)))
    twice = (k > diagonal) & (slots[:, None] == own)
    return linkage.put(out, slots, linkage.count(values, twice))

  if layout.single:
    out = jnp.zeros((len(layout.order), block), jnp.float32)
  else:
    shape = (len(layout.sizes), block)
    out = jnp.full(shape, linkage.none, linkage.dtype)
  num_tiles = jnp.int32(len(layout.order) // tile)
  return lax.fori_loop(diagonal, num_tiles, body, out)


def linkage_rows(
  layout: Layout, start: Array, panel: Array, carry: Carry, linkage: Linkage
) -> tuple[Array, Array, Carry]:
  """Clusters [B], their linkage with all [B, capacity] float32, and the carry.

  The entries of cluster a with the clusters b >= a are right, the others are
  not: a linkage is symmetric. Clusters come in order. One that fills several
  panels comes several times, complete the last time, and clusters still to
  come, or numbers of `capacity` or more, may follow the last of a panel: what
  counts is what is written last.
  """
  capacity, num_rows = len(layout.sizes), panel.shape[1]
  slots = lax.dynamic_slice(layout.slots, (start,), (num_rows,))
  clusters = slots[0] + jnp.arange(num_rows, dtype=slots.dtype)
  if layout.single:
    return clusters, panel[:capacity].T, carry
  first, last = slots[0], jnp.max(jnp.where(slots < capacity, slots, 0))
  # Every cluster occurs, so B rows span at most B of them; padding alone can
  # exceed that, and goes out of range to be dropped.
  rows = jnp.full((num_rows, capacity), linkage.none, panel.dtype)
  rows = linkage.put(rows, slots - first, panel.T)
  continued = jnp.where(carry.cluster == first, carry.row, linkage.none)
  rows = rows.at[0].set(linkage.combine(rows[0], continued))
  carry = Carry(last, rows[last - first])
  sizes = layout.sizes.at[clusters].get(mode='clip')
  rows = linkage.finish(rows, sizes[:, None] * layout.sizes)
  return clusters, rows.astype(jnp.float32), carry


def starts(num_samples: int, block: int) -> Array:
  """First positions of all panels, the items of a pass."""
  return jnp.arange(0, num_samples, block, dtype=jnp.int32)


@dataclasses.dataclass(frozen=True)
class _MatrixPass:
  """Writes linkage rows into a matrix; shared is (source, layout)."""

  linkage: Linkage
  block: int

  def compute(self, shared: Any, start: Array) -> Array:
    source, layout = shared
    return compute_panel(source, layout, start, self.linkage, self.block)

  def consume(self, carry: Any, shared: Any, start: Array, panel: Array) -> Any:
    out, unfinished = carry
    clusters, rows, unfinished = linkage_rows(
      shared[1], start, panel, unfinished, self.linkage
    )
    out = out.at[clusters].set(
      rows, mode='drop', indices_are_sorted=True, unique_indices=True
    )
    return out, unfinished


@functools.partial(jax.jit, donate_argnums=0)
def _mirror(out: Array) -> Array:
  """Copies the upper triangle onto the lower one, in place."""
  n = len(out)
  tile = min(_SMALLEST_BLOCK, n)
  num_tiles = -(-n // tile)
  # The last tile starts early rather than run over the end.
  starts = jnp.asarray(np.minimum(np.arange(num_tiles) * tile, n - tile))

  def mirror_rows(i: Array, out: Array) -> Array:
    # With a dynamic slice XLA copies all of `out` in the loop; `take` does not.
    rows = jnp.take(out, starts[i] + jnp.arange(tile), axis=0)
    # The last tile may share these columns, so they have to be right as well.
    own = lax.dynamic_slice_in_dim(rows, starts[i], tile, axis=1)
    own = jnp.triu(own) + jnp.triu(own, 1).T
    rows = lax.dynamic_update_slice_in_dim(rows, own, starts[i], axis=1)

    def put(j: Array, out: Array) -> Array:
      values = lax.dynamic_slice_in_dim(rows, starts[j], tile, axis=1)
      return lax.dynamic_update_slice(out, values.T, (starts[j], starts[i]))

    return lax.fori_loop(i, num_tiles, put, out)

  return lax.fori_loop(0, num_tiles, mirror_rows, out)


def linkage_matrix(
  source: Source,
  labels: np.ndarray,
  num_clusters: int,
  linkage: Linkage,
  *,
  capacity: int | None = None,
  tile: int = TILE,
) -> Array:
  """Linkage of all pairs [capacity, capacity] float32, exactly symmetric.

  To be called in float64 mode. Rows and columns of clusters that do not exist
  hold no meaning.
  """
  capacity = num_clusters if capacity is None else capacity
  if isinstance(source, MatrixSource) and np.array_equal(
    labels, np.arange(capacity)
  ):
    # Every linkage of single samples is their distance.
    return _mirror(jnp.array(source.distances))
  layout = make_layout(labels, num_clusters, capacity, tile)
  block = min(tile, block_size(len(labels)))
  empty = jnp.zeros((capacity, capacity), jnp.float32)
  out, _ = fold_blocks(
    _MatrixPass(linkage, block),
    (empty, first_carry(capacity, linkage)),
    (source, layout),
    starts(len(labels), block),
  )
  return _mirror(out)
