"""Clustering scores against scikit-learn and closed forms."""

import numpy as np
import pytest
from sklearn import metrics
from sklearn.metrics.cluster import pair_confusion_matrix

from dbc_jax.evaluation import cluster_sizes, clustering_scores

PERFECT = dict.fromkeys(
  (
    'pair_precision',
    'pair_recall',
    'pair_f',
    'ari',
    'nmi',
    'v_measure',
    'homogeneity',
    'completeness',
    'purity',
  ),
  1.0,
) | {'identities_split': 0, 'clusters_merged': 0}


def expected_scores(labels, pids):
  (_, false), (missed, right) = pair_confusion_matrix(pids, labels)
  table = np.array(
    [
      [np.sum((labels == c) & (pids == p)) for p in set(pids)]
      for c in set(labels)
    ]
  )
  return {
    'pair_precision': right / (right + false),
    'pair_recall': right / (right + missed),
    'pair_f': 2 * right / (2 * right + false + missed),
    'ari': metrics.adjusted_rand_score(pids, labels),
    'nmi': metrics.normalized_mutual_info_score(pids, labels),
    'v_measure': metrics.v_measure_score(pids, labels),
    'homogeneity': metrics.homogeneity_score(pids, labels),
    'completeness': metrics.completeness_score(pids, labels),
    'purity': table.max(axis=1).sum() / len(labels),
    'identities_split': ((table > 0).sum(axis=0) > 1).sum(),
    'clusters_merged': ((table > 0).sum(axis=1) > 1).sum(),
  }


@pytest.mark.parametrize(
  ('clusters', 'people'), [(3, 3), (40, 5), (5, 40), (1, 7)]
)
@pytest.mark.parametrize('seed', range(4))
def test_agrees_with_sklearn(seed, clusters, people):
  rng = np.random.default_rng(seed)
  labels = rng.integers(0, clusters, 200)
  # Labels that follow identities in part, so that no score is trivial.
  pids = np.where(rng.random(200) < 0.5, labels, rng.integers(0, people, 200))
  scores = clustering_scores(labels, pids)
  assert scores == pytest.approx(expected_scores(labels, pids), abs=1e-12)


def test_closed_form():
  # Clusters {a, a, b} and {b}: of 3 pairs together 1 is right, of 2 true 1.
  scores = clustering_scores([0, 0, 0, 1], [5, 5, 9, 9])
  assert scores['pair_precision'] == pytest.approx(1 / 3)
  assert scores['pair_recall'] == pytest.approx(1 / 2)
  assert scores['pair_f'] == pytest.approx(2 / 5)
  assert scores['ari'] == pytest.approx((1 - 3 * 2 / 6) / (5 / 2 - 1))
  assert scores['purity'] == pytest.approx(3 / 4)
  assert scores['identities_split'] == scores['clusters_merged'] == 1


def test_names_of_clusters_and_identities_play_no_part():
  rng = np.random.default_rng(0)
  labels, pids = rng.integers(0, 9, 100), rng.integers(0, 9, 100)
  order = rng.permutation(100)
  assert clustering_scores(labels, pids) == pytest.approx(
    clustering_scores(1000 - 7 * labels[order], pids[order] + 50)
  )


def test_junk_is_left_out():
  scores = clustering_scores([0, 0, 1, 1, 0], [3, 3, 4, 4, -1])
  assert scores == PERFECT


def test_all_singletons_predict_no_pair():
  scores = clustering_scores(np.arange(6), [1, 1, 2, 2, 3, 3])
  assert scores['pair_precision'] == scores['pair_recall'] == 0
  assert scores['pair_f'] == scores['ari'] == 0
  assert 0 < scores['nmi'] < 1
  assert scores['purity'] == scores['homogeneity'] == 1
  assert (scores['identities_split'], scores['clusters_merged']) == (3, 0)


@pytest.mark.parametrize('labels', [[0], [0, 1, 2]])
def test_equal_partitions_of_singletons(labels):
  scores = clustering_scores(labels, labels)
  assert scores == PERFECT | {
    'pair_precision': 0,
    'pair_recall': 0,
    'pair_f': 0,
  }


def test_one_cluster_of_one_identity():
  assert clustering_scores([4] * 5, [2] * 5) == PERFECT


def test_one_cluster_of_everything_tells_nothing():
  scores = clustering_scores([0] * 6, [1, 1, 1, 2, 2, 2])
  assert scores['pair_recall'] == 1
  assert scores['ari'] == scores['nmi'] == scores['homogeneity'] == 0
  assert scores['completeness'] == 1
  assert scores['purity'] == 1 / 2


def test_hundred_thousand_samples_do_not_overflow():
  # int32 inputs: products of pair counts are beyond int64.
  pids = np.repeat(np.arange(2, dtype=np.int32), 50_000)
  labels = pids.copy()
  labels[0] = 1  # One sample in the wrong one of two clusters.
  right = 49_999 * 49_998 // 2 + 50_000 * 49_999 // 2
  together = 49_999 * 49_998 // 2 + 50_001 * 50_000 // 2
  alike = 50_000 * 49_999
  scores = clustering_scores(labels, pids)
  assert scores['pair_precision'] == right / together
  assert scores['pair_recall'] == right / alike
  assert scores['ari'] == pytest.approx(
    metrics.adjusted_rand_score(pids, labels)
  )


@pytest.mark.parametrize(
  ('labels', 'pids', 'message'),
  [
    ([0, 1], [0], 'labels: got 2 for 1 pids'),
    ([0.0, 1.0], [0, 1], r'labels: got dtype float64, expected integers'),
    ([[0, 1]], [0, 1], r'labels: got shape \(1, 2\), expected \[N\]'),
    ([0, -2], [0, 1], 'labels: 1 are below -1'),
    ([0, 1], [-1, -1], 'pids: none of the 2 samples has an identity'),
  ],
)
def test_errors(labels, pids, message):
  with pytest.raises(ValueError, match=message):
    clustering_scores(labels, pids)


def test_sizes_alone():
  assert cluster_sizes([7, 3, 7, 7, 0, 3, 9, 7]) == {
    'num_clusters': 4,
    'singletons': 2,
    'median_size': 1.5,
    'largest_share': 1 / 2,
  }
  assert cluster_sizes(np.arange(5))['singletons'] == 5


@pytest.mark.parametrize(
  ('labels', 'message'),
  [
    (np.zeros(0, int), 'labels: there are none'),
    ([0, -2], 'labels: 1 are below -1'),
    ([-1, -1], 'labels: there are none'),
    ([0.5], r'labels: got dtype float64, expected integers'),
  ],
)
def test_sizes_check_labels(labels, message):
  with pytest.raises(ValueError, match=message):
    cluster_sizes(labels)
