"""Runs that normalise by camera: resumed exactly, read back, told."""

import json

import jax
import numpy as np
import pytest
import runs

from dbc_jax import evaluation
from dbc_jax.run import checkpoint, job, restore
from dbc_jax.training.camera_statistics import KEY

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures('one_device')]


def _config(market, **fields):
  config = runs.small_config('market1501', market)
  config.update_from_flattened_dict(
    {
      'data.use_cameras': 'auto',
      'data.camera_statistics': True,
      'train.stage0_epochs': 0,
      'train.num_stages': 3,
      'train.teacher_momentum': 0.9,
      'cluster.cut': 'geometric',
      'cluster.anew': True,
    }
    | fields
  )
  return config


def test_statistics_are_saved_and_resumed_and_read_back(market, tmp_path):
  straight, twice = tmp_path / 'straight', tmp_path / 'twice'
  job.run(_config(market), straight)

  runs.run_until(2, _config(market), twice)
  job.run(_config(market), twice)
  job.run(_config(market), twice)
  stores = [
    checkpoint.CheckpointStore(each / 'checkpoints').restore_as_saved(2)
    for each in (straight, twice)
  ]
  jax.tree.map(np.testing.assert_array_equal, *stores)

  restored = restore.restore_run(straight, '2')
  np.testing.assert_array_equal(
    restored.variables[KEY]['camids'], np.unique(stores[0][KEY]['camids'])
  )
  data = restore.load_data(
    restored.parts.config, restored.digest, identities=True, cameras=True
  )
  arrays = restore.extract_arrays(restored, data, ('query', 'gallery'))
  scores = evaluation.rank_features(
    *(
      arrays[f'{split}_{what}']
      for what in ('features', 'pids', 'camids')
      for split in ('query', 'gallery')
    )
  )
  lines = (straight / 'metrics.jsonl').read_text().splitlines()
  assert scores['map'] == pytest.approx(json.loads(lines[2])['map'], abs=1e-6)


def test_without_cameras_nothing_is_normalised_by_them(
  market, tmp_path, caplog
):
  fields = {'train.num_stages': 1, 'data.use_cameras': 'False'}
  with caplog.at_level('INFO', 'dbc_jax'):
    job.run(_config(market, **fields), tmp_path / 'off')
  assert any('camera_statistics: without effect' in x for x in caplog.messages)
  fields['data.camera_statistics'] = False
  job.run(_config(market, **fields), tmp_path / 'plain')
  stores = [
    checkpoint.CheckpointStore(tmp_path / each / 'checkpoints')
    for each in ('off', 'plain')
  ]
  jax.tree.map(
    np.testing.assert_array_equal,
    *(store.restore_as_saved(0) for store in stores),
  )
