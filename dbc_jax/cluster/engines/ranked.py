"""Merging by one ranking of all pairs, as the public BUC and DBC codes do."""

import collections
from collections.abc import Iterator

import numpy as np

# Pairs sorted at first, for each merge wanted; then ever more. Sorting all of
# the 83 million pairs of Market-1501 for 646 merges would take ten seconds.
_PAIRS_PER_MERGE = 16
_SAMPLE_SIZE = 2**20


def _ranked_pairs(
  scores: np.ndarray, num_first: int
) -> Iterator[tuple[int, int, float]]:
  """Pairs i < j and their scores, by (score, i, j)."""
  values = scores.ravel()
  # The sample sets where one chunk ends and the next begins, nothing else.
  if len(values) > _SAMPLE_SIZE:
    chosen = np.random.default_rng(0).integers(len(values), size=_SAMPLE_SIZE)
    values = values[chosen]
  values = np.sort(values)
  share = num_first / len(scores) ** 2
  taken = -np.inf
  while taken < np.inf:
    limit = values[int(share * len(values))] if share < 1 else np.inf
    rows, columns = np.nonzero((scores > taken) & (scores <= limit))
    upper = rows < columns
    rows, columns = rows[upper], columns[upper]
    chunk = scores[rows, columns]
    # Stable, and nonzero() goes by rows: equal scores keep the order of (i, j).
    for t in np.argsort(chunk, kind='stable'):
      yield int(rows[t]), int(columns[t]), float(chunk[t])
    taken, share = limit, share * 8


def rank_merges(
  scores: np.ndarray,
  num_merges: int,
  follow: bool,
  forbidden: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
  """Slot pairs (kept, absorbed) [m, 2] and the scores they were ranked with.

  Walks the pairs of clusters from the smallest score up; of two that merge,
  the lower slot survives. Where one of a pair has been absorbed,

  * follow=False, DBC's rule: the pair is skipped. This cannot run out: two
    clusters that survive the whole walk were both alive when their own pair
    came by, so they were merged then. One cluster is left, after K-1 merges.
  * follow=True, BUC's rule: the clusters in which they now live are united, if
    they are not one already. BUC's code ranks pairs of samples; but all
    samples of two clusters share the regulariser, and once the nearest pair
    has united them, their other pairs do nothing. So their minimum linkage
    ranks them just as well.

  Two clusters that hold a pair of `forbidden` [P, 2] are passed over. What may
  not merge never may later, so one walk finds all there is.
  """
  home = np.arange(len(scores))

  def find(slot: int) -> int:
    while home[slot] != slot:
      home[slot] = home[home[slot]]
      slot = home[slot]
    return int(slot)

  # Of each slot, those that it may not merge with.
  apart = collections.defaultdict(set)
  for i, j in [] if forbidden is None else forbidden.tolist():
    apart[i].add(j)
    apart[j].add(i)
  pairs, ranks = [], []
  for i, j, score in _ranked_pairs(scores, _PAIRS_PER_MERGE * num_merges):
    if follow:
      i, j = sorted((find(i), find(j)))
      if i == j:
        continue
    elif home[i] != i or home[j] != j:
      continue
    if apart and j in apart[i]:
      continue
    for other in apart.pop(j, ()):
      apart[other].remove(j)
      apart[other].add(i)
      apart[i].add(other)
    home[j] = i
    pairs.append((i, j))
    ranks.append(score)
    if len(pairs) == num_merges:
      break
  return np.array(pairs, np.int32).reshape(-1, 2), np.array(ranks, np.float32)
