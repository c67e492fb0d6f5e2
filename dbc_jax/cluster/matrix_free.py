"""Merging without a matrix: linkages are recomputed when they are needed.

For when [K, K] does not fit. Memory is O(N D + N) and a block of rows; every
merge costs two passes over the features, and one for each row searched again.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from dbc_jax import parallel
from dbc_jax.cluster import criteria, panels, sequential
from dbc_jax.cluster.criteria import Criterion
from dbc_jax.cluster.panels import TILE, Layout
from dbc_jax.cluster.sources import FeatureSource

# Members of a cluster that one pass takes; the larger one for large clusters.
_MEMBERS = (8, 256)


def _within_panel(
  shared: tuple[FeatureSource, Layout],
  item: tuple[jax.Array, jax.Array, jax.Array],
  *,
  block: int,
) -> jax.Array:
  """Of each sample at start.., the distances to its own cluster summed, [B].

  The item is (start, first tile, tile behind the last) of those clusters.
  """
  source, layout = shared
  start, first, stop = item
  own = lax.dynamic_slice(layout.slots, (start,), (block,))
  rows = source.prepare(lax.dynamic_slice(layout.order, (start,), (block,)))

  def body(k: jax.Array, sums: jax.Array) -> jax.Array:
    columns = lax.dynamic_slice(layout.order, (k * TILE,), (TILE,))
    slots = lax.dynamic_slice(layout.slots, (k * TILE,), (TILE,))
    values = source.tile(rows, columns).astype(jnp.float64)
    return sums + jnp.where(slots[:, None] == own, values, 0).sum(axis=0)

  return lax.fori_loop(first, stop, body, jnp.zeros(block))


def _within(
  source: FeatureSource, layout: Layout, labels: np.ndarray
) -> jax.Array:
  """M_cc [K] float32 of every cluster."""
  sizes = np.bincount(labels)
  if sizes.max() == 1:
    return jnp.zeros(len(sizes), jnp.float32)
  block = panels.block_size(len(labels))
  starts = np.arange(0, len(labels), block)
  ends = np.minimum(starts + block, len(labels)) - 1
  slots = np.sort(labels)
  behind = np.cumsum(sizes)
  first = (behind - sizes)[slots[starts]] // TILE
  stop = (behind[slots[ends]] - 1) // TILE + 1
  items = tuple(x.astype(np.int32) for x in (starts, first, stop))
  sums = [
    np.asarray(part)[0]
    for part in parallel.map_blocks(
      _within_panel, (source, layout), items, block=block
    )
  ]
  sums = np.concatenate(sums)[: len(labels)]
  totals = np.bincount(slots, weights=sums)
  return jnp.asarray(totals / np.square(sizes, dtype=np.float64), jnp.float32)


def _member_pass(
  shared: tuple[FeatureSource, Layout],
  item: tuple[jax.Array, jax.Array, jax.Array],
  *,
  num_tiles: int,
  reduce: str,
) -> jax.Array:
  """Distances of some samples to those at positions, reduced over the first.

  The item is (samples [R], how many of them count, first of num_tiles tiles);
  the result is [num_tiles TILE] float64.
  """
  source, layout = shared
  members, count, first = item
  rows = source.prepare(members)
  counts = jnp.arange(len(members)) < count
  last = len(layout.order) // TILE - 1

  def body(k: jax.Array, out: jax.Array) -> jax.Array:
    # Tiles behind the last one repeat it, and are cut off by the caller.
    start = jnp.minimum(first + k, last) * TILE
    columns = lax.dynamic_slice(layout.order, (start,), (TILE,))
    values = source.tile(rows, columns).astype(jnp.float64)
    if reduce == 'min':
      values = jnp.where(counts, values, jnp.inf).min(axis=1)
    else:
      values = jnp.where(counts, values, 0).sum(axis=1)
    return lax.dynamic_update_slice(out, values, (k * TILE,))

  return lax.fori_loop(0, num_tiles, body, jnp.zeros(num_tiles * TILE))


@functools.partial(jax.jit, static_argnames='reduce')
def _by_cluster(
  values: jax.Array,
  homes: jax.Array,
  sizes: jax.Array,
  size: jax.typing.ArrayLike,
  reduce: str,
) -> jax.Array:
  """From one cluster's distances to positions [P], its linkage [C] float32."""
  if reduce == 'min':
    row = jax.ops.segment_min(values, homes, len(sizes))
  else:
    row = jax.ops.segment_sum(values, homes, len(sizes)) / (size * sizes)
  return row.astype(jnp.float32)


