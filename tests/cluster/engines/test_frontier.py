"""The exact merge loop: brute force, known hierarchies, ties, compiled code."""

import re

import cluster_oracles as oracles
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.cluster import hierarchy

from dbc_jax.cluster import Criterion, merge_clusters, pairwise_distances
from dbc_jax.cluster.criteria.means import start_means
from dbc_jax.cluster.criteria.rule import Terms
from dbc_jax.cluster.engines import dense
from dbc_jax.cluster.engines.dense import merge_loop
from dbc_jax.cluster.engines.frontier import padded_pairs, start_frontier
from dbc_jax.devices import mesh


def check_against_brute_force(criterion, x, dist, labels, num_merges, **given):
  expected = oracles.brute_force_merge(criterion, dist, x, labels, num_merges)
  expected_labels, pairs, scores, lead = expected
  assert lead > 1e-5, 'the data leaves the order of merges open: other seed'
  got = merge_clusters(x, labels, num_merges, criterion, **given)
  np.testing.assert_array_equal(got.pairs, pairs)
  np.testing.assert_allclose(got.scores, scores, atol=1e-5)
  np.testing.assert_array_equal(got.labels, expected_labels)


@pytest.mark.parametrize(
  'criterion',
  oracles.with_slow_marks(oracles.CRITERIA[::-1]),
  ids=oracles.name_of,
)
def test_equals_brute_force(criterion):
  x = oracles.unit_features(45, 5, seed=0)
  labels = oracles.random_labels(45, 26, seed=1)
  dist = oracles.distances(x, criterion.squared)
  check_against_brute_force(criterion, x, dist, labels, 25)


@pytest.mark.slow
@pytest.mark.parametrize('criterion', oracles.CRITERIA, ids=oracles.name_of)
def test_equals_brute_force_from_singletons(criterion):
  x = oracles.unit_features(26, 5, seed=20)
  labels = np.random.default_rng(3).permutation(26)
  dist = oracles.distances(x, criterion.squared)
  check_against_brute_force(criterion, x, dist, labels, 25)


@pytest.mark.slow
@pytest.mark.parametrize(
  'criterion',
  [c for c in oracles.CRITERIA if not c.squared],
  ids=oracles.name_of,
)
def test_equals_brute_force_on_given_distances(criterion):
  x = oracles.unit_features(45, 5, seed=4)
  labels = oracles.random_labels(45, 26, seed=5)
  # No metric, nothing to do with the features.
  dist = np.random.default_rng(6).random((45, 45)).astype(np.float32)
  dist = (dist + dist.T) * (1 - np.eye(45, dtype=np.float32))
  check_against_brute_force(
    criterion, x, dist.astype(np.float64), labels, 20, distances=dist
  )


def scores_now(criterion, dist, x, labels):
  """All scores of a partition, as matrix products in float64."""
  member = np.eye(labels.max() + 1)[labels]
  n = member.sum(axis=0)
  mean = member.T @ dist @ member / np.outer(n, n)
  own = np.diagonal(mean)
  if criterion.name == 'dbc':
    d = n * own
    out = mean + criterion.reg_weight * (d[:, None] + d)
  else:
    centres = (member.T @ x) / n[:, None]
    ssd = member.T @ ((x - centres[labels]) ** 2).sum(axis=1)
    out = 2 * mean - own[:, None] - own
    if criterion.name == 'estat':
      out *= np.outer(n, n) / (n[:, None] + n)
    out += criterion.reg_weight * (ssd[:, None] + ssd)
  np.fill_diagonal(out, np.inf)
  return out


