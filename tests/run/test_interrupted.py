"""Interrupted within a stage and resumed: as if nothing had happened."""

import json
import signal

import jax
import numpy as np
import pytest
import runs

from dbc_jax.devices import interrupts
from dbc_jax.run import checkpoint, fitting, job, record, within
from dbc_jax.training import fit

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures('one_device')]

CONFIGS = {
  'plain': {},
  'all at once': {
    'train.optimizer': 'adam',
    'train.teacher_momentum': 0.9,
    'train.objective': 'memory + 0.5 contrastive',
    'train.later_decay': True,
    'train.images_per_cluster': 2,
    'data.views': 'strong',
    'data.memory_budget_gb': 1e-9,
  },
  'cameras': {
    'data.use_cameras': 'auto',
    'data.camera_statistics': True,
    'train.objective': 'camera_proxies',
    'train.stage0_epochs': 0,
    'train.num_stages': 2,
    'cluster.cut': 'core',
    'cluster.min_size': 2,
  },
  'warm-up': {
    'train.init': 'self_supervised',
    'train.warmup_epochs': 2,
    'cluster.merge_percent': 0.4,
  },
}


def _config(market, **fields):
  config = runs.small_config('market1501', market)
  config.update_from_flattened_dict(fields)
  return config


@pytest.fixture(scope='module', params=CONFIGS)
def straight(request, market, tmp_path_factory):
  """Fields of a config, and an uninterrupted run of it."""
  workdir = tmp_path_factory.mktemp('straight')
  with pytest.MonkeyPatch.context() as monkeypatch:
    runs.one_device(monkeypatch)
    job.run(_config(market, **CONFIGS[request.param]), workdir)
  return CONFIGS[request.param], workdir


def _signal_after(patch, steps):
  """A signal comes while the given step of a process is done."""
  train, count = fit.Trainer.fit, []

  def train_and_count(self, *args, on_step, **kwargs):
    def on_step_and_count(*values):
      on_step(*values)
      count.append(1)
      if len(count) == steps:
        interrupts._handle(signal.SIGTERM, None)

    return train(self, *args, on_step=on_step_and_count, **kwargs)

  patch.setattr(fit.Trainer, 'fit', train_and_count)


def _assert_same(workdir, straight):
  stores = [
    checkpoint.CheckpointStore(each / 'checkpoints')
    for each in (workdir, straight)
  ]
  assert stores[0].stages() == stores[1].stages()
  for stage in stores[0].stages():
    jax.tree.map(
      np.testing.assert_array_equal,
      *(store.restore_as_saved(stage) for store in stores),
    )
  histories = [
    [
      json.loads(line)
      for line in (each / 'metrics.jsonl').read_text().splitlines()
    ]
    for each in (workdir, straight)
  ]
  for found, expected in zip(*histories, strict=True):
    assert found.keys() == expected.keys()
    for key in expected:
      if not key.startswith(('seconds', 'images_per')):
        assert found[key] == expected[key], key
  rows = [(each / 'clusters.csv').read_text() for each in (workdir, straight)]
  assert rows[0] == rows[1]


def test_a_signal_every_few_steps_changes_nothing(
  straight, market, tmp_path, caplog
):
  fields, expected = straight
  # A further step is under way by then. An epoch has three.
  steps = 4 if fields else 1
  places = []
  for _ in range(60):
    with pytest.MonkeyPatch.context() as patch:
      _signal_after(patch, steps)
      try:
        with caplog.at_level('INFO', 'dbc_jax'):
          job.run(_config(market, **fields), tmp_path)
        break
      except interrupts.Interrupted as ended:
        places.append((ended.number, ended.where))
  assert {number for number, _ in places} == {signal.SIGTERM}
  assert len(places) >= 6 // steps
  assert len({*places}) >= len(places) - 1
  assert 'resuming at step' in caplog.text
  _assert_same(tmp_path, expected)
  assert not [*(tmp_path / 'checkpoints' / 'within').glob('[0-9]*')]


def test_a_signal_after_the_training_of_a_stage(
  straight, market, tmp_path, monkeypatch
):
  fields, expected = straight
  evaluate = record.evaluate

  def signalled(*args):
    interrupts._handle(signal.SIGINT, None)
    return evaluate(*args)

  with monkeypatch.context() as patch:
    patch.setattr(record, 'evaluate', signalled)
    # The warm-up's clusters are measured where nothing holds a signal back.
    with pytest.raises(interrupts.Interrupted):
      job.run(_config(market, **fields), tmp_path)
  job.run(_config(market, **fields), tmp_path)
  _assert_same(tmp_path, expected)


