"""The warm-up before stage 0: its loss, its step, and whole runs with it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import runs

from dbc_jax import models
from dbc_jax.data.frames import ResidentFrames
from dbc_jax.data.split import Split
from dbc_jax.devices import mesh
from dbc_jax.run import checkpoint, job
from dbc_jax.run import config as config_lib
from dbc_jax.run import stage as stage_lib
from dbc_jax.training import optim
from dbc_jax.training import step as step_lib
from dbc_jax.training.objectives import contrastive

_SIZE = (24, 12)


@pytest.fixture(scope='module')
def setup():
  encoder = models.create_encoder(
    'resnet8', embedding_dim=64, dropout=0.2, axis_name=mesh.AXIS_NAME
  )
  variables = step_lib.init_variables(encoder, jax.random.key(0), _SIZE)
  return encoder, variables, runs.make_images(32, 32)


def _split(images):
  return Split(ResidentFrames(images), np.arange(len(images)))


def _warm_up(encoder, variables, images, **fields):
  fields = {
    'epochs': 2,
    'batch_size': 16,
    'learning_rate': 0.05,
    'momentum': 0.9,
    'weight_decay': 5e-4,
    'image_size': _SIZE,
    'num_frames': 1,
    'seed': 3,
  } | fields
  return contrastive.warm_up(encoder, variables, _split(images), **fields)


def test_loss_equals_a_loop_over_the_rows():
  rng = np.random.default_rng(0)
  rows = rng.normal(size=(12, 5)).astype(np.float32)
  rows /= np.linalg.norm(rows, axis=1, keepdims=True)
  terms, hits = [], []
  for i in range(4, 10):
    others = {
      k: float(rows[i].astype(float) @ rows[k]) for k in range(12) if k != i
    }
    partner = i + 1 if i % 2 == 0 else i - 1
    total = sum(np.exp(value / 0.2) for value in others.values())
    terms.append(np.log(total) - others[partner] / 0.2)
    hits.append(max(others, key=others.get) == partner)
  loss, accuracy = contrastive.contrastive_loss(rows[4:10], rows, 4)
  assert loss == pytest.approx(np.mean(terms), rel=1e-5)
  assert accuracy == pytest.approx(np.mean(hits))


def test_views_that_agree_and_differ_from_the_rest_cost_least():
  apart = np.repeat(np.eye(8, dtype=np.float32), 2, axis=0)
  loss, accuracy = contrastive.contrastive_loss(apart, apart, 0)
  # One other view at similarity 1, fourteen rows at 0.
  expected = np.log(np.exp(5.0) + 14.0) - 5.0
  assert loss == pytest.approx(expected, rel=1e-5) and accuracy == 1.0
  alike = np.ones((16, 8), np.float32) / np.sqrt(8)
  assert contrastive.contrastive_loss(alike, alike, 0)[0] == pytest.approx(
    np.log(15), rel=1e-5
  )


def test_one_step_on_one_device_equals_one_on_four(setup, monkeypatch):
  encoder, variables, images = setup
  optimizer = optim.create_optimizer(
    momentum=0.9, weight_decay=5e-4, backbone_multiplier=1.0
  )
  state = contrastive.WarmupState(
    params=variables['params'],
    batch_stats=variables['batch_stats'],
    opt_state=optimizer.init(variables['params']),
    learning_rate=jnp.float32(0.05),
    rate_increment=jnp.float32(0.0),
    step=jnp.int32(7),
    rng=jax.random.key(1),
  )

  def step_on(num_devices):
    devices = jax.local_devices()[:num_devices]
    monkeypatch.setattr(mesh, 'devices', lambda: devices)
    step_fn = contrastive.make_step(encoder, optimizer, _SIZE)
    return step_fn(state, mesh.shard({'images': images[:16]}))

  one, metrics_one = step_on(1)
  four, metrics_four = step_on(4)
  np.testing.assert_allclose(metrics_one.loss, metrics_four.loss, rtol=1e-5)
  assert metrics_one.accuracy == pytest.approx(float(metrics_four.accuracy))
  for field in ('params', 'batch_stats', 'opt_state'):
    jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=2e-5),
      getattr(one, field),
      getattr(four, field),
    )
    old, new = getattr(state, field), getattr(one, field)
    moved = jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), old, new)
    assert min(jax.tree.leaves(moved)) > 0.0
  assert int(one.step) == int(four.step) == 8


def test_it_learns_to_tell_images_apart_in_one_compilation(
  setup, caplog, monkeypatch
):
  runs.one_device(monkeypatch)
  traced = []
  loss = contrastive.contrastive_loss
  monkeypatch.setattr(
    contrastive, 'contrastive_loss', lambda *a: traced.append(1) or loss(*a)
  )
  with caplog.at_level('INFO', logger='dbc_jax'):
    _warm_up(*setup, epochs=24)
  *epochs, last = [record.getMessage() for record in caplog.records]
  assert len(epochs) == 24 and epochs[-1].startswith('warm-up epoch 24/24')
  assert last.startswith('warm-up: 24 epochs, loss ')
  losses = [float(line.split('loss ')[1].split(',')[0]) for line in epochs]
  assert np.mean(losses[-4:]) < 0.8 * losses[0]
  assert len(traced) == 1


def test_the_same_seed_gives_the_same_network(setup, monkeypatch):
  runs.one_device(monkeypatch)
  first, second, other = (_warm_up(*setup, seed=seed) for seed in (3, 3, 4))
  jax.tree.map(np.testing.assert_array_equal, first, second)
  with pytest.raises(AssertionError):
    jax.tree.map(np.testing.assert_array_equal, first, other)


def test_nan_loss_names_the_step(setup, monkeypatch):
  runs.one_device(monkeypatch)
  with pytest.raises(
    FloatingPointError, match=r'warm-up, epoch 0, step 0: the loss is nan'
  ):
    _warm_up(*setup, learning_rate=np.nan)


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


@pytest.mark.parametrize('where', ['before stage 0', 'within stage 0'])
def test_killed_and_resumed_equals_straight(
  where, straight, tmp_path, monkeypatch, caplog
):
  runs.one_device(monkeypatch)
  root, expected = straight
  owner, name = stage_lib.StageRunner, 'run'
  if where == 'within stage 0':
    owner, name = stage_lib.scoring, 'evaluate'
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
  assert len(lines) == 2  # one a stage, none for the warm-up


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
