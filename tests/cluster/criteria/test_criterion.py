"""Criterion options and the score of every pair."""

import dataclasses

import cluster_oracles as oracles
import numpy as np
import pytest

from dbc_jax.cluster import Criterion, criterion_matrix


@pytest.mark.parametrize('criterion', oracles.CRITERIA, ids=oracles.name_of)
@pytest.mark.parametrize('num_clusters', [26, 45])
def test_equals_the_definition(criterion, num_clusters):
  x = oracles.unit_features(45, 5, seed=0)
  labels = oracles.random_labels(45, num_clusters, seed=1)
  dist = oracles.distances(x, criterion.squared)
  got = np.asarray(criterion_matrix(criterion, x, labels, num_clusters))
  expected = oracles.score_matrix(criterion, dist, x, labels)
  np.testing.assert_allclose(got, expected, atol=1e-5)
  np.testing.assert_array_equal(got, got.T)


@pytest.mark.parametrize(
  'criterion',
  [c for c in oracles.CRITERIA if not c.squared],
  ids=oracles.name_of,
)
def test_given_distances(criterion):
  x = oracles.unit_features(45, 5, seed=2)
  labels = oracles.random_labels(45, 26, seed=3)
  other = oracles.distances(oracles.unit_features(45, 3, seed=4))
  got = criterion_matrix(criterion, x, labels, 26, distances=other)
  expected = oracles.score_matrix(criterion, other, x, labels)
  np.testing.assert_allclose(got, expected, atol=1e-5)


@pytest.mark.parametrize(
  ('name', 'options'),
  [
    ('ward', {}),
    ('DBC', {}),
    ('means', {}),
    ('rule', {}),
    (3, {}),
    (['dbc'], {}),
    ('dbc', {'intra': 'max'}),
    ('dbc', {'update': 'eq6'}),
    ('ecluster', {'ssd': 'one'}),
    ('buc', {'merge': 'parallel'}),
    ('buc', {'squared': 'yes'}),
    ('buc', {'squared': 1}),
    ('buc', {'intra': 'mean'}),
    ('ecluster', {'intra': 'mean'}),
    ('estat', {'update': 'eq7'}),
    ('buc', {'update': 'eq7'}),
    ('dbc', {'ssd': 'printed'}),
    ('buc', {'ssd': 'printed'}),
    ('ecluster', {'squared': True}),
    ('estat', {'squared': True}),
    ('average', {'squared': True}),
    ('average', {'intra': 'mean'}),
    ('average', {'ssd': 'printed'}),
  ],
)
def test_wrong_option_is_named(name, options):
  field = next(iter(options), 'name')
  with pytest.raises(ValueError, match=f'^{field}: got '):
    Criterion(name, 0.1, **options)


@pytest.mark.parametrize(
  'weight', [-0.1, float('nan'), float('inf'), None, '0.1', True]
)
def test_wrong_weight(weight):
  with pytest.raises(ValueError, match='reg_weight: got '):
    Criterion('dbc', weight)


def test_is_a_frozen_value():
  criterion = Criterion('dbc', np.float32(0.5))
  assert criterion == Criterion('dbc', 0.5)
  assert hash(criterion) == hash(Criterion('dbc', 0.5))
  with pytest.raises(dataclasses.FrozenInstanceError):
    criterion.name = 'buc'


def faulty(change):
  dist = oracles.distances(oracles.unit_features(6, 3, seed=5))
  return change(dist)


def put(i, j, value):
  def change(dist):
    dist[i, j] = value
    return dist

  return change


@pytest.mark.parametrize(
  ('distances', 'message'),
  [
    (faulty(lambda d: d[:5]), r'got shape \(5, 6\), expected \(6, 6\)'),
    (faulty(lambda d: d[:5, :5]), r'got shape \(5, 5\), expected \(6, 6\)'),
    (faulty(lambda d: d[0]), r'got shape \(6,\)'),
    (faulty(put(2, 4, np.nan)), 'row 2 holds NaN or infinity'),
    (faulty(put(3, 0, np.inf)), 'row 3 holds NaN or infinity'),
    (faulty(put(1, 2, 5.0)), 'symmetric'),
    (faulty(put(4, 4, 0.1)), 'got 0.1 on the diagonal'),
  ],
)
def test_wrong_distances(distances, message):
  x = oracles.unit_features(6, 3, seed=5)
  with pytest.raises(ValueError, match=f'^distances: .*{message}'):
    criterion_matrix(
      Criterion('dbc', 0.1), x, np.arange(6), 6, distances=distances
    )


def test_squared_is_for_own_distances():
  x = oracles.unit_features(6, 3, seed=5)
  with pytest.raises(ValueError, match=r'^squared: got True together with'):
    criterion_matrix(
      Criterion('dbc', 0.1, squared=True),
      x,
      np.arange(6),
      6,
      distances=oracles.distances(x),
    )


def test_wrong_features_and_labels():
  x = oracles.unit_features(6, 3, seed=5)
  criterion = Criterion('dbc', 0.1)
  with pytest.raises(ValueError, match=r'^labels: got shape'):
    criterion_matrix(criterion, x, np.arange(5), 5)
  with pytest.raises(ValueError, match=r'^num_clusters: got 5, expected 6'):
    criterion_matrix(criterion, x, np.arange(6), 5)
  x[4, 0] = np.nan
  with pytest.raises(ValueError, match=r'^features: row 4 '):
    criterion_matrix(criterion, x, np.arange(6), 6)
