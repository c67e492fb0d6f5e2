"""Names, shapes, dtypes and files of weights, all without torch."""

import re
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from dbc_jax import models

_RNG = np.random.default_rng(0)
_STATE_SHAPES = ('weight', 'bias', 'running_mean', 'running_var')


def _torch_shapes(sizes, width, stem, *, bottleneck=True, classes=10):
  """Names and shapes as torchvision has them, written down independently."""
  shapes = {}

  def conv(name, outputs, inputs, kernel):
    shapes[f'{name}.weight'] = (outputs, inputs, kernel, kernel)

  def norm(name, channels):
    shapes.update({f'{name}.{part}': (channels,) for part in _STATE_SHAPES})
    shapes[f'{name}.num_batches_tracked'] = ()

  conv('conv1', width, 3, stem)
  norm('bn1', width)
  inputs = width
  for stage, size in enumerate(sizes):
    w = width * 2**stage
    outputs = 4 * w if bottleneck else w
    for block in range(size):
      at = f'layer{stage + 1}.{block}'
      plan = [(inputs, w, 3), (w, w, 3)]
      if bottleneck:
        plan = [(inputs, w, 1), (w, w, 3), (w, outputs, 1)]
      for i, (a, b, kernel) in enumerate(plan):
        conv(f'{at}.conv{i + 1}', b, a, kernel)
        norm(f'{at}.bn{i + 1}', b)
      if block == 0 and (stage > 0 or inputs != outputs):
        conv(f'{at}.downsample.0', outputs, inputs, 1)
        norm(f'{at}.downsample.1', outputs)
      inputs = outputs
  shapes['fc.weight'], shapes['fc.bias'] = (classes, inputs), (classes,)
  return shapes


def _state(shapes, dtype=np.float32):
  return {
    name: np.zeros(shape, np.int64)
    if name.endswith('tracked')
    else _RNG.uniform(0.5, 1.5, shape).astype(dtype)
    for name, shape in shapes.items()
  }


def _tiny_state(dtype=np.float32):
  return _state(_torch_shapes((1, 1, 1), 16, 3), dtype)


def _variables(name='resnet_tiny', **fields):
  encoder = models.create_encoder(name, **{'embedding_dim': 4, **fields})
  shapes = jax.eval_shape(
    encoder.init, jax.random.key(0), jnp.zeros((1, 64, 32, 3))
  )
  return jax.tree.map(lambda x: np.full(x.shape, 7, x.dtype), shapes)


@pytest.fixture
def file(tmp_path):
  return tmp_path / 'a.safetensors'


def _fails(file, message, name='resnet_tiny'):
  with pytest.raises(ValueError, match=re.escape(str(file)) + message):
    models.load_pretrained(file, _variables(name))


def test_every_array_of_the_backbone_and_no_other_is_replaced(file):
  state = _tiny_state()
  safetensors.numpy.save_file(state, file)
  before = _variables()
  after = models.load_pretrained(file, before)
  assert jax.tree.structure(after) == jax.tree.structure(before)
  params = after['params']['backbone']
  stats = after['batch_stats']['backbone']
  kernel = params['layer2_0']['conv2']['kernel']
  # Output 5, input 3, row 0, column 2.
  assert kernel[0, 2, 3, 5] == state['layer2.0.conv2.weight'][5, 3, 0, 2]
  for (module, leaf), name in {
    (('layer2_0', 'downsample_bn'), 'scale'): 'layer2.0.downsample.1.weight',
    (('stem_bn',), 'bias'): 'bn1.bias',
  }.items():
    tree = params
    for part in module:
      tree = tree[part]
    np.testing.assert_array_equal(tree[leaf], state[name])
  np.testing.assert_array_equal(
    stats['layer3_0']['bn3']['mean'], state['layer3.0.bn3.running_mean']
  )
  np.testing.assert_array_equal(
    stats['stem_bn']['var'], state['bn1.running_var']
  )
  for leaf in jax.tree.leaves((params, stats)):
    assert leaf.dtype == np.float32
    assert np.all(leaf != 7)
  for collection in ('params', 'batch_stats'):
    jax.tree.map(
      np.testing.assert_array_equal,
      after[collection]['head'],
      before[collection]['head'],
    )


