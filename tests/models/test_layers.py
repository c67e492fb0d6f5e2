"""The forms of a CPU compute what linen's layers and torch's compute."""

import contextlib
import functools

import float64
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from dbc_jax.models import layers

_AROUND = ((1, 1), (1, 1))
# Of values and of gradients, relative to the largest.
_BOUNDS = {'float32': (1e-5, 1e-4), 'float64': (1e-12, 1e-12)}


def _draw(*shape, seed=0):
  return np.random.default_rng(seed).standard_normal(shape)


@pytest.fixture(params=['float32', 'float64'])
def dtype(request):
  wide = request.param == 'float64'
  with jax.enable_x64(True) if wide else contextlib.nullcontext():
    yield request.param


def _both_ways(layer, arguments, dtype):
  """Output and gradients of all arguments, compiled."""
  arguments = [jnp.asarray(x, dtype) for x in arguments]

  @jax.jit
  def run(*arguments):
    y, back = jax.vjp(layer, *arguments)
    weights = jnp.cos(jnp.arange(y.size, dtype=y.dtype)).reshape(y.shape)
    return y, back(weights)

  return run(*arguments)


def _check(got, expected, dtype):
  bounds = _BOUNDS[dtype]
  for bound, a, b in zip(bounds, got, expected, strict=True):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
      assert x.dtype == y.dtype
      assert x.shape == y.shape
      assert np.abs(x - y).max() <= bound * np.abs(y).max()


@pytest.mark.parametrize('shape', [(2, 8, 6, 5), (3, 7, 6, 4)])
@pytest.mark.slow
@pytest.mark.parametrize('strides', [1, 2])
@pytest.mark.parametrize('size', [1, 3, 7])
def test_convolution_is_linens(shape, strides, size, dtype):
  module = nn.Conv(
    6, (size, size), strides, padding=size // 2, use_bias=False, dtype=dtype
  )
  arguments = _draw(*shape), _draw(size, size, shape[-1], 6, seed=1)
  _check(
    _both_ways(lambda x, k: layers.conv(x, k, strides), arguments, dtype),
    _both_ways(
      lambda x, k: module.apply({'params': {'kernel': k}}, x), arguments, dtype
    ),
    dtype,
  )


def _plain_max_pool(x):
  return nn.max_pool(x, (3, 3), (2, 2), padding=_AROUND)


@pytest.mark.parametrize('shape', [(2, 8, 6, 5), (3, 7, 6, 4)])
@pytest.mark.parametrize('tied', [False, True])
def test_max_pool_is_linens(shape, tied, dtype):
  x = _draw(*shape)
  if tied:
    x = np.round(x).clip(-1, 1)  # most windows hold their maximum many times
  _check(
    _both_ways(layers.max_pool, [x], dtype),
    _both_ways(_plain_max_pool, [x], dtype),
    dtype,
  )


@pytest.mark.parametrize('train', [False, True])
def test_batch_norm_is_linens(train, dtype):
  x = 3.0 + 2.0 * _draw(5, 6, 4, 7)
  scale, bias = 1.0 + _draw(7, seed=1) / 4, _draw(7, seed=2)
  running = {'mean': _draw(7, seed=3), 'var': _draw(7, seed=4) ** 2}
  running = {name: jnp.asarray(x, dtype) for name, x in running.items()}
  modules = (
    layers.BatchNorm(not train),
    nn.BatchNorm(not train, momentum=0.9, epsilon=1e-5),
  )

  def outputs(module):
    def call(x, scale, bias):
      return module.apply(
        {'params': {'scale': scale, 'bias': bias}, 'batch_stats': running},
        x,
        mutable=['batch_stats'],
      )

    arguments = [jnp.asarray(a, dtype) for a in (x, scale, bias)]
    both = _both_ways(lambda *a: call(*a)[0], arguments, dtype)
    return both, jax.jit(call)(*arguments)[1]

  (got, stats), (expected, expected_stats) = map(outputs, modules)
  _check(got, expected, dtype)
  _check((stats, ()), (expected_stats, ()), dtype)
  moved = float(jnp.abs(stats['batch_stats']['mean'] - running['mean']).max())
  assert (moved > 0.1) == train


def test_batch_norm_averages_over_the_devices():
  module = layers.BatchNorm(False, axis_name='devices')
  alone = layers.BatchNorm(False)
  x = 1.0 + np.float32(_draw(8, 3, 2, 5))
  variables = alone.init(jax.random.key(0), x)

  def call(module, x):
    def loss(x):
      y, stats = module.apply(variables, x, mutable=['batch_stats'])
      return jnp.sum(jnp.sin(3.0 * y)), (y, stats)

    grads, (y, stats) = jax.grad(loss, has_aux=True)(x)
    return grads, y, stats

  shares = np.split(x, 4)
  grads, y, stats = jax.pmap(
    functools.partial(call, module),
    axis_name='devices',
    devices=jax.local_devices()[:4],
  )(np.stack(shares))
  expected_grads, expected, expected_stats = jax.jit(
    functools.partial(call, alone)
  )(x)
  np.testing.assert_allclose(np.concatenate(y), expected, atol=1e-5)
  np.testing.assert_allclose(np.concatenate(grads), expected_grads, atol=1e-4)
  for a, b in zip(
    jax.tree.leaves(stats), jax.tree.leaves(expected_stats), strict=True
  ):
    np.testing.assert_allclose(a, np.stack([b] * 4), atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize('name', ['resnet8', 'resnet50'])
def test_a_network_is_the_plain_one(name, monkeypatch):
  """In float64, where no rounding tips a unit over its kink."""
  with jax.enable_x64(True):
    encoder, variables = float64.create(
      name, (32, 32), embedding_dim=6, dropout=0.0
    )
    images = jnp.asarray(_draw(2, 2, 32, 32, 3))

    def both_ways(variables, images):
      def loss(params):
        (embedding, _), stats = encoder.apply(
          {**variables, 'params': params},
          images,
          train=True,
          mutable=['batch_stats'],
        )
        return jnp.sum(embedding * embedding[::-1] ** 2), stats

      return jax.value_and_grad(loss, has_aux=True)(variables['params'])

    def on_two_devices(call):
      mapped = jax.pmap(
        call,
        axis_name='devices',
        in_axes=(None, 0),
        devices=jax.local_devices()[:2],
      )
      return mapped(variables, images)

    got = on_two_devices(both_ways)
    monkeypatch.setattr(layers, 'is_cpu', lambda: False)
    expected = on_two_devices(lambda *arguments: both_ways(*arguments))
  for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-9)
