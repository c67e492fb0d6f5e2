"""From distances between samples to distances between clusters."""

import jax
from jax import Array
from jax.typing import ArrayLike

from dbc_jax import values
from dbc_jax.cluster import checks
from dbc_jax.cluster.distances import panels, sources
from dbc_jax.cluster.distances.sources import EuclideanDistances
from dbc_jax.cluster.linkages import MEAN, MIN, Linkage


def _linkage(
  distances: ArrayLike | EuclideanDistances,
  labels: ArrayLike,
  num_clusters: int,
  linkage: Linkage,
) -> Array:
  num_clusters = values.whole(num_clusters, 'num_clusters', 1)
  with jax.enable_x64(True):
    source = sources.as_source(distances)
    labels, _ = checks.check_labels(labels, source.num_samples, num_clusters)
    return panels.linkage_matrix(source, labels, num_clusters, linkage)


def mean_linkage(
  distances: ArrayLike | EuclideanDistances,
  labels: ArrayLike,
  num_clusters: int,
) -> Array:
  """Mean distance between the members of every two clusters.

      M[a, b] = 1/(n_a n_b) sum_{i in a, j in b} dist[i, j]

  Args:
    distances: [N, N] float32, symmetric, zero diagonal; any distance, not only
      the Euclidean one. Or `EuclideanDistances(features)`: peak memory is then
      a block of rows beside the result.
    labels: [N] integer, contiguous 0..K-1. Cluster of each sample.
    num_clusters: K.

  Returns:
    [K, K] float32. The diagonal averages all n_a^2 ordered pairs of a
    cluster, self-pairs (zero) included.

  Raises:
    ValueError: distances are no distance matrix; labels are of another length
      or not contiguous, or do not name num_clusters clusters.

  Source: Ding et al., DBC, Eq. 4; Zeng et al., E-cluster, Eq. 6.
  """
  return _linkage(distances, labels, num_clusters, MEAN)


def min_linkage(
  distances: ArrayLike | EuclideanDistances,
  labels: ArrayLike,
  num_clusters: int,
) -> Array:
  """Smallest distance between the members of every two clusters.

      L[a, b] = min_{i in a, j in b} dist[i, j]

  Args, Raises: as `mean_linkage`.

  Returns:
    [K, K] float32, zero diagonal.

  Source: Lin et al., BUC (AAAI 2019), the minimum distance criterion.
  """
  return _linkage(distances, labels, num_clusters, MIN)
