"""Which samples come into which batch."""

import numpy as np
import pytest

from dbc_jax.training.batches import draw_batches


def _draw(labels, **changes):
  options = {'steps': 3, 'batch_size': 4, 'images_per_cluster': 0}
  return draw_batches(np.asarray(labels), **(options | changes), seed=(0, 1))


def test_without_clusters_it_is_one_permutation():
  got = _draw(np.arange(14))
  expected = np.random.default_rng((0, 1)).permutation(14)[:12]
  np.testing.assert_array_equal(got.ravel(), expected)


def test_samples_that_are_not_placed_come_never_and_the_others_fill_in():
  labels = np.array([0, -1, 1, 1, -1, 0, 2])
  got = _draw(labels, steps=5, batch_size=3)
  counts = np.bincount(got.ravel(), minlength=7)
  np.testing.assert_array_equal(counts, [3, 0, 3, 3, 0, 3, 3])
  # Each once before any again.
  np.testing.assert_array_equal(np.sort(got.ravel()[:5]), [0, 2, 3, 5, 6])


@pytest.mark.parametrize('count', [2, 4])
def test_a_batch_is_of_clusters_with_so_many_images_each(count):
  rng = np.random.default_rng(3)
  labels = rng.permutation(np.repeat(np.arange(10), 5))
  labels[rng.choice(50, 10, replace=False)] = -1
  labels = np.unique(labels, return_inverse=True)[1] - 1
  got = _draw(labels, steps=20, batch_size=8, images_per_cluster=count)
  assert (labels[got] >= 0).all()
  groups = got.reshape(-1, count)
  assert (labels[groups] == labels[groups][:, :1]).all()
  # All clusters once before any again.
  turns = labels[groups[:, 0]]
  num_clusters = labels.max() + 1
  for start in range(0, len(turns) - num_clusters, num_clusters):
    assert len({*turns[start : start + num_clusters]}) == num_clusters
  for group in groups:
    size = np.count_nonzero(labels == labels[group[0]])
    assert len({*group}) == min(size, count)


def test_fewer_clusters_than_places_stand_in_a_batch_more_than_once():
  got = _draw([0, 0, 0, 1, 1], steps=4, batch_size=8, images_per_cluster=2)
  labels = np.array([0, 0, 0, 1, 1])[got]
  np.testing.assert_array_equal((labels == 0).sum(axis=1), [4] * 4)


def test_the_seed_decides():
  labels = np.repeat(np.arange(4), 6)
  for each in (0, 2):
    options = {'steps': 2, 'batch_size': 8, 'images_per_cluster': each}
    draws = [draw_batches(labels, **options, seed=(0, s)) for s in (1, 1, 2)]
    np.testing.assert_array_equal(draws[0], draws[1])
    assert (draws[0] != draws[2]).any()
