"""What a tool's figure or tree should be, by brute force; and images for it.

Nothing here is fast, and nothing is taken from the library.
"""

from collections.abc import Callable

import numpy as np
from scipy.cluster import hierarchy
from scipy.spatial import distance

PEOPLE = 60
# Of re-ranking: neighbours that are looked at, and that are averaged over.
K1, K2 = 20, 6


class Crops:
  """Features [N, 64] of unit length, in no order; persons and cameras [N].

  Those of one person in one camera are more alike than the others of hers.
  """

  def __init__(self, seed: int, people: int = PEOPLE, cameras: int = 6):
    rng = np.random.default_rng(seed)
    counts = rng.integers(4, 21, people)
    self.pids = rng.permutation(np.repeat(np.arange(people), counts))
    self.camids = rng.integers(cameras, size=len(self.pids))
    x = rng.standard_normal((people, 64))[self.pids]
    x += 0.7 * rng.standard_normal((cameras, 64))[self.camids]
    x += (
      0.7 * rng.standard_normal((people, cameras, 64))[self.pids, self.camids]
    )
    x += 0.8 * rng.standard_normal(x.shape)
    self.x = x / np.linalg.norm(x, axis=1, keepdims=True)
    self.distances = distance.squareform(distance.pdist(self.x))
    # A fifth are queries. A tenth of the gallery is junk.
    self.queries = np.arange(len(x)) < len(x) // 5
    self.gallery_pids = self.pids[~self.queries].copy()
    self.gallery_pids[rng.random(len(self.gallery_pids)) < 0.1] = -1


def _mutual(order: np.ndarray, count: int) -> np.ndarray:
  """[N, N] bool: which are among the `count` nearest of each other."""
  near = np.zeros((len(order), len(order)), bool)
  np.put_along_axis(near, order[:, :count], True, axis=1)
  return near & near.T


def jaccard_by_definition(
  distances: np.ndarray, *, neighbours: int = K1 + 1, scaled: bool = True
) -> np.ndarray:
  """Zhong et al., CVPR 2017, Eq. 3 to 10; or with two things changed."""
  squared = distances**2
  order = np.argsort(squared, axis=1, kind='stable')
  if scaled:
    squared = squared / squared.max(axis=1, keepdims=True)
  wide, narrow = _mutual(order, neighbours), _mutual(order, K1 // 2 + 1)
  weights = np.zeros_like(squared)
  for i, near in enumerate(wide):
    members = near.copy()
    for j in np.flatnonzero(near):
      if (narrow[j] & near).sum() > 2 / 3 * narrow[j].sum():
        members |= narrow[j]
    weights[i, members] = np.exp(-squared[i, members])
  weights /= weights.sum(axis=1, keepdims=True)
  weights = weights[order[:, :K2]].mean(axis=1)
  return np.stack(
    [
      1 - np.minimum(w, weights).sum(1) / np.maximum(w, weights).sum(1)
      for w in weights
    ]
  )


def precision_by_definition(crops: Crops, distances: np.ndarray) -> float:
  """mAP, step sum: without junk and without the query's own camera."""
  found = []
  asked = zip(
    distances,
    crops.pids[crops.queries],
    crops.camids[crops.queries],
    strict=True,
  )
  for row, pid, camid in asked:
    same = crops.gallery_pids == pid
    own = same & (crops.camids[~crops.queries] == camid)
    ranked = np.flatnonzero((crops.gallery_pids >= 0) & ~own)
    ranked = ranked[np.argsort(row[ranked], kind='stable')]
    places = 1 + np.flatnonzero(same[ranked])
    if len(places):
      found.append(np.mean(np.arange(1, len(places) + 1) / places))
  return float(np.mean(found))


def members(pairs: np.ndarray) -> list[list[int]]:
  """The samples under each node of a tree, samples themselves first."""
  nodes = [[i] for i in range(len(pairs) + 1)]
  for a, b in pairs.astype(int):
    nodes.append(nodes[a] + nodes[b])
  return nodes


def heights_by_definition(
  pairs: np.ndarray, distances: np.ndarray, linkage: Callable
) -> np.ndarray:
  """`linkage` of all distances between the members of each pair."""
  nodes = members(pairs)
  return np.array(
    [linkage(distances[np.ix_(nodes[a], nodes[b])]) for a, b in pairs]
  )


def passed_over(pairs: np.ndarray, distances: np.ndarray) -> float:
  """The most by which a merge exceeds the least mean distance there was."""
  sums, sizes = distances.astype(float), np.ones(len(distances))
  np.fill_diagonal(sums, np.inf)
  place, most = list(range(len(distances))), 0.0
  for pair in pairs:
    a, b = (place[node] for node in pair)
    means = sums / np.outer(sizes, sizes)
    most = max(most, means[a, b] - means.min())
    sums[a] += sums[b]
    sums[:, a] = sums[a]
    sums[b] = sums[:, b] = np.inf
    sizes[a] += sizes[b]
    place.append(a)
  return most


def in_order(pairs: np.ndarray, count: int) -> np.ndarray:
  """Labels when `count` clusters are left, merges taken as they are listed."""
  sizes = [len(node) for node in members(pairs)[len(pairs) + 1 :]]
  tree = np.column_stack([pairs, np.arange(1, len(pairs) + 1), sizes])
  return hierarchy.fcluster(tree.astype(float), count, 'maxclust')
