"""A training tells how far its run is, and what to do about a bad loss."""

import logging
import re

import pytest
import runs

from dbc_jax.reporting import time_to_go
from dbc_jax.run import build, fitting


def test_the_work_of_a_run_counts_steps_and_views(tmp_path, monkeypatch):
  config = runs.small_config('folder', tmp_path)
  config.train.warmup_epochs = 3
  config.train.batch_size = 10
  config.train.stage0_epochs, config.train.stage_epochs = 4, 2
  now = [0.0]
  monkeypatch.setattr(time_to_go.time, 'monotonic', lambda: now[0])
  fitter = fitting.Fitter(build.Parts(config), 20)
  fitter.num_stages = 3
  clock = fitter.clock
  # 3 epochs of 2 steps, of two views an image: 12 passes, a second each.
  clock.begin('warmup')
  clock.count(0.25, 0)
  now[0] += 3.0
  clock.count(0.5, 1)
  # 6 here, 8 and 4 and 4 in the stages.
  assert clock.describe() == 'about 22 s of training to go'


def test_lines_of_a_run_tell_the_time_to_go(tmp_path, monkeypatch, caplog):
  """Of a run that is slowed down by its clock alone."""
  now = [0.0]

  def monotonic():
    now[0] += 1.0
    return now[0]

  monkeypatch.setattr(time_to_go.time, 'monotonic', monotonic)
  config = runs.small_config('market1501', runs.write_market(tmp_path / 'data'))
  config.cluster.merge_percent = 0.4
  with caplog.at_level(logging.INFO, logger='dbc_jax'):
    runs.job.run(config, tmp_path / 'run')
  lines = caplog.text.splitlines()
  epochs = [line for line in lines if ' epoch ' in line]
  assert all(line.endswith(' to go') for line in epochs)
  assert 'of training to go' in epochs[0]
  assert 'of training' not in epochs[-1]
  stages = [line for line in lines if 'rank-1' in line and 'stage' in line]
  assert '; about ' in stages[0]
  assert 'to go' not in stages[-1]


def _small(tmp_path, **fields):
  root = tmp_path / 'data'
  runs.write_images(
    root, [f'{i}.png' for i in range(10)], runs.make_images(10, 5)
  )
  config = runs.small_config('folder', root)
  config.cluster.merge_percent = 0.4
  config.update_from_flattened_dict(fields)
  return config


@pytest.mark.slow
@pytest.mark.parametrize(
  ('field', 'value', 'advice'),
  [
    ('train.learning_rate', 1e30, 'Lower train.learning_rate (it is 1e+30)'),
    ('memory.temperature', 1e-30, 'Raise memory.temperature (it is 1e-30)'),
    ('train.weight_decay', 1e30, 'Lower train.weight_decay (it is 1e+30)'),
    (
      'train.later_learning_rate',
      1e30,
      'The checkpoint of stage 0 is kept. Lower train.later_learning_rate (it '
      'is 1e+30), in another --workdir',
    ),
  ],
)
def test_a_loss_that_is_nan_names_what_can_cause_it(
  tmp_path, monkeypatch, field, value, advice
):
  runs.one_device(monkeypatch)
  with pytest.raises(FloatingPointError, match=re.escape(advice) + '$'):
    runs.job.run(_small(tmp_path, **{field: value}), tmp_path / 'run')
  # What the advice leads to.
  runs.job.run(_small(tmp_path), tmp_path / 'other')


@pytest.mark.parametrize(
  ('part', 'fields', 'advice'),
  [
    (
      0,
      {},
      'Lower train.learning_rate (it is 0.1), if that does not help, lower '
      'train.weight_decay and raise memory.temperature',
    ),
    # The first stage of clusters.
    (
      0,
      {'train.stage0_epochs': 0, 'train.later_learning_rate': 3.0},
      'Lower train.later_learning_rate (it is 3)',
    ),
    (
      1,
      {'train.weight_decay': 1.0, 'memory.temperature': 1e-3},
      'Lower train.weight_decay (it is 1), raise memory.temperature (it is '
      '0.001)',
    ),
    # It has no memory.
    ('warmup', {'memory.temperature': 1e-9}, 'Lower train.learning_rate (it'),
  ],
)
def test_the_advice_is_by_what_is_unusual(tmp_path, part, fields, advice):
  config = runs.small_config('folder', tmp_path)
  config.update_from_flattened_dict(fields)
  text = fitting.Fitter(build.Parts(config), 20).advice(part)
  assert advice in text
  assert 'memory' in advice or 'memory' not in text
