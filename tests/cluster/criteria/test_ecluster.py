"""Energy distance against dcor and loops; sums of squared deviations."""

import cluster_oracles as oracles
import numpy as np
import pytest

from dbc_jax.cluster import (
  energy_distance_matrix,
  mean_linkage,
  pairwise_distances,
  sum_squared_deviations,
)


@pytest.fixture
def clustered():
  x = oracles.unit_features(45, 7, seed=0)
  return x, oracles.random_labels(45, 8, seed=1)


def test_equals_the_definition(clustered):
  x, labels = clustered
  dist = oracles.distances(x)
  clusters = oracles.clusters_of(labels)
  expected = [[oracles.energy(dist, a, b) for b in clusters] for a in clusters]
  got = energy_distance_matrix(mean_linkage(pairwise_distances(x), labels, 8))
  got = np.asarray(got)
  np.testing.assert_allclose(got, expected, atol=1e-6)
  np.testing.assert_array_equal(got, got.T)
  assert not np.diagonal(got).any()
  assert got.min() > -1e-6


@pytest.mark.slow
def test_equals_dcor(clustered):
  # The first import ever compiles for half a minute; later ones find a cache.
  dcor = pytest.importorskip('dcor')
  x, labels = clustered
  got = energy_distance_matrix(mean_linkage(pairwise_distances(x), labels, 8))
  x64 = x.astype(np.float64)
  for a in range(8):
    for b in range(8):
      expected = dcor.energy_distance(x64[labels == a], x64[labels == b])
      assert abs(float(got[a, b]) - expected) < 1e-6


def test_squared_distances_give_the_gap_of_the_means(clustered):
  x, labels = clustered
  linkage = mean_linkage(pairwise_distances(x, squared=True), labels, 8)
  means = np.stack([x[labels == c].mean(axis=0) for c in range(8)])
  expected = 2 * oracles.distances(means, squared=True)
  np.testing.assert_allclose(
    energy_distance_matrix(linkage), expected, atol=2e-6
  )


def test_deviations_equal_the_definition(clustered):
  x, labels = clustered
  clusters = oracles.clusters_of(labels)
  expected = [oracles.deviations(x, c) for c in clusters]
  got = np.asarray(sum_squared_deviations(x, labels, 8))
  np.testing.assert_allclose(got, expected, atol=1e-6)
  alone = np.bincount(labels) == 1
  assert alone.any()
  assert not got[alone].any()


def test_deviations_far_from_the_origin(clustered):
  x, labels = clustered
  near = sum_squared_deviations(x, labels, 8)
  far = sum_squared_deviations(x.astype(np.float64) + 1000, labels, 8)
  np.testing.assert_allclose(near, far, atol=1e-6)


def test_wrong_input(clustered):
  x, labels = clustered
  with pytest.raises(ValueError, match='num_clusters: got 9, expected 8'):
    sum_squared_deviations(x, labels, 9)
  with pytest.raises(ValueError, match='labels: got shape'):
    sum_squared_deviations(x, labels[1:], 8)
  x[3] = np.nan
  with pytest.raises(ValueError, match='features: row 3 '):
    sum_squared_deviations(x, labels, 8)
