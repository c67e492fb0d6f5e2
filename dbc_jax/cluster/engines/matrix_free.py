"""Merging without a matrix: linkages are recomputed when they are needed.

For when [K, K] does not fit. Memory is O(N D + N) and a block of rows; every
merge costs two passes over the features, and one for each row searched again.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.typing import ArrayLike

from dbc_jax.cluster.criteria.criterion import Criterion
from dbc_jax.cluster.distances import panels
from dbc_jax.cluster.distances.panels import TILE, Layout
from dbc_jax.cluster.distances.sources import Source
from dbc_jax.cluster.engines import frontier as frontier_lib
from dbc_jax.cluster.linkages import Linkage
from dbc_jax.cluster.scores import cluster_terms
from dbc_jax.devices.blocks import Shares, even_shares, fold_blocks

# Members of a cluster that one pass takes; the larger one for large clusters.
_MEMBERS = (8, 256)


@dataclasses.dataclass(frozen=True)
class _SearchPass:
  """Finds every cluster's best partner.

  Shared is (source, layout, weight, terms); the carry is a frontier without
  terms and means, which it leaves as they are, and what is unfinished.
  """

  form: Criterion
  block: int

  def compute(self, shared: Any, start: Array) -> Array:
    source, layout, *_ = shared
    linkage = self.form.rule.linkage
    return panels.compute_panel(source, layout, start, linkage, self.block)

  def consume(self, carry: Any, shared: Any, start: Array, panel: Array) -> Any:
    _, layout, weight, terms = shared
    frontier, unfinished = carry
    clusters, rows, unfinished = panels.linkage_rows(
      layout, start, panel, unfinished, self.form.rule.linkage
    )
    frontier = frontier_lib.search(
      self.form, weight, frontier._replace(terms=terms), clusters, rows
    )
    return frontier._replace(terms=None), unfinished


@dataclasses.dataclass(frozen=True)
class _WithinPass:
  """Each sample's distances to its own cluster; shared (source, layout).

  An item is (start, first tile, tile behind the last) of the clusters met.
  """

  form: Criterion
  block: int

  def compute(self, shared: Any, item: Any) -> Array:
    source, layout = shared
    start, first, stop = item
    linkage = self.form.rule.linkage
    own = lax.dynamic_slice(layout.slots, (start,), (self.block,))
    order = lax.dynamic_slice(layout.order, (start,), (self.block,))
    rows = source.prepare(order)

    def body(k: Array, out: Array) -> Array:
      columns = lax.dynamic_slice(layout.order, (k * TILE,), (TILE,))
      slots = lax.dynamic_slice(layout.slots, (k * TILE,), (TILE,))
      values = source.tile(rows, columns).astype(jnp.float64)
      values = jnp.where(slots[:, None] == own, values, linkage.none)
      return linkage.combine(out, linkage.reduce(values, axis=0))

    empty = jnp.full(self.block, linkage.none)
    return lax.fori_loop(first, stop, body, empty)

  def consume(
    self, carry: Array, shared: Any, item: Any, result: Array
  ) -> Array:
    del shared
    return lax.dynamic_update_slice(carry, result, (item[0],))


def _search_shares(labels: np.ndarray, block: int) -> Shares:
  """A panel finishes the clusters of which it holds the last sample."""
  sizes = np.bincount(labels)
  behind = np.cumsum(sizes)
  starts = np.arange(0, len(labels), block)
  ends = np.searchsorted(behind, starts + block, side='right')
  first = np.minimum(np.append(0, ends[:-1]), len(sizes) - 1)
  # Columns begin with the tile of the rows.
  costs = len(labels) // TILE + 1 - starts // TILE
  return Shares(costs, ends, (behind - sizes)[first] // block)


def _within(
  form: Criterion, source: Source, layout: Layout, labels: np.ndarray
) -> Array:
  """Linkage [K] float32 of every cluster with itself."""
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
  values = fold_blocks(
    _WithinPass(form, block),
    jnp.zeros(len(layout.order)),
    (source, layout),
    tuple(jnp.asarray(x, jnp.int32) for x in (starts, first, stop)),
    even_shares(np.append(starts[1:], len(layout.order))),
  )
  linkage = form.rule.linkage
  return _by_cluster(values, layout.slots, layout.sizes, layout.sizes, linkage)


@dataclasses.dataclass(frozen=True)
class _MemberPass:
  """Distances of some samples to all, combined over the former.

  Shared is (source, layout, samples [R], how many of them count); items are
  tiles; the carry is [P] float64.
  """

  form: Criterion

  def compute(self, shared: Any, tile: Array) -> Array:
    source, layout, members, count = shared
    linkage = self.form.rule.linkage
    columns = lax.dynamic_slice(layout.order, (tile * TILE,), (TILE,))
    values = source.tile(source.prepare(members), columns).astype(jnp.float64)
    counts = jnp.arange(len(members)) < count
    values = jnp.where(counts, values, linkage.none)
    return linkage.reduce(values, axis=1)

  def consume(
    self, carry: Array, shared: Any, tile: Array, result: Array
  ) -> Array:
    del shared
    return lax.dynamic_update_slice(carry, result, (tile * TILE,))


@functools.partial(jax.jit, static_argnames='linkage')
def _by_cluster(
  values: Array, homes: Array, sizes: Array, size: ArrayLike, linkage: Linkage
) -> Array:
  """From one cluster's distances to positions [P], its linkage [C] float32."""
  row = linkage.put(jnp.full(len(sizes), linkage.none), homes, values)
  return linkage.finish(row, size * sizes).astype(jnp.float32)


