"""Cuts: whom they place, against slow rules, and what any cut must keep."""

import dataclasses

import cluster_oracles
import numpy as np
import pytest

from dbc_jax import cluster
from dbc_jax.cluster import cuts, hierarchy
from dbc_jax.cluster.cuts import core, dense, geometric, papers, share
from dbc_jax.labels import apart

OPTIONS = {
  'merge_percent': 0.1,
  'share': (0.3, 0.9),
  'min_size': 3,
  'eps': 0.9,
}


def _features(count=60, seed=0):
  rng = np.random.default_rng(seed)
  x = rng.normal(size=(12, 8))[rng.integers(0, 12, count)]
  x = x + 0.4 * rng.normal(size=(count, 8))
  return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def _task(features, labels=None, number=0, count=3, name='average'):
  if labels is None:
    labels = np.arange(len(features), dtype=np.int32)
  distances = cluster.pairwise_distances(features)

  def merge(num_merges, distances=distances):
    return cluster.merge_clusters(
      features,
      labels,
      num_merges,
      cluster.Criterion(name, 0.001),
      distances=distances,
    )

  return cuts.Task(labels, number, count, lambda: distances, merge)


def test_the_papers_cut_merges_as_long_as_there_are_two():
  x = _features()
  cut = papers.create(0.1)
  for count, left in ((9, 3), (6, 1), (4, 1), (1, 1)):
    labels = (np.arange(60) % count).astype(np.int32)
    found, scores = cut(_task(x, labels))
    assert found.max() + 1 == left
    assert len(scores) == count - left


@pytest.mark.parametrize('name', cuts.cut_names())
@pytest.mark.parametrize('number', [0, 2])
def test_labels_of_every_cut_are_contiguous_and_pure(name, number):
  task = _task(_features(), number=number)
  cut = cuts.create_cut(name, **OPTIONS)
  labels, scores = cut(task)
  assert labels.dtype == np.int32
  assert labels.shape == (60,)
  placed = labels[labels != cuts.NOT_PLACED]
  np.testing.assert_array_equal(np.unique(placed), np.arange(placed.max() + 1))
  assert labels.min() >= cuts.NOT_PLACED
  again, _ = cut(task)
  np.testing.assert_array_equal(labels, again)
  assert np.isfinite(scores).all()


@pytest.mark.parametrize('name', cuts.cut_names())
def test_no_cut_sees_the_order_of_the_samples(name):
  features = _features()
  order = np.random.default_rng(5).permutation(len(features))
  cut = cuts.create_cut(name, **OPTIONS)
  one, _ = cut(_task(features))
  other, _ = cut(_task(features[order]))
  back = np.empty_like(other)
  back[order] = other
  np.testing.assert_array_equal(one < 0, back < 0)
  same = (one[:, None] == one) & (one >= 0)
  np.testing.assert_array_equal(same, (back[:, None] == back) & (back >= 0))


@pytest.mark.parametrize(('number', 'clusters'), [(0, 18), (1, 10), (2, 6)])
def test_the_geometric_cut_is_so_many_clusters(number, clusters):
  cut = geometric.Geometric((0.3, 0.1))  # Halfway 0.3 (1/3)^(1/2) = 0.173.
  task = _task(_features(), number=number)
  labels, scores = cut(task)
  expected = task.merge(60 - clusters)
  np.testing.assert_array_equal(labels, expected.labels)
  np.testing.assert_array_equal(scores, expected.scores)
  # What has as few clusters already stays as it is.
  again, scores = cut(_task(_features(), labels, number=number))
  np.testing.assert_array_equal(again, labels)
  assert not len(scores)


def test_the_papers_cut_is_so_many_merges():
  task = _task(_features())
  expected = task.merge(6)
  for number in (0, 1):
    labels, scores = papers.Papers(0.1)(_task(_features(), number=number))
    np.testing.assert_array_equal(labels, expected.labels)
    np.testing.assert_array_equal(scores, expected.scores)
  anew, _ = papers.Papers(0.1, anew=True)(_task(_features(), number=2))
  np.testing.assert_array_equal(anew, task.merge(18).labels)


