"""Labels made to agree with links between samples, and trees of few samples.

A cluster that holds a cannot-link is split along its own tree, and those that
must-links join become one.
"""

import bisect
import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.sparse import csgraph

from dbc_jax.cluster.criteria.criterion import Criterion
from dbc_jax.cluster.distances.euclidean import pairwise_distances
from dbc_jax.cluster.hierarchy import labels_after
from dbc_jax.cluster.merge import merge_clusters
from dbc_jax.labels import NOT_PLACED, apart

# From rows [n], rising, their groups [n], and the must-links and cannot-links
# among them, as places in the rows, to labels [n], no cluster in two groups.
Regroup = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], np.ndarray]
# Farther than any base distance between two samples of a group, and than any
# price of a weight of 1.
_FAR = 1e6
_FEWEST = 16


class Links(NamedTuple):
  """What is known of pairs of samples.

  Attributes:
    must: [M, 2] int64, samples of one cluster.
    cannot: [C, 2] int64, samples of two; no contradiction of `must`.
    ruled: how many of `cannot`, its last, nobody told: they follow from a rule.
  """

  must: np.ndarray
  cannot: np.ndarray
  ruled: int = 0

  @property
  def told(self) -> int:
    """How many pairs somebody told."""
    return len(self.must) + len(self.cannot) - self.ruled

  def __bool__(self) -> bool:
    return bool(len(self.must) or len(self.cannot))


def heed_links(
  labels: np.ndarray, links: Links, regroup: Regroup
) -> np.ndarray:
  """Changes labels where links contradict them, and nowhere else.

  Clusters that must-links join become one. Where that would hold a cannot-link,
  its samples are grouped anew. A sample in no cluster gets one if a must-link
  names it.

  Args:
    labels: [N] int, contiguous; -1 for a sample in no cluster.
    links: what has to hold.
    regroup: groups the samples of such clusters, heeding the links among them.

  Returns:
    [N] int32, contiguous, or -1. A cluster keeps the place, among the others,
    of the lowest that it has samples of.
  """
  must, cannot = links.must, links.cannot
  own = apart(labels)
  count = int(own.max()) + 1
  ends = own[must]
  graph = sparse.csr_array(
    (np.ones(len(must)), (ends[:, 0], ends[:, 1])), (count, count)
  )
  _, parts = csgraph.connected_components(graph, directed=False)
  groups = parts[own].astype(np.int64)
  inside = groups[cannot[:, 0]] == groups[cannot[:, 1]]
  rows = np.flatnonzero(np.isin(groups, groups[cannot[inside, 0]]))
  if len(rows):
    found = regroup(
      rows, groups[rows], *(_among(rows, x) for x in (must, cannot))
    )
    groups[rows] = groups.max() + 1 + found
  linked = np.zeros(len(labels), bool)
  linked[must.ravel()] = True
  waits = (labels == NOT_PLACED) & ~linked
  names, first, groups = np.unique(
    groups, return_index=True, return_inverse=True
  )
  lowest = np.full(len(names), count)
  np.minimum.at(lowest, groups, own)
  lowest[groups[waits]] = count  # Alone in them.
  places = np.argsort(np.lexsort((first, lowest)))
  return np.where(waits, NOT_PLACED, places[groups]).astype(np.int32)


def _among(rows: np.ndarray, pairs: np.ndarray) -> np.ndarray:
  """Those of pairs [P, 2] that lie in rows [n], rising, as places there."""
  places = np.minimum(np.searchsorted(rows, pairs), len(rows) - 1)
  return places[(rows[places] == pairs).all(axis=1)]


