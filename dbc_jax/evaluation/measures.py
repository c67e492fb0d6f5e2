"""From the places of a query's matches to CMC, mAP and mINP."""

from collections.abc import Sequence

import numpy as np

from dbc_jax.evaluation.truth import Truth, why_no_match

# Galleries drawn under the protocol 'cuhk03'.
_REPEATS = 100

Scores = dict[str, float | np.ndarray]


def places(row: np.ndarray, entries: np.ndarray) -> np.ndarray:
  """0-based places of `entries` in the stable order of `row`."""
  # Sorting values alone is several times faster than a stable argsort; the
  # rare ties are then settled by counting equals of lower index.
  ordered = np.sort(row)
  values = row[entries]
  found = np.searchsorted(ordered, values)
  equals = np.searchsorted(ordered, values, side='right') - found
  for i in np.flatnonzero(equals > 1):
    found[i] += np.count_nonzero(row[: entries[i]] == values[i])
  return found


def places_without(found: np.ndarray, removed: np.ndarray) -> np.ndarray:
  """Ascending places of what is not removed, once the rest is taken out."""
  order = np.argsort(found)
  removed = removed[order]
  return (found[order] - np.cumsum(removed))[~removed]


class GalleryDraws:
  """Galleries of one image an identity, drawn at random, and ranks in them."""

  def __init__(self, truth: Truth, seed: int):
    self._rng = np.random.default_rng(seed)
    self._truth = truth
    self._pids, starts, sizes = np.unique(
      truth.gallery_pids[truth.by_pid], return_index=True, return_counts=True
    )
    drawn = self._rng.random((_REPEATS, len(sizes))) * sizes
    self._drawn = truth.by_pid[starts + drawn.astype(np.int64)]

  def hits(
    self, query: int, row: np.ndarray, matches: np.ndarray
  ) -> np.ndarray:
    """[_REPEATS] 0-based places of a match drawn anew in each gallery."""
    match = self._rng.choice(matches, (_REPEATS, 1))
    others, own = row[self._drawn], row[match]
    nearer = (others < own) | ((others == own) & (self._drawn < match))
    nearer[:, np.searchsorted(self._pids, self._truth.query_pids[query])] = 0
    return nearer.sum(axis=1)


class Collector:
  """Measures of one query after another; their means in the end."""

  def __init__(self, protocol: str, ranks: Sequence[int]):
    self._protocol = protocol
    self._ranks = np.array(ranks)
    self._rows: list[np.ndarray] = []

  def add(
    self, query: int, position: np.ndarray, hits: np.ndarray | None = None
  ) -> None:
    """One query: its matches are at these ascending 0-based places, [R].

    `hits` are places too, which the CMC is read from, all of one weight; None
    takes what the protocol says.
    """
    found = np.arange(len(position))
    if hits is None:
      hits = (
        position[:1] if self._protocol == 'market1501' else position - found
      )
    cmc = (hits[:, None] < self._ranks).mean(axis=0)
    precision = (found + 1) / (position + 1)
    before = np.where(position, found / np.maximum(position, 1), 1.0)
    step, trapezoid = precision.mean(), (precision + before).mean() / 2
    first_rank, inp = position[0] + 1, precision[-1]
    self._rows.append(np.array([query, first_rank, step, trapezoid, inp, *cmc]))

  def rows(self) -> np.ndarray:
    """What was added, [V, W] float64, a row a query."""
    return np.array(self._rows).reshape(-1, 5 + len(self._ranks))

  def take(self, rows: np.ndarray) -> None:
    """Adds what another one was given."""
    self._rows.extend(rows)

  def scores(self, truth: Truth, per_query: bool) -> Scores:
    """All scores of a protocol; raises a ValueError if nothing was added."""
    if not self._rows:
      raise ValueError(why_no_match(truth))
    query, first_rank, step, trapezoid, inp, *cmc = self.rows().T
    scores: Scores = {
      f'rank{rank}': float(shares.mean())
      for rank, shares in zip(self._ranks, cmc, strict=True)
    }
    scores |= {
      'map': float(step.mean()),
      'map_trapz': float(trapezoid.mean()),
      'minp': float(inp.mean()),
      'num_valid_queries': len(query),
    }
    if per_query:
      scores |= {
        'query_index': query.astype(np.int64),
        'first_rank': first_rank.astype(np.int64),
        'ap': step,
        'inp': inp,
      }
    return scores
