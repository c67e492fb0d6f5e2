"""Nearest samples: against a stable sort of float64 distances."""

import cluster_oracles as oracles
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dbc_jax.cluster.distances import neighbours
from dbc_jax.cluster.distances.sources import feature_source


def close_together(gap):
  """Ten unit rows, and thirty about each, a gap or so apart."""
  rng = np.random.default_rng(1)
  x = np.repeat(oracles.unit_features(10, 16, seed=2), 30, axis=0)
  return x + gap * rng.normal(size=x.shape)


def of_odd_lengths():
  rng = np.random.default_rng(3)
  x = oracles.unit_features(200, 12, seed=4)
  return x * np.exp(rng.uniform(-6, 6, size=(200, 1)))


SETS = {
  'spread': lambda: oracles.unit_features(300, 16, seed=0),
  'a block and one': lambda: oracles.unit_features(129, 16, seed=5),
  'few': lambda: oracles.unit_features(20, 16, seed=6),
  'close': lambda: close_together(1e-2),
  'nearer than float32 can tell': lambda: close_together(1e-5),
  'copies': lambda: np.tile(oracles.unit_features(20, 16, seed=7), (15, 1)),
  'odd lengths': of_odd_lengths,
  'float64': lambda: oracles.unit_features(300, 16, seed=8).astype(np.float64),
}


@pytest.mark.parametrize('name', SETS)
@pytest.mark.parametrize('count', [1, 9])
def test_equal_a_sort_of_all(name, count):
  x = SETS[name]()
  dist = oracles.distances(x, squared=True).astype(np.float32)
  ranks, furthest = neighbours.nearest(x, count)
  expected = np.argsort(dist, axis=1, kind='stable')[:, :count]
  np.testing.assert_array_equal(ranks, expected)
  np.testing.assert_allclose(furthest, dist.max(axis=1), rtol=1e-6)


@pytest.mark.parametrize(
  ('name', 'sure'),
  [
    ('spread', True),
    ('nearer than float32 can tell', False),
    ('copies', False),
  ],
)
def test_float32_is_enough_only_where_it_can_tell(name, sure):
  search = neighbours._NeighbourPass(9, 100)
  with jax.enable_x64(True):
    source = feature_source(SETS[name](), squared=True)
    got = search._candidates(source, jnp.arange(100, dtype=jnp.int32))[2]
  assert bool(got) is sure
