"""The exact merge: scores follow every merge (DBC's Algorithm 1).

What follows a merge is here, for both engines; `matrix_free` runs it from
Python, `merge_loop` in one compiled loop over a [K, K] matrix.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from dbc_jax.cluster.criteria import dbc, ecluster
from dbc_jax.cluster.criteria.criterion import (
  ClusterTerms,
  Criterion,
  pair_scores,
)
from dbc_jax.cluster.criteria.means import Means

_BLOCK_SIZE = 64


class Frontier(NamedTuple):
  """Clusters live in slots 0..C-1; a merged one in the lower of its two.

  A row's best is its smallest score among the live slots to its right, so
  that every pair has one home. `others` bounds from below what the row scores
  with all but its best partner. When the partner merges, and scores worse or
  is gone, that bound becomes the row's best; the row is then stale, and is
  searched again only once its bound is the smallest of all. So a hub that
  everyone is nearest to does not cost a search of all its neighbours, or of
  the whole matrix, each time it grows.
  """

  terms: ClusterTerms
  means: Means
  alive: jax.Array  # [C] bool
  best_scores: jax.Array  # [C] float32, +inf where there is no pair
  best_partners: jax.Array  # [C] int32
  others: jax.Array  # [C] float32, lower bounds
  stale: jax.Array  # [C] bool
  pairs: jax.Array  # [C-1, 2] int32, slots (kept, absorbed)
  scores: jax.Array  # [C-1] float32


def start_frontier(
  terms: ClusterTerms, means: Means, num_clusters: jax.typing.ArrayLike
) -> Frontier:
  """Before the first merge; rows have to be searched."""
  capacity = len(terms.sizes)
  return Frontier(
    terms=terms,
    means=means,
    alive=jnp.arange(capacity) < num_clusters,
    best_scores=jnp.full(capacity, jnp.inf, jnp.float32),
    best_partners=jnp.zeros(capacity, jnp.int32),
    others=jnp.full(capacity, jnp.inf, jnp.float32),
    stale=jnp.zeros(capacity, bool),
    pairs=jnp.zeros((capacity - 1, 2), jnp.int32),
    scores=jnp.zeros(capacity - 1, jnp.float32),
  )


def _two_best(scores: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Smallest of each row [R, C], where it is, and the smallest of the rest."""
  # argmin takes the first of equals: a tie goes to the lowest index.
  where = scores.argmin(axis=1).astype(jnp.int32)
  rest = jnp.arange(scores.shape[1]) != where[:, None]
  second = jnp.where(rest, scores, jnp.inf).min(axis=1)
  return scores.min(axis=1), where, second


def search(
  form: Criterion,
  weight: jax.typing.ArrayLike,
  frontier: Frontier,
  rows: jax.Array,
  links: jax.Array,
) -> Frontier:
  """Finds the best of `rows` [R] to their right, from their linkage [R, C].

  Rows of C or more are passed over.
  """
  terms, alive = frontier.terms, frontier.alive
  own = jax.tree.map(lambda x: x.at[rows].get(mode='clip')[:, None], terms)
  scores = pair_scores(form, weight, links, own, terms)
  pairs = alive & (jnp.arange(len(alive)) > rows[:, None])
  pairs &= alive.at[rows].get(mode='clip')[:, None]
  score, partner, second = _two_best(jnp.where(pairs, scores, jnp.inf))

  def put(old: jax.Array, new: jax.Array) -> jax.Array:
    return old.at[rows].set(new, mode='drop')

  return frontier._replace(
    best_scores=put(frontier.best_scores, score),
    best_partners=put(frontier.best_partners, partner),
    others=put(frontier.others, second),
    stale=put(frontier.stale, jnp.zeros(len(rows), bool)),
  )


def best_row(frontier: Frontier) -> tuple[jax.Array, jax.Array, jax.Array]:
  """The row of the smallest bound, its partner, and whether it is stale."""
  row = jnp.argmin(frontier.best_scores).astype(jnp.int32)
  return row, frontier.best_partners[row], frontier.stale[row]


def _merged_terms(
  criterion: Criterion,
  terms: ClusterTerms,
  means: Means,
  a: jax.Array,
  b: jax.Array,
  inter_ab: jax.Array,
) -> tuple[ClusterTerms, Means]:
  """Terms and means after b joined a, in slot a."""
  n_a, n_b = terms.sizes[a], terms.sizes[b]
  n = n_a + n_b
  within = (
    n_a**2 * terms.within[a]
    + n_b**2 * terms.within[b]
    + 2 * n_a * n_b * inter_ab
  ) / n**2
  if criterion.update == 'eq7':
    # DEVIATION(dbc Eq. 7): as printed it contradicts Eq. 3, so it is opt-in.
    intra = dbc.merged_intra_eq7(
      terms.intra[a], terms.intra[b], inter_ab, n_a, n_b
    )
  else:
    intra = dbc.intra_dispersion(within, n, criterion.intra)
  mean_a, mean_b = means.of(jnp.stack([a, b]))
  gap = jnp.sum((mean_a - mean_b) ** 2)
  ssd = ecluster.merged_deviations(terms.ssd[a], terms.ssd[b], n_a, n_b, gap)
  merged = ClusterTerms(sizes=n, within=within, intra=intra, ssd=ssd)
  terms = jax.tree.map(lambda x, value: x.at[a].set(value), terms, merged)
  return terms, means.merged(a, b, (n_a * mean_a + n_b * mean_b) / n)


