"""Bottom-up clustering: distances, criteria and merging, on plain arrays."""

from dbc_jax.cluster.criteria.criterion import Criterion
from dbc_jax.cluster.criteria.dbc import dispersion_matrix
from dbc_jax.cluster.criteria.ecluster import energy_distance_matrix
from dbc_jax.cluster.criteria.means import sum_squared_deviations
from dbc_jax.cluster.distances.cameras import center_cameras
from dbc_jax.cluster.distances.euclidean import pairwise_distances
from dbc_jax.cluster.distances.jaccard import (
  jaccard_distances,
  jaccard_similarities,
)
from dbc_jax.cluster.distances.linkage import mean_linkage, min_linkage
from dbc_jax.cluster.distances.sources import EuclideanDistances
from dbc_jax.cluster.engines.choice import Engine, choose_engine
from dbc_jax.cluster.estimator import BottomUpClustering
from dbc_jax.cluster.hierarchy import to_scipy_linkage
from dbc_jax.cluster.merge import MergeResult, merge_clusters
from dbc_jax.cluster.scores import criterion_matrix
from dbc_jax.cluster.silhouettes import simplified_silhouettes
from dbc_jax.cluster.validity import choose_clustering, validity_indices

__all__ = [
  'BottomUpClustering',
  'Criterion',
  'Engine',
  'EuclideanDistances',
  'MergeResult',
  'center_cameras',
  'choose_clustering',
  'choose_engine',
  'criterion_matrix',
  'dispersion_matrix',
  'energy_distance_matrix',
  'jaccard_distances',
  'jaccard_similarities',
  'mean_linkage',
  'merge_clusters',
  'min_linkage',
  'pairwise_distances',
  'simplified_silhouettes',
  'sum_squared_deviations',
  'to_scipy_linkage',
  'validity_indices',
]
