"""Merging by drawn numbers and links, against brute force."""

import cluster_oracles as oracles
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dbc_jax.cluster import Criterion, merge_clusters

# As many samples each time, so that few programs are compiled.
NUM = 9
BUC = Criterion('buc', 0.0)
PAIR = st.tuples(st.integers(0, NUM - 1), st.integers(0, NUM - 1))
# Whole numbers on a line: distances are exact, and many are equal or zero.
VALUES = st.lists(st.integers(0, 5), min_size=NUM, max_size=NUM)
LINKS = st.lists(PAIR, max_size=6)

pytestmark = pytest.mark.slow


def _united(must):
  labels = np.arange(NUM)
  for _ in must:
    for i, j in must:
      low, high = sorted((labels[i], labels[j]))
      labels[labels == high] = low
  return np.unique(labels, return_inverse=True)[1]


@given(
  values=VALUES, must=LINKS, cannot=LINKS, num_merges=st.integers(1, NUM - 1)
)
def test_merges_with_links_equal_brute_force(values, must, cannot, num_merges):
  x = np.array(values, np.float32)[:, None]
  united = _united(must)

  def merge():
    return merge_clusters(
      x,
      np.arange(NUM),
      num_merges,
      BUC,
      must_link=must,
      cannot_link=cannot,
    )

  if any(united[i] == united[j] for i, j in cannot):
    with pytest.raises(ValueError, match=r'^cannot_link: row \d'):
      merge()
    return
  got = merge()
  count = united.max() + 1
  labels, pairs, scores, _ = oracles.brute_force_merge(
    BUC,
    oracles.distances(x),
    x,
    united,
    min(num_merges, count - 1),
    cannot,
  )
  np.testing.assert_array_equal(got.pairs, np.reshape(pairs, (-1, 2)))
  np.testing.assert_array_equal(got.scores, np.float32(scores))
  np.testing.assert_array_equal(got.labels, labels)
  assert all(got.labels[i] == got.labels[j] for i, j in must)
  assert all(got.labels[i] != got.labels[j] for i, j in cannot)


@given(
  values=st.lists(
    st.floats(-(2.0**99), 2.0**99, width=32), min_size=NUM, max_size=NUM
  )
)
def test_any_numbers_merge_or_are_told(values):
  x, told = np.array(values, np.float32)[:, None], ''
  try:
    got = merge_clusters(x, np.arange(NUM), NUM - 2, Criterion('average', 0.0))
  except ValueError as error:
    told = str(error)
  if told:
    assert told.startswith(('features: ', 'reg_weight: '))
    return
  assert np.isfinite(got.scores).all()
  assert sorted(np.unique(got.labels)) == [0, 1]
  # Equal samples are together, unless there is nothing else left to merge.
  if len(np.unique(x)) > 2:
    for value in np.unique(x):
      assert len(np.unique(got.labels[x[:, 0] == value])) == 1
