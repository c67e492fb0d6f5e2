"""Scores a stage by the true identities; called after it by `stage`.

What comes out is recorded, and reaches neither training nor merging.
"""

from typing import Any

import numpy as np

from dbc_jax import evaluation
from dbc_jax.data.pipeline import LoadedDataset
from dbc_jax.training.embed import Extractor


def evaluate(
  extract: Extractor,
  variables: dict[str, Any],
  labels: np.ndarray,
  data: LoadedDataset,
  camera_rule: bool,
) -> dict[str, float]:
  """Retrieval and clustering scores, as far as there are identities.

  Args:
    extract: of a run.
    variables: of the network after the stage.
    labels: [N] clusters that it trained on.
    data: with its truth.
    camera_rule: whether matches from a query's own camera are left out.

  Returns:
    What `evaluation.rank_features` and `evaluation.clustering_scores` tell.
  """
  scores: dict[str, float] = {}
  truth = data.truth
  if truth.can_evaluate:
    scores |= evaluation.rank_features(
      extract(variables, data.query)[0],
      extract(variables, data.gallery)[0],
      truth.query_pids,
      truth.gallery_pids,
      truth.query_camids,
      truth.gallery_camids,
      camera_rule=camera_rule,
    )
    # How many queries counted is the same in every stage.
    del scores['num_valid_queries']
  if truth.train_pids is not None:
    scores |= evaluation.clustering_scores(labels, truth.train_pids)
  return scores
