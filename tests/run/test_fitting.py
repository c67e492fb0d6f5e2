"""A training tells how far its run is."""

import logging

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
