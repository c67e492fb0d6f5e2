"""Labels made to agree with links."""

import itertools

import numpy as np
import pytest

from dbc_jax.cluster import Criterion, linked
from dbc_jax.cluster.linked import Links

NONE = np.zeros((0, 2), np.int64)


def each_alone(rows, groups, must, cannot):
  """A grouping that heeds any cannot-link: by must-links alone."""
  homes = np.arange(len(rows))
  for a, b in must:
    homes[homes == homes[a]] = homes[b]
  return np.unique(homes, return_inverse=True)[1]


def test_what_holds_already_stays_as_it_is():
  labels = np.array([1, 0, -1, 1, 2], np.int32)
  links = Links(np.array([[0, 3]]), np.array([[1, 0], [2, 1]]))
  np.testing.assert_array_equal(
    linked.heed_links(labels, links, each_alone), labels
  )


@pytest.mark.parametrize(
  ('labels', 'must', 'cannot', 'expected'),
  [
    # Clusters become one; the places of the others stay in order.
    ([0, 0, 1, 1, 2], [[1, 4]], [], [0, 0, 1, 1, 0]),
    ([0, 0, 1, 1, 2], [[2, 4]], [], [0, 0, 1, 1, 1]),
    # A cannot-link takes one apart.
    ([0, 0, 1, 1], [], [[0, 1]], [0, 1, 2, 2]),
    # Of no cluster: it joins, or two make one; others still wait.
    ([0, 0, -1, -1], [[2, 0]], [], [0, 0, 0, -1]),
    ([0, 0, -1, -1], [[2, 3]], [], [0, 0, 1, 1]),
    ([0, 0, -1, -1], [], [[2, 3]], [0, 0, -1, -1]),
    # Clusters that are linked, and hold two persons between them.
    ([0, 0, 1, 1], [[0, 2]], [[1, 3]], [0, 1, 0, 2]),
  ],
)
def test_labels_change_where_links_contradict(labels, must, cannot, expected):
  links = Links(*(np.array(x, int).reshape(-1, 2) for x in (must, cannot)))
  found = linked.heed_links(np.array(labels), links, each_alone)
  np.testing.assert_array_equal(found, expected)
  assert found.dtype == np.int32


def _regroup(features, criterion):
  def regroup(rows, groups, must, cannot):
    trees = linked.merge_inside(
      features[rows], groups, criterion, must_link=must, cannot_link=cannot
    )
    return trees.labels(len(trees.pairs))

  return regroup


@pytest.mark.parametrize('seed', range(40))
def test_random_links_hold_and_other_clusters_stay(seed):
  rng = np.random.default_rng(seed)
  features = rng.normal(size=(24, 4)).astype(np.float32)
  pids = rng.integers(0, 6, 24)
  labels = rng.integers(-1, 7, 24)
  _, places = np.unique(labels[labels >= 0], return_inverse=True)
  labels[labels >= 0] = places
  pairs = np.array([*itertools.combinations(range(24), 2)])
  chosen = pairs[rng.permutation(len(pairs))[: rng.integers(1, 20)]]
  same = pids[chosen[:, 0]] == pids[chosen[:, 1]]
  links = Links(chosen[same], chosen[~same])
  found = linked.heed_links(
    labels, links, _regroup(features, Criterion('average', 0.002))
  )
  ends = found[links.must]
  assert (ends[:, 0] == ends[:, 1]).all()
  assert (ends >= 0).all()
  ends = found[links.cannot]
  assert ((ends[:, 0] != ends[:, 1]) | (ends < 0).any(axis=1)).all()
  clusters = np.unique(found[found >= 0])
  np.testing.assert_array_equal(clusters, np.arange(len(clusters)))
  # Clusters that no link touches, and images that wait.
  touched = np.unique(labels[chosen])
  for cluster in np.setdiff1d(labels, [*touched, -1]):
    own = found[labels == cluster]
    assert len(np.unique(own)) == 1
    assert (found == own[0]).sum() == len(own)
  waits = (labels < 0) & ~np.isin(np.arange(24), links.must)
  assert (found[waits] == -1).all()


@pytest.mark.parametrize(
  'criterion',
  [
    Criterion('average', 0.0),
    Criterion('buc', 0.01, merge='ranked', squared=True),
    Criterion('ecluster', 0.001),
    Criterion('dbc', 0.1),
    Criterion('estat', 0.01),
  ],
)
def test_a_cluster_of_two_persons_is_split_along_its_own_tree(criterion):
  """Two clouds, and one image of each is known."""
  rng = np.random.default_rng(1)
  centres = 4 * np.repeat([[1.0, 0, 0], [0, 1, 0], [0, 0, 1]], 7, axis=0)
  features = (centres + 0.3 * rng.normal(size=(21, 3))).astype(np.float32)
  labels = np.repeat([0, 1], [14, 7])
  links = Links(NONE, np.array([[2, 9]]))
  found = linked.heed_links(labels, links, _regroup(features, criterion))
  np.testing.assert_array_equal(found, np.repeat([0, 1, 2], 7))


@pytest.mark.parametrize('weight', [1e5, 1e12])
@pytest.mark.parametrize('name', ['average', 'dbc', 'ecluster'])
def test_trees_inside_clusters_are_whole_whatever_the_weight(name, weight):
  rng = np.random.default_rng(2)
  features = rng.normal(size=(40, 4)).astype(np.float32)
  features /= np.linalg.norm(features, axis=1, keepdims=True)
  groups = np.repeat([0, 1], [30, 10])
  trees = linked.merge_inside(features, groups, Criterion(name, weight))
  assert len(trees.pairs) == 40 - 2
  found = trees.labels(len(trees.pairs))
  np.testing.assert_array_equal(found, groups)
