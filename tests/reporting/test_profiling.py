"""A trace is written once, and asking for it changes no result."""

import logging

import jax
import numpy as np
import pytest
import runs

from dbc_jax.run import checkpoint, job

pytestmark = pytest.mark.slow


def test_a_run_with_and_without_a_profile(tmp_path, monkeypatch, caplog):
  runs.one_device(monkeypatch)
  caplog.set_level(logging.INFO, 'dbc_jax')
  root = runs.write_market(tmp_path / 'market')
  arrays = []
  for wanted in (True, False):
    config = runs.small_config('market1501', root)
    config.cluster.merge_percent = 0.4
    config.profile = wanted
    workdir = tmp_path / str(wanted)
    job.run(config, workdir)
    assert bool([*workdir.glob('profile/**/*.xplane.pb')]) == wanted
    store = checkpoint.CheckpointStore(workdir / 'checkpoints')
    arrays.append(store.restore_as_saved(store.latest_stage()))
  # An epoch has three steps; the first is not traced.
  assert caplog.text.count('profile of 2 steps') == 1
  jax.tree.map(np.testing.assert_array_equal, *arrays)
