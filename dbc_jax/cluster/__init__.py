"""Bottom-up clustering: distances, criteria and merging, on plain arrays."""

from dbc_jax.cluster.criteria import Criterion, criterion_matrix
from dbc_jax.cluster.dispersion import dispersion_matrix
from dbc_jax.cluster.distances import pairwise_distances
from dbc_jax.cluster.energy import (
  energy_distance_matrix,
  sum_squared_deviations,
)
from dbc_jax.cluster.linkage import mean_linkage, min_linkage
from dbc_jax.cluster.merge import (
  MergeResult,
  merge_clusters,
  to_scipy_linkage,
)

__all__ = [
  'Criterion',
  'MergeResult',
  'criterion_matrix',
  'dispersion_matrix',
  'energy_distance_matrix',
  'mean_linkage',
  'merge_clusters',
  'min_linkage',
  'pairwise_distances',
  'sum_squared_deviations',
  'to_scipy_linkage',
]
