"""Mean and minimum linkage: double loops, and sizes beyond one block."""

import cluster_oracles as oracles
import jax.numpy as jnp
import numpy as np
import pytest

from dbc_jax.cluster import mean_linkage, min_linkage


@pytest.mark.parametrize('num_clusters', [1, 13, 40])
@pytest.mark.parametrize(
  ('linkage', 'between'),
  [
    (mean_linkage, oracles.mean_between),
    (min_linkage, oracles.min_between),
  ],
)
def test_equals_the_definition(linkage, between, num_clusters):
  dist = oracles.distances(oracles.unit_features(40, 6, seed=0))
  labels = oracles.random_labels(40, num_clusters, seed=1)
  clusters = oracles.clusters_of(labels)
  expected = [[between(dist, a, b) for b in clusters] for a in clusters]
  got = linkage(dist, labels, num_clusters)
  assert got.dtype == jnp.float32
  np.testing.assert_allclose(got, expected, atol=1e-6)


@pytest.mark.parametrize(
  'num_clusters',
  [600, *oracles.slow(3, 512, 1000)],
)
def test_many_blocks(num_clusters):
  rng = np.random.default_rng(2)
  dist = rng.random((1100, 1100))
  dist = np.triu(dist, 1) + np.triu(dist, 1).T
  labels = oracles.random_labels(1100, num_clusters, seed=3)
  member = np.eye(num_clusters)[labels]
  sizes = member.sum(axis=0)
  mean = member.T @ dist @ member / np.outer(sizes, sizes)
  got = np.asarray(mean_linkage(dist, labels, num_clusters))
  np.testing.assert_allclose(got, mean, atol=1e-6)
  np.testing.assert_array_equal(got, got.T)

  order = np.argsort(labels, kind='stable')
  starts = np.searchsorted(labels[order], np.arange(num_clusters))
  lowest = dist[np.ix_(order, order)].astype(np.float32)
  lowest = np.minimum.reduceat(lowest, starts, axis=0)
  lowest = np.minimum.reduceat(lowest, starts, axis=1)
  got = np.asarray(min_linkage(dist, labels, num_clusters))
  np.testing.assert_array_equal(got, lowest)


def test_the_diagonal_includes_self_pairs():
  dist = np.array([[0.0, 1.0], [1.0, 0.0]])
  assert mean_linkage(dist, [0, 0], 1).tolist() == [[0.5]]
  assert min_linkage(dist, [0, 0], 1).tolist() == [[0.0]]


def test_singletons_are_only_reordered():
  dist = oracles.distances(oracles.unit_features(20, 5, seed=4))
  labels = np.random.default_rng(5).permutation(20)
  expected = np.zeros((20, 20), np.float32)
  expected[np.ix_(labels, labels)] = dist
  for linkage in (mean_linkage, min_linkage):
    np.testing.assert_array_equal(linkage(dist, labels, 20), expected)


@pytest.mark.parametrize(
  ('labels', 'num_clusters', 'message'),
  [
    ([0, 1], 2, r'labels: got shape \(2,\), expected \(3,\)'),
    ([0, 2, 2], 3, 'labels: got 2 distinct values from 0 to 2'),
    ([1, 2, 3], 3, 'labels: got 3 distinct values from 1 to 3'),
    ([-1, 0, 1], 2, 'labels: got -1 for 1 samples'),
    ([0.0, 1.0, 2.0], 3, 'labels: got dtype float64'),
    ([0, 1, 1], 3, 'num_clusters: got 3, expected 2'),
  ],
)
@pytest.mark.parametrize('linkage', [mean_linkage, min_linkage])
def test_wrong_labels(linkage, labels, num_clusters, message):
  with pytest.raises(ValueError, match=message):
    linkage(np.zeros((3, 3)), np.array(labels), num_clusters)


@pytest.mark.parametrize('linkage', [mean_linkage, min_linkage])
def test_distances_not_square(linkage):
  with pytest.raises(ValueError, match=r'distances: got shape \(3, 2\)'):
    linkage(np.zeros((3, 2)), np.arange(3), 3)
