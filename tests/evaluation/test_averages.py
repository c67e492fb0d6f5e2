"""Pooled and expanded queries against one loop over the queries each."""

import numpy as np
import pytest

from dbc_jax.evaluation import expand_queries, pool_queries


def unit(rows):
  return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def test_pooled_queries_are_means_of_directions():
  rng = np.random.default_rng(0)
  features = rng.standard_normal((40, 5)) * rng.uniform(1, 9, (40, 1))
  pids, camids = rng.integers(0, 4, 40), rng.integers(0, 3, 40)
  pooled, pooled_pids, pooled_camids = pool_queries(features, pids, camids)
  pairs = sorted(set(zip(pids.tolist(), camids.tolist(), strict=True)))
  got = zip(pooled_pids.tolist(), pooled_camids.tolist(), strict=True)
  assert list(got) == pairs
  for row, (pid, camid) in zip(pooled, pairs, strict=True):
    own = features[(pids == pid) & (camids == camid)]
    np.testing.assert_allclose(row, unit(unit(own).mean(axis=0)), atol=1e-6)


@pytest.mark.parametrize(('k', 'alpha'), [(1, 0), (3, 0), (3, 2.5), (30, 1)])
def test_expanded_queries(k, alpha):
  rng = np.random.default_rng(k)
  queries, gallery = rng.standard_normal((9, 6)), rng.standard_normal((30, 6))
  got = expand_queries(queries, gallery, k=k, alpha=alpha)
  for row, query in zip(got, unit(queries), strict=True):
    similarities = unit(gallery) @ query
    nearest = np.argsort(-similarities)[:k]
    weights = np.maximum(similarities[nearest], 0) ** alpha
    expected = query + weights @ unit(gallery)[nearest]
    np.testing.assert_allclose(row, unit(expected), atol=1e-6)


def test_expansion_among_equals_takes_the_first():
  gallery = np.array([[0.0, 1.0], [2.0, 0.0], [1.0, 0.0], [3.0, 0.0]])
  got = expand_queries([[1.0, 1e-3]], gallery, k=3)
  np.testing.assert_allclose(got, unit(np.array([[4.0, 1e-3]])), atol=1e-6)


@pytest.mark.parametrize(
  ('options', 'message'),
  [
    ({'k': 0}, r'k: got 0, expected a whole number in 1\.\.4'),
    ({'k': 5}, 'got 5'),
    ({'k': 1, 'alpha': -1.0}, 'alpha: got .*, expected a number of at least 0'),
  ],
)
def test_expansion_errors(options, message):
  with pytest.raises(ValueError, match=message):
    expand_queries(np.ones((2, 3)), np.ones((4, 3)), **options)


def test_pooling_errors():
  with pytest.raises(ValueError, match=r'^pids: got shape .*, expected \(3,\)'):
    pool_queries(np.eye(3), [0, 1], [0, 0, 0])
  with pytest.raises(ValueError, match='features: 3 of 3 rows hold NaN'):
    pool_queries(np.full((3, 2), np.inf), [0, 1, 2], [0, 0, 0])
