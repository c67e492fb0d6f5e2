"""Ours is right by the brute force of benchmarks.compare, and it can tell."""

import numpy as np
import pytest

from benchmarks import by_definition, compare


@pytest.fixture(scope='module')
def crops():
  return by_definition.Crops(0, people=12)


def test_jaccard(crops):
  found = dict(compare.jaccard(crops))
  assert found['ours, largest error'] < 1e-6
  assert found['both changes, largest error'] > 0.01


def test_heights_of_a_tree(crops):
  found = dict(compare.graph(crops))
  assert found['ours, average, largest error, %'] < 1e-3
  assert found['scikit-learn, average, largest error, %'] > 1
  assert found['scikit-learn, single, largest error, %'] < 1e-6


def test_cuts_of_a_tree(crops):
  found = dict(compare.inverted(crops))
  ours = [v for name, v in found.items() if 'order' in name]
  assert not any(ours)
  assert found['ours, E-cluster, scores: inversions'] > 0


def test_precision_of_a_ranking_told_by_hand():
  crops = by_definition.Crops(0, people=2)
  queries = len(crops.pids) // 5
  crops.pids[:], crops.camids[:] = 1, 0
  # Ranks: the own camera and junk do not count; matches are at 1 and 3 of 4.
  crops.gallery_pids = np.array([1, 1, -1, 2, 1, 2])
  crops.camids[queries : queries + 6] = [0, 1, 1, 1, 1, 1]
  distances = np.tile(np.arange(6.0), (queries, 1))
  crops.camids = crops.camids[: queries + 6]
  crops.queries = np.arange(queries + 6) < queries
  crops.pids = crops.pids[: queries + 6]
  found = by_definition.precision_by_definition(crops, distances)
  assert found == pytest.approx((1 + 2 / 3) / 2)
