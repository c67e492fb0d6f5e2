"""The warm-up before stage 0: that it learns, and whole runs with it."""

import json

import jax
import numpy as np
import pytest
import runs

from dbc_jax.data.frames import ResidentFrames
from dbc_jax.data.split import Split
from dbc_jax.run import build, checkpoint, job, restore, selection
from dbc_jax.run import config as config_lib
from dbc_jax.run import stage as stage_lib
from dbc_jax.training.objectives import contrastive

pytestmark = pytest.mark.slow


def _warm_up(**fields):
  """The variables before and after, of a small network on 32 images."""
  config = runs.small_config('folder', '')
  config.seed = 3
  config.model.update(embedding_dim=64, dropout=0.2)
  config.train.update(
    warmup_epochs=2,
    batch_size=16,
    reference_batch_size=16,
    learning_rate=0.05,
  )
  config.update_from_flattened_dict(fields)
  parts = build.Parts(config)
  images = runs.make_images(32, 32)
  split = Split(ResidentFrames(images), np.arange(len(images)))
  runner = stage_lib.StageRunner(parts, len(images))
  return parts.init_variables(), runner.warm_up(split)


def test_it_learns_to_tell_images_apart_in_one_compilation(caplog, monkeypatch):
  runs.one_device(monkeypatch)
  traced = []
  loss = contrastive.contrastive_loss
  monkeypatch.setattr(
    contrastive, 'contrastive_loss', lambda *a: traced.append(1) or loss(*a)
  )
  with caplog.at_level('INFO', logger='dbc_jax'):
    before, after = _warm_up(**{'train.warmup_epochs': 40})
  *epochs, last = [record.getMessage() for record in caplog.records]
  assert len(epochs) == 40
  assert epochs[-1].startswith('warm-up epoch 40/40')
  assert last.startswith('warm-up: 40 epochs, loss ')
  losses = [float(line.split('loss ')[1].split(',')[0]) for line in epochs]
  assert np.mean(losses[-4:]) < 0.8 * losses[0]
  assert len(traced) == 1
  # No part of the backbone is left as it was. The head only decays: views are
  # told apart by the features.
  moved = jax.tree.map(lambda a, b: float(np.abs(a - b).max()), before, after)
  assert min(jax.tree.leaves(moved['params']['backbone'])) > 0.0
  kernels = [x['params']['head']['linear1']['kernel'] for x in (before, after)]
  shares = kernels[1] / kernels[0]
  np.testing.assert_allclose(shares, shares[0, 0], rtol=1e-4)
  assert 0.9 < shares[0, 0] < 1.0


def test_the_same_seed_gives_the_same_network(monkeypatch):
  runs.one_device(monkeypatch)
  first, second, other = (_warm_up(seed=seed)[1] for seed in (3, 3, 4))
  jax.tree.map(np.testing.assert_array_equal, first, second)
  with pytest.raises(AssertionError):
    jax.tree.map(np.testing.assert_array_equal, first, other)


def test_nan_loss_names_the_step(monkeypatch):
  runs.one_device(monkeypatch)
  with pytest.raises(
    FloatingPointError, match=r'warm-up, epoch 0, step 0: the loss is nan'
  ):
    _warm_up(**{'train.learning_rate': np.nan})


@pytest.mark.parametrize(
  ('field', 'value', 'message'),
  [
    ('train.init', 'imagenet', r"train\.init: got 'imagenet', .*self_superv"),
    ('train.warmup_epochs', 0, r'train\.warmup_epochs: got 0, .*more than 0'),
    ('train.batch_size', 1, r'train\.batch_size: got 1 .*at least 2'),
    ('model.frozen_stages', 2, r'model\.frozen_stages: got 2 .*stay random'),
  ],
)
def test_bad_values_are_refused(field, value, message, tmp_path):
  config = _config(tmp_path)
  config.update_from_flattened_dict({field: value})
  with pytest.raises(ValueError, match=message):
    config_lib.check_config(config)


def _config(root):
  config = runs.small_config('market1501', root)
  config.train.init = 'self_supervised'
  config.train.warmup_epochs = 2
  config.cluster.merge_percent = 0.4  # two stages
  return config