@pytest.mark.parametrize('merges', [0, 1, 30, 59])
def test_labels_after_are_those_of_merging_so_often(merges):
  features = _features()
  task = _task(features)
  whole = task.merge(59)
  got = hierarchy.labels_after(whole.pairs, task.labels, merges)
  expected = task.merge(merges).labels if merges else task.labels
  np.testing.assert_array_equal(got, expected)
  # From clusters, too.
  start = task.merge(20).labels
  later = _task(features, start)
  got = hierarchy.labels_after(later.merge(39).pairs, start, 10)
  np.testing.assert_array_equal(got, later.merge(10).labels)


def _slow_share(task, wanted, min_size):
  """Merges one more, and one more, and counts anew each time."""
  for merges in range(len(task.labels)):
    labels = task.merge(merges).labels if merges else task.labels
    sizes = np.bincount(labels)[labels]
    if (sizes >= min_size).sum() >= wanted:
      return np.where(sizes >= min_size, labels, -1)
  raise AssertionError('all samples are in one cluster at last')


@pytest.mark.parametrize(
  'name',
  [
    'average',
    *(pytest.param(x, marks=pytest.mark.slow) for x in ('buc', 'ecluster')),
  ],
)
@pytest.mark.parametrize(('number', 'min_size'), [(0, 2), (1, 5), (2, 5)])
def test_the_share_is_reached_by_the_fewest_merges(name, number, min_size):
  task = _task(_features(), number=number, name=name)
  wanted = [18, 36, 54][number]
  labels, _ = share.Share((0.3, 0.9), min_size)(task)
  expected = _slow_share(task, wanted, min_size)
  np.testing.assert_array_equal(labels < 0, expected < 0)
  same = labels[:, None] == labels
  np.testing.assert_array_equal(same, expected[:, None] == expected)


@pytest.mark.parametrize('number', [0, 2])
def test_the_core_of_a_cluster_is_what_lies_near_to_its_others(number):
  task = _task(_features(seed=4), number=number)
  labels, _ = core.Core((0.4, 0.6), 3)(task)
  coarse = share.labels_of_share(task, 0.9, 3)
  distances = np.asarray(task.distances(), np.float64)
  means = {}
  for i in range(60):
    others = [j for j in range(60) if j != i and coarse[j] == coarse[i] >= 0]
    if others:
      means[i] = np.mean([distances[i, j] for j in others])
  near = sorted(means, key=means.get)[: [24, 0, 36][number]]
  count = {k: sum(coarse[i] == k for i in near) for k in {*coarse.tolist()}}
  expected = {i for i in near if count[coarse[i]] >= 3}
  assert {*np.flatnonzero(labels >= 0).tolist()} == expected
  assert 0 < len(expected) < 60
  for i in expected:
    for j in expected:
      assert (labels[i] == labels[j]) == (coarse[i] == coarse[j])


@pytest.mark.parametrize('seed', range(4))
def test_otsu_splits_values_as_trying_every_split_does(seed):
  rng = np.random.default_rng(seed)
  values = np.concatenate([rng.normal(0.3, 0.1, 20), rng.normal(0.8, 0.05, 9)])
  values = np.round(values, 1 + seed)  # With ties.

  def between(threshold):
    low, high = values[values <= threshold], values[values > threshold]
    return len(low) * len(high) * (low.mean() - high.mean()) ** 2

  best = max(sorted(set(values))[:-1], key=between)
  assert dense.otsu_threshold(rng.permutation(values)) == best
  assert dense.otsu_threshold(np.full(5, 0.4)) == 0.4
  assert dense.otsu_threshold(np.array([0.4])) == 0.4


@pytest.mark.parametrize('scale', [1.0, 2.0])
def test_dense_is_below_the_threshold_and_whatever_is_near(scale):
  task = _task(_features())
  distances = np.asarray(task.distances())
  task = dataclasses.replace(task, distances=lambda: scale * distances)
  labels = share.labels_of_share(task, 0.9, 3)
  means = core.mean_distances(task, labels)
  threshold = dense.otsu_threshold(means[np.isfinite(means)])
  got, _ = dense.Dense(3)(task)
  expected = np.where(means <= max(threshold, 0.6), labels, -1)
  np.testing.assert_array_equal(got, cuts.drop_small(expected, 3))
  assert 0 < (got >= 0).sum() < 60
  assert (threshold < 0.6) == (scale == 1.0)


