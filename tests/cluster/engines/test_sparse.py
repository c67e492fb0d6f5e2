"""Merging by similarities: brute force, the dense engine, what is refused."""

import itertools
from unittest import mock

import cluster_oracles as oracles
import numba
import numpy as np
import pytest
from numba.core import caching
from scipy import sparse

from dbc_jax.cluster import (
  Criterion,
  choose_engine,
  jaccard_distances,
  jaccard_similarities,
  merge_clusters,
)
from dbc_jax.cluster.compiled import compiled
from dbc_jax.cluster.distances import overlaps
from dbc_jax.cluster.engines import separable

FITTING = [c for c in oracles.WRITTEN_OUT if separable.form_of(c) is not None]
OTHERS = [c for c in oracles.WRITTEN_OUT if c not in FITTING]
AVERAGE = Criterion('average', 0.02)
COUNT = 14
TRIALS = -(-1000 // len(FITTING))


def graph(seed, *, levels=0):
  """Symmetric similarities [N, N], a third above 0, of some levels or any."""
  rng = np.random.default_rng(seed)
  found = rng.uniform(0.05, 1, (COUNT, COUNT))
  if levels:
    found = np.ceil(found * levels) / levels
  found *= rng.uniform(size=found.shape) < 0.3
  found = np.triu(found, 1).astype(np.float32)
  return found + found.T


def trial(seed):
  """Starting clusters, merges and links that they do not contradict."""
  rng = np.random.default_rng(seed)
  labels = oracles.random_labels(COUNT, rng.integers(8, COUNT + 1), seed)
  links = rng.integers(0, COUNT, (rng.integers(0, 20), 2))
  links = links[labels[links[:, 0]] != labels[links[:, 1]]]
  return labels, links, int(rng.integers(1, labels.max() + 1))


def test_the_criteria_that_fit():
  names = {(c.name, c.ssd) for c in FITTING}
  assert names == {(n, 'sum') for n in ('average', 'buc', 'dbc', 'ecluster')}
  assert all(
    c.squared or c.ssd == 'printed' or c.name == 'estat' for c in OTHERS
  )


@pytest.mark.parametrize('criterion', FITTING, ids=oracles.name_of)
def test_equals_brute_force(criterion):
  open_orders = apart = 0
  start = FITTING.index(criterion) * TRIALS
  for seed in range(start, start + TRIALS):
    similarities = graph(seed)
    labels, links, num_merges = trial(seed)
    x = oracles.unit_features(COUNT, 3, seed)
    got = merge_clusters(
      x,
      labels,
      num_merges,
      criterion,
      similarities=sparse.csr_array(similarities),
      cannot_link=links,
    )
    assert got.engine == 'sparse'
    assert all(got.labels[i] != got.labels[j] for i, j in links)
    dist = 1.0 - similarities.astype(np.float64)
    np.fill_diagonal(dist, 0)
    expected, pairs, scores, lead = oracles.brute_force_merge(
      criterion, dist, x, labels, num_merges, links
    )
    # Pairs that share nothing tie by the dozen; their order is tested below.
    if lead < 1e-6 and not np.array_equal(got.pairs, pairs):
      open_orders += 1
      continue
    np.testing.assert_array_equal(got.pairs, np.reshape(pairs, (-1, 2)))
    np.testing.assert_allclose(got.scores, scores, atol=2e-6)
    np.testing.assert_array_equal(got.labels, expected)
    apart += bool(scores) and max(scores) >= 1
  assert open_orders < TRIALS / 4
  assert apart > TRIALS / 20


@pytest.mark.parametrize('name', ['average', 'buc', 'dbc'])
def test_equal_scores_go_to_the_lowest_pair(name):
  # Eighths, and weights of eighths: every score is exact, and many are equal.
  criterion = Criterion(name, 0.125)
  for seed in range(150):
    similarities = graph(seed, levels=8 if seed % 2 else 1)
    labels, links, num_merges = trial(seed)
    if name != 'buc':
      # Means of few pairs, which float32 holds.
      num_merges = min(num_merges, 2)
      labels = np.arange(COUNT)
      links = links[links[:, 0] != links[:, 1]]
    x = np.eye(COUNT, dtype=np.float32)
    got = merge_clusters(
      None,
      labels,
      num_merges,
      criterion,
      similarities=sparse.csr_array(similarities),
      cannot_link=links,
    )
    dist = 1.0 - similarities.astype(np.float64)
    np.fill_diagonal(dist, 0)
    _, pairs, scores, _ = oracles.brute_force_merge(
      criterion, dist, x, labels, num_merges, links
    )
    np.testing.assert_array_equal(got.pairs, np.reshape(pairs, (-1, 2)))
    np.testing.assert_array_equal(got.scores, np.float32(scores))


@pytest.mark.parametrize('criterion', [AVERAGE, *oracles.slow(*FITTING)])
def test_whole_trees_of_neighbours_equal_the_dense_engine(criterion):
  x = oracles.unit_features(300, 8, seed=5)
  x[7] = x[30] = x[200]
  given = {'k1': 5, 'k2': 2}
  distances = jaccard_distances(x, **given)
  similarities = jaccard_similarities(x, **given)
  np.testing.assert_array_equal(1 - similarities.toarray(), distances)
  assert similarities.nnz < 0.2 * 300**2
  assert abs(similarities - similarities.T).max() == 0
  labels = np.arange(300)
  dense = merge_clusters(x, labels, 299, criterion, distances=distances)
  links = {'must_link': [[3, 9]], 'cannot_link': [[0, 1], [9, 44]]}
  for more in ({}, links):
    dense = merge_clusters(
      x, labels, 299, criterion, distances=distances, **more
    )
    got = merge_clusters(
      x, labels, 299, criterion, similarities=similarities, **more
    )
    np.testing.assert_array_equal(got.pairs, dense.pairs)
    np.testing.assert_allclose(got.scores, dense.scores, atol=1e-5)
    np.testing.assert_array_equal(got.labels, dense.labels)


def test_scores_beyond_float32_are_told():
  x = 1e6 * oracles.unit_features(12, 3, seed=0)
  with pytest.raises(ValueError, match=r'^reg_weight: got scores beyond 3e38'):
    merge_clusters(
      x,
      np.arange(12),
      8,
      Criterion('ecluster', 1e30),
      similarities=sparse.csr_array((12, 12), dtype=np.float32),
    )


def test_functions_compile_where_nothing_can_be_kept(monkeypatch):
  def one_more(x):
    return x + 1

  monkeypatch.setattr(caching.CacheImpl, '_locator_classes', [])
  with pytest.raises(RuntimeError, match='no locator available'):
    numba.njit(cache=True)(one_more)
  assert compiled(one_more)(2) == 3


def test_rows_find_room_among_edges_that_went():
  # Stars that grow: their rows are written anew again and again.
  rng = np.random.default_rng(0)
  n = 400
  near = rng.uniform(size=(n, n)) < 0.3
  weights = np.triu(near * rng.uniform(0.1, 0.9, (n, n)), 1).astype(np.float32)
  weights += weights.T
  dist = 1 - weights
  np.fill_diagonal(dist, 0)
  labels = np.arange(n)
  for criterion in (Criterion('average', 0.0), Criterion('buc', 0.0)):
    got = merge_clusters(
      None, labels, n - 1, criterion, similarities=sparse.csr_array(weights)
    )
    dense = merge_clusters(None, labels, n - 1, criterion, distances=dist)
    same = np.all(got.pairs == dense.pairs, axis=1)
    # Means of many pairs are rounded otherwise.
    assert same[:200].all() if criterion.name == 'average' else same.all()
    np.testing.assert_allclose(got.scores, dense.scores, atol=1e-3)


def test_it_ends_where_all_pairs_are_forbidden():
  similarities = sparse.csr_array(graph(1))
  every = [*itertools.combinations(range(COUNT), 2)]
  labels = np.arange(COUNT)
  for links, left in ((every, 0), (every[1:], 1)):
    got = merge_clusters(
      None,
      labels,
      COUNT - 1,
      AVERAGE,
      similarities=similarities,
      cannot_link=links,
    )
    assert len(got.pairs) == left


def test_what_goes_on_similarities_alone_is_chosen_by_size():
  sizes = {'shape': (4096, 32), 'num_clusters': 4096}
  assert choose_engine(AVERAGE, **sizes, jaccard=True).name == 'sparse'
  assert choose_engine(AVERAGE, **sizes).name == 'dense'
  few = {'shape': (1000, 32), 'num_clusters': 1000, 'given_distances': True}
  assert choose_engine(AVERAGE, **few, jaccard=True).name == 'dense'
  little = {'jaccard': True, 'memory_budget_gb': 0.015}
  assert choose_engine(AVERAGE, **few, **little).name == 'sparse'
  for criterion, what in (
    (Criterion('estat', 0.1), "'estat'"),
    (Criterion('dbc', 0.1, merge='ranked'), "merge='ranked'"),
    (Criterion('dbc', 0.1, squared=True), 'squared=True'),
    (Criterion('ecluster', 0.1, ssd='printed'), "ssd='printed'"),
  ):
    with pytest.raises(
      ValueError,
      match=rf'^memory_budget_gb: got 0.015, .* {what} needs .* merge by aver',
    ):
      choose_engine(criterion, **few, **little)


@pytest.mark.parametrize('criterion', OTHERS, ids=oracles.name_of)
def test_other_criteria_are_refused(criterion):
  with pytest.raises(ValueError, match='pass distances=jaccard_distances'):
    merge_clusters(
      np.eye(COUNT),
      np.arange(COUNT),
      1,
      criterion,
      similarities=sparse.csr_array(graph(1)),
    )


def _asymmetric(s):
  s = s.copy()
  s[0, 1] = 0.5 if s[0, 1] < 0.3 else 0.0
  return s


@pytest.mark.parametrize(
  ('change', 'message'),
  [
    (lambda s: s.toarray(), 'similarities: got ndarray, expected a sparse'),
    (lambda s: s[:5, :5], r'similarities: got shape \(5, 5\), expected'),
    (lambda s: s * -1, 'expected 0 to 1; pass 1 minus the distances'),
    (lambda s: s * np.nan, 'expected 0 to 1'),
    (lambda s: s * 3, 'expected 0 to 1'),
    (lambda s: sparse.csr_array(_asymmetric(s.toarray())), 'differ by 0'),
  ],
)
def test_bad_similarities_are_refused(change, message):
  given = change(sparse.csr_array(graph(1)))
  with pytest.raises(ValueError, match=message):
    merge_clusters(None, np.arange(COUNT), 1, AVERAGE, similarities=given)


def test_too_many_pairs_are_told_before_they_take_memory():
  x = oracles.unit_features(200, 6, seed=0)
  pairs = jaccard_similarities(x, k1=8, k2=3)
  # None is zero, so those that share a neighbour are those that are there.
  least = 24 * pairs.nnz / 1e9
  message = rf'got .*, expected at least .* for {pairs.nnz:,} pairs .*\(k1\)'
  with (
    mock.patch.object(overlaps, '_fill') as fill,
    pytest.raises(ValueError, match=rf'^memory_budget_gb: {message}'),
  ):
    jaccard_similarities(x, k1=8, k2=3, memory_budget_gb=0.99 * least)
  fill.assert_not_called()
  jaccard_similarities(x, k1=8, k2=3, memory_budget_gb=1.01 * least)
  with pytest.raises(
    ValueError, match=r'at least 0.0\d+ for the sparse engine .* and 24 bytes'
  ):
    choose_engine(AVERAGE, x.shape, 200, jaccard=True, memory_budget_gb=1e-6)


def test_a_budget_that_is_too_small_says_what_it_takes():
  similarities = sparse.csr_array(graph(1))
  with pytest.raises(
    ValueError, match=r'memory_budget_gb: got 1e-06, .* pairs'
  ):
    merge_clusters(
      None,
      np.arange(COUNT),
      1,
      AVERAGE,
      similarities=similarities,
      memory_budget_gb=1e-6,
    )
  with pytest.raises(ValueError, match='together with distances'):
    merge_clusters(
      None,
      np.arange(COUNT),
      1,
      AVERAGE,
      similarities=similarities,
      distances=1 - similarities.toarray(),
    )


@pytest.mark.parametrize('change', ['none', 'value', 'missing', 'extra'])
def test_asymmetry_is_the_largest_difference(change):
  rng = np.random.default_rng(3)
  for _ in range(20):
    s = graph(int(rng.integers(1000)))
    i, j = rng.permutation(COUNT)[:2]
    if change != 'none':
      s[i, j] = {'value': 0.9 * s[i, j], 'missing': 0, 'extra': 0.7}[change]
    given = sparse.csr_array(s)
    got = overlaps.asymmetry(given.indptr, given.indices, given.data)
    assert got == np.abs(s - s.T).max()
