"""How sure each sample's place in its cluster looks by features alone."""

import numpy as np
from jax.typing import ArrayLike

from dbc_jax.cluster import checks
from dbc_jax.cluster.distances.sources import plain_features
from dbc_jax.labels import NOT_PLACED

_BLOCK_ENTRIES = 2**24


def simplified_silhouettes(
  features: ArrayLike, labels: ArrayLike
) -> np.ndarray:
  """How much nearer each sample is to its own cluster than to the next one.

  With a the distance of a sample to the mean of the others in its cluster, and
  b that to the nearest mean of another cluster,

      (b - a) / max(a, b)

  Near 1 the sample lies inside its cluster, near 0 between two, and below 0
  another cluster is nearer. Time grows with N K D.

  Args:
    features: [N, D] floating point, taken as they are.
    labels: [N] integer, contiguous 0..K-1; -1 for a sample in no cluster.

  Returns:
    [N] float64, in [-1, 1]; NaN for a sample in no cluster. 0 for one alone in
    its cluster, for one at distance zero of both means, and for all if there is
    a single cluster.

  Raises:
    ValueError: features are not finite, or labels of another length or not
      contiguous.

  Source: Hruschka, Campello and de Castro, Evolutionary algorithms for
    clustering gene-expression data (2004): Rousseeuw's silhouette by means.
  """
  features, _ = plain_features(checks.check_features(features))
  features = features.astype(np.float64, copy=False)
  labels = checks.check_shape(labels, len(features))
  placed = np.flatnonzero(labels != NOT_PLACED)
  result = np.full(len(features), np.nan)
  if not len(placed):
    return result
  own, num_clusters = checks.check_labels(labels[placed], len(placed))
  sizes = np.bincount(own)
  sums = np.zeros((num_clusters, features.shape[1]))
  np.add.at(sums, own, features[placed])
  means = sums / sizes[:, None]
  squares = np.sum(means**2, axis=1)
  length = max(1, _BLOCK_ENTRIES // num_clusters)
  for start in range(0, len(placed), length):
    rows, mine = placed[start : start + length], own[start : start + length]
    block = features[rows]
    others = np.maximum(sizes[mine] - 1, 1)[:, None]
    within = np.linalg.norm(block - (sums[mine] - block) / others, axis=1)
    squared = np.sum(block**2, axis=1)[:, None] + squares
    squared -= 2.0 * (block @ means.T)
    squared[np.arange(len(rows)), mine] = np.inf
    # The product is exact enough to find the nearest, not to stand at zero.
    nearest = means[np.argmin(squared, axis=1)]
    between = np.linalg.norm(block - nearest, axis=1)
    largest = np.maximum(within, between)
    alone = (sizes[mine] == 1) | (largest == 0.0)
    largest[alone] = 1.0
    result[rows] = np.where(alone, 0.0, (between - within) / largest)
  return result if num_clusters > 1 else np.where(np.isnan(result), np.nan, 0.0)