@pytest.mark.parametrize('dtype', [np.float16, jnp.bfloat16])
def test_half_precision_is_widened_without_a_change(file, dtype):
  state = {f'module.{k}': x for k, x in _tiny_state(dtype).items()}
  safetensors.numpy.save_file(state, file)
  kernel = models.load_pretrained(file, _variables())['params']['backbone'][
    'stem_conv'
  ]['kernel']
  assert kernel.dtype == np.float32
  expected = state['module.conv1.weight'].astype(np.float32)
  np.testing.assert_array_equal(kernel, expected.transpose(2, 3, 1, 0))


@pytest.mark.parametrize('classifier', ['classifier', 'head.fc'])
def test_other_names_of_the_classifier_may_be_left_over(file, classifier):
  state = _tiny_state()
  state[f'{classifier}.weight'] = state.pop('fc.weight')
  safetensors.numpy.save_file(state, file)
  models.load_pretrained(file, _variables())


def test_missing_extra_and_other_shapes_are_listed_together(file):
  state = _tiny_state()
  del state['bn1.bias'], state['layer1.0.conv1.weight']
  state['fcx.weight'] = np.zeros(3, np.float32)
  state['layer2.0.conv2.weight'] = state['layer2.0.conv2.weight'][:, :4]
  safetensors.numpy.save_file(state, file)
  # In the order of the network's tree.
  _fails(
    file,
    ': does not fit the network. 2 missing: layer1.0.conv1.weight, bn1.bias; '
    '1 extra: fcx.weight; 1 of another shape: layer2.0.conv2.weight '
    r'\[32, 4, 3, 3\] for \[32, 32, 3, 3\]\. Take weights of the same network',
  )


def test_lists_end_after_ten(file):
  state = {k: x for k, x in _tiny_state().items() if 'layer2' not in k}
  safetensors.numpy.save_file(state, file)
  _fails(file, r'.*20 missing: ([^,]+, ){9}[^,]+ and 10 more\.')


@pytest.mark.parametrize(
  ('shapes', 'kind'),
  [
    (_torch_shapes((2, 2, 2, 2), 64, 7, bottleneck=False), 'ResNet-18'),
    (_torch_shapes((3, 4, 6, 3), 64, 7, bottleneck=False), 'ResNet-34'),
    (
      {
        **_torch_shapes((3, 4, 6, 3), 64, 7),
        'layer1.0.conv2.weight': (128, 4, 3, 3),
      },
      r'ResNet-50 with grouped convolutions \(ResNeXt\)',
    ),
    (
      {
        **_torch_shapes((3, 4, 6, 3), 64, 7),
        'layer1.0.conv2.weight': (128, 128, 3, 3),
      },
      'ResNet-50 of another width',
    ),
    (
      {**_torch_shapes((3, 4, 6, 3), 64, 7), 'conv1.0.weight': (32, 3, 3, 3)},
      'ResNet-50 with a deep stem',
    ),
    (_torch_shapes((1, 1, 1), 16, 3), r'a ResNet of 1 \+ 1 \+ 1 bottleneck'),
    ({'cls_token': (1, 1, 768)}, 'a vision transformer'),
    (
      {'resnet.embedder.embedder.convolution.weight': (64, 3, 7, 7)},
      'a ResNet in the names of the package transformers',
    ),
  ],
)
def test_another_kind_of_network_is_recognised(file, shapes, kind):
  safetensors.numpy.save_file(_state(shapes, np.float16), file)
  _fails(
    file,
    rf': does not fit the network\. It looks like {kind}.*, expected ResNet-50',
    'resnet50',
  )


