"""The compiled part of `sparse`: a graph whose edges contract.

A row lists the neighbours of a cluster, and the sums of similarities with them.
After a merge other rows keep the names of both parts: names are resolved, and
sums of equal ones put together, when a row is read.

All compiled functions stand in this file: what is kept of them on disk is
compiled anew when the file changes, and not when another one does.
"""

import heapq

import numpy as np

from dbc_jax.cluster.compiled import compiled
from dbc_jax.cluster.engines.separable import (
  DEVIATIONS,
  EQ7,
  MEAN,
  SIZES,
  SUM,
)


@compiled
def _home(parents, slot):
  while parents[slot] != slot:
    parents[slot] = parents[parents[slot]]
    slot = parents[slot]
  return slot


@compiled
def _gather(graph, scratch, nearest, slot, count):
  """Adds a row to the sums; `count` names were seen before it."""
  for place in range(
    graph.starts[slot], graph.starts[slot] + graph.lengths[slot]
  ):
    other = _home(graph.parents, graph.ids[place])
    value = graph.values[place]
    if scratch.marks[other] != scratch.stamp[0]:
      scratch.marks[other] = scratch.stamp[0]
      scratch.sums[other] = value
      scratch.seen[count] = other
      count += 1
    elif nearest:
      scratch.sums[other] = max(scratch.sums[other], value)
    else:
      scratch.sums[other] += value
  return count


@compiled
def _write(graph, scratch, slot, count):
  """Puts what was seen into the row's place; `count` is no longer than it."""
  place = graph.starts[slot]
  for i in range(count):
    other = scratch.seen[i]
    if other != slot:
      graph.ids[place] = other
      graph.values[place] = scratch.sums[other]
      place += 1
  graph.lengths[slot] = place - graph.starts[slot]


@compiled
def fill(graph, inner, edges, labels, order, ends, nearest):
  """Rows of clusters from those of samples; the first free place.

  Args:
    graph: whose rows are written.
    inner: [K] float64, zero; gets the sums inside the clusters.
    edges: starts, lengths, neighbours and similarities of the samples.
    labels: [N] clusters of the samples; `order` sorts them, and `ends` [K] are
      the places behind the last of each cluster in it.
    nearest: whether the largest similarity counts, and not the sum.
  """
  count = len(inner)
  marks, places = np.full(count, -1, np.int64), np.zeros(count, np.int64)
  starts, lengths, ids, values = edges
  free, member = 0, 0
  for slot in range(count):
    graph.starts[slot] = free
    while member < ends[slot]:
      sample = order[member]
      member += 1
      for edge in range(starts[sample], starts[sample] + lengths[sample]):
        other, value = labels[ids[edge]], values[edge]
        if other == slot:
          if ids[edge] != sample:
            inner[slot] += value
        elif value <= 0.0:
          continue
        elif marks[other] != slot:
          marks[other] = slot
          places[other] = free
          graph.ids[free] = other
          graph.values[free] = value
          free += 1
        elif nearest:
          graph.values[places[other]] = max(graph.values[places[other]], value)
        else:
          graph.values[places[other]] += value
    graph.lengths[slot] = free - graph.starts[slot]
  return free


@compiled
def _compact(graph):
  """Moves all rows to the front; the first place that is free."""
  order = np.argsort(graph.starts)
  place = 0
  for slot in order:
    if graph.parents[slot] != slot:
      continue
    start, length = graph.starts[slot], graph.lengths[slot]
    for i in range(length):
      graph.ids[place + i] = graph.ids[start + i]
      graph.values[place + i] = graph.values[start + i]
    graph.starts[slot] = place
    place += length
  return place


@compiled
def _bar(graph, bars, scratch, slot):
  """Marks what may not merge with a cluster."""
  place = bars.heads[slot]
  while place >= 0:
    other = _home(graph.parents, bars.targets[place])
    scratch.barred[other] = scratch.stamp[0]
    place = bars.following[place]


@compiled
def _score(form, clusters, total, a, b):
  """Of two clusters with a sum of similarities; rounded as other engines do."""
  if not form.nearest:
    total /= clusters.sizes[a] * clusters.sizes[b]
  value = form.scale * np.float64(np.float32(1.0 - total))
  value -= clusters.spreads[a] + clusters.spreads[b]
  if form.weight > 0.0:
    value += form.weight * (clusters.prices[a] + clusters.prices[b])
  return np.float64(np.float32(value))


@compiled
def _tie(a, b):
  """Orders pairs of slots, the lowest first."""
  return (np.int64(min(a, b)) << 32) | np.int64(max(a, b))


