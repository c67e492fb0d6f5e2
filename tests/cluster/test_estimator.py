"""The estimator: scikit-learn's own checks, and the same as merging by hand."""

import numpy as np
import pytest
from sklearn.cluster import AgglomerativeClustering
from sklearn.utils.estimator_checks import check_estimator

from dbc_jax.cluster import (
  BottomUpClustering,
  Criterion,
  choose_clustering,
  choose_engine,
  estimator,
  jaccard_distances,
  merge_clusters,
  pairwise_distances,
  validity_indices,
)
from dbc_jax.cluster.estimator import choose_count


@pytest.mark.slow
@pytest.mark.filterwarnings('ignore')
def test_scikit_learn_accepts_it():
  check_estimator(BottomUpClustering())


def blobs(rng, num_clusters=7, each=9, width=5, spread=0.3):
  centres = 4 * rng.standard_normal((num_clusters, width))
  labels = rng.permutation(np.repeat(np.arange(num_clusters), each))
  noise = spread * rng.standard_normal((len(labels), width))
  return (centres[labels] + noise).astype(np.float32), labels


@pytest.mark.parametrize(
  ('criterion', 'weight'), [('average', 0.0), ('ecluster', 0.9), ('buc', 0.01)]
)
@pytest.mark.parametrize('n_clusters', [1, 7, 62, 63])
def test_labels_are_those_of_merging_so_far(criterion, weight, n_clusters):
  features, _ = blobs(np.random.default_rng(0))
  found = BottomUpClustering(
    n_clusters, criterion=criterion, reg_weight=weight
  ).fit(features)
  assert found.n_clusters_ == n_clusters
  assert found.n_leaves_ == 63
  assert found.children_.shape == (62, 2)
  expected = np.arange(63)
  if n_clusters < 63:
    expected = merge_clusters(
      features, np.arange(63), 63 - n_clusters, Criterion(criterion, weight)
    ).labels
  np.testing.assert_array_equal(found.labels_, expected)


@pytest.mark.parametrize('metric', ['jaccard', 'precomputed'])
def test_a_budget_is_checked_before_any_distance(metric, monkeypatch):
  monkeypatch.setattr(estimator, 'jaccard_distances', None)
  X = np.zeros((300, 300), np.float32)
  with pytest.raises(ValueError, match=r'^memory_budget_gb: got 0\.0001, exp'):
    BottomUpClustering(metric=metric, memory_budget_gb=1e-4).fit(X)


@pytest.mark.slow
def test_a_small_budget_gives_the_same_clusters_without_a_matrix():
  features, _ = blobs(np.random.default_rng(2), each=60)
  found = [
    BottomUpClustering(9, memory_budget_gb=budget).fit(features)
    for budget in (None, 0.0055)
  ]
  engines = [
    choose_engine(
      Criterion('average', 0.0), features.shape, 420, memory_budget_gb=budget
    ).name
    for budget in (None, 0.0055)
  ]
  assert engines == ['dense', 'matrix_free']
  np.testing.assert_array_equal(*(each.labels_ for each in found))


def test_average_linkage_is_scikit_learns():
  features, _ = blobs(np.random.default_rng(1), spread=1.5)
  peer = AgglomerativeClustering(
    7, linkage='average', compute_distances=True
  ).fit(features)
  found = BottomUpClustering(7).fit(features)
  pairs = np.equal.outer(found.labels_, found.labels_)
  np.testing.assert_array_equal(
    pairs, np.equal.outer(peer.labels_, peer.labels_)
  )
  np.testing.assert_allclose(found.distances_, peer.distances_, rtol=1e-5)