@pytest.mark.parametrize('value', [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused(file, value):
  state = _tiny_state()
  state['layer1.0.bn2.running_var'][3] = value
  safetensors.numpy.save_file(state, file)
  _fails(file, r': layer1\.0\.bn2\.running_var has 1 values of 16 that are NaN')


def test_another_dtype_is_not_cast(file):
  state = _tiny_state()
  state['bn1.bias'] = state['bn1.bias'].astype(np.float64)
  safetensors.numpy.save_file(state, file)
  _fails(file, r': bn1\.bias is float64, expected float32, float16 or bfloat16')


def test_npz_brings_back_every_array(tmp_path):
  encoder = models.create_encoder('resnet8', embedding_dim=4)
  saved = jax.jit(encoder.init)(jax.random.key(1), jnp.zeros((1, 16, 16, 3)))
  models.save_npz(tmp_path / 'a.npz', saved)
  with np.load(tmp_path / 'a.npz') as content:
    assert 'params/backbone/layer1_0/conv1/kernel' in content.files
  loaded = models.load_pretrained(tmp_path / 'a.npz', _variables('resnet8'))
  jax.tree.map(np.testing.assert_array_equal, loaded, saved)


def test_npz_is_strict_about_the_head_too(tmp_path):
  file = tmp_path / 'a.npz'
  models.save_npz(file, _variables(head_layers=2))
  _fails(
    file, ': does not fit the network. 6 extra: .*params/head/linear2/bias'
  )
  models.save_npz(file, _variables(embedding_dim=5))
  _fails(file, r'.*params/head/linear1/kernel \[256, 5\] for \[256, 4\]')


def test_npz_is_written_under_its_own_suffix_alone(tmp_path):
  with pytest.raises(ValueError, match=r'a\.pth: expected a path that ends in'):
    models.save_npz(tmp_path / 'a.pth', _variables())


@pytest.mark.parametrize('suffix', ['safetensors', 'npz'])
@pytest.mark.parametrize('kept', [0.0, 0.5, 0.999])
def test_a_truncated_file_is_named(tmp_path, suffix, kept):
  file = tmp_path / f'a.{suffix}'
  if suffix == 'npz':
    models.save_npz(file, _variables())
  else:
    safetensors.numpy.save_file(_tiny_state(), file)
  data = file.read_bytes()
  file.write_bytes(data[: int(kept * len(data))])
  _fails(file, rf': is truncated, damaged or no \.{suffix} file \(.+\)\. Fetch')


def test_an_npz_of_objects_is_refused(tmp_path):
  file = tmp_path / 'a.npz'
  np.savez(file, x=np.array([{}], object))
  _fails(file, ': is truncated, damaged or no .npz file .*allow_pickle=False')


def test_paths_that_are_no_file_of_weights(tmp_path):
  _fails(tmp_path / 'a.pth', ': no such file. Give a file of weights, or hf:')
  _fails(tmp_path, ': is a folder, expected one file')
  (tmp_path / 'a.h5').touch()
  _fails(
    tmp_path / 'a.h5', r": got the suffix '\.h5', .*expected one of \.safe"
  )


def test_without_torch_the_message_tells_how_to_convert(tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, 'torch', None)
  (tmp_path / 'a.pth').touch()
  _fails(
    tmp_path / 'a.pth',
    r": reading \.pth needs torch(.|\n)*torch\.load\('a\.pth'(.|\n)*"
    r"'a\.safetensors'\)$",
  )


def test_without_huggingface_hub_the_message_says_so(monkeypatch):
  monkeypatch.setitem(sys.modules, 'huggingface_hub', None)
  _fails('hf:owner/name', ': needs the package huggingface_hub')


def _save(path, shapes, **metadata):
  # Zeros: only names and shapes are looked at.
  state = {name: np.zeros(shape, np.float16) for name, shape in shapes.items()}
  safetensors.numpy.save_file(state, path, metadata or None)
  return path


@pytest.mark.parametrize(
  ('sizes', 'width', 'stem', 'bottleneck', 'name'),
  [
    ((2, 2, 2, 2), 64, 7, False, 'resnet18'),
    ((2, 2, 2, 3), 64, 7, False, 'resnet2223'),
    ((3, 4, 6, 3), 64, 7, True, 'resnet50'),
    ((1, 1, 1, 1), 64, 7, False, 'basic-1-1-1-1'),
    ((1, 1, 12, 1), 64, 7, True, 'bottleneck-1-1-12-1'),
    ((1, 1, 1), 16, 3, True, 'resnet_tiny'),
    ((1, 1, 1), 32, 3, False, 'wide_resnet8_2'),
  ],
)
def test_a_network_is_known_by_its_arrays(
  sizes, width, stem, bottleneck, name, tmp_path
):
  shapes = _torch_shapes(sizes, width, stem, bottleneck=bottleneck)
  assert models.network_of(_save(tmp_path / 'net.safetensors', shapes)) == name
  # Such a name makes the network whose arrays those are.
  encoder = models.create_encoder(name, embedding_dim=4)
  variables = jax.eval_shape(
    encoder.init, jax.random.key(0), jnp.zeros((1, 64, 32, 3))
  )
  blank = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), variables)
  models.load_pretrained(tmp_path / 'net.safetensors', blank)
  models.save_npz(tmp_path / 'net.npz', blank)
  assert models.network_of(tmp_path / 'net.npz') == name