@compiled
def _within(clusters, slot):
  """M_aa, the mean distance over all ordered pairs."""
  size = clusters.sizes[slot]
  return max(1.0 - 1.0 / size - clusters.inner[slot] / (size * size), 0.0)


@compiled
def _set_terms(form, clusters, slot):
  """Spread and price, but for that of Eq. 7, which follows another way."""
  if form.price == SIZES:
    clusters.prices[slot] = clusters.sizes[slot]
  elif form.price == SUM:
    clusters.prices[slot] = clusters.sizes[slot] * _within(clusters, slot)
  elif form.price == MEAN:
    clusters.prices[slot] = _within(clusters, slot)
  elif form.price == DEVIATIONS:
    clusters.prices[slot] = clusters.deviations[slot]
  if form.scale == 2.0:
    clusters.spreads[slot] = _within(clusters, slot)


@compiled
def _own(form, clusters, slot):
  """What a cluster adds to its score with any that it shares no edge with."""
  return form.weight * clusters.prices[slot] - clusters.spreads[slot]


@compiled
def _best(form, graph, bars, clusters, scratch, slot, count):
  """Score and tie of the best pair of a cluster with what was seen."""
  _bar(graph, bars, scratch, slot)
  best, tie = np.inf, np.int64(0)
  for i in range(count):
    other = scratch.seen[i]
    if other == slot or scratch.barred[other] == scratch.stamp[0]:
      continue
    score = _score(form, clusters, scratch.sums[other], slot, other)
    if score < best or (score == best and _tie(slot, other) < tie):
      best, tie = score, _tie(slot, other)
  return best, tie


@compiled
def _search(form, graph, bars, clusters, scratch, slot):
  """Reads a row anew; score and tie of its best pair, +inf for none."""
  scratch.stamp[0] += 1
  count = _gather(graph, scratch, form.nearest, slot, 0)
  _write(graph, scratch, slot, count)
  return _best(form, graph, bars, clusters, scratch, slot, count)


@compiled
def _unite(form, graph, bars, clusters, scratch, a, b, free):
  """Puts b into a, and searches it; score, tie, and the first free place."""
  scratch.stamp[0] += 1
  count = _gather(graph, scratch, form.nearest, a, 0)
  between = 0.0
  if scratch.marks[b] == scratch.stamp[0]:
    between = scratch.sums[b]
  count = _gather(graph, scratch, form.nearest, b, count)
  kept = 0
  for i in range(count):
    if scratch.seen[i] != a and scratch.seen[i] != b:
      scratch.seen[kept] = scratch.seen[i]
      kept += 1
  length = graph.lengths[a]
  graph.lengths[a] = graph.lengths[b] = 0
  graph.parents[b] = a
  if kept > length:
    if free + kept > len(graph.ids):
      # Without the row of a, whose place goes as well.
      free = _compact(graph)
    graph.starts[a] = free
    free += kept
  _write(graph, scratch, a, kept)

  size_a, size_b = clusters.sizes[a], clusters.sizes[b]
  pairs = size_a * size_b
  if form.price == EQ7:
    mean = np.float64(np.float32(1.0 - between / pairs))
    total = size_a * clusters.prices[a] + size_b * clusters.prices[b]
    clusters.prices[a] = (total + pairs * mean) / (size_a + size_b + pairs)
  gap = 0.0
  for d in range(clusters.means.shape[1]):
    x, y = clusters.means[a, d], clusters.means[b, d]
    gap += (x - y) * (x - y)
    clusters.means[a, d] = (size_a * x + size_b * y) / (size_a + size_b)
  clusters.sizes[a] = size_a + size_b
  clusters.inner[a] += clusters.inner[b] + 2.0 * between
  clusters.deviations[a] += (
    clusters.deviations[b] + pairs / (size_a + size_b) * gap
  )
  _set_terms(form, clusters, a)
  if bars.heads[b] >= 0:
    if bars.heads[a] < 0:
      bars.heads[a] = bars.heads[b]
    else:
      bars.following[bars.tails[a]] = bars.heads[b]
    bars.tails[a] = bars.tails[b]
  score, tie = _best(form, graph, bars, clusters, scratch, a, kept)
  return score, tie, free


@compiled
def _next_by_own(queue, versions):
  """Takes the live cluster of the smallest own number off the queue."""
  while len(queue):
    own, slot, version = heapq.heappop(queue)
    if versions[slot] == version:
      return own, slot, version
  return np.inf, np.int64(-1), np.int64(0)


