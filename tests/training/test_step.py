"""The step on one device and on several, compilations, and determinism."""

import dataclasses
import functools
import logging

import float64
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small_networks

from dbc_jax.data.augment import augment
from dbc_jax.data.frames import ResidentFrames
from dbc_jax.data.split import Split
from dbc_jax.devices import mesh
from dbc_jax.training import embed, optim
from dbc_jax.training.fit import Trainer
from dbc_jax.training.objectives import (
  create_objective,
  objective_names,
  weighted_sum,
)
from dbc_jax.training.step import Step

pytestmark = pytest.mark.slow

_SIZE = (24, 12)
# Of all that are found; and a sum of two that see another number of views.
_OBJECTIVES = {
  name: create_objective(name, temperature=0.1, momentum=0.5)
  for name in objective_names()
}
_OBJECTIVES['sum'] = weighted_sum(
  (0.7, _OBJECTIVES['memory']), (0.3, _OBJECTIVES['contrastive'])
)


@pytest.fixture(autouse=True, scope='module')
def _float64_mode():
  with jax.enable_x64(True):
    yield


@functools.cache
def _network():
  return float64.create(small_networks.NAME, _SIZE, embedding_dim=16)


def _step(objective='memory'):
  return Step(
    _network()[0],
    optim.create_optimizer(
      momentum=0.9, weight_decay=5e-4, backbone_multiplier=0.5
    ),
    _OBJECTIVES[objective],
    functools.partial(
      augment, size=_SIZE, crop_area=(0.64, 1.0), crop_aspect=(1.0, 1.5)
    ),
  )


def _start(step):
  rng = np.random.default_rng(0)
  rows = rng.normal(size=(24, 16))
  rows /= np.linalg.norm(rows, axis=1, keepdims=True)
  labels = (np.arange(24) % 10).astype(np.int32)
  state = step.start(
    _network()[1],
    step.objective.start(rows, labels),
    step=5,
    rng=jax.random.key(1),
  )
  return state, rng.integers(0, 256, (24, *_SIZE, 3), np.uint8), labels


def _train(objective, num_devices, steps, monkeypatch, compiled_epoch=False):
  """The states before and after some steps of 16 images, and their metrics."""
  devices = jax.local_devices()[:num_devices]
  monkeypatch.setattr(mesh, 'devices', lambda: devices)
  monkeypatch.setattr(mesh, 'host_is_device', lambda: not compiled_epoch)
  # Images are float32: another library would round their crops otherwise.
  monkeypatch.setattr(mesh, '_knows_library', lambda: False)
  step = _step(objective)
  state, images, labels = _start(step)
  before = jax.device_get(state._replace(rng=None))
  count = 16 * steps
  metrics = []
  ((_, state),) = Trainer(step).fit(
    state,
    Split(
      ResidentFrames(np.resize(images, (count, *_SIZE, 3))), np.arange(count)
    ),
    np.resize(labels, count),
    rates=[(0.1, 0.02)],
    seeds=[(0, 1)],
    batch_size=16,
    num_frames=1,
    on_step=lambda epoch, *values: metrics.append(values),
  )
  return before, jax.device_get(state._replace(rng=None)), metrics


_TREES = ('params', 'batch_stats', 'opt_state', 'objective')
_on_one = {}


def _on_one_device(objective, steps):
  if (objective, steps) not in _on_one:
    with pytest.MonkeyPatch.context() as monkeypatch:
      found = _train(objective, 1, steps, monkeypatch)
    _on_one[objective, steps] = found
  return _on_one[objective, steps]


def _assert_close(one, other, metrics_one, metrics):
  """Rounding alone: a float32 of the rate, and the order of sums."""
  np.testing.assert_allclose(metrics_one, metrics, rtol=1e-6)
  for field in _TREES:
    jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-8),
      getattr(one, field),
      getattr(other, field),
    )


@pytest.mark.parametrize(
  ('objective', 'num_devices', 'steps'),
  [
    *(('memory', devices, steps) for steps in (1, 3) for devices in (2, 4, 8)),
    *((name, 4, 1) for name in _OBJECTIVES if name != 'memory'),
  ],
)
def test_steps_on_one_device_equal_those_on_several(
  objective, num_devices, steps, monkeypatch
):
  _, one, metrics_one = _on_one_device(objective, steps)
  _, several, metrics = _train(objective, num_devices, steps, monkeypatch)
  # The velocities of the optimiser are, after one step, the gradients.
  _assert_close(one, several, metrics_one, metrics)
  assert one.step == several.step == 5 + steps


