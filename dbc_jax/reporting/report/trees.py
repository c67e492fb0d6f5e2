"""How each cluster hangs together: the last merge of its own tree."""

from typing import NamedTuple

import numpy as np
from scipy.cluster import hierarchy

# A tree of more takes memory with their square.
_MOST = 1500
_SEED = 0


class LastMerge(NamedTuple):
  """The two parts that a cluster falls into, and how far apart they are.

  Attributes:
    distance: mean Euclidean distance between images of the two.
    parts: rows of the images of each, the larger one first.
    within: distance of the last merge inside each; 0 of a single image.
    seen: of how many of the cluster's images the tree is.
  """

  distance: float
  parts: tuple[np.ndarray, np.ndarray]
  within: tuple[float, float]
  seen: int


def last_merges(
  features: np.ndarray, labels: np.ndarray
) -> dict[int, LastMerge]:
  """Of each cluster of two images or more, by its number.

  A tree is of average linkage. Of a cluster of more than 1,500 images it is of
  so many of them, at random.

  Args:
    features: [N, D].
    labels: [N] int, -1 for an image in no cluster.
  """
  features = np.asarray(features, np.float32)
  order = np.argsort(labels, kind='stable')
  order = order[labels[order] >= 0]
  groups = np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)
  found = {}
  for rows in groups:
    if len(rows) < 2:
      continue
    label = int(labels[rows[0]])
    if len(rows) > _MOST:
      rng = np.random.default_rng([_SEED, label])
      rows = np.sort(rng.choice(rows, _MOST, replace=False))
    found[label] = _last_merge(features, rows)
  return found


def _last_merge(features: np.ndarray, rows: np.ndarray) -> LastMerge:
  tree = hierarchy.linkage(features[rows], 'average')
  count = len(rows)
  sides = [int(tree[-1, 0]), int(tree[-1, 1])]
  sides.sort(key=lambda s: (-_size(tree, s, count), s))
  inside = np.zeros(count, bool)
  inside[_leaves(tree, sides[1], count)] = True
  return LastMerge(
    float(tree[-1, 2]),
    (rows[~inside], rows[inside]),
    (_height(tree, sides[0], count), _height(tree, sides[1], count)),
    count,
  )


def _size(tree: np.ndarray, node: int, count: int) -> int:
  return 1 if node < count else int(tree[node - count, 3])


def _height(tree: np.ndarray, node: int, count: int) -> float:
  return 0.0 if node < count else float(tree[node - count, 2])


def _leaves(tree: np.ndarray, node: int, count: int) -> list[int]:
  waiting, found = [node], []
  while waiting:
    node = waiting.pop()
    if node < count:
      found.append(node)
    else:
      waiting += [int(tree[node - count, 0]), int(tree[node - count, 1])]
  return found
