"""The step on one device and on four, compilations, and determinism."""

import logging

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dbc_jax import extract, memory, models, optim, parallel, train
from dbc_jax.data.frames import ResidentFrames
from dbc_jax.data.split import Split

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
    'resnet_tiny', embedding_dim=16, axis_name=parallel.AXIS_NAME
  )
  optimizer = optim.create_optimizer(
    momentum=0.9, weight_decay=5e-4, backbone_multiplier=0.5
  )
  variables = train.init_variables(encoder, jax.random.key(0), _SIZE)
  rows = rng.normal(size=(10, 16)).astype(np.float32)
  rows /= np.linalg.norm(rows, axis=1, keepdims=True)
  table = memory.init_memory(rows, np.arange(10), 10, 24)
  state = train.create_train_state(
    variables, optimizer, table, 10, step=5, rng=jax.random.key(1)
  )._replace(learning_rate=jnp.float32(0.1))
  return encoder, optimizer, state, images, labels


def test_one_step_on_one_device_equals_one_on_four(setup, monkeypatch):
  encoder, optimizer, state, images, labels = setup
  batch = {'images': images[:16], 'labels': labels[:16]}

  def step_on(num_devices):
    devices = jax.local_devices()[:num_devices]
    monkeypatch.setattr(parallel, 'devices', lambda: devices)
    step_fn = train.make_train_step(
      encoder=encoder, optimizer=optimizer, **_FIELDS
    )
    return step_fn(state, parallel.shard(batch))

  one, loss_one = step_on(1)
  four, loss_four = step_on(4)
  np.testing.assert_allclose(loss_one, loss_four, rtol=1e-5)
  for field in ('params', 'batch_stats', 'opt_state', 'memory'):
    jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=2e-5),
      getattr(one, field),
      getattr(four, field),
    )
  assert int(one.step) == int(four.step) == 6
  # The step did something, everywhere.
  for field in ('params', 'batch_stats', 'opt_state', 'memory'):
    old, new = getattr(state, field), getattr(one, field)
    moved = jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), old, new)
    assert min(jax.tree.leaves(moved)) > 0.0


def test_one_compilation_for_all_stages_and_epochs(setup):
  encoder, optimizer, state, images, labels = setup
  traces = []

  def counted(state, batch):
    traces.append(1)
    return train.train_step(
      state,
      batch,
      encoder=encoder,
      optimizer=optimizer,
      axis_name=parallel.AXIS_NAME,
      **_FIELDS,
    )

  step_fn = parallel.parallel_update(counted)
  extractor = extract.make_extractor(
    encoder, image_size=_SIZE, batch_size=16, max_frames=1
  )
  split = Split([''] * 24, ResidentFrames(images), np.arange(24))
  variables = {'params': state.params, 'batch_stats': state.batch_stats}
  with jax.log_compiles(), _CompileLog() as compiled:
    for stage, num_clusters in enumerate((10, 9, 8)):
      _, embeddings = extractor(variables, split)
      current = np.minimum(labels, num_clusters - 1)
      rows = memory.init_memory(embeddings, current, num_clusters, 24)
      stage_state = train.create_train_state(
        variables, optimizer, rows, num_clusters, step=0, rng=jax.random.key(1)
      )
      for epoch in range(2):
        stage_state = train.train_epoch(
          step_fn,
          stage_state,
          split,
          current,
          learning_rate=0.1 / (epoch + 1),
          batch_size=8,
          num_frames=1,
          seed=(stage, epoch),
          on_step=lambda loss: None,
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
