"""Blocks that several processes share give what one process computes."""

import pickle

import cluster_oracles as oracles
import jax
import numpy as np
import pytest

from dbc_jax.cluster import Criterion, jaccard_similarities, merge_clusters
from dbc_jax.devices import blocks, helpers, mesh, processes


@pytest.fixture
def pretend(monkeypatch):
  """Has so many processes share passes, one after the other in this one."""
  monkeypatch.setattr(mesh, 'devices', lambda: jax.local_devices()[:1])

  def start(count):
    items = []

    def everywhere(function, kept, given):
      sent = pickle.dumps(jax.tree.map(helpers._packed, given))
      gathered = []

      def record(rows, lengths):
        assert len(rows) == lengths[processes.own_number()]
        gathered[-1].append(rows)
        return rows

      monkeypatch.setattr(processes, 'gather_rows', record)
      for number in range(count):
        monkeypatch.setattr(processes, 'own_number', lambda n=number: n)
        gathered.append([])
        received = jax.tree.map(helpers._unpacked, pickle.loads(sent))
        function(kept, received)
      together = iter(map(np.concatenate, zip(*gathered, strict=True)))
      monkeypatch.setattr(processes, 'gather_rows', lambda *_: next(together))
      items.append(len(given[3].ends))
      return function(kept, given)

    monkeypatch.setattr(processes, 'count', lambda: count)
    monkeypatch.setattr(helpers, 'are_there', lambda: True)
    monkeypatch.setattr(helpers, 'everywhere', everywhere)
    return items

  return start


@pytest.mark.slow
@pytest.mark.parametrize('count', [2, 5])
@pytest.mark.parametrize('few', [True, False])
def test_merges_without_a_matrix(count, few, pretend):
  x = oracles.unit_features(1300, 8, seed=2)
  labels = np.arange(1300)
  if few:
    # One cluster fills several blocks, another ends where a block does.
    labels = np.maximum(np.arange(1300) - 699, 0)
    labels[700:1024] = 1
    labels = np.unique(labels, return_inverse=True)[1]
    labels = np.random.default_rng(3).permutation(labels)
  criterion = Criterion('dbc', 0.1)
  call = x, labels, 4, criterion
  expected = merge_clusters(*call, memory_budget_gb=0.0165)
  items = pretend(count)
  got = merge_clusters(*call, memory_budget_gb=0.0165)
  assert got.engine == 'matrix_free'
  assert max(items) >= 3
  np.testing.assert_array_equal(got.pairs, expected.pairs)
  np.testing.assert_array_equal(got.scores, expected.scores)


@pytest.mark.parametrize('count', [4])
def test_neighbours(count, pretend):
  x = oracles.unit_features(300, 8, seed=4)
  expected = jaccard_similarities(x, k1=9, k2=3)
  items = pretend(count)
  got = jaccard_similarities(x, k1=9, k2=3)
  # More processes than blocks, with 4: some have nothing to do.
  assert items == [3]
  for part in ('indptr', 'indices', 'data'):
    np.testing.assert_array_equal(getattr(got, part), getattr(expected, part))


def test_without_shares_nobody_is_asked(pretend):
  pretend(2)

  class Sum:
    def compute(self, shared, item):
      return shared + item

    def consume(self, carry, shared, item, result):
      return carry + result

  total = blocks.fold_blocks(Sum(), jax.numpy.zeros(3), 1.0, np.arange(4.0))
  assert total.tolist() == [10.0] * 3