@pytest.mark.slow
@pytest.mark.parametrize('cut', [dense.Dense(3), core.Core((0.4, 0.4), 3)])
def test_similarities_place_as_the_distances_they_stand_for(cut):
  features = cluster_oracles.unit_features(120, 6, seed=3)
  given = {'k1': 6, 'k2': 2}
  distances = np.asarray(cluster.jaccard_distances(features, **given))
  similarities = cluster.jaccard_similarities(features, **given)
  criterion = cluster.Criterion('average', 0.0)
  alone = np.arange(120)

  def merge(num_merges, **more):
    return cluster.merge_clusters(None, alone, num_merges, criterion, **more)

  plain = cuts.Task(
    alone, 0, 1, lambda: distances, lambda m: merge(m, distances=distances)
  )
  sparse = cuts.Task(
    alone,
    0,
    1,
    lambda: pytest.fail('no matrix is needed'),
    lambda m: merge(m, similarities=similarities),
    similarities,
  )
  labels = cluster_oracles.random_labels(120, 30, seed=1) - 1
  np.testing.assert_allclose(
    core.mean_distances(sparse, labels), core.mean_distances(plain, labels)
  )
  got, expected = cut(sparse), cut(plain)
  np.testing.assert_array_equal(got.labels, expected.labels)
  assert 0 < (got.labels >= 0).sum() < 120


def test_samples_at_equal_distances_are_placed_together():
  features = np.repeat(np.eye(8, dtype=np.float32)[:6], 10, axis=0)
  labels, _ = core.Core((0.3, 0.3), 2)(_task(features))
  assert (labels >= 0).sum() >= 54


def test_samples_that_wait_may_join_and_clusters_stay():
  features = _features()
  first, _ = share.Share((0.3, 0.9), 3)(_task(features))
  assert (first < 0).any()
  start = apart(first)
  np.testing.assert_array_equal(start[first >= 0], first[first >= 0])
  alone = start[first < 0]
  assert len(np.unique(alone)) == len(alone)
  assert alone.min() == first.max() + 1
  second, _ = share.Share((0.3, 0.9), 3)(_task(features, start, number=2))
  assert (second < 0).sum() < (first < 0).sum()
  for k in range(first.max() + 1):
    assert len(np.unique(second[first == k])) == 1


def test_small_clusters_are_dropped_in_order():
  labels = np.array([2, 0, 0, 1, 2, 2, -1, 3, 3])
  got = cuts.drop_small(labels, 2)
  np.testing.assert_array_equal(got, [1, 0, 0, -1, 1, 1, -1, 2, 2])
  np.testing.assert_array_equal(cuts.drop_small(labels, 4), [-1] * 9)


@pytest.mark.parametrize(
  'name', ['core', 'dbscan', 'dense', 'hdbscan', 'share']
)
def test_of_too_few_samples_nobody_is_placed(name):
  cut = cuts.create_cut(name, **(OPTIONS | {'min_size': 9, 'eps': 1e-3}))
  labels, _ = cut(_task(_features(8)))
  np.testing.assert_array_equal(labels, [-1] * 8)


@pytest.mark.parametrize(
  ('name', 'options', 'expected'),
  [
    ('nothing', {}, r"^cut: got 'nothing', expected one of \['core', 'dbscan'"),
    ('json', {}, r"^cut: got 'json', expected one of"),
    ('share', {'share': (0.0, 0.5)}, r'^share: got \(0\.0, 0\.5\), expected'),
    ('share', {'share': (0.5, 1.5)}, r'^share: got \(0\.5, 1\.5\), expected'),
    ('share', {'min_size': 1}, r'^min_size: got 1, expected at least 2'),
    ('core', {'min_size': 1}, r'^min_size: got 1, expected at least 2'),
    ('dbscan', {'min_size': 0}, r'^min_size: got 0, expected at least 2'),
    ('hdbscan', {'min_size': 1}, r'^min_size: got 1, expected at least 2'),
    ('dbscan', {'eps': 0.0}, r'^eps: got 0\.0, expected more than 0'),
  ],
)
def test_bad_cuts_are_named(name, options, expected):
  with pytest.raises(ValueError, match=expected):
    cuts.create_cut(name, **(OPTIONS | options))
