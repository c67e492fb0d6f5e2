"""Merging on a [K, K] matrix, which follows every merge."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.typing import ArrayLike

from dbc_jax.cluster.criteria.criterion import Criterion
from dbc_jax.cluster.criteria.rule import Terms
from dbc_jax.cluster.distances import panels
from dbc_jax.cluster.distances.sources import Source
from dbc_jax.cluster.engines.frontier import (
  Best,
  Frontier,
  best_row,
  merge_best,
  padded_pairs,
  search,
  start_frontier,
)
from dbc_jax.cluster.engines.ranked import rank_merges
from dbc_jax.cluster.scores import cluster_terms, score_matrix
from dbc_jax.devices import mesh

_BLOCK_SIZE = 64
# A matrix of fewer slots is not halved: its rows fit into a processor's cache.
_SMALLEST = 1024


def _row_links(inter: Array, rows: Array) -> Array:
  # With M[i] or a dynamic slice XLA copies all of M in a loop; `take` none.
  return jnp.take(inter, rows, axis=0)


@functools.partial(jax.jit, static_argnames='form')
def search_all(
  form: Criterion,
  weight: ArrayLike,
  inter: Array,
  terms: Terms,
  num_clusters: ArrayLike,
  forbidden: Array | None = None,
) -> Frontier:
  """Every row of `inter` [C, C] searched; without the terms and the means."""
  capacity = len(inter)
  block = min(_BLOCK_SIZE, capacity)
  # The last block starts early rather than run over; it repeats equal values.
  starts = np.minimum(
    np.arange(-(-capacity // block)) * block, capacity - block
  )
  starts = jnp.asarray(starts, jnp.int32)

  def search_block(i: Array, frontier: Frontier) -> Frontier:
    rows = starts[i] + jnp.arange(block, dtype=jnp.int32)
    links = _row_links(inter, rows)
    frontier = search(form, weight, frontier._replace(terms=terms), rows, links)
    return frontier._replace(terms=None)

  frontier = start_frontier(terms, None, num_clusters, forbidden)
  frontier = frontier._replace(terms=None)
  return lax.fori_loop(0, len(starts), search_block, frontier)


@functools.partial(
  jax.jit, static_argnames='form', donate_argnames=('inter', 'frontier')
)
def merge_loop(
  form: Criterion,
  weight: ArrayLike,
  inter: Array,
  frontier: Frontier,
  terms: Terms,
  features: Array,
  num_merges: ArrayLike,
) -> tuple[Array, Frontier]:
  """The best merges, one after the other; compiles once for any number.

  Each costs O(C) for itself and for each row searched. Uses up `inter` [C, C]
  and `frontier`, which comes without terms and features, and returns them, else
  XLA would work on copies. Of the pairs and the scores that the
  frontier records, the first num_merges are filled; with forbidden pairs those
  up to a first score of +inf, which is no merge: no pair was left.
  """

  def merge(step: Array, state: tuple) -> tuple:
    inter, frontier = state
    terms, means = frontier.terms, frontier.means

    def search_again(state: tuple[Frontier, Best]) -> tuple[Frontier, Best]:
      frontier, best = state
      rows = best.row[None]
      frontier = search(
        form,
        weight,
        frontier._replace(terms=terms),
        rows,
        _row_links(inter, rows),
      )
      return frontier._replace(terms=None), best_row(frontier)

    # What a search does not change stays out of its loop, which would copy it.
    frontier = frontier._replace(terms=None, means=None)
    frontier, best = lax.while_loop(
      lambda state: state[1].stale, search_again, (frontier, best_row(frontier))
    )
    frontier = frontier._replace(terms=terms, means=means)
    a = best.row
    links = _row_links(inter, jnp.stack([a, best.partner]))
    frontier, row = merge_best(form, weight, step, frontier, best, links)
    # Dead slots keep their last values.
    inter = lax.dynamic_update_slice(inter, row[None], (a, jnp.int32(0)))
    inter = lax.dynamic_update_slice(inter, row[:, None], (jnp.int32(0), a))
    return inter, frontier

  def with_features(frontier: Frontier, features: Array | None) -> Frontier:
    means = frontier.means._replace(features=features)
    return frontier._replace(means=means)

  frontier = with_features(frontier, features)._replace(terms=terms)
  if frontier.forbidden is None:
    inter, frontier = lax.fori_loop(0, num_merges, merge, (inter, frontier))
  else:
    _, inter, frontier = lax.while_loop(
      lambda state: (
        (state[0] < num_merges) & (state[2].scores[state[0] - 1] < jnp.inf)
      ),
      lambda state: (state[0] + 1, *merge(state[0], state[1:])),
      (jnp.int32(0), inter, frontier),
    )
  return inter, with_features(frontier, None)


@jax.jit
def _halve(
  inter: Array, frontier: Frontier, kept: Array
) -> tuple[Array, Frontier]:
  """The matrix and the frontier of some slots alone, in their order.

  What the frontier has recorded is left out.

  Args:
    inter: [C, C].
    frontier: of C slots; with its terms, without its features.
    kept: [C / 2] int32, rising: the slots of all live clusters.
  """
  count = len(kept)
  places = jnp.zeros(len(inter), jnp.int32)
  places = places.at[kept].set(jnp.arange(count, dtype=jnp.int32))
  of_slots = frontier.means._replace(rows=None, num_rows=None)
  terms, of_slots = jax.tree.map(
    lambda x: jnp.take(x, kept), (frontier.terms, of_slots)
  )
  half = start_frontier(terms, None, count)
  forbidden = frontier.forbidden
  if forbidden is not None:
    forbidden = places.at[forbidden].get(mode='fill', fill_value=count)
  return inter[kept[:, None], kept], half._replace(
    means=of_slots._replace(
      rows=frontier.means.rows, num_rows=frontier.means.num_rows
    ),
    best_scores=frontier.best_scores[kept],
    best_partners=places[frontier.best_partners[kept]],
    others=frontier.others[kept],
    stale=frontier.stale[kept],
    forbidden=forbidden,
  )


def _merge_all(
  form: Criterion,
  weight: ArrayLike,
  inter: Array,
  frontier: Frontier,
  terms: Terms,
  features: Array,
  num_clusters: int,
  num_merges: int,
) -> tuple[np.ndarray, np.ndarray]:
  """The merges as (kept, absorbed) slots [m, 2], and their scores [m].

  A merge costs as much as the matrix is wide. So where many are left to do, it
  is halved as soon as half its slots are empty; the results are the same. They
  are fewer where no pair is left that may merge.
  """
  slots, pairs, scores = np.arange(len(inter)), [], []
  while True:
    count, half = num_merges, len(inter) // 2
    spare = num_clusters - half
    halves = half >= _SMALLEST and spare >= 0 and num_merges - spare > half // 4
    if halves:
      count = spare
    inter, frontier = merge_loop(
      form, weight, inter, frontier, terms, features, count
    )
    new = np.asarray(frontier.scores)[:count]
    ends = frontier.forbidden is not None and np.isposinf(new).any()
    done = int(np.argmax(np.isposinf(new))) if ends else count
    pairs.append(slots[np.asarray(frontier.pairs)[:done]])
    scores.append(new[:done])
    if ends or not halves:
      return np.concatenate(pairs), np.concatenate(scores)
    num_clusters, num_merges = num_clusters - count, num_merges - count
    kept = np.flatnonzero(frontier.alive).astype(np.int32)
    slots = slots[kept]
    inter, frontier = _halve(inter, frontier, jnp.asarray(kept))
    terms, frontier = frontier.terms, frontier._replace(terms=None)


def merge(
  criterion: Criterion,
  source: Source,
  features: np.ndarray,
  labels: np.ndarray,
  num_clusters: int,
  num_merges: int,
  capacity: int,
  forbidden: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
  """As `matrix_free.merge`, on a matrix; from any source, or ranked."""
  inter = panels.linkage_matrix(
    source, labels, num_clusters, criterion.rule.linkage, capacity=capacity
  )
  terms, means = cluster_terms(
    criterion, source, features, labels, jnp.diagonal(inter)
  )
  form, weight = criterion.form, criterion.reg_weight
  if criterion.merge == 'ranked':
    matrix = np.asarray(score_matrix(form, weight, inter, terms))
    follow = criterion.rule.follows
    return rank_merges(matrix, num_merges, follow, forbidden)
  pairs = padded_pairs(forbidden, capacity)
  frontier = search_all(form, weight, inter, terms, num_clusters, pairs)
  frontier = frontier._replace(means=means._replace(features=None))
  inter, frontier, terms, rows = mesh.for_small_steps(
    (inter, frontier, terms, means.features)
  )
  return _merge_all(
    form, weight, inter, frontier, terms, rows, num_clusters, num_merges
  )
