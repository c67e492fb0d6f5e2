"""Jaccard distances: against the definition in plain loops over sets."""

import contextlib

import cluster_oracles as oracles
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dbc_jax.cluster import Criterion, jaccard_distances, merge_clusters


def jaccard_by_loops(x, k1, k2):
  """The equations of `jaccard_distances`, one sample and one set at a time."""
  n = len(x)
  dist = oracles.distances(x, squared=True)
  ranks = [sorted(range(n), key=lambda j: (dist[i, j], j)) for i in range(n)]
  near = [ranks[i][: k1 + 1] for i in range(n)]
  half = [ranks[i][: int(np.around(k1 / 2)) + 1] for i in range(n)]
  weights = np.zeros((n, n))
  for i in range(n):
    members = {j for j in near[i] if i in near[j]}
    extended = set(members)
    for c in members:
      candidate = {j for j in half[c] if c in half[j]}
      if 3 * len(candidate & members) > 2 * len(candidate):
        extended |= candidate
    for j in extended:
      weights[i, j] = np.exp(-dist[i, j] / dist[i].max())
  weights /= np.maximum(weights.sum(axis=1, keepdims=True), 1e-300)
  mean = np.stack([weights[ranks[i][:k2]].mean(axis=0) for i in range(n)])
  out = np.zeros((n, n))
  for i in range(n):
    for j in range(n):
      shared = np.minimum(mean[i], mean[j]).sum()
      out[i, j] = 1 - shared / np.maximum(mean[i], mean[j]).sum()
  return out


def check_properties(got):
  got = np.asarray(got)
  np.testing.assert_array_equal(got, got.T)
  assert not np.diagonal(got).any()
  assert got.min() == 0
  assert got.max() <= 1


@pytest.mark.filterwarnings('ignore:k1. got .* means all')
@pytest.mark.parametrize(
  ('num', 'k1', 'k2'),
  [
    (40, 10, 4),
    (60, 7, 3),  # 3.5 is rounded up to 4,
    (60, 9, 3),  # and 4.5 down to it.
    (60, 5, 1),
    (60, 1, 2),
    (1, 30, 6),
    (2, 1, 1),
    (12, 11, 11),
    (20, 30, 19),  # more neighbours than there are samples
    (200, 30, 6),
  ],
)
def test_equals_the_definition(num, k1, k2):
  x = oracles.unit_features(num, 6, seed=num + k1)
  got = jaccard_distances(x, k1=k1, k2=k2)
  assert isinstance(got, jax.Array)
  assert got.shape == (num, num)
  assert got.dtype == jnp.float32
  if num > 1:
    np.testing.assert_allclose(got, jaccard_by_loops(x, k1, k2), atol=1e-6)
  check_properties(got)
  assert not jax.config.jax_enable_x64


def test_sets_are_extended_in_the_data_of_these_tests():
  # Else the step of 2/3 would not be tested at all.
  x = oracles.unit_features(60, 6, seed=67)
  dist = oracles.distances(x)
  near = dist <= np.sort(dist, axis=1)[:, 7, None]
  reciprocal = near & near.T
  weighted = jaccard_distances(x, k1=7, k2=1) < 1
  # Sets that are not extended overlap only where they share a member.
  shared = reciprocal.astype(int) @ reciprocal > 0
  assert (np.asarray(weighted) & ~shared).any()


@pytest.mark.parametrize('num', [129, *oracles.slow(127, 128, 300)])
def test_sizes_around_the_block(num):
  x = oracles.unit_features(num, 8, seed=num)
  got = jaccard_distances(x, k1=8, k2=3)
  np.testing.assert_allclose(got, jaccard_by_loops(x, 8, 3), atol=1e-6)
  check_properties(got)


