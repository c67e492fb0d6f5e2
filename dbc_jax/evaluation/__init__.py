"""How good features and clusters are, given identities: pure NumPy.

Called by the driver and the commands, never by training code.
"""

from dbc_jax.evaluation.clustering import clustering_scores
from dbc_jax.evaluation.ranking import evaluate_ranking, rank_features

__all__ = ['clustering_scores', 'evaluate_ranking', 'rank_features']