@pytest.mark.parametrize('metric', ['euclidean', 'jaccard', 'precomputed'])
def test_without_a_number_it_finds_what_is_there(metric):
  features, labels = blobs(np.random.default_rng(2))
  given = features
  if metric == 'precomputed':
    given = np.asarray(pairwise_distances(features))
  found = BottomUpClustering(metric=metric, jaccard_k1=8).fit(given)
  # 7 is none of the 20 numbers.
  if metric == 'precomputed':
    # The coarsest of those that are nearly as good as the best.
    assert 4 <= found.n_clusters_ <= 7
  else:
    assert 6 <= found.n_clusters_ <= 8
  if found.n_clusters_ > 7:
    return
  for k in range(7):
    assert len(set(found.labels_[labels == k])) == 1


def test_jaccard_is_the_librarys():
  features, _ = blobs(np.random.default_rng(3))
  found = BottomUpClustering(5, metric='jaccard').fit(features)
  distances = jaccard_distances(features, k1=20, k2=3)
  expected = merge_clusters(
    features, np.arange(63), 58, Criterion('average', 0.0), distances=distances
  ).labels
  np.testing.assert_array_equal(found.labels_, expected)


def test_indices_of_distances_are_those_of_features():
  features, labels = blobs(np.random.default_rng(4), spread=1.0)
  labels = np.where(labels == 3, -1, labels - (labels > 3))
  by_features = validity_indices(features, labels)
  distances = np.linalg.norm(features[:, None] - features, axis=2)
  by_distances = validity_indices(None, labels, distances=distances)
  assert by_distances == pytest.approx(by_features, abs=1e-4)


def test_the_choice_is_among_twenty_numbers():
  features, _ = blobs(np.random.default_rng(5), 20, 10)
  tree = merge_clusters(features, np.arange(200), 199, Criterion('average', 0))
  counts = {*np.geomspace(100, 2, 20).round().astype(int)}
  assert choose_count(tree.pairs, features) in counts


def test_the_rule_is_the_latest_of_those_nearly_best():
  def row(silhouette, neighbour_f=0.0):
    return {'silhouette': silhouette, 'neighbour_f': neighbour_f}

  rows = [row(0.3), row(0.5), row(0.41), row(0.39)]
  assert choose_clustering(rows)[0] == 2
  assert choose_clustering(rows, share=1.0)[0] == 1
  # Nothing has structure: neighbours decide.
  assert (
    choose_clustering([row(0.1, 0.2), row(0.2, 0.6), row(0.2, 0.5)])[0] == 1
  )
  with pytest.raises(ValueError, match=r'indices: got \[\]'):
    choose_clustering([])


@pytest.mark.parametrize(
  ('options', 'message'),
  [
    ({'n_clusters': 64}, r'n_clusters: got 64, expected .* 1\.\.63'),
    ({'n_clusters': 0}, 'n_clusters: got 0'),
    ({'n_clusters': 2.5}, r'n_clusters: got 2\.5'),
    ({'metric': 'cosine'}, "metric: got 'cosine'"),
    ({'metric': 'precomputed'}, r'X: got shape \(63, 5\), expected \[N, N\]'),
    ({'criterion': 'buk'}, "name: got 'buk'"),
    ({'reg_weight': -1.0}, 'reg_weight'),
  ],
)
def test_bad_parameters_are_named(options, message):
  features, _ = blobs(np.random.default_rng(6))
  with pytest.raises(ValueError, match=message):
    BottomUpClustering(**options).fit(features)


def test_features_may_be_missing_where_nothing_reads_them():
  features, _ = blobs(np.random.default_rng(7))
  distances = np.asarray(pairwise_distances(features))
  alone = np.arange(63)
  for criterion in (Criterion('ecluster', 0.0), Criterion('buc', 0.01)):
    expected = merge_clusters(
      features, alone, 50, criterion, distances=distances
    )
    found = merge_clusters(None, alone, 50, criterion, distances=distances)
    np.testing.assert_array_equal(found.pairs, expected.pairs)
  with pytest.raises(ValueError, match='needs them beside distances'):
    merge_clusters(
      None, alone, 5, Criterion('ecluster', 0.9), distances=distances
    )
  with pytest.raises(ValueError, match='features: got None'):
    merge_clusters(None, alone, 5, Criterion('average', 0.0))