def test_killed_it_goes_on_after_the_last_epoch_that_was_saved(
  market, straight, tmp_path, monkeypatch, caplog
):
  fields, expected = straight
  offer = within.WithinStore.offer

  def offer_and_die(self, stage, moment, *args):
    offer(self, stage, moment, *args)
    if stage == 1:
      raise runs.KilledError

  with monkeypatch.context() as patch:
    patch.setattr(within.WithinStore, 'offer', offer_and_die)
    with pytest.raises(runs.KilledError):
      job.run(_config(market, checkpoint_minutes=0.0, **fields), tmp_path)
  with caplog.at_level('INFO', 'dbc_jax'):
    job.run(_config(market, **fields), tmp_path)
  assert 'of stage 1' in caplog.text
  _assert_same(tmp_path, expected)


def test_by_default_a_short_stage_is_saved_once(market, tmp_path, monkeypatch):
  saved = []
  save = checkpoint.CheckpointStore.save
  monkeypatch.setattr(
    checkpoint.CheckpointStore,
    'save',
    lambda self, stage, *args: saved.append(stage) or save(self, stage, *args),
  )
  job.run(_config(market), tmp_path)
  assert saved == [0, 1, 2, 3]


def _interrupt_within(stage, market, workdir, **fields):
  with pytest.MonkeyPatch.context() as patch:
    _signal_after(patch, 6 + 3 * (stage - 1) + 2)
    with pytest.raises(interrupts.Interrupted):
      job.run(_config(market, **fields), workdir)


def test_a_damaged_one_is_set_aside_and_its_stage_begins_anew(
  market, tmp_path, caplog
):
  job.run(_config(market), tmp_path / 'straight')
  _interrupt_within(1, market, tmp_path / 'run')
  folder = tmp_path / 'run' / 'checkpoints' / 'within'
  (saved,) = folder.glob('[0-9]*')
  (saved / 'record' / 'metadata').write_text('{}')
  with caplog.at_level('INFO', 'dbc_jax'):
    job.run(_config(market), tmp_path / 'run')
  assert f'{saved} is damaged' in caplog.text
  assert 'resuming at step' not in caplog.text
  _assert_same(tmp_path / 'run', tmp_path / 'straight')


def test_one_of_another_build_begins_the_stage_anew(
  market, tmp_path, monkeypatch, caplog
):
  job.run(_config(market), tmp_path / 'straight')
  _interrupt_within(1, market, tmp_path / 'run')
  arrays = within.with_arrays

  def renamed(state, saved):
    return arrays(state, {f'old{key}': x for key, x in saved.items()})

  monkeypatch.setattr(within, 'with_arrays', renamed)
  with caplog.at_level('INFO', 'dbc_jax'):
    job.run(_config(market), tmp_path / 'run')
  assert 'of another build' in caplog.text
  _assert_same(tmp_path / 'run', tmp_path / 'straight')


def test_it_binds_the_workdir_to_its_config(market, tmp_path):
  with pytest.MonkeyPatch.context() as patch:
    _signal_after(patch, 2)
    with pytest.raises(interrupts.Interrupted, match='from step 3 of stage 0'):
      job.run(_config(market), tmp_path)
  with pytest.raises(ValueError, match=r'another config \(seed: 0 there'):
    job.run(_config(market, seed=1), tmp_path)
  with pytest.raises(ValueError, match=r'train\.batch_size: 8 there'):
    job.run(_config(market, **{'train.batch_size': 4}), tmp_path)
  other = runs.write_market(tmp_path / 'data')
  path = other / 'bounding_box_train' / '0001_c1s1_000000_00.jpg'
  path.write_bytes((other / 'query' / '0101_c1s1_000000_00.jpg').read_bytes())
  with pytest.raises(ValueError, match='other data: 1 of 30 training'):
    job.run(_config(other), tmp_path)


def test_no_score_of_earlier_stages_is_in_reach_of_training(
  market, tmp_path, monkeypatch
):
  _interrupt_within(2, market, tmp_path)
  train, seen = fitting.Fitter._train, []

  def watched(self, stage, state, *args):
    seen.append((stage, state.begun is not None, state.history))
    return train(self, stage, state, *args)

  monkeypatch.setattr(fitting.Fitter, '_train', watched)
  job.run(_config(market), tmp_path)
  assert seen == [(2, True, []), (3, False, [])]


def test_outside_of_the_stages_a_signal_ends_at_once():
  with pytest.raises(interrupts.Interrupted, match='Ended by SIGHUP'):
    interrupts._handle(signal.SIGHUP, None)
  noted = []
  with (
    pytest.raises(interrupts.Interrupted, match='Ended by SIGTERM'),
    interrupts.held(),
  ):
    noted.append(interrupts._handle(signal.SIGTERM, None))
  assert noted == [None]
