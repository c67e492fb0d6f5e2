"""The exact merge loop: scores follow every merge (DBC's Algorithm 1)."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from dbc_jax.cluster import dispersion, energy
from dbc_jax.cluster.criteria import ClusterTerms, Criterion, pair_scores

_BLOCK_SIZE = 256


class LoopState(NamedTuple):
  """Clusters live in slots 0..K-1; a merged one in the lower of its two.

  A row's best is its smallest score among the live slots to its right, so
  that every pair has one home. `others` bounds from below what the row scores
  with all but its best partner. When the partner merges, and scores worse or
  is gone, that bound becomes the row's best; the row is then stale, and is
  searched again only once its bound is the smallest of all. So a hub that
  everyone is nearest to does not cost a search of all its neighbours, or of
  the whole matrix, each time it grows.
  """

  inter: jax.Array  # [K, K] float32. Dead slots keep their last values.
  terms: ClusterTerms
  means: jax.Array  # [K, D] or [K, 0]
  alive: jax.Array  # [K] bool
  best_scores: jax.Array  # [K] float32, +inf where there is no pair
  best_partners: jax.Array  # [K] int32
  others: jax.Array  # [K] float32, lower bounds
  stale: jax.Array  # [K] bool
  pairs: jax.Array  # [K-1, 2] int32, slots (kept, absorbed)
  scores: jax.Array  # [K-1] float32


def _two_best(scores: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Smallest of each row [R, K], where it is, and the smallest of the rest."""
  # argmin takes the first of equals: a tie goes to the lowest index.
  where = scores.argmin(axis=1).astype(jnp.int32)
  rest = jnp.arange(scores.shape[1]) != where[:, None]
  second = jnp.where(rest, scores, jnp.inf).min(axis=1)
  return scores.min(axis=1), where, second


