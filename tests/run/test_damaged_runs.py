"""Runs whose files were damaged, swapped or emptied: what the next start does.

That a whole checkpoint is told from a damaged one is in test_checkpoint.py.
"""

import json
import shutil

import jax
import numpy as np
import pytest
import runs

from dbc_jax.run import checkpoint, job, restore

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures('one_device')]


@pytest.fixture(scope='module')
def straight(tmp_path_factory, market):
  """A whole run, and the same one as it was after stage 2."""
  folder = tmp_path_factory.mktemp('straight')
  with pytest.MonkeyPatch.context() as monkeypatch:
    runs.one_device(monkeypatch)
    runs.run_until(3, _config(market), folder / 'half')
    shutil.copytree(folder / 'half', folder / 'whole')
    job.run(_config(market), folder / 'whole')
  return folder


def _config(market, **fields):
  config = runs.small_config('market1501', market)
  config.update_from_flattened_dict(fields)
  return config


def _copy(straight, which, workdir):
  shutil.copytree(straight / which, workdir)
  return workdir / 'checkpoints'


def _spoil(folder):
  path = folder / 'arrays' / 'manifest.ocdbt'
  path.write_bytes(path.read_bytes()[:-3])


def _arrays(workdir):
  store = checkpoint.CheckpointStore(workdir / 'checkpoints')
  return {stage: store.restore_as_saved(stage) for stage in store.stages()}


def _assert_as_straight(workdir, straight):
  jax.tree.map(
    np.testing.assert_array_equal, _arrays(workdir), _arrays(straight / 'whole')
  )
  for name in ('clusters.csv', 'config.json'):
    expected = (straight / 'whole' / name).read_text()
    assert (workdir / name).read_text() == expected


@pytest.mark.parametrize('which', ['half', 'whole'])
def test_a_damaged_latest_stage_is_done_again(
  which, straight, market, tmp_path, caplog
):
  stores = _copy(straight, which, tmp_path / 'run')
  last = max(checkpoint.CheckpointStore(stores).stages())
  _spoil(stores / str(last))
  with caplog.at_level('INFO', 'dbc_jax'):
    job.run(_config(market), tmp_path / 'run')
  damaged = [x for x in caplog.messages if 'is damaged' in x]
  assert len(damaged) == 1
  assert 'arrays/manifest.ocdbt is not what was written' in damaged[0]
  assert (stores / 'damaged' / str(last)).is_dir()
  _assert_as_straight(tmp_path / 'run', straight)


def test_the_stage_before_is_there_to_go_back_to(straight):
  store = checkpoint.CheckpointStore(straight / 'half' / 'checkpoints')
  assert {1, 2} <= {*store.stages()}


def test_with_all_damaged_all_is_done_again(straight, market, tmp_path, caplog):
  stores = _copy(straight, 'half', tmp_path / 'run')
  for stage in checkpoint.CheckpointStore(stores).stages():
    _spoil(stores / str(stage))
  with caplog.at_level('INFO', 'dbc_jax'):
    job.run(_config(market), tmp_path / 'run')
  assert 'no stage is left that is whole' in caplog.text
  _assert_as_straight(tmp_path / 'run', straight)


def test_a_damaged_kept_stage_of_a_finished_run_is_done_again(
  straight, market, tmp_path
):
  stores = _copy(straight, 'whole', tmp_path / 'run')
  chosen = restore.restore_run(tmp_path / 'run', 'chosen').stage
  _spoil(stores / str(chosen))
  job.run(_config(market), tmp_path / 'run')
  _assert_as_straight(tmp_path / 'run', straight)


def test_what_a_kill_left_before_tidying_is_tidied(straight, market, tmp_path):
  stores = _copy(straight, 'whole', tmp_path / 'run')
  half = straight / 'half' / 'checkpoints'
  for stage in checkpoint.CheckpointStore(half).stages():
    if not (stores / str(stage)).exists():
      shutil.copytree(half / str(stage), stores / str(stage))
  job.run(_config(market), tmp_path / 'run')
  _assert_as_straight(tmp_path / 'run', straight)


@pytest.mark.parametrize('content', ['', '{"seed": 1', '[]', '{"sded": 0}'])
def test_a_config_emptied_by_a_crash_is_written_anew(
  content, straight, market, tmp_path, caplog
):
  _copy(straight, 'whole', tmp_path / 'run')
  path = tmp_path / 'run' / 'config.json'
  path.write_text(content)
  with pytest.raises(ValueError, match=r'config\.json: (exp.*start the|lacks)'):
    restore.restore_run(tmp_path / 'run')
  with caplog.at_level('INFO', 'dbc_jax'):
    job.run(_config(market), tmp_path / 'run')
  assert f'{path} is written anew' in caplog.text
  _assert_as_straight(tmp_path / 'run', straight)


def test_another_config_does_not_take_the_place_of_an_emptied_one(
  straight, market, tmp_path
):
  _copy(straight, 'whole', tmp_path / 'run')
  (tmp_path / 'run' / 'config.json').write_text('')
  with pytest.raises(ValueError, match=r'holds a run of another config'):
    job.run(_config(market, seed=1), tmp_path / 'run')


def test_a_checkpoint_of_another_run_is_refused(straight, market, tmp_path):
  runs.run_until(2, _config(market, seed=1), tmp_path / 'other')
  stores = _copy(straight, 'half', tmp_path / 'run')
  shutil.rmtree(stores / '1')
  shutil.copytree(tmp_path / 'other' / 'checkpoints' / '1', stores / '1')
  with pytest.raises(
    ValueError, match=r'checkpoints/1 is a checkpoint of another config than'
  ):
    job.run(_config(market), tmp_path / 'run')


def test_commands_name_what_is_damaged_and_what_to_do(
  straight, tmp_path, caplog
):
  stores = _copy(straight, 'half', tmp_path / 'run')
  assert restore.restore_run(tmp_path / 'run', '1').stage == 1
  _spoil(stores / '2')
  assert restore.restore_run(tmp_path / 'run', '1').stage == 1
  assert 'checkpoints/2 is damaged' in caplog.text
  _spoil(stores / '1')
  with pytest.raises(
    ValueError, match=r'^workdir: .*/1 is damaged: .*; start the training'
  ):
    restore.restore_run(tmp_path / 'run', '1')


def test_a_flipped_bit_of_the_config_is_told(straight, tmp_path, caplog):
  _copy(straight, 'whole', tmp_path / 'run')
  path = tmp_path / 'run' / 'config.json'
  config = json.loads(path.read_text())
  config['train']['batch_size'] += 1
  path.write_text(json.dumps(config))
  restore.restore_run(tmp_path / 'run')
  assert f'{path} is not what the run was trained with' in caplog.text


def test_settings_that_change_no_result_may_differ(
  straight, market, tmp_path, monkeypatch
):
  _copy(straight, 'half', tmp_path / 'run')
  config = _config(
    market,
    **{
      'data.memory_budget_gb': 1e-6,
      'cluster.memory_budget_gb': 1.0,
      'checkpoint_minutes': 3.0,
    },
  )
  job.run(config, tmp_path / 'run')
  (tmp_path / 'run' / 'config.json').write_bytes(
    (straight / 'whole' / 'config.json').read_bytes()
  )
  _assert_as_straight(tmp_path / 'run', straight)


def test_a_whole_run_in_brackets(straight, market, tmp_path):
  workdir = tmp_path / '[2026] re-ID' / 'r?n'
  runs.run_until(2, _config(market), workdir)
  job.run(_config(market), workdir)
  _assert_as_straight(workdir, straight)
  assert (workdir / 'report.html').exists()
