"""Merges as a tree: cut after some merges, or as SciPy draws it."""

import collections

import numpy as np

from dbc_jax.cluster.merge import MergeResult


def labels_after(
  pairs: np.ndarray, labels: np.ndarray, num_merges: int
) -> np.ndarray:
  """The clusters after the first merges of a tree.

  Args:
    pairs: [m, 2] int, as `MergeResult.pairs`.
    labels: [N] int, contiguous 0..K-1: the starting clusters; where must-links
      united some, those after it, as `MergeResult.united` says.
    num_merges: of the m, in 0..m.

  Returns:
    [N] int32, contiguous 0..K-num_merges-1. A cluster keeps the place, among
    the others, of the lowest starting cluster it contains.

  Raises:
    ValueError: the tree has fewer merges.
  """
  if not 0 <= num_merges <= len(pairs):
    raise ValueError(
      f'num_merges: got {num_merges}, expected 0..{len(pairs)}, the merges of '
      'the tree; merge more, or cut higher.'
    )
  num_clusters = int(labels.max()) + 1
  homes = np.arange(num_clusters + num_merges)
  # Backwards, so that a cluster is sent to where its union itself ends up.
  for t in reversed(range(num_merges)):
    homes[pairs[t]] = homes[num_clusters + t]
  _, first, place = np.unique(
    homes[:num_clusters], return_index=True, return_inverse=True
  )
  return np.argsort(np.argsort(first))[place][labels].astype(np.int32)


def to_scipy_linkage(
  result: MergeResult, *, heights: str = 'order'
) -> np.ndarray:
  """The merges as a linkage matrix for `scipy.cluster.hierarchy`.

  Its leaves are the starting clusters; where must-links united some, those
  after it. SciPy knows complete trees only, so the clusters that remained are
  joined, two by two, by rows on top of all others, which heed no cannot-link,
  so that `dendrogram` can draw them. With heights 'order',
  `fcluster(Z, num_clusters, 'maxclust')` cuts the tree where the merging ended,
  and so does `fcluster(Z, t, 'distance')` at the height t of the last merge.
  For a chain of more than a thousand merges `dendrogram` needs a higher
  `sys.setrecursionlimit`.

  Args:
    result: what `merge_clusters` returned.
    heights: 'order': merge t at height t + 1, always rising. 'score': at its
      score; these criteria have inversions, so a merge can lie below an
      earlier one. Scores below zero (rounding) become 0, and the rows on top,
      which have no score, get a quarter more than the highest. `fcluster` with
      'distance' cuts inversions as it should. `cut_tree` goes by the order of
      heights, which are not those of the merges here: give it 'order'.

  Returns:
    [K - 1, 4] float64: the two clusters, the height, the number of leaves.

  Raises:
    ValueError: heights is neither 'order' nor 'score'.

  Source: the format of `scipy.cluster.hierarchy.linkage`.
  """
  if heights not in ('order', 'score'):
    raise ValueError(
      f"heights: got {heights!r}, expected 'order' or 'score'; pass one of "
      'the two.'
    )
  num_merges = len(result.pairs)
  num_clusters = int(result.labels.max()) + 1 + num_merges
  pairs = [tuple(map(int, pair)) for pair in result.pairs]
  merged = {cluster for pair in pairs for cluster in pair}
  # A queue: each union waits behind all others, so the tree stays shallow.
  queue = collections.deque(
    sorted(set(range(num_clusters + num_merges)) - merged)
  )
  while len(queue) > 1:
    pairs.append((queue.popleft(), queue.popleft()))
    queue.append(num_clusters + len(pairs) - 1)
  leaves = [1] * num_clusters
  for a, b in pairs:
    leaves.append(leaves[a] + leaves[b])
  if heights == 'order':
    values = np.arange(1.0, num_clusters)
  else:
    known = np.maximum(result.scores.astype(np.float64), 0)
    values = np.full(num_clusters - 1, 1.25 * known.max(initial=0) or 1.0)
    values[:num_merges] = known
  return np.column_stack(
    [
      np.array(pairs, np.float64).reshape(-1, 2),
      values,
      leaves[num_clusters:],
    ]
  )
