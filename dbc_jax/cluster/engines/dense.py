"""Merging on a [K, K] matrix, which follows every merge."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.typing import ArrayLike

from dbc_jax.cluster.criteria.criterion import Criterion
from dbc_jax.cluster.criteria.means import Means
from dbc_jax.cluster.criteria.rule import Terms
from dbc_jax.cluster.distances import panels
from dbc_jax.cluster.distances.sources import Source
from dbc_jax.cluster.engines import frontier as frontier_lib
from dbc_jax.cluster.engines.choice import slot_capacity
from dbc_jax.cluster.engines.frontier import Frontier, best_row, search
from dbc_jax.cluster.engines.ranked import rank_merges
from dbc_jax.cluster.scores import cluster_terms, score_matrix

_BLOCK_SIZE = 64


@functools.partial(
  jax.jit, static_argnames='form', donate_argnames=('inter', 'means')
)
def merge_loop(
  form: Criterion,
  weight: ArrayLike,
  inter: Array,
  terms: Terms,
  means: Means,
  features: Array,
  num_clusters: ArrayLike,
  num_merges: ArrayLike,
) -> tuple[Array, Array, tuple[Array, Means]]:
  """Slot pairs (kept, absorbed) [C-1, 2] and scores [C-1] of the best merges.

  Only the first num_merges are filled, and only the first num_clusters slots
  used, which compiles once for any number of either. Each merge costs O(C) for
  itself and for each row searched. Uses up `inter` [C, C] and `means`, which
  therefore come without their features, and returns them as the third, else XLA
  would work on copies.
  """
  capacity = len(inter)
  block = min(_BLOCK_SIZE, capacity)
  # The last block starts early rather than run over; it repeats equal values.
  starts = np.minimum(
    np.arange(-(-capacity // block)) * block, capacity - block
  )
  starts = jnp.asarray(starts, jnp.int32)

  def row_links(inter: Array, rows: Array) -> Array:
    # With M[i] or a dynamic slice XLA copies all of M in the loop; `take` none.
    return jnp.take(inter, rows, axis=0)

  def first_search(i: Array, frontier: Frontier) -> Frontier:
    rows = starts[i] + jnp.arange(block, dtype=jnp.int32)
    return search(form, weight, frontier, rows, row_links(inter, rows))

  def merge(step: Array, state: tuple) -> tuple:
    inter, frontier = state

    terms, means = frontier.terms, frontier.means

    def search_again(frontier: Frontier) -> Frontier:
      rows = best_row(frontier)[0][None]
      links = row_links(inter, rows)
      frontier = search(
        form, weight, frontier._replace(terms=terms), rows, links
      )
      return frontier._replace(terms=None)

    # What a search does not change stays out of its loop, which would copy it.
    frontier = lax.while_loop(
      lambda frontier: best_row(frontier)[2],
      search_again,
      frontier._replace(terms=None, means=None),
    )._replace(terms=terms, means=means)
    a, b, _ = best_row(frontier)
    links = row_links(inter, jnp.stack([a, b]))
    frontier, row = frontier_lib.merge_best(form, weight, step, frontier, links)
    # Dead slots keep their last values.
    inter = lax.dynamic_update_slice(inter, row[None], (a, jnp.int32(0)))
    inter = lax.dynamic_update_slice(inter, row[:, None], (jnp.int32(0), a))
    return inter, frontier

  means = means._replace(features=features)
  frontier = frontier_lib.start_frontier(terms, means, num_clusters)
  frontier = lax.fori_loop(0, len(starts), first_search, frontier)
  inter, frontier = lax.fori_loop(0, num_merges, merge, (inter, frontier))
  used_up = inter, frontier.means._replace(features=None)
  return frontier.pairs, frontier.scores, used_up


def merge(
  criterion: Criterion,
  source: Source,
  features: np.ndarray,
  labels: np.ndarray,
  num_clusters: int,
  num_merges: int,
) -> tuple[np.ndarray, np.ndarray]:
  """As `matrix_free.merge`, on a [K, K] matrix; from any source, or ranked."""
  capacity = num_clusters
  if criterion.merge == 'sequential':
    capacity = slot_capacity(num_clusters, len(labels))
  inter = panels.linkage_matrix(
    source, labels, num_clusters, criterion.rule.linkage, capacity=capacity
  )
  terms, means = cluster_terms(
    criterion, source, features, labels, jnp.diagonal(inter), num_merges
  )
  form, weight = criterion.form, criterion.reg_weight
  if criterion.merge == 'ranked':
    matrix = np.asarray(score_matrix(form, weight, inter, terms))
    return rank_merges(matrix, num_merges, follow=criterion.rule.follows)
  slots, scores, _ = merge_loop(
    form,
    weight,
    inter,
    terms,
    means._replace(features=None),
    means.features,
    num_clusters,
    num_merges,
  )
  return np.asarray(slots)[:num_merges], np.asarray(scores)[:num_merges]
