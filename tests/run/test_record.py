"""What is measured of a stage, and what a real run writes of it."""

import itertools
import json

import numpy as np
import pytest
import runs

from dbc_jax.reporting.record import FIELDS
from dbc_jax.run import job, record


@pytest.mark.slow
def test_a_run_with_identities_writes_every_key_and_no_other(
  tmp_path, monkeypatch
):
  runs.one_device(monkeypatch)
  root = runs.write_market(tmp_path / 'market')
  config = runs.small_config('market1501', root)
  config.cluster.merge_percent = 0.3  # Three stages: two merges, one gap.
  job.run(config, tmp_path / 'work')
  lines = (tmp_path / 'work' / 'metrics.jsonl').read_text().splitlines()
  assert len(lines) == 3
  # Only where a cut leaves some out, a number was asked for, pairs told, or
  # samples are known to be in one frame.
  keys = FIELDS.keys() - {'placed', 'asked_clusters', 'corrections'}
  keys -= {'pairs_inside', 'pairs_of_one'}
  assert set().union(*map(json.loads, lines)) == keys


def test_measures_know_sizes_and_nothing_else():
  features = np.random.default_rng(0).standard_normal((6, 3))
  found = record.measure(features, np.array([0, 0, 0, 1, 2, 2]))
  assert found['num_clusters'] == 3
  assert found['singletons'] == 1
  assert found['largest_share'] == 0.5
  assert -1 < found['silhouette'] < 1
  alone = record.measure(features, np.zeros(6, np.int32))
  assert alone['num_clusters'] == 1
  assert 'silhouette' not in alone


def test_pairs_of_two_tell_how_many_inside_are_of_one_person():
  rng = np.random.default_rng(0)
  pids, labels = rng.integers(5, size=40), rng.integers(-1, 8, size=40)
  inside = same = 0
  of_two = []
  for i, j in itertools.combinations(range(40), 2):
    together = labels[i] == labels[j] != -1
    inside += together
    same += together and pids[i] == pids[j]
    if pids[i] != pids[j]:
      of_two.append((i, j))
  found = record.measure_pairs(labels, np.array(of_two))
  assert found['pairs_inside'] == inside
  # All pairs stand for those of two persons.
  wrong = (inside - same) / len(of_two) * (40 * 39 / 2)
  assert found['pairs_of_one'] == pytest.approx(inside - wrong)
  none = record.measure_pairs(np.arange(40), np.array(of_two))
  assert none == {'pairs_inside': 0.0, 'pairs_of_one': 0.0}


def test_merges_tell_how_much_they_change_and_how_far_scores_jump():
  labels, merged = np.arange(6), np.array([0, 0, 1, 2, 3, 4])
  first = record.measure_merges([], labels, merged, np.array([0.1, 0.2]))
  # Of all pairs, none is together before: no more agreement than chance has.
  assert first == {'stage_agreement': 0.0, 'last_merge_score': 0.2}
  then = record.measure_merges(
    [first], merged, np.array([0, 0, 1, 1, 2, 3]), np.array([0.3, 0.4])
  )
  # Pairs together: 1, 2 and 1 in both, of 15: (1 - 2/15) / (3/2 - 2/15).
  assert then['stage_agreement'] == pytest.approx(26 / 41)
  assert then['merge_gap'] == pytest.approx(0.5)
  same = record.measure_merges([], merged, merged, np.array([0.0]))
  assert same['stage_agreement'] == 1.0