@pytest.mark.parametrize('k2', [1, 3])
@pytest.mark.parametrize('copies', [2, 12])
def test_equal_samples(copies, k2):
  # 12 copies are more than k1 + 1: the last are not near themselves.
  x = oracles.unit_features(25, 5, seed=3)
  x[0, 0] = 0.0
  x = np.concatenate([x, np.tile(x[:3], (copies - 1, 1))])
  x[25, 0] = -0.0
  shuffle = np.random.default_rng(4).permutation(len(x))
  x = x[shuffle]
  got = np.asarray(jaccard_distances(x, k1=6, k2=k2))
  np.testing.assert_allclose(got, jaccard_by_loops(x, 6, k2), atol=1e-6)
  check_properties(got)
  equal = (x[:, None] == x).all(axis=2)
  assert equal.sum() > len(x)
  assert not got[equal].any()


def test_all_samples_equal():
  assert not np.asarray(jaccard_distances(np.ones((9, 4)), k1=3, k2=2)).any()


def test_order_of_the_samples_does_not_matter():
  x = oracles.unit_features(150, 8, seed=5)
  shuffle = np.random.default_rng(6).permutation(150)
  got = np.asarray(jaccard_distances(x, k1=10, k2=4))
  shuffled = jaccard_distances(x[shuffle], k1=10, k2=4)
  np.testing.assert_allclose(shuffled, got[shuffle][:, shuffle], atol=1e-6)


def test_near_duplicates_are_told_apart():
  # 1e-5 apart on the unit sphere: in float32 a Gram matrix is blind to that.
  rng = np.random.default_rng(7)
  x = np.concatenate([np.ones((60, 4)), 1e-5 * rng.normal(size=(60, 4))], 1)
  x = (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)
  expected = jaccard_by_loops(x, 8, 3)
  np.testing.assert_allclose(
    jaccard_distances(x, k1=8, k2=3), expected, atol=1e-6
  )


@pytest.mark.parametrize(
  'criterion',
  oracles.slow(Criterion('average', 0.002), Criterion('ecluster', 0.9)),
  ids=oracles.name_of,
)
def test_clusters_merge_by_it(criterion):
  x = oracles.unit_features(45, 5, seed=8)
  labels = oracles.random_labels(45, 26, seed=9)
  dist = jaccard_distances(x, k1=12, k2=4)
  got = merge_clusters(x, labels, 12, criterion, distances=dist)
  expected_labels, pairs, scores, lead = oracles.brute_force_merge(
    criterion, np.asarray(dist, np.float64), x, labels, 12
  )
  assert lead > 1e-6, 'the data leaves the order of merges open: other seed'
  np.testing.assert_array_equal(got.pairs, pairs)
  np.testing.assert_allclose(got.scores, scores, atol=1e-5)
  np.testing.assert_array_equal(got.labels, expected_labels)


@pytest.mark.parametrize(
  ('counts', 'message'),
  [
    ({'k1': 0}, r'k1: got 0, expected an integer >= 1'),
    ({'k1': 2.5}, r'k1: got 2\.5'),
    ({'k1': True}, r'k1: got True'),
    ({'k2': 0}, r'k2: got 0, expected an integer in 1\.\.31'),
    ({'k1': 4, 'k2': 6}, r'k2: got 6, expected an integer in 1\.\.5'),
    ({'k2': '6'}, r"k2: got '6'"),
  ],
)
def test_wrong_counts(counts, message):
  with pytest.raises(ValueError, match=message):
    jaccard_distances(np.eye(9), **counts)


@pytest.mark.parametrize(('num', 'k1'), [(20, 30), (20, 20), (20, 19), (1, 30)])
def test_neighbourhoods_of_all_are_told(num, k1):
  x = oracles.unit_features(num, 6, seed=1)
  expected = contextlib.nullcontext()
  if 1 < num <= k1:
    expected = pytest.warns(match=f'k1: got {k1} for 20 samples, which means')
  with expected:
    jaccard_distances(x, k1=k1, k2=3)


def test_wrong_features():
  with pytest.raises(ValueError, match='features: got shape'):
    jaccard_distances(np.zeros(4))
  with pytest.raises(ValueError, match='features: row 1 holds NaN'):
    jaccard_distances(np.array([[1.0], [np.nan]]))
