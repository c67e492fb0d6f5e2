"""What is recorded of a stage: by its features and clusters, and by identities.

Nothing of it reaches training or merging.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from dbc_jax import cluster, evaluation
from dbc_jax.data import GroundTruth
from dbc_jax.data.pipeline import LoadedDataset
from dbc_jax.devices import processes
from dbc_jax.labels import apart

_EPSILON = 1e-12


def rank(
  queries: np.ndarray,
  gallery: np.ndarray,
  truth: GroundTruth,
  camera_rule: bool,
  left_out: np.ndarray | None = None,
) -> dict[str, Any]:
  """`evaluation.rank_features` by the truth; processes share the queries."""
  assert truth.query_pids is not None
  assert truth.gallery_pids is not None
  return evaluation.rank_features(
    queries,
    gallery,
    truth.query_pids,
    truth.gallery_pids,
    truth.query_camids,
    truth.gallery_camids,
    camera_rule=camera_rule,
    left_out=left_out,
    over=processes.share_rows,
  )


def evaluate(
  embed: Callable[..., tuple[np.ndarray, np.ndarray]],
  variables: dict[str, Any],
  labels: np.ndarray,
  data: LoadedDataset,
  camera_rule: bool,
  leave_one_out: bool = False,
) -> dict[str, Any]:
  """Retrieval and clustering scores, as far as there are identities.

  Args:
    embed: of a run's parts.
    variables: of the network after the stage.
    labels: [N] clusters that it trained on.
    data: with its truth.
    camera_rule: whether matches from a query's own camera are left out.
    leave_one_out: whether a query's equals in the gallery are left out.

  Returns:
    What `evaluation.rank_features` and `evaluation.clustering_scores` tell.
  """
  scores: dict[str, Any] = {}
  truth = data.truth
  if data.query is not None and data.gallery is not None:
    queries, gallery = (
      embed(variables, split, camids)[0]
      for split, camids in (
        (data.query, truth.query_camids),
        (data.gallery, truth.gallery_camids),
      )
    )
    left_out = data.copies if leave_one_out else None
    scores |= rank(queries, gallery, truth, camera_rule, left_out)
  if truth.train_pids is not None:
    scores |= evaluation.clustering_scores(labels, truth.train_pids)
  return scores


def measure(
  features: np.ndarray,
  labels: np.ndarray,
  views: tuple[np.ndarray, np.ndarray] | None = None,
) -> dict[str, float]:
  """What features and clusters alone tell of a stage.

  Args:
    features: [N, D] after the stage.
    labels: [N] clusters that it trained on; -1 for a sample in none.
    views: two arrays [M, D], features of M images under two augmentations.

  Returns:
    Sizes of the clusters, the share of the samples that are in one, and
    `cluster.validity_indices` if there are several.
  """
  measures = evaluation.cluster_sizes(labels)
  measures['placed'] = float(np.mean(labels >= 0))
  if measures['num_clusters'] > 1:
    measures |= cluster.validity_indices(features, labels, views)
  return measures


def measure_pairs(labels: np.ndarray, of_two: np.ndarray) -> dict[str, float]:
  """How many pairs inside clusters are of one person, by pairs that are not.

  With q the share of those that lie inside clusters, and n all pairs inside
  clusters, q N (N - 1) / 2 of the n are of two persons. This takes pairs that
  are surely of two as a sample of all that are.

  Args:
    labels: [N] clusters; -1 for a sample in none.
    of_two: [P, 2] rows of samples that are surely of two persons.

  Returns:
    pairs_inside, n, and pairs_of_one, the rest, which may be negative.
  """
  labels = apart(labels)
  sizes = np.bincount(labels)
  inside = float((sizes * (sizes - 1) / 2).sum())
  wrong = float((labels[of_two[:, 0]] == labels[of_two[:, 1]]).mean())
  pairs = len(labels) * (len(labels) - 1) / 2
  return {'pairs_inside': inside, 'pairs_of_one': inside - wrong * pairs}


def measure_merges(
  history: Sequence[Mapping[str, Any]],
  labels: np.ndarray,
  merged: np.ndarray,
  scores: np.ndarray,
) -> dict[str, float]:
  """What the merges after a stage tell of it.

  Args:
    history: records of the stages before it.
    labels: [N] clusters that it trained on.
    merged: [N] those after the merges.
    scores: [2] what the first and the last pair were merged by; NaN where
      the cut stops at no number of merges.

  Returns:
    stage_agreement, the adjusted Rand index of these clusters and the next;
    with scores last_merge_score; and after stage 0 merge_gap, the first score
    less the last one of the merges before, as a share of that.
  """
  measures = {
    'stage_agreement': evaluation.clustering_scores(labels, apart(merged))[
      'ari'
    ]
  }
  if np.isnan(scores).any():
    return measures
  measures['last_merge_score'] = float(scores[-1])
  if history and 'last_merge_score' in history[-1]:
    before = history[-1]['last_merge_score']
    rise = float(scores[0]) - before
    measures['merge_gap'] = rise / max(abs(before), _EPSILON)
  return measures
