"""What merge_clusters returns and refuses, and its linkage matrix."""

import dataclasses

import cluster_oracles as oracles
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.cluster import hierarchy

from dbc_jax.cluster import (
  Criterion,
  MergeResult,
  merge_clusters,
  to_scipy_linkage,
)

DBC = Criterion('dbc', 0.1)


def test_result_types():
  x = oracles.unit_features(26, 5, seed=0)
  got = merge_clusters(jnp.asarray(x), jnp.arange(26), 6, DBC)
  assert isinstance(got, MergeResult)
  assert got.engine == 'dense'
  assert isinstance(got.labels, np.ndarray)
  assert got.labels.dtype == np.int32
  assert set(got.labels) == set(range(20))
  assert got.pairs.shape == (6, 2)
  assert got.scores.shape == (6,)
  assert (got.pairs[:, 0] < got.pairs[:, 1]).all()


@pytest.mark.parametrize('merge', ['sequential', 'ranked'])
def test_clusters_keep_the_order_of_their_lowest(merge):
  x = oracles.unit_features(45, 5, seed=1)
  labels = oracles.random_labels(45, 26, seed=2)
  got = merge_clusters(x, labels, 16, Criterion('dbc', 0.1, merge=merge))
  lowest = [labels[got.labels == c].min() for c in range(10)]
  assert lowest == sorted(lowest)
  # Clusters only grow: what was together stays together.
  assert len(set(zip(labels, got.labels, strict=True))) == 26


@pytest.mark.parametrize('num_merges', [1, 17, 25])
@pytest.mark.parametrize('merge', ['sequential', 'ranked'])
@pytest.mark.parametrize(
  'criterion',
  [*oracles.EACH[:1], *oracles.slow(*oracles.EACH[1:])],
  ids=oracles.name_of,
)
def test_linkage_is_valid_and_cuts_where_merging_ended(
  criterion, merge, num_merges
):
  x = oracles.unit_features(45, 5, seed=3)
  labels = oracles.random_labels(45, 26, seed=4)
  criterion = dataclasses.replace(criterion, merge=merge)
  got = merge_clusters(x, labels, num_merges, criterion)
  tree = to_scipy_linkage(got)
  assert hierarchy.is_valid_linkage(tree, throw=True)
  assert tree.shape == (25, 4)
  assert tree[-1, 3] == 26
  np.testing.assert_array_equal(tree[:num_merges, :2], got.pairs)
  cut = hierarchy.fcluster(tree, 26 - num_merges, 'maxclust')[labels]
  assert len(set(zip(cut, got.labels, strict=True))) == 26 - num_merges

  scored = to_scipy_linkage(got, heights='score')
  assert hierarchy.is_valid_linkage(scored, throw=True)
  np.testing.assert_allclose(scored[:num_merges, 2], got.scores, atol=1e-6)
  np.testing.assert_array_equal(scored[:, [0, 1, 3]], tree[:, [0, 1, 3]])


@pytest.mark.slow
@pytest.mark.parametrize(
  'criterion',
  [Criterion('ecluster', 0.9), Criterion('dbc', 0.0), Criterion('buc', 0.03)],
)
def test_whole_hierarchy_cuts_to_our_labels_at_every_count(criterion):
  x = oracles.unit_features(40, 5, seed=7)
  whole = merge_clusters(x, np.arange(40), 39, criterion)
  tree = to_scipy_linkage(whole)
  assert hierarchy.is_valid_linkage(tree, throw=True)
  leaves = hierarchy.dendrogram(tree, no_plot=True)['leaves']
  assert sorted(leaves) == list(range(40))
  for count in range(1, 40):
    labels = merge_clusters(x, np.arange(40), 40 - count, criterion).labels
    cut = hierarchy.fcluster(tree, count, 'maxclust')
    assert len(set(zip(cut, labels, strict=True))) == count == len(set(cut))


def test_score_heights_of_average_linkage_are_scipys():
  x = oracles.unit_features(26, 5, seed=5)
  got = merge_clusters(x, np.arange(26), 25, Criterion('dbc', 0.0))
  tree = hierarchy.linkage(x.astype(np.float64), 'average')
  np.testing.assert_allclose(
    to_scipy_linkage(got, heights='score'), tree, atol=1e-5
  )


def test_wrong_heights():
  got = merge_clusters(np.eye(3), np.arange(3), 1, DBC)
  with pytest.raises(ValueError, match="heights: got 'distance'"):
    to_scipy_linkage(got, heights='distance')


@pytest.mark.parametrize('num_merges', [0, -1, 3, 4, 1.0, True, None])
def test_wrong_num_merges(num_merges):
  with pytest.raises(ValueError, match=r'^num_merges: got .* in 1\.\.2'):
    merge_clusters(np.eye(3), np.arange(3), num_merges, DBC)


@pytest.mark.parametrize(
  ('labels', 'message'),
  [
    (np.arange(2), '^labels: got shape'),
    (np.array([0, 2, 3]), '^labels: got 3 distinct values from 0 to 3'),
    (np.zeros((3, 1), int), '^labels: got shape'),
  ],
)
def test_wrong_labels(labels, message):
  with pytest.raises(ValueError, match=message):
    merge_clusters(np.eye(3), labels, 1, DBC)


def test_wrong_features_and_distances():
  x = np.eye(3)
  x[1, 1] = np.nan
  with pytest.raises(ValueError, match=r'^features: row 1 holds NaN'):
    merge_clusters(x, np.arange(3), 1, DBC)
  with pytest.raises(ValueError, match=r'^distances: got shape \(4, 4\)'):
    merge_clusters(np.eye(3), np.arange(3), 1, DBC, distances=np.zeros((4, 4)))
  with pytest.raises(ValueError, match=r'^squared: '):
    merge_clusters(
      np.eye(3),
      np.arange(3),
      1,
      Criterion('buc', 0.003, squared=True),
      distances=np.zeros((3, 3)),
    )