@pytest.mark.slow
@pytest.mark.parametrize(
  'criterion',
  [
    # The first two grow one giant cluster, which everyone is nearest to.
    Criterion('ecluster', 0.0),
    Criterion('ecluster', 0.01),
    Criterion('dbc', 0.02),
    Criterion('estat', 0.1),
  ],
  ids=oracles.name_of,
)
def test_every_merge_is_the_best_there_is(criterion):
  x = oracles.unit_features(300, 8, seed=7)
  x64 = x.astype(np.float64)
  dist = np.linalg.norm(x64[:, None] - x64, axis=2)
  result = merge_clusters(x, np.arange(300), 280, criterion)
  names = np.arange(300)
  for t, (a, b) in enumerate(result.pairs):
    if t % 4 == 0:
      present, labels = np.unique(names, return_inverse=True)
      scores = scores_now(criterion, dist, x64, labels)
      i, j = np.searchsorted(present, [a, b])
      assert scores[i, j] - scores.min() < 1e-5
      assert abs(scores[i, j] - result.scores[t]) < 1e-5
    names[(names == a) | (names == b)] = 300 + t


def same_partition(a, b):
  return len(set(zip(a, b, strict=True))) == a.max() + 1 == len(set(b))


@pytest.mark.slow
@pytest.mark.parametrize(
  ('name', 'method'), [('dbc', 'average'), ('buc', 'single')]
)
@pytest.mark.parametrize('num_merges', [1, 300, 599])
def test_without_regulariser_it_is_a_known_hierarchy(name, method, num_merges):
  x = oracles.unit_features(600, 16, seed=8)
  tree = hierarchy.linkage(x.astype(np.float64), method)
  got = merge_clusters(x, np.arange(600), num_merges, Criterion(name, 0.0))
  np.testing.assert_allclose(got.scores, tree[:num_merges, 2], atol=1e-5)
  expected = hierarchy.fcluster(tree, 600 - num_merges, 'maxclust')
  assert same_partition(got.labels, expected)


@pytest.mark.slow
@pytest.mark.parametrize('num_clusters', [2, 7, 40])
def test_estat_on_squared_distances_is_ward(num_clusters):
  x = oracles.unit_features(120, 6, seed=9)
  tree = hierarchy.linkage(x.astype(np.float64), 'ward')
  got = merge_clusters(
    x,
    np.arange(120),
    120 - num_clusters,
    Criterion('estat', 0.0),
    distances=pairwise_distances(x, squared=True),
  )
  heights = tree[: 120 - num_clusters, 2]
  np.testing.assert_allclose(got.scores, heights**2, atol=1e-5)
  expected = hierarchy.fcluster(tree, num_clusters, 'maxclust')
  assert same_partition(got.labels, expected)


def test_ties_go_to_the_lowest_pair():
  # Corners of a simplex: every two are equally far apart, at any time.
  for criterion in (Criterion('buc', 0.0), Criterion('dbc', 0.0)):
    got = merge_clusters(np.eye(26), np.arange(26), 25, criterion)
    chain = [[0, 1]] + [[t + 1, 25 + t] for t in range(1, 25)]
    np.testing.assert_array_equal(got.pairs, chain)
  # With a regulariser on size, singletons pair up first, in order.
  got = merge_clusters(np.eye(26), np.arange(26), 13, Criterion('buc', 0.03))
  rounds = [[2 * t, 2 * t + 1] for t in range(13)]
  np.testing.assert_array_equal(got.pairs, rounds)


def test_tie_of_a_merged_cluster_counts_from_its_lower_slot():
  # 0 1 . 3 4 on a line: after {0, 1} and {3, 4}, sample 2 ties between them.
  x = np.array([[3.0], [4.0], [2.0], [0.0], [1.0]])
  got = merge_clusters(x, np.arange(5), 4, Criterion('dbc', 0.0))
  assert got.pairs[0].tolist() == [0, 1]
  assert got.pairs[1].tolist() == [2, 4]
  assert got.pairs[2].tolist() == [3, 6]
  np.testing.assert_allclose(got.scores, [1, 1, 1.5, 2.5], atol=1e-6)


