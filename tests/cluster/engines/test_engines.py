"""The two engines agree, on any devices; the budget chooses between them."""

import cluster_oracles as oracles
import jax
import numpy as np
import pytest

from dbc_jax.cluster import (
  Criterion,
  choose_engine,
  jaccard_distances,
  mean_linkage,
  merge_clusters,
  pairwise_distances,
)
from dbc_jax.cluster.distances import panels
from dbc_jax.cluster.engines import dense, matrix_free
from dbc_jax.devices import mesh

ESTAT = Criterion('estat', 0.1)


def tightest_budget(criterion, shape, num_clusters):
  """What the matrix-free engine asks for: less than the dense one needs."""
  with pytest.raises(ValueError, match='memory_budget_gb: got 1e-09') as error:
    choose_engine(criterion, shape, num_clusters, memory_budget_gb=1e-9)
  return 1.01 * float(str(error.value).split('at least ')[1].split(' ')[0])


def check_engines_agree(x, labels, num_merges, criterion):
  dense = merge_clusters(x, labels, num_merges, criterion)
  budget = tightest_budget(criterion, x.shape, max(labels) + 1)
  free = merge_clusters(
    x, labels, num_merges, criterion, memory_budget_gb=budget
  )
  assert (dense.engine, free.engine) == ('dense', 'matrix_free')
  np.testing.assert_array_equal(free.pairs, dense.pairs)
  np.testing.assert_array_equal(free.labels, dense.labels)
  np.testing.assert_allclose(free.scores, dense.scores, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize('criterion', oracles.CRITERIA, ids=oracles.name_of)
@pytest.mark.parametrize('num_clusters', [60, 40])
def test_engines_agree(criterion, num_clusters):
  x = oracles.unit_features(60, 6, seed=0)
  labels = oracles.random_labels(60, num_clusters, seed=1)
  check_engines_agree(x, labels, num_clusters - 4, criterion)


@pytest.mark.slow
@pytest.mark.parametrize(
  'criterion',
  [
    Criterion('buc', 0.001),
    Criterion('ecluster', 0.9),
    ESTAT,
  ],
  ids=oracles.name_of,
)
def test_engines_agree_beyond_one_block(criterion):
  # Clusters that fill several blocks, and passes of many members.
  x = oracles.unit_features(1300, 8, seed=2)
  others = 1 + oracles.random_labels(500, 400, seed=3)
  labels = np.concatenate([np.zeros(800, int), others])
  labels = np.random.default_rng(3).permutation(labels)
  check_engines_agree(x, labels, 12, criterion)


def test_matrix_free_without_ties_broken_otherwise():
  # Equal samples: all at distance 0, the lowest pair first.
  x = np.repeat(oracles.unit_features(20, 5, seed=4), 2, axis=0)
  check_engines_agree(x, np.arange(40), 30, Criterion('dbc', 0.1))


def test_each_merge_without_a_matrix_is_counted():
  x = oracles.unit_features(40, 5, seed=4)
  told = []
  for budget in (None, tightest_budget(ESTAT, x.shape, 40)):
    result = merge_clusters(
      x,
      np.arange(40),
      5,
      ESTAT,
      memory_budget_gb=budget,
      progress=lambda *counts: told.append(counts),
    )
    expected = [] if budget is None else [(i, 5) for i in range(5)]
    assert (told, len(result.pairs)) == (expected, 5)


def test_a_merge_changes_no_array_that_a_pass_may_still_read():
  # JAX runs behind Python, and on CPUs it may read NumPy arrays in place.
  labels = np.array([0, 1, 1, 2])
  with jax.enable_x64(True):
    layout = panels.make_layout(labels, 3, 3)
  clusters = matrix_free._Clusters(ESTAT, None, layout, labels)
  before = clusters._homes
  kept = before.copy()
  clusters.merge(0, 1)
  np.testing.assert_array_equal(before, kept)
  assert clusters._homes[:4].tolist() == [0, 0, 0, 2]


def on_devices(count, monkeypatch, call):
  monkeypatch.setattr(mesh, 'devices', lambda: jax.local_devices()[:count])
  return call()


@pytest.mark.parametrize(
  ('engine', 'num_clusters'),
  [
    ('dense', 1100),
    pytest.param('dense', 300, marks=pytest.mark.slow),
    pytest.param('matrix_free', 300, marks=pytest.mark.slow),
    pytest.param('matrix_free', 1100, marks=pytest.mark.slow),
  ],
)
def test_devices_change_nothing(engine, num_clusters, monkeypatch):
  assert len(jax.local_devices()) >= 4
  x = oracles.unit_features(1100, 8, seed=5)
  labels = oracles.random_labels(1100, num_clusters, seed=6)
  budget = None
  if engine == 'matrix_free':
    budget = tightest_budget(ESTAT, x.shape, num_clusters)

  def call():
    result = merge_clusters(x, labels, 20, ESTAT, memory_budget_gb=budget)
    assert result.engine == engine
    return result

  one, four = (on_devices(count, monkeypatch, call) for count in (1, 4))
  np.testing.assert_array_equal(one.labels, four.labels)
  np.testing.assert_array_equal(one.pairs, four.pairs)
  np.testing.assert_array_equal(one.scores, four.scores)


def test_devices_change_no_matrix(monkeypatch):
  x = oracles.unit_features(1100, 8, seed=7)
  labels = oracles.random_labels(1100, 90, seed=8)

  def call():
    distances = pairwise_distances(x)
    return (
      np.asarray(distances),
      np.asarray(mean_linkage(distances, labels, 90)),
      np.asarray(jaccard_distances(x, k1=10)),
    )

  one, three = (on_devices(count, monkeypatch, call) for count in (1, 3))
  for a, b in zip(one, three, strict=True):
    np.testing.assert_array_equal(a, b)


def test_dense_wherever_it_fits():
  shape = (20000, 128)
  assert choose_engine(ESTAT, shape, 20000).name == 'dense'
  rich = choose_engine(ESTAT, shape, 20000, memory_budget_gb=3.0)
  assert rich.name == 'dense'
  assert 'of a budget of 3 GB' in rich.reason
  poor = choose_engine(ESTAT, shape, 20000, memory_budget_gb=1.0)
  assert poor.name == 'matrix_free'
  assert 'dense engine needs' in poor.reason
  late = choose_engine(ESTAT, shape, 1000, memory_budget_gb=1.0)
  assert late.name == 'dense'


def _capacity(num_clusters, num_samples, budget):
  shape = (num_samples, 4)
  engine = choose_engine(ESTAT, shape, num_clusters, memory_budget_gb=budget)
  assert engine.name == 'dense'
  return engine.capacity


@pytest.mark.parametrize('num_samples', [1, 26, 1000, 12936, 100000])
def test_slots_without_a_budget_are_few(num_samples, monkeypatch):
  monkeypatch.setattr(mesh, 'device_memory', lambda: None)
  sizes = set()
  for num_clusters in range(1, num_samples + 1, max(1, num_samples // 500)):
    capacity = _capacity(num_clusters, num_samples, None)
    assert num_clusters <= capacity <= num_samples
    sizes.add(capacity)
  assert len(sizes) <= 8
  assert _capacity(num_samples, num_samples, None) == num_samples


def test_within_a_budget_every_sample_has_a_slot():
  assert _capacity(100, 12936, None) < 12936
  assert _capacity(100, 12936, 10.0) == 12936
  assert _capacity(100, 12936, 0.6) < 12936


@pytest.mark.slow
def test_the_stages_of_a_run_share_their_compiled_code():
  # Any number of clusters, few or many of which have several members.
  x = oracles.unit_features(75, 6, seed=17)
  criterion = Criterion('ecluster', 0.1)
  labels, seen = np.arange(75), []
  for merges in (20, 30, 15):
    expected = merge_clusters(x, labels, merges, criterion)
    before = dense.merge_loop._cache_size(), dense.search_all._cache_size()
    got = merge_clusters(x, labels, merges, criterion, memory_budget_gb=1.0)
    after = dense.merge_loop._cache_size(), dense.search_all._cache_size()
    seen.append(np.subtract(after, before).tolist())
    np.testing.assert_array_equal(got.pairs, expected.pairs)
    np.testing.assert_array_equal(got.scores, expected.scores)
    labels = got.labels
  assert seen[1:] == [[0, 0], [0, 0]]


def test_what_needs_the_dense_engine_says_so():
  x = oracles.unit_features(26, 5, seed=9)
  ranked = Criterion('dbc', 0.1, merge='ranked')
  with pytest.raises(
    ValueError, match=r"^memory_budget_gb: got 1e-05, .* merge='ranked' needs"
  ):
    merge_clusters(x, np.arange(26), 5, ranked, memory_budget_gb=1e-5)
  with pytest.raises(
    ValueError, match=r'^memory_budget_gb: .* a given distance matrix needs'
  ):
    merge_clusters(
      x,
      np.arange(26),
      5,
      ESTAT,
      distances=pairwise_distances(x),
      memory_budget_gb=1e-5,
    )


@pytest.mark.parametrize('budget', [0.0, 1e-9])
def test_budget_too_small_for_either_engine(budget):
  x = oracles.unit_features(26, 5, seed=10)
  with pytest.raises(
    ValueError, match=r'for the matrix-free engine, or .* for the dense one'
  ):
    merge_clusters(x, np.arange(26), 5, ESTAT, memory_budget_gb=budget)


@pytest.mark.parametrize('budget', [-1.0, float('nan'), '1', True])
def test_a_budget_is_a_number(budget):
  x = oracles.unit_features(26, 5, seed=10)
  with pytest.raises(ValueError, match=r'^memory_budget_gb: got .* number'):
    merge_clusters(x, np.arange(26), 5, ESTAT, memory_budget_gb=budget)
