"""Shapes, norms, torch's padding, frozen stages, masks and bad arguments."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small_networks

from dbc_jax import models
from dbc_jax.models import encoder as encoder_lib
from dbc_jax.models import layers
from dbc_jax.models.backbones import resnet


def _images(shape, seed=0):
  return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@functools.partial(jax.jit, static_argnames=('encoder', 'method'))
def _apply(encoder, variables, images, method=None):
  return encoder.apply(variables, images, method=method)


@pytest.fixture(scope='module')
def tiny():
  encoder = models.create_encoder('resnet_tiny', embedding_dim=16)
  images = _images((3, 32, 16, 3))
  variables = jax.jit(encoder.init)(jax.random.key(0), images)
  return encoder, variables, images


def test_resnet50_has_torchvisions_shapes_and_size():
  encoder = models.create_encoder()
  shapes = jax.eval_shape(
    encoder.init, jax.random.key(0), jnp.zeros((1, 256, 128, 3))
  )
  backbone = shapes['params']['backbone']
  count = sum(np.prod(x.shape) for x in jax.tree.leaves(backbone))
  # torchvision's resnet50 has 25,557,032 parameters, its classifier
  # 2048 x 1000 + 1000 of them.
  assert count == 25_557_032 - 2_049_000
  assert backbone['layer4_2']['conv3']['kernel'].shape == (1, 1, 512, 2048)
  assert len(backbone) == 2 + 16  # stem convolution and norm, 16 blocks
  head = shapes['params']['head']['linear1']
  assert head['kernel'].shape == (2048, 2048)


@pytest.mark.parametrize(('last_stride', 'rows'), [(2, 8), (1, 16)])
def test_resnet50_feature_map(last_stride, rows):
  net = resnet.ResNet(
    **models.RESNETS['resnet50']._asdict(), last_stride=last_stride
  )
  _, maps = jax.eval_shape(
    lambda x: (lambda v: (v, net.apply(v, x, train=False)))(
      net.init(jax.random.key(0), x, train=False)
    ),
    jnp.zeros((2, 256, 128, 3)),
  )
  assert maps.shape == (2, rows, rows // 2, 2048)


def test_outputs_have_unit_length_and_stated_shapes(tiny):
  encoder, variables, images = tiny
  embedding, feature = _apply(encoder, variables, images)
  assert embedding.shape == (3, 16)
  assert feature.shape == (3, 256)
  for x in (embedding, feature):
    np.testing.assert_allclose(np.linalg.norm(x, axis=1), 1.0, rtol=1e-5)


def test_no_head_layers_means_the_feature_is_the_embedding():
  encoder = models.create_encoder(small_networks.NAME, head_layers=0)
  images = _images((2, 16, 16, 3))
  variables = jax.jit(encoder.init)(jax.random.key(0), images)
  embedding, feature = _apply(encoder, variables, images)
  np.testing.assert_array_equal(embedding, feature)
  assert 'head' not in variables['params']


def test_generalised_mean():
  # Zeros among them, as behind a ReLU.
  maps = np.maximum(_images((2, 5, 3, 4)), 0).astype(np.float64)
  with jax.enable_x64(True):
    for p in (1.0, 3.0, 6.5):

      def pooled(p, maps=maps):
        return encoder_lib.GeM().apply({'params': {'p': p}}, maps)

      expected = np.zeros((2, 4))
      for image in range(2):
        for channel in range(4):
          places = np.maximum(maps[image, ..., channel].ravel(), 1e-6)
          total = sum(float(x) ** p for x in places)
          expected[image, channel] = (total / len(places)) ** (1 / p)
      got = pooled(jnp.float64(p))
      np.testing.assert_allclose(got, expected, rtol=1e-12)
      slope = jax.grad(lambda p: pooled(p).sum())(jnp.float64(p))
      step = 1e-5
      difference = (pooled(p + step) - pooled(p - step)).sum() / (2 * step)
      np.testing.assert_allclose(slope, difference, rtol=1e-6)
  # 15 places: less than the maximum by a factor of at most 15^(1/60).
  largest = encoder_lib.GeM().apply({'params': {'p': 60.0}}, maps)
  np.testing.assert_allclose(largest, maps.max((1, 2)), rtol=0.05)


@pytest.mark.parametrize('pooling', ['mean', 'gem'])
@pytest.mark.parametrize('both', [False, True])
def test_stripes_of_the_map_are_pooled_by_themselves(pooling, both):
  images = _images((3, 32, 16, 3))
  options = {'head_layers': 0, 'dropout': 0.0, 'pooling': pooling}
  encoder = models.create_encoder(
    'resnet_tiny', parts=2, parts_and_global=both, **options
  )
  variables = jax.jit(encoder.init)(jax.random.key(0), images)
  maps = encoder.apply(
    variables, images, method=lambda m, x: m.backbone(x, train=False)
  )
  rows = maps.shape[1] // 2
  pieces = [maps[:, :rows], maps[:, rows:]] + [maps] * both
  power = 3.0 if pooling == 'gem' else 1.0
  pieces = [
    np.mean(np.maximum(x, 1e-6) ** power, axis=(1, 2)) ** (1 / power)
    for x in map(np.asarray, pieces)
  ]
  expected = np.concatenate(pieces, axis=1)
  expected /= np.linalg.norm(expected, axis=1, keepdims=True)
  _, features = _apply(encoder, variables, images)
  np.testing.assert_allclose(features, expected, atol=1e-5)
  # A tracklet's is of the mean of its frames' parts.
  _, of_frames = _apply(encoder, variables, images[None])
  pooled = _apply(encoder, variables, images, method='pool')
  mean = np.mean(pooled, axis=0)
  np.testing.assert_allclose(
    of_frames[0], mean / np.linalg.norm(mean), atol=1e-5
  )


def test_parts_that_do_not_divide_the_map():
  encoder = models.create_encoder('resnet_tiny', parts=3)
  with pytest.raises(
    ValueError, match=r'^model\.parts: got 3, expected a divisor of 4: so many'
  ):
    jax.eval_shape(encoder.init, jax.random.key(0), jnp.zeros((1, 32, 16, 3)))
  for options in ({'parts': 0}, {'parts_and_global': True}):
    with pytest.raises(ValueError, match=r'^model\.parts'):
      models.create_encoder('resnet_tiny', **options)


def test_a_map_of_zeros_has_a_finite_gradient():
  pool = encoder_lib.GeM()
  maps = jnp.zeros((1, 2, 2, 3))
  variables = pool.init(jax.random.key(0), maps)
  assert variables['params']['p'] == 3.0
  slopes = jax.grad(
    lambda variables, maps: pool.apply(variables, maps).sum(), argnums=(0, 1)
  )(variables, maps)
  assert all(np.isfinite(x).all() for x in jax.tree.leaves(slopes))


def test_a_neck_is_part_of_the_feature():
  images = _images((8, 16, 16, 3))
  options = {'head_layers': 0, 'dropout': 0.0}
  plain = models.create_encoder(small_networks.NAME, **options)
  encoder = models.create_encoder(small_networks.NAME, neck=True, **options)
  variables = jax.jit(encoder.init)(jax.random.key(0), images)
  assert [*variables['params']['neck']['bn']] == ['scale']
  # Untrained it leaves directions alone.
  before = {
    group: {'backbone': variables[group]['backbone']}
    for group in ('params', 'batch_stats')
  }
  embedding, feature = _apply(encoder, variables, images)
  np.testing.assert_allclose(
    feature, _apply(plain, before, images)[1], rtol=1e-5
  )
  np.testing.assert_array_equal(embedding, feature)
  # In training each of its channels has mean 0 and deviation 1 in the batch.
  pooled = _apply(encoder, variables, images, method='pool')
  (_, feature), mutated = encoder.apply(
    variables, pooled, train=True, method='finish', mutable=['batch_stats']
  )
  expected = (pooled - pooled.mean(0)) / np.sqrt(pooled.var(0) + 1e-5)
  expected /= np.linalg.norm(expected, axis=1, keepdims=True)
  np.testing.assert_allclose(feature, expected, atol=1e-5)
  mean = mutated['batch_stats']['neck']['bn']['mean']
  np.testing.assert_allclose(mean, 0.1 * pooled.mean(0), rtol=1e-5)


def test_resnet8_has_the_weights_of_the_6n_plus_2_family():
  encoder = models.create_encoder('resnet8', head_layers=0)
  shapes = jax.eval_shape(
    encoder.init, jax.random.key(0), jnp.zeros((1, 64, 32, 3))
  )['params']['backbone']
  kernels = [x.size for x in jax.tree.leaves(shapes) if len(x.shape) == 4]
  # Stem; two 3x3 in each of three blocks; two shortcuts.
  blocks = 9 * (16 * 16 * 2 + 16 * 32 + 32 * 32 + 32 * 64 + 64 * 64)
  assert sum(kernels) == 27 * 16 + blocks + 16 * 32 + 32 * 64
  _, feature = jax.eval_shape(
    encoder.apply,
    jax.eval_shape(encoder.init, jax.random.key(0), jnp.zeros((1, 64, 32, 3))),
    jnp.zeros((5, 64, 32, 3)),
  )
  assert feature.shape == (5, 64)


def test_two_head_layers():
  encoder = models.create_encoder('resnet_tiny', head_layers=2, embedding_dim=8)
  variables = jax.eval_shape(
    encoder.init, jax.random.key(0), jnp.zeros((1, 16, 16, 3))
  )
  head = variables['params']['head']
  assert head['linear1']['kernel'].shape == (256, 8)
  assert head['linear2']['kernel'].shape == (8, 8)


def test_stride_two_pads_like_torch():
  # torch's Conv2d(padding=1, stride=2) puts the first window's centre on
  # pixel 0, 'SAME' on pixel 1: a kernel that copies its centre tells.
  block = resnet.Bottleneck(width=1, stride=2, conv=layers.Conv, norm=_identity)
  x = jnp.arange(36.0).reshape(1, 6, 6, 1)
  variables = block.init(jax.random.key(0), x)
  params = jax.tree.map(jnp.zeros_like, variables['params'])
  params['conv1']['kernel'] = jnp.ones((1, 1, 1, 1))
  centre = jnp.zeros((3, 3, 1, 1)).at[1, 1].set(1.0)
  params['conv2']['kernel'] = centre
  params['conv3']['kernel'] = jnp.ones((1, 1, 1, 4))
  out = block.apply({'params': params}, x)
  np.testing.assert_array_equal(out[0, ..., 0], x[0, ::2, ::2, 0])


def _identity(name):
  del name
  return lambda x: x


@pytest.mark.slow
def test_frozen_stages_get_no_gradient_and_keep_their_statistics():
  encoder = models.create_encoder('resnet8', embedding_dim=8, frozen_stages=2)
  images = _images((4, 32, 16, 3))
  variables = jax.jit(encoder.init)(jax.random.key(0), images)

  weights = _images((4, 8), 1)

  def loss(params):
    (embedding, _), mutated = encoder.apply(
      {**variables, 'params': params},
      images,
      train=True,
      rngs={'dropout': jax.random.key(1)},
      mutable=['batch_stats'],
    )
    return jnp.sum(embedding * weights), mutated['batch_stats']

  grads, stats = jax.jit(jax.grad(loss, has_aux=True))(variables['params'])
  old = variables['batch_stats']['backbone']
  for name, tree in grads['backbone'].items():
    frozen = not name.startswith('layer3')
    size = max(float(jnp.abs(x).max()) for x in jax.tree.leaves(tree))
    assert (size == 0.0) == frozen, name
    if name in old:
      moved = jax.tree.map(
        lambda a, b: bool((a != b).any()), old[name], stats['backbone'][name]
      )
      assert any(jax.tree.leaves(moved)) != frozen, name


def test_tracklet_is_the_mean_of_its_frames(tiny):
  """Of real frames alone: training/test_embed.py."""
  encoder, variables, images = tiny
  other = _images(images.shape, 1)
  _, both = _apply(encoder, variables, np.stack([images, other], axis=1))
  _, twice = _apply(encoder, variables, np.stack([images, images], axis=1))
  _, single = _apply(encoder, variables, images)
  np.testing.assert_allclose(twice, single, atol=1e-5)
  assert np.abs(np.asarray(both - single)).max() > 1e-3
  pooled = [
    _apply(encoder, variables, x, method='pool') for x in (images, other)
  ]
  middle = np.mean(pooled, axis=0)
  _, mean = _apply(encoder, variables, middle, method='finish')
  np.testing.assert_allclose(both, mean, atol=1e-5)


def test_bfloat16_arithmetic_keeps_float32_parameters_and_outputs():
  encoder = models.create_encoder(
    small_networks.NAME, embedding_dim=8, dtype='bfloat16'
  )
  images = _images((2, 16, 16, 3))
  variables = jax.jit(encoder.init)(jax.random.key(0), images)
  assert {x.dtype for x in jax.tree.leaves(variables)} == {jnp.dtype('float32')}
  embedding, feature = _apply(encoder, variables, images)
  assert embedding.dtype == feature.dtype == jnp.float32


@pytest.mark.parametrize(
  ('field', 'value'),
  [
    ('name', 'resnet51'),
    ('embedding_dim', 0),
    ('head_layers', 3),
    ('dropout', 1.0),
    ('last_stride', 3),
    ('frozen_stages', 5),
    ('dtype', 'float16'),
  ],
)
def test_bad_arguments_name_the_field(field, value):
  with pytest.raises(ValueError, match=rf'model\.{field}: got .*expected'):
    models.create_encoder(**{field: value})
