"""The step on one device and on four, compilations, and determinism."""

import logging

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dbc_jax import memory, models
from dbc_jax.data.frames import ResidentFrames
from dbc_jax.data.split import Split
from dbc_jax.devices import mesh
from dbc_jax.training import embed, fit, optim
from dbc_jax.training import step as step_lib

_SIZE = (24, 12)
_FIELDS = {
  'image_size': _SIZE,
  'crop_area': (0.64, 1.0),
  'crop_aspect': (1.0, 1.5),
  'temperature': 0.1,
  'memory_momentum': 0.5,
}


@pytest.fixture(scope='module')
def setup():
  rng = np.random.default_rng(0)
  images = rng.integers(0, 256, (24, *_SIZE, 3), np.uint8)
  labels = (np.arange(24) % 10).astype(np.int32)
  encoder = models.create_encoder(
    'resnet_tiny', embedding_dim=16, axis_name=mesh.AXIS_NAME
  )
  optimizer = optim.create_optimizer(
    momentum=0.9, weight_decay=5e-4, backbone_multiplier=0.5
  )
  variables = step_lib.init_variables(encoder, jax.random.key(0), _SIZE)
  rows = rng.normal(size=(10, 16)).astype(np.float32)
  rows /= np.linalg.norm(rows, axis=1, keepdims=True)
  table = memory.init_memory(rows, np.arange(10), 10, 24)
  state = step_lib.create_train_state(
    variables, optimizer, table, 10, step=5, rng=jax.random.key(1)
  )._replace(learning_rate=jnp.float32(0.1))
  return encoder, optimizer, state, images, labels


def _train(setup, num_devices, steps, monkeypatch, compiled_epoch=False):
  """The state after some steps of 16 images, and their metrics."""
  encoder, optimizer, state, images, labels = setup
  devices = jax.local_devices()[:num_devices]
  monkeypatch.setattr(mesh, 'devices', lambda: devices)
  monkeypatch.setattr(mesh, 'host_is_device', lambda: not compiled_epoch)
  fields = {'encoder': encoder, 'optimizer': optimizer, **_FIELDS}
  count = 16 * steps
  split = Split(
    ResidentFrames(np.resize(images, (count, *_SIZE, 3))),
    np.arange(count),
  )
  metrics = []
  # The compiled epoch takes over the buffers of what it is given.
  state = jax.tree.map(jnp.copy, state)
  state = fit.train_epoch(
    None if compiled_epoch else step_lib.make_train_step(**fields),
    fit.make_epoch(**fields) if compiled_epoch else None,
    state,
    split,
    np.resize(labels, count),
    rates=(0.1, 0.02),
    batch_size=16,
    num_frames=1,
    seed=(0, 1),
    on_step=lambda loss, accuracy: metrics.append((loss, accuracy)),
  )
  return jax.device_get(state._replace(rng=None)), metrics


_TREES = ('params', 'batch_stats', 'opt_state', 'memory')


def _assert_close(one, other, rtol, atol):
  for field in _TREES:
    jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=atol),
      getattr(one, field),
      getattr(other, field),
    )


@pytest.fixture(scope='module')
def on_one(setup):
  """One step and three on one device, step by step."""
  with pytest.MonkeyPatch.context() as monkeypatch:
    return {steps: _train(setup, 1, steps, monkeypatch) for steps in (1, 3)}


@pytest.mark.parametrize('num_devices', [2, 4, 8])
@pytest.mark.parametrize('steps', [1, 3])
def test_steps_on_one_device_equal_those_on_several(
  setup, on_one, num_devices, steps, monkeypatch
):
  one, metrics_one = on_one[steps]
  several, metrics = _train(setup, num_devices, steps, monkeypatch)
  np.testing.assert_allclose(
    metrics_one, metrics, rtol=1e-5 * 10 ** (steps - 1)
  )
  # The velocities of the optimiser are, after one step, the gradients.
  _assert_close(one, several, rtol=1e-3, atol=2e-5 * 20 ** (steps - 1))
  assert one.step == several.step == 5 + steps


def test_a_step_moves_everything(setup, on_one):
  old, (new, _) = setup[2], on_one[1]
  for field in _TREES:
    moved = jax.tree.map(
      lambda a, b: float(jnp.abs(a - b).max()),
      getattr(old, field),
      getattr(new, field),
    )
    assert min(jax.tree.leaves(moved)) > 0.0


@pytest.mark.parametrize('num_devices', [1, 4])
def test_a_compiled_epoch_equals_its_steps(
  setup, on_one, num_devices, monkeypatch
):
  """Without any transfer between host and devices inside."""
  one, metrics_one = on_one[3]
  make = mesh.parallel_epoch

  def guarded(epoch):
    compiled = make(fit)

    def call(*args):
      with jax.transfer_guard('disallow'):
        return compiled(*args)

    return call

  monkeypatch.setattr(mesh, 'parallel_epoch', guarded)
  whole, metrics = _train(
    setup, num_devices, 3, monkeypatch, compiled_epoch=True
  )
  np.testing.assert_allclose(metrics_one, metrics, rtol=1e-3)
  _assert_close(one, whole, rtol=1e-3, atol=8e-3)
  assert whole.step == 8
  # The rate fell linearly over the epoch.
  np.testing.assert_allclose(whole.learning_rate, 0.02, rtol=1e-5)


def test_one_compilation_for_all_stages_and_epochs(setup):
  encoder, optimizer, state, images, labels = setup
  traces = []

  def counted(state, batch):
    traces.append(1)
    return step_lib.train_step(
      state,
      batch,
      encoder=encoder,
      optimizer=optimizer,
      axis_name=mesh.AXIS_NAME,
      **_FIELDS,
    )

  step_fn = mesh.parallel_update(counted)
  extractor = embed.make_extractor(
    encoder, image_size=_SIZE, batch_size=16, max_frames=1
  )
  split = Split(ResidentFrames(images), np.arange(24))
  variables = {'params': state.params, 'batch_stats': state.batch_stats}
  with jax.log_compiles(), _CompileLog() as compiled:
    for stage, num_clusters in enumerate((10, 9, 8)):
      _, embeddings = extractor(variables, split)
      current = np.minimum(labels, num_clusters - 1)
      rows = memory.init_memory(embeddings, current, num_clusters, 24)
      stage_state = step_lib.create_train_state(
        variables, optimizer, rows, num_clusters, step=0, rng=jax.random.key(1)
      )
      for k in range(2):
        stage_state = fit.train_epoch(
          step_fn,
          None,
          stage_state,
          split,
          current,
          rates=(0.1 / (k + 1), 0.05),
          batch_size=8,
          num_frames=1,
          seed=(stage, k),
          on_step=lambda loss, accuracy: None,
        )
      variables = {
        'params': stage_state.params,
        'batch_stats': stage_state.batch_stats,
      }
  assert len(traces) == 1
  # pmap compiles under the name _fun: the two parts of the extractor, and the
  # step, once each.
  assert compiled.count('_fun') == 3
  assert compiled.count('_centroids') == 1


class _CompileLog:
  """Names of the functions that XLA compiled meanwhile."""

  def __enter__(self):
    names = self.names = []

    class Handler(logging.Handler):
      def emit(self, record):
        message = record.getMessage()
        if message.startswith('Finished XLA compilation of'):
          names.append(message.split(' of ')[1].split(' in ')[0])

    self.handler = Handler()
    self.logger = logging.getLogger('jax')
    self.logger.addHandler(self.handler)
    return self

  def __exit__(self, *_):
    self.logger.removeHandler(self.handler)

  def count(self, name):
    return sum(name in found for found in self.names)
