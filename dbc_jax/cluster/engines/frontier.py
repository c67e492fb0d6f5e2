"""The exact merge: scores follow every merge (DBC's Algorithm 1).

What follows a merge is the same for every engine. Engines differ in where they
take the linkage of a cluster from.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from dbc_jax.cluster.criteria.criterion import Criterion
from dbc_jax.cluster.criteria.means import Means
from dbc_jax.cluster.criteria.rule import Rule, Terms
from dbc_jax.cluster.scores import pair_scores

# Pairs that may not merge are padded to so many at least.
_FEWEST_PAIRS = 64


class Frontier(NamedTuple):
  """Clusters live in slots 0..C-1; a merged one in the lower of its two.

  A row's best is its smallest score among the live slots to its right, so
  that every pair has one home. `others` bounds from below what the row scores
  with all but its best partner. When the partner merges, and scores worse or
  is gone, that bound becomes the row's best; the row is then stale, and is
  searched again only once its bound is the smallest of all. So a hub that
  everyone is nearest to does not cost a search of all its neighbours, or of
  the whole matrix, each time it grows.

  A pair that may not merge scores +inf. `forbidden` lists these pairs, in place
  of a [C, C] mask: renamed with every merge it holds exactly the pairs of live
  clusters that any two of their members forbid, in every engine's memory.
  """

  terms: Any  # `Terms` and `Means`, or None where a loop does not carry them
  means: Any
  alive: Array  # [C] bool
  best_scores: Array  # [C] float32, +inf where there is no pair
  best_partners: Array  # [C] int32
  others: Array  # [C] float32, lower bounds
  stale: Array  # [C] bool
  pairs: Array  # [C-1, 2] int32, slots (kept, absorbed)
  scores: Array  # [C-1] float32
  forbidden: Any = None  # [P, 2] int32, slots; or None, which compiles nothing


def padded_pairs(pairs: np.ndarray | None, capacity: int) -> Array | None:
  """Pairs of slots [P, 2], padded so that programs are compiled for few P."""
  if pairs is None:
    return None
  size = max(_FEWEST_PAIRS, 2 ** (len(pairs) - 1).bit_length())
  missing = size - len(pairs)
  return jnp.asarray(
    np.pad(pairs, ((0, missing), (0, 0)), constant_values=capacity), jnp.int32
  )


def start_frontier(
  terms: Terms,
  means: Means | None,
  num_clusters: ArrayLike,
  forbidden: Array | None = None,
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
    forbidden=forbidden,
  )


def _allowed(scores: Array, forbidden: Array | None, rows: Array) -> Array:
  """Scores [R, C] of `rows` [R] with all, +inf where a pair may not merge."""
  if forbidden is None:
    return scores
  count, capacity = scores.shape
  index = jnp.arange(count, dtype=jnp.int32)
  places = jnp.full(capacity, count, jnp.int32).at[rows].set(index, mode='drop')
  pairs = jnp.concatenate([forbidden, forbidden[:, ::-1]])
  own = places.at[pairs[:, 0]].get(mode='fill', fill_value=count)
  return scores.at[own, pairs[:, 1]].set(jnp.inf, mode='drop')


def _smallest(scores: Array) -> tuple[Array, Array]:
  """Smallest of the last axis, and the first place where it is.

  As argmin, which XLA computes at a third of the speed on a CPU.
  """
  index = jnp.arange(scores.shape[-1], dtype=jnp.int32)
  smallest = scores.min(axis=-1, keepdims=True)
  where = jnp.where(scores == smallest, index, scores.shape[-1]).min(axis=-1)
  return smallest[..., 0], where


def _two_best(scores: Array) -> tuple[Array, Array, Array]:
  """Smallest of each row [R, C], where it is, and the smallest of the rest."""
  smallest, where = _smallest(scores)
  rest = jnp.arange(scores.shape[1]) != where[:, None]
  return smallest, where, jnp.where(rest, scores, jnp.inf).min(axis=1)


def search(
  form: Criterion,
  weight: ArrayLike,
  frontier: Frontier,
  rows: Array,
  links: Array,
) -> Frontier:
  """Finds the best of `rows` [R] to their right, from their linkage [R, C].

  Rows of C or more are passed over.
  """
  terms, alive = frontier.terms, frontier.alive
  own = jax.tree.map(lambda x: x.at[rows].get(mode='clip')[:, None], terms)
  scores = pair_scores(form, weight, links, own, terms)
  scores = _allowed(scores, frontier.forbidden, rows)
  pairs = alive & (jnp.arange(len(alive)) > rows[:, None])
  pairs &= alive.at[rows].get(mode='clip')[:, None]
  score, partner, second = _two_best(jnp.where(pairs, scores, jnp.inf))

  def put(old: Array, new: Array) -> Array:
    return old.at[rows].set(new, mode='drop')

  return frontier._replace(
    best_scores=put(frontier.best_scores, score),
    best_partners=put(frontier.best_partners, partner),
    others=put(frontier.others, second),
    stale=put(frontier.stale, jnp.zeros(len(rows), bool)),
  )


class Best(NamedTuple):
  """The row of the smallest bound, and its partner unless it is stale."""

  row: Array  # int32
  partner: Array  # int32
  stale: Array  # bool


def best_row(frontier: Frontier) -> Best:
  """What merges next, or is to be searched first."""
  _, row = _smallest(frontier.best_scores)
  return Best(row, frontier.best_partners[row], frontier.stale[row])


def _merged_terms(
  rule: Rule, terms: Terms, means: Means, a: Array, b: Array, inter_ab: Array
) -> tuple[Terms, Means]:
  """Terms and means after b joined a, in slot a."""
  mean_a, mean_b = means.of(jnp.stack([a, b]))
  gap = jnp.sum((mean_a - mean_b) ** 2)
  of_a, of_b = (jax.tree.map(lambda x: x[slot], terms) for slot in (a, b))  # noqa: B023
  merged = rule.merge(of_a, of_b, inter_ab, gap)
  terms = jax.tree.map(lambda x, value: x.at[a].set(value), terms, merged)
  mean = (of_a.sizes * mean_a + of_b.sizes * mean_b) / merged.sizes
  return terms, means.merged(a, b, mean)


def merge_best(
  form: Criterion,
  weight: ArrayLike,
  step: ArrayLike,
  frontier: Frontier,
  best: Best,
  links: Array,
) -> tuple[Frontier, Array]:
  """Merges the frontier's best row, which is not stale, with its partner.

  `links` [2, C] float32 is the linkage of the row and of its partner, `step`
  the number of merges before. Returns the frontier with bests, bounds and
  records up to date, and the linkage [C] float32 of the merged cluster.
  """
  a, b, _ = best
  links = links.astype(jnp.float64)
  terms, means = _merged_terms(
    form.rule, frontier.terms, frontier.means, a, b, links[0, b]
  )
  n_a, n_b = frontier.terms.sizes[a], frontier.terms.sizes[b]
  row = form.rule.linkage.merge(links[0], links[1], n_a, n_b)
  row = row.at[a].set(terms.within[a]).astype(jnp.float32)
  alive = frontier.alive.at[b].set(False)

  index = jnp.arange(len(alive))
  merged = jax.tree.map(lambda x: x[a], terms)
  new = pair_scores(form, weight, row, merged, terms)
  forbidden = frontier.forbidden
  if forbidden is not None:
    forbidden = jnp.where(forbidden == b, a, forbidden)
    new = _allowed(new[None], forbidden, a[None])[0]
  bests, partners = frontier.best_scores, frontier.best_partners
  left = alive & (index < a)
  hit = alive & ~frontier.stale & ((partners == a) | (partners == b))
  # Below what no score but the new one can be.
  rest = jnp.where(hit, frontier.others, bests)
  # An equal score wins where the old best is a true one of no lower index.
  ties = (new == bests) & ~frontier.stale & (a <= partners)
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
    forbidden=forbidden,
  ), row
