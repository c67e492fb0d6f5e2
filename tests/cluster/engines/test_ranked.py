"""Merging by one ranking, against the public codes' rules in plain Python."""

import dataclasses

import cluster_oracles as oracles
import numpy as np
import pytest

from dbc_jax.cluster import Criterion, merge_clusters
from dbc_jax.cluster.engines.ranked import rank_merges

RANKED = [dataclasses.replace(c, merge='ranked') for c in oracles.CRITERIA]
OTHERS = [c for c in RANKED if not c.rule.follows]
BUC = [c for c in RANKED if c.name == 'buc']


def contiguous(labels):
  return np.unique(labels, return_inverse=True)[1]


def merge_cluster_pairs(scores, labels, num_merges):
  """DBC's rule: skip a pair that names an absorbed cluster."""
  labels, k = labels.copy(), len(scores)
  ranking = sorted(
    (scores[a, b], a, b) for a in range(k) for b in range(a + 1, k)
  )
  absorbed, used = set(), []
  for score, a, b in ranking:
    if len(used) < num_merges and not {a, b} & absorbed:
      labels[labels == b] = a
      absorbed.add(b)
      used.append(score)
  return contiguous(labels), used


def merge_sample_pairs(dist, labels, num_merges, reg_weight):
  """BUC's rule: pairs of samples, uniting the clusters they live in."""
  n, sizes = len(labels), np.bincount(labels)
  ranking = sorted(
    (dist[i, j] + reg_weight * (sizes[labels[i]] + sizes[labels[j]]), i, j)
    for i in range(n)
    for j in range(i + 1, n)
    if labels[i] != labels[j]
  )
  live, used = labels.copy(), []
  for score, i, j in ranking:
    low, high = sorted((live[i], live[j]))
    if len(used) < num_merges and low != high:
      live[live == high] = low
      used.append(score)
  return contiguous(live), used


def replay(result, labels):
  """Labels by following `pairs` in SciPy's numbering."""
  k = labels.max() + 1
  names = labels.copy()
  for t, (a, b) in enumerate(result.pairs):
    assert a < b
    assert {a, b} <= set(names)
    names[(names == a) | (names == b)] = k + t
  return names


def check(result, labels, expected_labels, expected_scores):
  np.testing.assert_array_equal(result.labels, expected_labels)
  np.testing.assert_allclose(result.scores, expected_scores, atol=1e-5)
  followed = replay(result, labels)
  assert len(set(zip(followed, result.labels, strict=True))) == len(
    set(followed)
  )


@pytest.mark.parametrize('num_merges', [1, 12, 25])
@pytest.mark.parametrize('criterion', OTHERS, ids=oracles.name_of)
def test_cluster_pairs(criterion, num_merges):
  x = oracles.unit_features(45, 5, seed=0)
  labels = oracles.random_labels(45, 26, seed=1)
  dist = oracles.distances(x, criterion.squared)
  scores = oracles.score_matrix(criterion, dist, x, labels)
  expected = merge_cluster_pairs(scores, labels, num_merges)
  check(merge_clusters(x, labels, num_merges, criterion), labels, *expected)


@pytest.mark.parametrize('num_merges', [1, 12, 25])
@pytest.mark.parametrize('criterion', BUC, ids=oracles.name_of)
def test_sample_pairs(criterion, num_merges):
  x = oracles.unit_features(45, 5, seed=2)
  labels = oracles.random_labels(45, 26, seed=3)
  dist = oracles.distances(x, criterion.squared)
  expected = merge_sample_pairs(dist, labels, num_merges, criterion.reg_weight)
  check(merge_clusters(x, labels, num_merges, criterion), labels, *expected)


def test_given_distances():
  x = oracles.unit_features(30, 5, seed=4)
  labels = oracles.random_labels(30, 20, seed=5)
  dist = np.random.default_rng(6).random((30, 30))
  dist = np.triu(dist, 1) + np.triu(dist, 1).T
  got = merge_clusters(
    x, labels, 9, Criterion('buc', 0.01, merge='ranked'), distances=dist
  )
  check(got, labels, *merge_sample_pairs(dist, labels, 9, 0.01))


@pytest.mark.slow
@pytest.mark.parametrize('num_clusters', [300, 1100])
def test_dbc_rule_reaches_one_cluster(num_clusters):
  # Beyond the sample that sizes the chunks, and through all chunks.
  scores = np.random.default_rng(7).random((num_clusters,) * 2)
  scores = (scores + scores.T).astype(np.float32)
  np.fill_diagonal(scores, np.inf)
  slots, used = rank_merges(scores, num_clusters - 1, follow=False)
  labels = np.arange(num_clusters)
  expected = merge_cluster_pairs(scores, labels, num_clusters - 1)[1]
  np.testing.assert_array_equal(used, expected)
  assert sorted(slots[:, 1]) == list(range(1, num_clusters))


@pytest.mark.parametrize('follow', [False, True])
def test_chunks_leave_no_trace(follow):
  # Few merges of many clusters, few distinct scores: chunks end inside ties.
  rng = np.random.default_rng(8)
  scores = rng.integers(0, 50, (1200, 1200)).astype(np.float32)
  scores = np.minimum(scores, scores.T)
  np.fill_diagonal(scores, np.inf)
  few = rank_merges(scores, 3, follow)
  many = rank_merges(scores, 900, follow)
  np.testing.assert_array_equal(few[0], many[0][:3])
  np.testing.assert_array_equal(few[1], many[1][:3])
  assert (np.diff(many[1]) >= 0).all()
  tied = np.argwhere(np.triu(scores == scores.min(), 1))
  assert few[0][0].tolist() == tied[0].tolist()
