"""Tests of the stages that a run ends with."""

import numpy as np
import pytest

from dbc_jax.evaluation import clustering_scores
from dbc_jax.run import record as record_lib
from dbc_jax.run import selection


def make_history(silhouettes, maps=None, neighbours=None):
  history = [
    {'stage': stage, 'silhouette': value, 'neighbour_f': 0.5}
    for stage, value in enumerate(silhouettes)
  ]
  for record, value in zip(history, maps or [], strict=False):
    record['map'] = value
  for record, value in zip(history, neighbours or [], strict=False):
    record['neighbour_f'] = value
  return history


def test_the_latest_stage_before_the_silhouette_falls_is_chosen():
  history = make_history([0.0, 0.2, 0.4, 0.5, 0.41, 0.39], [5, 3, 9, 9, 7, 1])
  stages = selection.select(history)
  assert stages[:3] == (5, 4, 2)
  assert stages.reason.endswith('the latest with 80 % of the best silhouette')


def test_without_structure_it_is_the_best_agreement_with_neighbours():
  silhouettes = [-0.2, 0.1, 0.25, 0.2, 0.1]
  history = make_history(silhouettes, neighbours=[0.1, 0.3, 0.2, 0.6, 0.5])
  stages = selection.select(history)
  assert stages.chosen == 3
  assert stages.reason.endswith('agree best with nearest neighbours')
  history[2]['silhouette'] = 0.26
  assert selection.select(history).chosen == 2


@pytest.mark.parametrize(
  ('agreement', 'chosen'),
  [(0.9, 2), (0.895, 2), (0.88, selection.WARMUP), (None, 2)],
)
def test_a_warmup_is_kept_where_views_part_more_often(agreement, chosen):
  history = make_history([0.1, 0.4, 0.5])
  warm = {'stage': selection.WARMUP, 'silhouette': 0.3, 'neighbour_f': 0.5}
  for record in (warm, *history):
    record['view_agreement'] = 0.9
  if agreement is None:  # Of an earlier build.
    del history[-1]['view_agreement']
  else:
    history[-1]['view_agreement'] = agreement
  assert selection.select([warm, *history]).chosen == chosen
  assert selection.select(history).chosen == 2


def test_without_identities_there_is_no_oracle():
  stages = selection.select(make_history([0.1, 0.5]))
  assert stages[:3] == (1, 1, None)
  assert stages.headed() == {'last': 1, 'chosen without labels': 1}


@pytest.mark.parametrize('highest', [-0.1, 0.2, 0.3, 1.0])
def test_the_choice_moves_to_the_newest_stage_alone(highest):
  """A run keeps the checkpoints of the stages that it may yet end with."""
  rng = np.random.default_rng(0)
  for _ in range(200):
    history = make_history(
      highest - rng.uniform(size=12), neighbours=rng.uniform(size=12).tolist()
    )
    history[0]['stage'] = selection.WARMUP  # its checkpoint is always kept
    for record in history:
      record['view_agreement'] = rng.uniform()
    kept = {selection.WARMUP}
    for count in range(1, 13):
      newest = history[count - 1]['stage']
      chosen = selection.select(history[:count]).chosen
      assert chosen in kept | {newest}
      kept = {selection.WARMUP, newest, chosen}


def test_of_a_single_cluster_it_is_the_last_stage():
  stages = selection.select([{'stage': 0}, {'stage': 1}])
  assert stages[:3] == (1, 1, None)


def test_samples_of_one_frame_choose_by_the_pair_f_that_they_estimate():
  rng = np.random.default_rng(0)
  pids = np.repeat(np.arange(20), 10)
  rows = np.argwhere(np.triu(pids[:, None] != pids, 1))
  # All pairs of two persons, so that the estimate is the very pair F.
  labels = [np.arange(200)]
  labels += [10 * pids + rng.integers(parts, size=200) for parts in (5, 2)]
  labels += [pids // persons for persons in (1, 2, 5, 20)]
  history = [
    {'stage': stage, 'silhouette': 0.1, 'neighbour_f': 0.0}
    | record_lib.measure_pairs(np.unique(each, return_inverse=True)[1], rows)
    for stage, each in enumerate(labels)
  ]
  scores = [clustering_scores(each, pids)['pair_f'] for each in labels]
  for count in range(1, len(history) + 1):
    stages = selection.select(history[:count])
    assert stages.chosen == np.argmax(scores[:count])
    assert 'samples of one frame' in stages.reason
  # A stage that cannot tell brings back none whose checkpoint is gone.
  chosen = selection.select(history).chosen
  del history[-1]['pairs_of_one']
  assert selection.select(history).chosen == chosen
  del history[0]['pairs_of_one']
  assert 'samples of one frame' not in selection.select(history).reason


@pytest.mark.parametrize('seed', range(20))
def test_the_choice_by_pairs_stays_or_moves_to_the_newest(seed):
  rng = np.random.default_rng(seed)
  inside = np.sort(rng.integers(1, 1000, 12)).astype(float)
  history = [
    {'pairs_inside': n, 'pairs_of_one': n - rng.uniform(0, 1.1 * n)}
    for n in inside
  ]
  before = 0
  for count in range(1, len(history) + 1):
    chosen, _ = selection.choose_by_pairs(history[:count])
    assert chosen in (before, count - 1)
    before = chosen