class _Clusters:
  """Which samples each cluster holds while it merges, and linkages of one."""

  def __init__(
    self,
    source: FeatureSource,
    layout: Layout,
    labels: np.ndarray,
    reduce: str,
  ):
    self._shared = parallel.replicate((source, layout))
    self._num_positions = len(layout.order)
    self._reduce = reduce
    self._homes = np.array(layout.slots)
    order = np.array(layout.order)[: len(labels)]
    ends = np.cumsum(np.bincount(labels))
    self._positions = np.split(np.arange(len(labels)), ends[:-1])
    self._order = order

  def linkage(self, slot: int, sizes: jax.Array) -> jax.Array:
    """Linkage [C] float32 of one cluster with all live ones."""
    members = self._order[self._positions[slot]]
    width = _MEMBERS[len(members) > _MEMBERS[0]]
    num_devices = len(parallel.devices())
    num_tiles = -(-(self._num_positions // TILE) // num_devices)
    firsts = np.arange(num_devices, dtype=np.int32) * num_tiles
    total = None
    for start in range(0, len(members), width):
      chosen = members[start : start + width]
      samples = np.pad(chosen, (0, width - len(chosen)))
      items = (
        np.tile(samples, (num_devices, 1)),
        np.full(num_devices, len(chosen), np.int32),
        firsts,
      )
      parts = parallel.map_blocks(
        _member_pass,
        self._shared,
        items,
        num_tiles=num_tiles,
        reduce=self._reduce,
      )
      values = np.concatenate([np.asarray(part)[0] for part in parts])
      if total is None:
        total = values
      elif self._reduce == 'min':
        total = np.minimum(total, values)
      else:
        total = total + values
    return _by_cluster(
      total[: self._num_positions],
      self._homes,
      sizes,
      len(members),
      self._reduce,
    )

  def merge(self, a: int, b: int) -> None:
    """b joins a."""
    self._homes[self._positions[b]] = a
    self._positions[a] = np.concatenate(
      [self._positions[a], self._positions[b]]
    )


_search = jax.jit(sequential.search, static_argnames='form')
_merge_best = jax.jit(sequential.merge_best, static_argnames='form')
_best_row = jax.jit(sequential.best_row)


def merge(
  criterion: Criterion,
  source: FeatureSource,
  features: np.ndarray,
  labels: np.ndarray,
  num_clusters: int,
  num_merges: int,
) -> tuple[np.ndarray, np.ndarray]:
  """Slot pairs (kept, absorbed) [m, 2] and scores [m] of the best merges.

  To be called in float64 mode.

  Args:
    criterion: sequential.
    source: of the distances of the features.
    features: [N, D], checked.
    labels: [N] int32, 0..K-1.
    num_clusters: K.
    num_merges: m.
  """
  form, weight = criterion.form, criterion.reg_weight
  layout = panels.make_layout(labels, num_clusters, num_clusters)
  if form.reduce == 'min':
    within = jnp.zeros(num_clusters, jnp.float32)
  else:
    within = _within(source, layout, labels)
  terms, means = criteria.cluster_terms(
    criterion, source, features, labels, within, num_merges
  )
  frontier = sequential.start_frontier(terms, means, num_clusters)
  reduce = 'none' if num_clusters == len(labels) else form.reduce
  for rows, links in panels.linkage_rows(
    source, layout, len(labels), reduce, TILE
  ):
    frontier = _search(form, weight, frontier, rows, links)

  clusters = _Clusters(source, layout, labels, form.reduce)
  for step in range(num_merges):
    while True:
      a, b, stale = map(int, _best_row(frontier))
      sizes = frontier.terms.sizes
      if not stale:
        break
      links = clusters.linkage(a, sizes)[None]
      rows = np.array([a], np.int32)
      frontier = _search(form, weight, frontier, rows, links)
    links = jnp.stack([clusters.linkage(c, sizes) for c in (a, b)])
    frontier, _ = _merge_best(form, weight, step, frontier, links)
    clusters.merge(a, b)
  pairs = np.asarray(frontier.pairs)[:num_merges]
  return pairs, np.asarray(frontier.scores)[:num_merges]