def _best_to_the_right(
  criterion: Criterion,
  inter: jax.Array,
  terms: ClusterTerms,
  alive: jax.Array,
  rows: jax.Array,
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Of each of `rows`: best score to its right, partner, second-best score."""
  # With M[i] or a dynamic slice XLA copies all of M in the loop; `take` none.
  links = jnp.take(inter, rows, axis=0)
  own = jax.tree.map(lambda x: x[rows, None], terms)
  scores = pair_scores(criterion, links, own, terms)
  pairs = alive & (jnp.arange(len(alive)) > rows[:, None])
  scores = jnp.where(pairs, scores, jnp.inf)
  return _two_best(scores)


def _settle(criterion: Criterion, state: LoopState) -> LoopState:
  """Searches stale rows until the smallest bound is a true score."""

  def is_open(state: LoopState) -> jax.Array:
    return state.stale[jnp.argmin(state.best_scores)]

  def search(state: LoopState) -> LoopState:
    row = jnp.argmin(state.best_scores)
    score, partner, second = _best_to_the_right(
      criterion, state.inter, state.terms, state.alive, row[None]
    )
    return state._replace(
      best_scores=state.best_scores.at[row].set(score[0]),
      best_partners=state.best_partners.at[row].set(partner[0]),
      others=state.others.at[row].set(second[0]),
      stale=state.stale.at[row].set(False),
    )

  return lax.while_loop(is_open, search, state)


def _merged_terms(
  criterion: Criterion, state: LoopState, a: jax.Array, b: jax.Array, inter_ab
) -> tuple[ClusterTerms, jax.Array]:
  """Terms and means after b joined a, in slot a."""
  terms, means = state.terms, state.means
  n_a, n_b = terms.sizes[a], terms.sizes[b]
  n = n_a + n_b
  within = (
    n_a**2 * terms.within[a]
    + n_b**2 * terms.within[b]
    + 2 * n_a * n_b * inter_ab
  ) / n**2
  if criterion.update == 'eq7':
    # DEVIATION(dbc Eq. 7): as printed it contradicts Eq. 3, so it is opt-in.
    intra = dispersion.merged_intra_eq7(
      terms.intra[a], terms.intra[b], inter_ab, n_a, n_b
    )
  else:
    intra = dispersion.intra_dispersion(within, n, criterion.intra)
  mean_a, mean_b = jnp.take(means, jnp.stack([a, b]), axis=0)
  gap = jnp.sum((mean_a - mean_b) ** 2)
  ssd = energy.merged_deviations(terms.ssd[a], terms.ssd[b], n_a, n_b, gap)
  mean = (n_a * mean_a + n_b * mean_b) / n
  merged = ClusterTerms(sizes=n, within=within, intra=intra, ssd=ssd)
  terms = jax.tree.map(lambda x, value: x.at[a].set(value), terms, merged)
  return terms, means.at[a].set(mean)


def _merge_once(
  criterion: Criterion, step: jax.Array, state: LoopState
) -> LoopState:
  """Merges the best pair and brings rows, bounds and records up to date."""
  state = _settle(criterion, state)
  a = jnp.argmin(state.best_scores).astype(jnp.int32)
  b = state.best_partners[a]
  pairs = state.pairs.at[step].set(jnp.stack([a, b]))
  scores = state.scores.at[step].set(state.best_scores[a])

  rows = jnp.take(state.inter, jnp.stack([a, b]), axis=0).astype(jnp.float64)
  terms, means = _merged_terms(criterion, state, a, b, rows[0, b])
  if criterion.name == 'buc':
    row = rows.min(axis=0)
  else:
    n_a, n_b = state.terms.sizes[a], state.terms.sizes[b]
    row = (n_a * rows[0] + n_b * rows[1]) / (n_a + n_b)
  row = row.at[a].set(terms.within[a]).astype(jnp.float32)
  inter = lax.dynamic_update_slice(state.inter, row[None], (a, jnp.int32(0)))
  inter = lax.dynamic_update_slice(inter, row[:, None], (jnp.int32(0), a))
  alive = state.alive.at[b].set(False)

  index = jnp.arange(len(alive))
  merged = jax.tree.map(lambda x: x[a], terms)
  new = pair_scores(criterion, row, merged, terms)
  best, partners = state.best_scores, state.best_partners
  left = alive & (index < a)
  hit = alive & ~state.stale & ((partners == a) | (partners == b))
  # Below what no score but the new one can be.
  rest = jnp.where(hit, state.others, best)
  # An equal score wins where the old best is a true one of no lower index.
  ties = (new == best) & ~state.stale & (a <= partners)
  improved = left & ((new < rest) | ties)
  others = jnp.where(left, jnp.minimum(state.others, new), state.others)
  others = jnp.where(improved, rest, others)
  best = jnp.where(improved, new, rest)
  partners = jnp.where(improved, a, partners)
  stale = (state.stale | hit) & ~improved
  # Row a itself is known in full.
  right = jnp.where(alive & (index > a), new, jnp.inf)
  score, partner, second = _two_best(right[None])
  return LoopState(
    inter=inter,
    terms=terms,
    means=means,
    alive=alive,
    best_scores=best.at[a].set(score[0]).at[b].set(jnp.inf),
    best_partners=partners.at[a].set(partner[0]),
    others=others.at[a].set(second[0]),
    stale=stale.at[a].set(False).at[b].set(False),
    pairs=pairs,
    scores=scores,
  )


@functools.partial(
  jax.jit,
  static_argnames='criterion',
  donate_argnames='inter',
)
def merge_loop(
  criterion: Criterion,
  inter: jax.Array,
  terms: ClusterTerms,
  means: jax.Array,
  num_merges: jax.typing.ArrayLike,
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Slot pairs (kept, absorbed) [K-1, 2] and scores [K-1] of the best merges.

  Only the first num_merges are filled, which compiles once for any number.
  Each merge costs O(K) for itself and for each row searched. Uses up `inter`
  and returns it as the third, else XLA would work on a copy of it.
  """
  k = len(inter)
  block = min(_BLOCK_SIZE, k)
  alive = jnp.ones(k, bool)
  # The last block starts early rather than run over; it repeats equal values.
  starts = np.minimum(np.arange(-(-k // block)) * block, k - block)
  first_rows = jnp.asarray(starts, jnp.int32)

  def search(i: jax.Array, best: tuple) -> tuple:
    rows = first_rows[i] + jnp.arange(block, dtype=jnp.int32)
    found = _best_to_the_right(criterion, inter, terms, alive, rows)
    return jax.tree.map(lambda x, y: x.at[rows].set(y), best, found)

  floats = jnp.zeros(k, jnp.float32)
  empty = (floats, jnp.zeros(k, jnp.int32), floats)
  best, partners, others = lax.fori_loop(0, len(starts), search, empty)
  state = LoopState(
    inter=inter,
    terms=terms,
    means=means,
    alive=alive,
    best_scores=best,
    best_partners=partners,
    others=others,
    stale=jnp.zeros(k, bool),
    pairs=jnp.zeros((k - 1, 2), jnp.int32),
    scores=jnp.zeros(k - 1, jnp.float32),
  )
  body = functools.partial(_merge_once, criterion)
  state = lax.fori_loop(0, num_merges, body, state)
  return state.pairs, state.scores, state.inter