@pytest.fixture(scope='module')
def straight(tmp_path_factory):
  """A data set, and a whole uninterrupted run on it."""
  folder = tmp_path_factory.mktemp('straight')
  root = runs.write_market(folder / 'data')
  with pytest.MonkeyPatch.context() as monkeypatch:
    runs.one_device(monkeypatch)
    job.run(_config(root), folder / 'run')
  return root, _arrays(folder / 'run')


def _arrays(workdir):
  store = checkpoint.CheckpointStore(workdir / 'checkpoints')
  return store.restore_as_saved(store.latest_stage())


@pytest.mark.parametrize(
  'where', ['after the warm-up', 'before stage 0', 'within stage 0']
)
def test_killed_and_resumed_equals_straight(
  where, straight, tmp_path, monkeypatch, caplog
):
  runs.one_device(monkeypatch)
  root, expected = straight
  owner, name = {
    'after the warm-up': (stage_lib.StageRunner, 'start'),
    'before stage 0': (stage_lib.StageRunner, 'run'),
    'within stage 0': (stage_lib.StageRunner, '_train'),
  }[where]
  with monkeypatch.context() as patch:
    patch.setattr(owner, name, _kill)
    with pytest.raises(KeyboardInterrupt):
      job.run(_config(root), tmp_path)
  # What was done is not done again.
  monkeypatch.setattr(stage_lib.StageRunner, 'warm_up', None)
  with caplog.at_level('INFO', logger='dbc_jax'):
    job.run(_config(root), tmp_path)
  assert 'resuming after the warm-up' in caplog.text
  jax.tree.map(np.testing.assert_array_equal, _arrays(tmp_path), expected)
  lines = (tmp_path / 'metrics.jsonl').read_text().splitlines()
  stages = [json.loads(line)['stage'] for line in lines]
  assert stages == ['warmup', 0, 1]


def test_a_finished_warm_up_binds_the_workdir(straight, tmp_path, monkeypatch):
  runs.one_device(monkeypatch)
  root, _ = straight
  with monkeypatch.context() as patch:
    patch.setattr(stage_lib.StageRunner, 'run', _kill)
    with pytest.raises(KeyboardInterrupt):
      job.run(_config(root), tmp_path)
  config = _config(root)
  config.train.warmup_epochs = 3
  with pytest.raises(ValueError, match=r'train\.warmup_epochs: 2 there, 3 giv'):
    job.run(config, tmp_path)


def _kill(*args, **kwargs):
  raise KeyboardInterrupt


def test_the_warmup_can_be_what_a_run_ends_with(tmp_path, monkeypatch):
  """Its clusters, its network, and its place in what people read."""
  runs.one_device(monkeypatch)
  root, work = runs.write_market(tmp_path / 'data'), tmp_path / 'run'
  config = _config(root)
  config.update_from_flattened_dict(
    {
      'train.stage0_epochs': 0,
      'train.num_stages': 2,
      'train.teacher_momentum': 0.9,
      'cluster.cut': 'geometric',
      'cluster.anew': True,
    }
  )
  select = selection.select

  def spoilt(history):
    return select(history)._replace(chosen=selection.WARMUP, reason='a test')

  monkeypatch.setattr(selection, 'select', spoilt)
  runs.run_until(1, config, work)
  job.run(config, work)
  first = json.loads((work / 'metrics.jsonl').read_text().splitlines()[0])
  assert first['stage'] == 'warmup'
  assert {'map', 'pair_f', 'silhouette', 'neighbour_f'} <= first.keys()
  kept = restore.restore_run(work)
  assert kept.stage == 'warmup'
  assert kept.labels.max() + 1 == first['num_clusters']
  last = restore.restore_run(work, '1')
  assert not np.array_equal(
    kept.variables['params']['backbone']['stem_conv']['kernel'],
    last.variables['params']['backbone']['stem_conv']['kernel'],
  )
  rows = (work / 'clusters.csv').read_text().splitlines()[1:]
  clusters = sorted(int(row.split(',')[1]) for row in rows)
  assert clusters == sorted(kept.labels)
  page = (work / 'report.html').read_text()
  assert 'Stage warmup is kept (a test)' in page
  assert '>warm-up</text>' in page
  with pytest.raises(ValueError, match=r'checkpoints of warmup, 1 alone'):
    restore.restore_run(work, '7')