@compiled
def _mark(form, graph, bars, scratch, slot):
  """Bars what a cluster shares an edge with, or may not merge with."""
  scratch.stamp[0] += 1
  count = _gather(graph, scratch, form.nearest, slot, 0)
  _bar(graph, bars, scratch, slot)
  for i in range(count):
    scratch.barred[scratch.seen[i]] = scratch.stamp[0]


@compiled
def _best_apart(form, graph, bars, clusters, scratch, queue, versions, limit):
  """The best pair that shares no edge, where it scores up to `limit`.

  All that comes before the first cluster apart from the first of the queue is
  looked at. What comes behind makes no better pair: its numbers are larger.
  """
  best, tie = np.inf, np.int64(0)
  taken = [_next_by_own(queue, versions)]
  first = taken[0][1]
  if first < 0:
    return best, tie
  while True:
    entry = _next_by_own(queue, versions)
    slot = entry[1]
    if slot < 0:
      break
    taken.append(entry)
    score = _score(form, clusters, 0.0, first, slot)
    if score > limit:
      break
    if len(taken) == 2:
      _mark(form, graph, bars, scratch, first)
    if scratch.barred[slot] != scratch.stamp[0]:
      best, tie = score, _tie(first, slot)
      break
  for i in range(1, len(taken) - 1):
    one, is_read = taken[i][1], False
    for j in range(i + 1, len(taken)):
      other = taken[j][1]
      score = _score(form, clusters, 0.0, one, other)
      if score > min(best, limit):
        break
      if not is_read:
        _mark(form, graph, bars, scratch, one)
        is_read = True
      if scratch.barred[other] == scratch.stamp[0]:
        continue
      if score < best or _tie(one, other) < tie:
        best, tie = score, _tie(one, other)
  for entry in taken:
    if entry[1] >= 0:
      heapq.heappush(queue, entry)
  return best, tie


@compiled
def contract(form, graph, bars, clusters, scratch, free, num_merges):
  """The best merges, one after the other.

  Args:
    form, graph, bars, clusters, scratch: which are used up.
    free: the first place of the graph that no row has.
    num_merges: m, at most.

  Returns:
    Slots (kept, absorbed) [m, 2] int32 and scores [m] float32; fewer where no
    pair is left that may merge.
  """
  count = len(graph.parents)
  # A cluster is another one after it took part in a merge.
  versions = np.zeros(count, np.int64)
  rows = [(np.inf, np.int64(0), np.int64(0), np.int64(0), np.int64(0))]
  queue = [(np.inf, np.int64(-1), np.int64(-1))]
  rows.clear()
  queue.clear()
  for slot in range(count):
    _set_terms(form, clusters, slot)
    queue.append((_own(form, clusters, slot), np.int64(slot), np.int64(0)))
  for slot in range(count):
    score, tie = _search(form, graph, bars, clusters, scratch, slot)
    if score < np.inf:
      rows.append((score, tie, np.int64(slot), np.int64(0), np.int64(0)))
  heapq.heapify(rows)
  heapq.heapify(queue)

  pairs = np.empty((num_merges, 2), np.int32)
  scores = np.empty(num_merges, np.float32)
  for step in range(num_merges):
    best, tie = np.inf, np.int64(0)
    while len(rows):
      best, tie, slot, version, of_partner = rows[0]
      if versions[slot] == version:
        low, high = tie >> 32, tie & 0xFFFFFFFF
        partner = high if slot == low else low
        if versions[partner] == of_partner:
          break
        # Other pairs of this row score no less than the one that is gone.
        heapq.heappop(rows)
        score, tie = _search(form, graph, bars, clusters, scratch, slot)
        if score < np.inf:
          low, high = tie >> 32, tie & 0xFFFFFFFF
          partner = high if slot == low else low
          heapq.heappush(rows, (score, tie, slot, version, versions[partner]))
      else:
        heapq.heappop(rows)
      best = np.inf
    other, other_tie = _best_apart(
      form, graph, bars, clusters, scratch, queue, versions, best
    )
    if other < best or (other == best and other < np.inf and other_tie < tie):
      best, tie = other, other_tie
    if best == np.inf:
      return pairs[:step], scores[:step]
    a, b = tie >> 32, tie & 0xFFFFFFFF
    score, tie, free = _unite(form, graph, bars, clusters, scratch, a, b, free)
    versions[a] += 1
    versions[b] = -1
    pairs[step, 0], pairs[step, 1], scores[step] = a, b, best
    own = _own(form, clusters, a)
    heapq.heappush(queue, (own, a, versions[a]))
    if score < np.inf:
      low, high = tie >> 32, tie & 0xFFFFFFFF
      partner = high if a == low else low
      heapq.heappush(rows, (score, tie, a, versions[a], versions[partner]))
  return pairs, scores