class _Clusters:
  """Which samples each cluster holds while it merges, and linkages of one."""

  def __init__(
    self, form: Criterion, source: Source, layout: Layout, labels: np.ndarray
  ):
    self._form, self._source, self._layout = form, source, layout
    self._homes = np.array(layout.slots)
    self._order = np.array(layout.order)[: len(labels)]
    ends = np.cumsum(np.bincount(labels))
    self._positions = np.split(np.arange(len(labels)), ends[:-1])

  def linkage(self, slot: int, sizes: Array) -> Array:
    """Linkage [C] float32 of one cluster with all live ones."""
    members = self._order[self._positions[slot]]
    width = _MEMBERS[len(members) > _MEMBERS[0]]
    linkage = self._form.rule.linkage
    values = jnp.full(len(self._homes), linkage.none)
    tiles = jnp.arange(len(self._homes) // TILE, dtype=jnp.int32)
    for start in range(0, len(members), width):
      chosen = members[start : start + width]
      padded = jnp.asarray(np.pad(chosen, (0, width - len(chosen))))
      more = fold_blocks(
        _MemberPass(self._form),
        jnp.zeros(len(self._homes)),
        (self._source, self._layout, padded, jnp.int32(len(chosen))),
        tiles,
        even_shares(np.arange(1, len(tiles) + 1) * TILE),
      )
      values = linkage.combine(values, more)
    return _by_cluster(values, self._homes, sizes, len(members), linkage)

  def merge(self, a: int, b: int) -> None:
    """Moves the members of b to a."""
    # A pass that still runs may read the old array, which must not change.
    self._homes = self._homes.copy()
    self._homes[self._positions[b]] = a
    self._positions[a] = np.concatenate(
      [self._positions[a], self._positions[b]]
    )


_search = jax.jit(frontier_lib.search, static_argnames='form')
_merge_best = jax.jit(frontier_lib.merge_best, static_argnames='form')
_best_row = jax.jit(frontier_lib.best_row)


def merge(
  criterion: Criterion,
  source: Source,
  features: np.ndarray,
  labels: np.ndarray,
  num_clusters: int,
  num_merges: int,
  forbidden: np.ndarray | None = None,
  progress: Callable[[int, int], None] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
  """Slot pairs (kept, absorbed) [m, 2] and scores [m] of the best merges.

  They are fewer than num_merges where no pair is left but `forbidden` ones
  [P, 2], which never merge. The criterion is sequential, features [N, D] and
  labels [N] are checked. `progress` gets the number of merges done, and of all.
  To be called in float64 mode.
  """
  form, weight = criterion.form, criterion.reg_weight
  layout = panels.make_layout(labels, num_clusters, num_clusters)
  linkage = form.rule.linkage
  within = jnp.zeros(num_clusters, jnp.float32)
  if form.rule.uses_within:
    within = _within(form, source, layout, labels)
  terms, means = cluster_terms(criterion, source, features, labels, within)
  pairs = frontier_lib.padded_pairs(forbidden, num_clusters)
  frontier = frontier_lib.start_frontier(terms, means, num_clusters, pairs)
  block = panels.block_size(len(labels))
  carry = (
    frontier._replace(terms=None, means=None),
    panels.first_carry(num_clusters, linkage),
  )
  frontier, _ = fold_blocks(
    _SearchPass(form, block),
    carry,
    (source, layout, jnp.float64(weight), terms),
    panels.starts(len(labels), block),
    _search_shares(labels, block),
  )
  frontier = frontier._replace(terms=terms, means=means)

  clusters = _Clusters(form, source, layout, labels)
  done = num_merges
  for step in range(num_merges):
    if progress:
      progress(step, num_merges)
    while True:
      best = _best_row(frontier)
      a, b, stale = map(int, best)
      sizes = frontier.terms.sizes
      if not stale:
        break
      links = clusters.linkage(a, sizes)[None]
      rows = np.array([a], np.int32)
      frontier = _search(form, weight, frontier, rows, links)
    if forbidden is not None and np.isposinf(frontier.best_scores[a]):
      done = step
      break
    links = jnp.stack([clusters.linkage(c, sizes) for c in (a, b)])
    frontier, _ = _merge_best(form, weight, step, frontier, best, links)
    clusters.merge(a, b)
  return np.asarray(frontier.pairs)[:done], np.asarray(frontier.scores)[:done]