@pytest.mark.parametrize(
  ('changes', 'looks'),
  [
    ({'sizes': (3, 4, 6, 3), 'width': 128, 'bottleneck': True}, 'of another'),
    ({'sizes': (2, 2, 2), 'bottleneck': False}, r'2 \+ 2 \+ 2 basic blocks'),
    ({'sizes': (2, 2, 2, 2), 'stem': 5, 'bottleneck': False}, ''),
  ],
)
def test_an_unknown_network_is_one_line(changes, looks, tmp_path):
  shapes = _torch_shapes(**{'width': 64, 'stem': 7} | changes)
  path = _save(tmp_path / 'net.safetensors', shapes)
  with pytest.raises(ValueError, match=f'holds no ResNet.*{looks}') as caught:
    models.network_of(path)
  assert '\n' not in str(caught.value)
  _save(path, {'cls_token': (1,)})
  with pytest.raises(ValueError, match='looks like a vision transformer'):
    models.network_of(path)


def test_a_variant_that_says_so_is_refused(tmp_path):
  shapes = _torch_shapes((1, 1, 1), 16, 3)
  path = tmp_path / 'model.safetensors'
  for name, fits in (
    ('resnet50', True),
    ('tv_resnet152', True),
    ('resnetaa50', False),
    ('seresnet50', False),
  ):
    _save(path, shapes, architecture=name)
    if fits:
      assert models.network_of(path) == 'resnet_tiny'
      continue
    for call in (models.network_of, lambda p: models.load_pretrained(p, {})):
      with pytest.raises(ValueError, match=f"of the network '{name}'"):
        call(path)
  # As the hub has them.
  _save(path, shapes)
  (tmp_path / 'config.json').write_text('{"architecture": "resnetaa50"}')
  with pytest.raises(ValueError, match="of the network 'resnetaa50'"):
    models.network_of(path)
  (tmp_path / 'config.json').write_text('not JSON')
  assert models.network_of(path) == 'resnet_tiny'


def test_a_family_from_outside_has_its_own_variants(tmp_path):
  path = tmp_path / 'model.safetensors'
  arrays = {'weight': np.ones((2, 3), np.float32)}
  safetensors.numpy.save_file(arrays, path, {'architecture': 'vit_small'})
  blank = {'params': {'backbone': {'weight': np.zeros((2, 3), np.float32)}}}
  loaded = models.load_pretrained(path, blank, torch_name=lambda key: key)
  np.testing.assert_array_equal(
    loaded['params']['backbone']['weight'], arrays['weight']
  )