def test_duplicates_merge_first_in_order():
  x = oracles.unit_features(13, 5, seed=10)
  x = np.concatenate([x, x[::-1]])
  got = merge_clusters(x, np.arange(26), 13, Criterion('ecluster', 0.9))
  np.testing.assert_array_equal(got.pairs, [[i, 25 - i] for i in range(13)])
  assert not got.scores.any()


@pytest.mark.parametrize('forbidden', [None, np.array([[0, 1]], np.int32)])
@pytest.mark.parametrize('name', ['ecluster', *oracles.slow('buc')])
def test_the_loop_never_copies_what_is_large(name, forbidden):
  k, dim = 640, 24
  x = oracles.unit_features(k, dim, seed=11)
  labels = np.arange(k, dtype=np.int32)
  with jax.enable_x64(True):
    terms = Terms(*(jnp.ones(k) for _ in range(3)))
    means, _ = start_means(jnp.asarray(x), labels, k)
    inter = jnp.ones((k, k), jnp.float32)
    form = Criterion(name, 0.1).form
    means = means._replace(features=None)
    frontier = start_frontier(terms, means, k, padded_pairs(forbidden, k))
    frontier = frontier._replace(terms=None)
    args = (inter, frontier, terms, jnp.asarray(x), 30)
    compiled = merge_loop.lower(form, 0.1, *args).compile()
  text = compiled.as_text()
  assert f'f32[{k},{k}]' in text
  assert ' while(' in text
  assert name == 'buc' or f'f32[{k},{dim}]' in text
  assert not re.findall(rf'= f32\[{k},{k}\]\S* copy\S*\(.*', text)
  assert not re.findall(rf'= f32\[{k},{dim}\]\S* copy\S*\(.*', text)
  assert not re.findall(rf'= f64\[\d+,{dim}\]\S* copy\S*\(.*', text)


@pytest.mark.parametrize(
  'criterion',
  [
    Criterion('ecluster', 0.9),
    *oracles.slow(Criterion('average', 0.0), Criterion('buc', 0.003)),
  ],
  ids=oracles.name_of,
)
@pytest.mark.parametrize('num_clusters', [61, 45])
def test_halving_the_matrix_changes_no_merge(
  monkeypatch, criterion, num_clusters
):
  x = oracles.unit_features(61, 6, seed=19)
  x[30:40] = x[20:30]  # Ties, whose order is that of the slots.
  labels = oracles.random_labels(61, num_clusters, seed=1)
  expected = merge_clusters(x, labels, num_clusters - 1, criterion)
  shapes = []

  def loop(form, weight, inter, *others):
    shapes.append(len(inter))
    return merge_loop(form, weight, inter, *others)

  monkeypatch.setattr(dense, '_SMALLEST', 4)
  monkeypatch.setattr(dense, 'merge_loop', loop)
  got = merge_clusters(
    x, labels, num_clusters - 1, criterion, memory_budget_gb=1.0
  )
  assert shapes == [61, 30, 15, 7]
  np.testing.assert_array_equal(got.pairs, expected.pairs)
  np.testing.assert_array_equal(got.scores, expected.scores)
  np.testing.assert_array_equal(got.labels, expected.labels)


def test_the_loop_may_run_on_another_device(monkeypatch):
  # As with a GPU: its matrix is merged on the host.
  x = oracles.unit_features(40, 6, seed=13)
  criterion = Criterion('ecluster', 0.1)
  expected = merge_clusters(x, np.arange(40), 20, criterion)
  host, seen = jax.devices()[3], []

  def loop(form, weight, inter, *others):
    seen.append(inter.devices())
    return merge_loop(form, weight, inter, *others)

  monkeypatch.setattr(
    mesh, 'for_small_steps', lambda tree: jax.device_put(tree, host)
  )
  monkeypatch.setattr(dense, 'merge_loop', loop)
  got = merge_clusters(x, np.arange(40), 20, criterion)
  assert seen == [{host}]
  np.testing.assert_array_equal(got.pairs, expected.pairs)
  np.testing.assert_array_equal(got.scores, expected.scores)
