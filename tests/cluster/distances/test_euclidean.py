"""Euclidean distances: against float64 everywhere, near zero above all."""

import cluster_oracles as oracles
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.distance import cdist

from dbc_jax.cluster import pairwise_distances


@pytest.mark.parametrize('squared', [False, True])
@pytest.mark.parametrize('block_size', [None, 1, 7, 40, 1000])
def test_equals_the_definition(squared, block_size):
  x = oracles.unit_features(40, 16, seed=0)
  got = pairwise_distances(x, squared=squared, block_size=block_size)
  assert got.shape == (40, 40)
  assert got.dtype == jnp.float32
  np.testing.assert_allclose(got, oracles.distances(x, squared), atol=1e-6)


@pytest.mark.parametrize('num', [700, *oracles.slow(511, 512, 1100)])
def test_sizes_around_the_block(num):
  x = oracles.unit_features(num, 24, seed=num)
  got = np.asarray(pairwise_distances(x))
  x64 = x.astype(np.float64)
  np.testing.assert_allclose(got, cdist(x64, x64), atol=1e-6)
  np.testing.assert_array_equal(got, got.T)
  assert not np.diagonal(got).any()


@pytest.mark.parametrize('step', [1e-2, 1e-3, 1e-4, 1e-5, 1e-6])
def test_near_duplicates(step):
  x = oracles.unit_features(30, 2048, seed=1)
  rng = np.random.default_rng(2)
  noise = rng.normal(size=x.shape) * step / np.sqrt(2048)
  x = np.concatenate([x, (x + noise).astype(np.float32)])
  x64 = x.astype(np.float64)
  expected = np.linalg.norm(x64[:, None] - x64, axis=2)
  assert expected[0, 30] < 2 * step
  np.testing.assert_allclose(pairwise_distances(x), expected, atol=1e-6)


def test_all_samples_close_together():
  # An untrained network: every feature nearly the same. Every pair cancels.
  x = 1 + 1e-3 * np.random.default_rng(3).normal(size=(50, 512))
  x = (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)
  x64 = x.astype(np.float64)
  np.testing.assert_allclose(pairwise_distances(x), cdist(x64, x64), atol=1e-6)


def test_equal_rows_are_at_exactly_zero():
  x = np.tile(oracles.unit_features(50, 100, seed=4), (12, 1))
  x[70, 0] = x[20, 0] = 0.0
  x[120, 0] = -0.0
  got = np.asarray(pairwise_distances(x))
  equal = (x[:, None] == x).all(axis=2)
  assert equal.sum() > len(x)
  assert equal[120, 20]
  assert not got[equal].any()
  assert (got[~equal] > 0).all()


def test_takes_jax_arrays_and_single_samples():
  x = oracles.unit_features(9, 4, seed=5)
  np.testing.assert_array_equal(
    pairwise_distances(jnp.asarray(x)), pairwise_distances(x)
  )
  assert pairwise_distances(x[:1]).tolist() == [[0.0]]
  assert not jax.config.jax_enable_x64


def test_says_which_row_is_not_finite():
  x = oracles.unit_features(9, 4, seed=6)
  x[5, 2] = np.nan
  x[7, 0] = np.inf
  with pytest.raises(ValueError, match=r'features: row 5 .* 2 rows'):
    pairwise_distances(x)


@pytest.mark.parametrize('shape', [(4,), (0, 3), (3, 0), (2, 3, 4)])
def test_wrong_shape(shape):
  with pytest.raises(ValueError, match='features: got shape'):
    pairwise_distances(np.zeros(shape, np.float32))


@pytest.mark.parametrize('block_size', [0, -3])
def test_wrong_block_size(block_size):
  with pytest.raises(ValueError, match=f'block_size: got {block_size}'):
    pairwise_distances(np.eye(3), block_size=block_size)