def merge_best(
  form: Criterion,
  weight: jax.typing.ArrayLike,
  step: jax.typing.ArrayLike,
  frontier: Frontier,
  links: jax.Array,
) -> tuple[Frontier, jax.Array]:
  """Merges the best row, which is not stale, with its partner.

  Args:
    form: of the criterion.
    weight: its reg_weight.
    step: number of merges before.
    frontier: before the merge.
    links: [2, C] float32, the linkage of the row and of its partner.

  Returns:
    The frontier with bests, bounds and records up to date, and the linkage
    [C] float32 of the merged cluster.
  """
  a, b, _ = best_row(frontier)
  links = links.astype(jnp.float64)
  terms, means = _merged_terms(
    form, frontier.terms, frontier.means, a, b, links[0, b]
  )
  if form.reduce == 'min':
    row = links.min(axis=0)
  else:
    n_a, n_b = frontier.terms.sizes[a], frontier.terms.sizes[b]
    row = (n_a * links[0] + n_b * links[1]) / (n_a + n_b)
  row = row.at[a].set(terms.within[a]).astype(jnp.float32)
  alive = frontier.alive.at[b].set(False)

  index = jnp.arange(len(alive))
  merged = jax.tree.map(lambda x: x[a], terms)
  new = pair_scores(form, weight, row, merged, terms)
  best, partners = frontier.best_scores, frontier.best_partners
  left = alive & (index < a)
  hit = alive & ~frontier.stale & ((partners == a) | (partners == b))
  # Below what no score but the new one can be.
  rest = jnp.where(hit, frontier.others, best)
  # An equal score wins where the old best is a true one of no lower index.
  ties = (new == best) & ~frontier.stale & (a <= partners)
  improved = left & ((new < rest) | ties)
  others = jnp.where(left, jnp.minimum(frontier.others, new), frontier.others)
  others = jnp.where(improved, rest, others)
  stale = (frontier.stale | hit) & ~improved
  # Row a itself is known in full.
  right = jnp.where(alive & (index > a), new, jnp.inf)
  score, partner, second = _two_best(right[None])
  return Frontier(
    terms=terms,
    means=means,
    alive=alive,
    best_scores=jnp.where(improved, new, rest)
    .at[a]
    .set(score[0])
    .at[b]
    .set(jnp.inf),
    best_partners=jnp.where(improved, a, partners).at[a].set(partner[0]),
    others=others.at[a].set(second[0]),
    stale=stale.at[a].set(False).at[b].set(False),
    pairs=frontier.pairs.at[step].set(jnp.stack([a, b])),
    scores=frontier.scores.at[step].set(frontier.best_scores[a]),
  ), row


@functools.partial(
  jax.jit, static_argnames='form', donate_argnames=('inter', 'means')
)
def merge_loop(
  form: Criterion,
  weight: jax.typing.ArrayLike,
  inter: jax.Array,
  terms: ClusterTerms,
  means: Means,
  features: jax.Array,
  num_clusters: jax.typing.ArrayLike,
  num_merges: jax.typing.ArrayLike,
) -> tuple[jax.Array, jax.Array, tuple[jax.Array, Means]]:
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

  def row_links(inter: jax.Array, rows: jax.Array) -> jax.Array:
    # With M[i] or a dynamic slice XLA copies all of M in the loop; `take` none.
    return jnp.take(inter, rows, axis=0)

  def first_search(i: jax.Array, frontier: Frontier) -> Frontier:
    rows = starts[i] + jnp.arange(block, dtype=jnp.int32)
    return search(form, weight, frontier, rows, row_links(inter, rows))

  def merge(step: jax.Array, state: tuple) -> tuple:
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
    frontier, row = merge_best(form, weight, step, frontier, links)
    # Dead slots keep their last values.
    inter = lax.dynamic_update_slice(inter, row[None], (a, jnp.int32(0)))
    inter = lax.dynamic_update_slice(inter, row[:, None], (jnp.int32(0), a))
    return inter, frontier

  means = means._replace(features=features)
  frontier = start_frontier(terms, means, num_clusters)
  frontier = lax.fori_loop(0, len(starts), first_search, frontier)
  inter, frontier = lax.fori_loop(0, num_merges, merge, (inter, frontier))
  used_up = inter, frontier.means._replace(features=None)
  return frontier.pairs, frontier.scores, used_up
