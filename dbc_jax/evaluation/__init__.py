"""How good features and clusters are, given identities: NumPy and SciPy."""

from dbc_jax.evaluation.assignment import (
  Assigned,
  Assigner,
  learn_assignment,
)
from dbc_jax.evaluation.averages import expand_queries, pool_queries
from dbc_jax.evaluation.calibration import PairCalibration, calibrate_pairs
from dbc_jax.evaluation.clustering import cluster_sizes, clustering_scores
from dbc_jax.evaluation.ranking import evaluate_ranking, rank_features
from dbc_jax.evaluation.rerank import rerank_distances

__all__ = [
  'Assigned',
  'Assigner',
  'PairCalibration',
  'calibrate_pairs',
  'cluster_sizes',
  'clustering_scores',
  'evaluate_ranking',
  'expand_queries',
  'learn_assignment',
  'pool_queries',
  'rank_features',
  'rerank_distances',
]
