"""The stale rows of the leak's controls, and why an order makes them leak."""

import numpy as np
import pytest

from dbc_jax.cluster import Criterion, merge_clusters
from dbc_jax.configs import ecluster
from dbc_jax.data import GroundTruth
from dbc_jax.data.frames import ResidentFrames
from dbc_jax.data.pipeline import LoadedDataset
from dbc_jax.data.split import Split
from dbc_jax.reproduce import controls, leak
from dbc_jax.run import build
from dbc_jax.run.stage import RunState


@pytest.fixture
def runner():
  return controls.StaleRunner(build.Parts(ecluster.get_config('demo')), 100)


def test_stale_rows_are_the_means_of_the_clusters_before(runner):
  embeddings = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
  before = np.array([0, 1, 2, 3, 1, 0])
  state = RunState(
    {}, np.array([0, 1, 0, 2, 1, 0], np.int32), embeddings, embeddings, []
  )
  for labels in (state.labels, before):
    # The first time as the project does it, then by the labels before.
    rows = np.asarray(runner.objective_state(state).memory)
    for k in range(labels.max() + 1):
      mean = embeddings[labels == k].astype(np.float64).mean(axis=0)
      np.testing.assert_allclose(
        rows[k], mean / np.linalg.norm(mean), atol=1e-6
      )
    runner.before = before


@pytest.mark.slow
def test_merging_numbers_clusters_by_their_first_samples():
  features = np.random.default_rng(1).normal(size=(40, 5)).astype(np.float32)
  labels = np.arange(40)
  for _ in range(5):
    result = merge_clusters(features, labels, 6, Criterion('ecluster', 0.9))
    labels = result.labels
    np.testing.assert_array_equal(labels, leak.numbered_by_first(labels))


def test_sorting_takes_pixels_and_truth_along():
  rng = np.random.default_rng(2)
  pids, camids = rng.integers(0, 5, 30), rng.integers(0, 2, 30)
  pixels = np.tile(
    np.arange(30, dtype=np.uint8)[:, None, None, None], (2, 2, 3)
  )
  names = [str(i) for i in range(30)]
  data = LoadedDataset(
    train=Split(ResidentFrames(pixels), np.arange(30)),
    query=None,
    gallery=None,
    names={'train': names},
    truth=GroundTruth(train_pids=pids, train_camids=camids),
    digest='',
    decision='',
    left_out=[],
  )
  got = controls.sorted_by_identity(data)
  keys = list(zip(got.truth.train_pids, got.truth.train_camids, strict=True))
  assert keys == sorted(keys)
  for i, name in enumerate(got.names['train']):
    assert keys[i] == (pids[int(name)], camids[int(name)])
    np.testing.assert_array_equal(got.train.image(i), int(name))


def test_leak_is_what_counting_one_by_one_finds():
  rng = np.random.default_rng(3)
  pids = rng.integers(0, 4, 60)
  before = leak.numbered_by_first(rng.integers(0, 20, 60))
  labels = leak.numbered_by_first(before // 2)

  def person(clusters, k):
    return np.bincount(pids[clusters == k]).argmax()

  count = labels.max() + 1
  rows = [person(before, k) for k in range(count)]
  own = [person(labels, k) for k in range(count)]
  pairs = [
    rows[k] == rows[j]
    for k in range(count)
    for j in range(k)
    if own[k] == own[j]
  ]
  part = [(labels[before == k] == k).all() for k in range(count)]
  assert leak.leak(before, labels, pids) == pytest.approx(
    {
      'part': np.mean(part),
      'own': np.mean(np.equal(rows, own)),
      'pairs': np.mean(pairs),
    }
  )


def test_rows_of_one_identity_stay_together_only_if_sorted():
  # 40 identities of 8 images, the first two of which are merged.
  pids = np.repeat(np.arange(40), 8)
  before = np.arange(320)
  merged = before.copy()
  merged[1::8] = merged[::8]
  mixed = np.random.default_rng(4).permutation(320)

  def pairs(order):
    labels = leak.numbered_by_first(merged[order])
    return leak.leak(before, labels, pids[order])['pairs']

  assert pairs(before) > 0.5
  assert pairs(mixed) < 0.1
