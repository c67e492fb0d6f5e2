"""The optimiser against SGD written out, and the schedule's values."""

import jax
import numpy as np
import pytest

from dbc_jax import models
from dbc_jax.training import optim


def test_updates_equal_nesterov_sgd_written_out():
  rng = np.random.default_rng(0)
  params = {
    'backbone': {'w': rng.normal(size=3)},
    'head': {'w': rng.normal(size=2)},
  }
  momentum, decay, multiplier, rate = 0.9, 5e-4, 0.1, 0.05
  optimizer = optim.create_optimizer(
    momentum=momentum, weight_decay=decay, backbone_multiplier=multiplier
  )
  got = jax.tree.map(np.float32, params)
  state = optimizer.init(got)
  velocity = jax.tree.map(np.zeros_like, params)
  for _ in range(4):
    grads = jax.tree.map(lambda p: rng.normal(size=p.shape), params)
    updates, state = optimizer.update(
      jax.tree.map(np.float32, grads), state, got
    )
    got = jax.tree.map(lambda p, u: p - rate * u, got, updates)
    for room, factor in (('backbone', multiplier), ('head', 1.0)):
      grad = grads[room]['w'] + decay * params[room]['w']
      velocity[room]['w'] = momentum * velocity[room]['w'] + grad
      step = grad + momentum * velocity[room]['w']
      params[room]['w'] = params[room]['w'] - rate * factor * step
  for room in params:
    np.testing.assert_allclose(got[room]['w'], params[room]['w'], rtol=1e-4)


def test_updates_equal_adam_written_out():
  rng = np.random.default_rng(0)
  params = {
    'backbone': {'w': rng.normal(size=3)},
    'head': {'w': rng.normal(size=2)},
  }
  decay, rate = 5e-4, 0.01
  optimizer = optim.create_optimizer(
    name='adam', momentum=0.9, weight_decay=decay, backbone_multiplier=0.5
  )
  got = jax.tree.map(np.float32, params)
  state = optimizer.init(got)
  first = jax.tree.map(np.zeros_like, params)
  second = jax.tree.map(np.zeros_like, params)
  for step in range(1, 5):
    grads = jax.tree.map(lambda p: rng.normal(size=p.shape), params)
    updates, state = optimizer.update(
      jax.tree.map(np.float32, grads), state, got
    )
    got = jax.tree.map(lambda p, u: p - rate * u, got, updates)
    for room, factor in (('backbone', 0.5), ('head', 1.0)):
      grad = grads[room]['w'] + decay * params[room]['w']
      first[room]['w'] = 0.9 * first[room]['w'] + 0.1 * grad
      second[room]['w'] = 0.999 * second[room]['w'] + 0.001 * grad**2
      mean = first[room]['w'] / (1 - 0.9**step)
      scale = np.sqrt(second[room]['w'] / (1 - 0.999**step)) + 1e-8
      params[room]['w'] = params[room]['w'] - rate * factor * mean / scale
  for room in params:
    np.testing.assert_allclose(got[room]['w'], params[room]['w'], rtol=1e-4)


def test_frozen_parts_stay_although_weights_decay():
  encoder = models.create_encoder('resnet8', frozen_stages=1, embedding_dim=8)
  params = jax.eval_shape(
    encoder.init, jax.random.key(0), np.zeros((1, 16, 16, 3))
  )['params']
  params = jax.tree.map(lambda x: np.ones(x.shape, x.dtype), params)
  optimizer = optim.create_optimizer(
    momentum=0.9,
    weight_decay=0.1,
    backbone_multiplier=0.5,
    frozen=models.frozen_prefixes(1),
  )
  grads = jax.tree.map(np.zeros_like, params)
  start = optimizer.init(params)
  updates, _ = jax.jit(optimizer.update)(grads, start, params)
  for name, tree in updates['backbone'].items():
    moved = max(float(np.abs(x).max()) for x in jax.tree.leaves(tree))
    assert (moved == 0.0) == name.startswith(('stem_', 'layer1_')), name
  assert np.abs(updates['head']['linear1']['kernel']).max() > 0.0


@pytest.mark.parametrize(
  ('stage', 'epoch', 'expected'),
  [(0, 0, 0.1), (0, 14, 0.1), (0, 15, 0.01), (0, 19, 0.01), (1, 0, 0.02)],
)
def test_schedule(stage, epoch, expected):
  fields = {'initial': 0.1, 'dropped': 0.01, 'drop_epoch': 15, 'later': 0.02}
  rates = optim.learning_rates(stage, epoch, **fields)
  assert rates == (expected, expected)
  # A batch four times as large, after five epochs; a smaller one at once.
  rates = optim.learning_rates(
    stage, epoch + 5, **fields, scale=4.0, warmup_epochs=5
  )
  assert rates[0] == rates[1]
  assert rates[0] / optim.learning_rates(stage, epoch + 5, **fields)[0] == 4.0
  rates = optim.learning_rates(
    stage, epoch, **fields, scale=0.5, warmup_epochs=5
  )
  assert rates == (expected / 2, expected / 2)


def test_the_rate_of_a_large_batch_rises_linearly():
  rates = [
    optim.learning_rates(
      0,
      epoch,
      initial=0.1,
      dropped=0.01,
      drop_epoch=15,
      later=0.02,
      scale=4.0,
      warmup_epochs=3,
    )
    for epoch in range(4)
  ]
  expected = [(0.1, 0.2), (0.2, 0.3), (0.3, 0.4), (0.4, 0.4)]
  np.testing.assert_allclose(rates, expected, rtol=1e-12)


def test_a_later_stage_may_end_at_a_rate_of_zero():
  fields = {'initial': 0.1, 'dropped': 0.01, 'drop_epoch': 1, 'later': 0.02}
  fields['later_decay_epochs'] = 4
  rates = [
    optim.learning_rates(3, epoch, **fields, scale=0.5) for epoch in range(4)
  ]
  expected = [(0.01, 0.0075), (0.0075, 0.005), (0.005, 0.0025), (0.0025, 0.0)]
  np.testing.assert_allclose(rates, expected, atol=1e-12)
  # Stage 0 has its own schedule.
  assert optim.learning_rates(0, 0, **fields) == (0.1, 0.1)