def regrouping(
  features: np.ndarray,
  criterion: Criterion,
  *,
  distances: Any = None,
  similarities: Any = None,
) -> Regroup:
  """Groups samples along their own trees, for `heed_links`.

  Args:
    features: [N, D].
    criterion: what to merge by.
    distances: [N, N]; the base distances, if not those of the features.
    similarities: [N, N] sparse, in place of distances, which are 1 minus them.
  """

  def regroup(
    rows: np.ndarray, groups: np.ndarray, must: np.ndarray, cannot: np.ndarray
  ) -> np.ndarray:
    given = None
    if distances is not None:
      given = np.asarray(distances)[np.ix_(rows, rows)]
    elif similarities is not None:
      given = 1 - similarities[rows][:, rows].toarray()
      np.fill_diagonal(given, 0.0)
    trees = merge_inside(
      features[rows],
      groups,
      criterion,
      distances=given,
      must_link=must,
      cannot_link=cannot,
    )
    return trees.labels(len(trees.pairs))

  return regroup


def labels_of_count(
  pairs: np.ndarray,
  start: np.ndarray,
  wanted: int,
  heed: Callable[[np.ndarray], np.ndarray],
) -> tuple[np.ndarray, int]:
  """The labels [N] after the fewest merges that leave no more clusters.

  Args:
    pairs: [m, 2], as `MergeResult.pairs`.
    start: [N] int, contiguous; the clusters before.
    wanted: how many clusters; after all merges there may be more.
    heed: from labels to those in which links hold.

  Returns:
    Those labels, and how many merges.
  """

  def after(count: int) -> np.ndarray:
    return heed(labels_after(pairs, start, count))

  few = bisect.bisect_left(
    range(len(pairs)), True, key=lambda x: int(after(x).max()) + 1 <= wanted
  )
  return after(few), few


class InnerTrees(NamedTuple):
  """The merges of single samples inside groups, until none is left.

  Attributes:
    start: the clusters before; those of the [n] samples, and others behind.
    pairs: [m, 2] int32, as `MergeResult.pairs` from these.
    count: n.
  """

  start: np.ndarray
  pairs: np.ndarray
  count: int

  def labels(self, num_merges: int) -> np.ndarray:
    """The clusters [n] int32 after the first merges, of 0..m; contiguous."""
    return labels_after(self.pairs, self.start, num_merges)[: self.count]


def merge_inside(
  features: np.ndarray,
  groups: np.ndarray,
  criterion: Criterion,
  *,
  distances: np.ndarray | None = None,
  must_link: npt.ArrayLike | None = None,
  cannot_link: npt.ArrayLike | None = None,
) -> InnerTrees:
  """Merges single samples inside groups, best pair first, until none is left.

  All groups are merged at once, filled up by samples of no group to a power of
  two: few programs are compiled, whatever the sizes.

  Args:
    features: [n, D].
    groups: [n] int: none merges with a sample of another one.
    criterion: what to merge by; sequentially.
    distances: [n, n]; the base distances, if not those of the features.
    must_link, cannot_link: [P, 2] int, rows of features. Must-links, each
      inside a group, unite samples first.
  """
  count = len(features)
  if distances is None:
    distances = np.asarray(pairwise_distances(features))
  if criterion.squared:
    distances = distances**2
  size = _FEWEST
  while size <= count:
    size *= 2
  homes = np.arange(size) + groups.max() + 1
  homes[:count] = groups
  outside = _FAR * max(1.0, criterion.reg_weight)
  far = np.full((size, size), outside, np.float32)
  near = far[:count, :count]
  np.copyto(near, distances, where=groups[:, None] == groups)
  np.fill_diagonal(far, 0.0)
  filled = np.zeros((size, features.shape[1]), np.float32)
  filled[:count] = features
  result = merge_clusters(
    filled,
    np.arange(size),
    size - 1,
    dataclasses.replace(criterion, merge='sequential', squared=False),
    distances=far,
    must_link=must_link,
    cannot_link=cannot_link,
  )
  united = result.united
  start = labels_after(united, np.arange(size), len(united))
  group = np.empty(start.max() + 1, np.int64)
  group[start] = homes
  # Groups are so far apart that all merges inside come first.
  known = [*group.tolist()]
  for a, b in result.pairs.tolist():
    if known[a] != known[b]:
      break
    known.append(known[a])
  return InnerTrees(start, result.pairs[: len(known) - len(group)], count)