@pytest.mark.parametrize('objective', ['memory', 'contrastive'])
def test_a_wrong_reduction_would_be_seen(objective, monkeypatch):
  """Sums of gradients and statistics in place of means, on two devices."""
  _, one, metrics_one = _on_one_device(objective, 1)
  monkeypatch.setattr(jax.lax, 'pmean', jax.lax.psum)
  _, several, metrics = _train(objective, 2, 1, monkeypatch)
  with pytest.raises(AssertionError):
    _assert_close(one, several, metrics_one, metrics_one)
  with pytest.raises(AssertionError):
    _assert_close(one, one, metrics_one, metrics)


def test_a_step_moves_everything():
  old, new, _ = _on_one_device('memory', 1)
  old = old._replace(objective=old.objective.memory)
  new = new._replace(objective=new.objective.memory)
  for field in _TREES:
    moved = jax.tree.map(
      lambda a, b: float(jnp.abs(a - b).max()),
      getattr(old, field),
      getattr(new, field),
    )
    assert min(jax.tree.leaves(moved)) > 0.0


@pytest.mark.parametrize(
  ('objective', 'num_devices'), [('memory', 1), ('memory', 4), ('sum', 4)]
)
def test_a_compiled_epoch_equals_its_steps(objective, num_devices, monkeypatch):
  """Without any transfer between host and devices inside."""
  _, one, metrics_one = _on_one_device(objective, 3)
  make = mesh.parallel_epoch

  def guarded(epoch):
    compiled = make(epoch)

    def call(*args):
      with jax.transfer_guard('disallow'):
        return compiled(*args)

    return call

  monkeypatch.setattr(mesh, 'parallel_epoch', guarded)
  _, whole, metrics = _train(
    objective, num_devices, 3, monkeypatch, compiled_epoch=True
  )
  _assert_close(one, whole, metrics_one, metrics)
  assert whole.step == 8
  # The rate fell linearly over the epoch.
  np.testing.assert_allclose(whole.learning_rate, 0.02, rtol=1e-5)


def test_one_compilation_for_all_stages_and_epochs():
  jax.clear_caches()
  step, traces = _step(), []
  encoder, variables = _network()
  images = np.random.default_rng(0).integers(0, 256, (24, *_SIZE, 3), np.uint8)
  labels = (np.arange(24) % 10).astype(np.int32)

  class Counted(Step):
    def __call__(self, state, batch):
      traces.append(1)
      return super().__call__(state, batch)

  trainer = Trainer(Counted(**vars(step)))
  extractor = embed.make_extractor(
    encoder, image_size=_SIZE, batch_size=16, max_frames=1
  )
  split = Split(ResidentFrames(images), np.arange(24))
  with jax.log_compiles(), _CompileLog() as compiled:
    for stage, num_clusters in enumerate((10, 9, 8)):
      _, embeddings = extractor(variables, split)
      current = np.minimum(labels, num_clusters - 1)
      state = trainer.step.start(
        variables,
        trainer.step.objective.start(embeddings, current),
        step=0,
        rng=jax.random.key(1),
      )
      *_, (_, state) = trainer.fit(
        state,
        split,
        current,
        rates=[(0.1, 0.05), (0.05, 0.05)],
        seeds=[(stage, 0), (stage, 1)],
        batch_size=8,
        num_frames=1,
        on_step=lambda *_: None,
      )
      variables = {'params': state.params, 'batch_stats': state.batch_stats}
  assert len(traces) == 1
  # The step and the first part of the extractor, which have options on a CPU,
  # and the second part, which pmap names _fun; once each.
  assert compiled.count('on_devices') == 2
  assert compiled.count('_fun') == 1
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


def test_the_teacher_is_the_moving_mean_of_the_students(monkeypatch):
  monkeypatch.setattr(mesh, 'devices', lambda: jax.local_devices()[:1])
  step = dataclasses.replace(_step(), teacher_momentum=0.75)
  state, images, labels = _start(step)
  state = state._replace(learning_rate=jnp.float32(0.1))
  compiled = mesh.parallel_update(step)
  expected = jax.device_get(_network()[1])
  jax.tree.map(np.testing.assert_array_equal, state.teacher, expected)
  for first in (0, 8):
    rows = slice(first, first + 8)
    batch = {'images': images[rows], 'labels': labels[rows]}
    state, _ = compiled(state, mesh.shard(batch))
    student = {'params': state.params, 'batch_stats': state.batch_stats}
    expected = jax.tree.map(
      lambda old, new: 0.75 * old + 0.25 * np.asarray(new), expected, student
    )
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-9),
    jax.device_get(state.teacher),
    expected,
  )
