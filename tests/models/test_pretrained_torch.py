"""Weights of torch: equal features, its files, and pickles refused."""

import functools
import pickle
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from dbc_jax import models
from dbc_jax.data import augment as augment_lib

torch = pytest.importorskip('torch')
import torch_resnet  # noqa: E402

F = torch.nn.functional
slow = pytest.mark.slow


@pytest.fixture(scope='module')
def state():
  net = torch_resnet.ResNet((3, 4, 6, 3))
  torch_resnet.randomize(net, 0)
  return net.state_dict()


@pytest.fixture(scope='module')
def saved(state, tmp_path_factory):
  """The same weights as .pth and as .safetensors."""
  folder = tmp_path_factory.mktemp('weights')
  torch.save(state, folder / 'net.pth')
  arrays = {name: x.numpy() for name, x in state.items()}
  safetensors.numpy.save_file(arrays, folder / 'net.safetensors')
  return folder


@functools.cache
def _blank(name='resnet50'):
  encoder = models.create_encoder(name, embedding_dim=4)
  shapes = jax.eval_shape(
    encoder.init, jax.random.key(0), jnp.zeros((1, 64, 32, 3))
  )
  return jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes)


def _torch_features(state, last_stride, images, size):
  net = torch_resnet.ResNet((3, 4, 6, 3), last_stride)
  net.load_state_dict(state)
  x = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
  if images.shape[1:3] != size:
    x = F.interpolate(x, size, mode='bilinear', antialias=True)
  mean = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
  std = torch.tensor([0.229, 0.224, 0.225])[:, None, None]
  with torch.no_grad():
    return net.eval()((x - mean) / std).numpy()


@pytest.mark.parametrize(
  ('last_stride', 'native', 'size', 'suffix'),
  [
    pytest.param(2, (128, 64), (256, 128), 'pth', marks=slow),
    pytest.param(1, (301, 143), (256, 128), 'safetensors', marks=slow),
    (2, (97, 61), (97, 61), 'safetensors'),
    pytest.param(1, (64, 60), (97, 61), 'pth', marks=slow),
  ],
)
def test_features_equal_torchs(state, saved, last_stride, native, size, suffix):
  images = np.random.default_rng(1).integers(0, 256, (2, *native, 3), np.uint8)
  expected = _torch_features(state, last_stride, images, size)
  variables = models.load_pretrained(saved / f'net.{suffix}', _blank())
  encoder = models.create_encoder(embedding_dim=4, last_stride=last_stride)
  got = jax.jit(functools.partial(encoder.apply, method='pool'))(
    variables, augment_lib.resize(jnp.asarray(images), size)
  )
  # The network tells images apart, or else equality would mean little.
  assert _relative(expected[0], expected[1]) > 0.01
  for image in range(len(images)):
    assert _relative(got[image], expected[image]) < 1e-4


@pytest.mark.parametrize(
  'name',
  [
    'resnet2223',
    'resnet_tiny',
    'wide_resnet8_2',
    'basic-1-2-1-4',
    pytest.param('bottleneck-2-1-3-1', marks=slow),
    pytest.param('resnet18', marks=slow),
    pytest.param('resnet34', marks=slow),
    pytest.param('resnet101', marks=slow),
  ],
)
@pytest.mark.parametrize('last_stride', [1, pytest.param(2, marks=slow)])
def test_other_networks_equal_their_twins(name, last_stride, tmp_path):
  twin = torch_resnet.create(name, last_stride)
  torch_resnet.randomize(twin, 1)
  torch.save(twin.state_dict(), tmp_path / 'net.pth')
  variables = models.load_pretrained(tmp_path / 'net.pth', _blank(name))
  encoder = models.create_encoder(
    name, embedding_dim=4, last_stride=last_stride
  )
  images = np.random.default_rng(2).standard_normal((2, 64, 40, 3), np.float32)
  got = jax.jit(functools.partial(encoder.apply, method='pool'))(
    variables, images
  )
  with torch.no_grad():
    expected = twin(torch.from_numpy(images).permute(0, 3, 1, 2)).numpy()
  assert _relative(expected[0], expected[1]) > 0.01
  for image in range(2):
    assert _relative(got[image], expected[image]) < 1e-4


def _relative(a, b):
  return np.linalg.norm(a - b) / np.linalg.norm(b)


def test_wrapped_and_prefixed_states_are_the_same(state, saved, tmp_path):
  plain = models.load_pretrained(saved / 'net.pth', _blank())
  prefixed = {f'module.{name}': x for name, x in state.items()}
  for wrapper in ('state_dict', 'model'):
    torch.save({'epoch': 7, wrapper: prefixed}, tmp_path / 'a.bin')
    loaded = models.load_pretrained(tmp_path / 'a.bin', _blank())
    jax.tree.map(np.testing.assert_array_equal, loaded, plain)


def test_bfloat16_is_widened(state, saved, tmp_path):
  torch.save({k: _narrow(x) for k, x in state.items()}, tmp_path / 'a.pt')
  loaded = models.load_pretrained(tmp_path / 'a.pt', _blank())
  plain = models.load_pretrained(saved / 'net.pth', _blank())
  assert {x.dtype for x in jax.tree.leaves(loaded)} == {np.dtype('float32')}
  # Eight bits of mantissa: a rounding error of at most 2^-9.
  jax.tree.map(
    functools.partial(np.testing.assert_allclose, rtol=2.0**-8), loaded, plain
  )


def _narrow(x):
  return x.bfloat16() if x.is_floating_point() else x


def test_another_depth_is_recognised(tmp_path):
  with torch.device('meta'):
    net = torch_resnet.ResNet((3, 4, 23, 3))
  state = {
    name: torch.zeros(x.shape, dtype=torch.bfloat16)
    for name, x in net.state_dict().items()
  }
  torch.save(state, tmp_path / 'a.pth')
  message = (
    r'a\.pth: does not fit the network\. It looks like ResNet-101, expected '
    r'ResNet-50\. 255 extra: (layer3\.\d+\.\S+ ){9}\S+ and 245 more\. Take '
  )
  with pytest.raises(ValueError, match=message):
    models.load_pretrained(tmp_path / 'a.pth', _blank())


class _Bomb:
  """Makes a file when it is unpickled."""

  def __init__(self, path):
    self.path = path

  def __reduce__(self):
    return open, (self.path, 'w')


@pytest.mark.parametrize('how', ['torch', 'pickle'])
def test_pickles_of_other_things_are_refused_unexecuted(how, tmp_path):
  file, trace = tmp_path / 'a.pth', tmp_path / 'trace'
  content = {'conv1.weight': torch.zeros(1), 'x': _Bomb(str(trace))}
  if how == 'torch':
    torch.save(content, file)
  else:
    file.write_bytes(pickle.dumps(content, protocol=2))
  with pytest.raises(ValueError, match=r'a\.pth: .*nothing in it was executed'):
    models.load_pretrained(file, _blank())
  assert not trace.exists()
  pickle.loads(pickle.dumps(_Bomb(str(trace)))).close()
  assert trace.exists()  # it would have gone off


def test_torch_that_is_not_safe_is_not_used(saved, monkeypatch):
  old = torch.torch_version.TorchVersion('2.9.1')
  monkeypatch.setattr(torch, '__version__', old)
  monkeypatch.setattr(torch, 'load', None)
  with pytest.raises(ValueError, match=r'got torch 2\.9\.1.*expected 2\.10 or'):
    models.load_pretrained(saved / 'net.pth', _blank())


def test_the_recipe_of_a_missing_torch_converts(saved, monkeypatch):
  with monkeypatch.context() as patch:
    patch.setitem(sys.modules, 'torch', None)
    with pytest.raises(ValueError, match='needs torch') as caught:
      models.load_pretrained(saved / 'net.pth', _blank())
  recipe = '\n'.join(
    line[2:] for line in str(caught.value).split('\n')[1:]
  ).replace('net.safetensors', 'converted.safetensors')
  monkeypatch.chdir(saved)
  exec(recipe, {})
  jax.tree.map(
    np.testing.assert_array_equal,
    models.load_pretrained('converted.safetensors', _blank()),
    models.load_pretrained('net.pth', _blank()),
  )


@pytest.mark.parametrize('kept', [0.0, 0.5, 0.999])
@pytest.mark.parametrize('zipped', [True, False])
def test_a_truncated_file_is_named(kept, zipped, tmp_path):
  file = tmp_path / 'a.pth'
  torch.save(
    {'conv1.weight': torch.zeros(99)},
    file,
    _use_new_zipfile_serialization=zipped,
  )
  data = file.read_bytes()
  file.write_bytes(data[: int(kept * len(data))])
  with pytest.raises(ValueError, match=r'a\.pth: is truncated, damaged or no'):
    models.load_pretrained(file, _blank('resnet_tiny'))


@pytest.mark.parametrize(
  ('content', 'message'),
  [
    ([1], 'got a list, expected a dict of tensors'),
    ({'gen': {}, 'epoch': 3}, r"'gen' \(dict of 0\), 'epoch' \(int\)"),
    ({'conv1.weight': torch.zeros(1), 'epoch': 3}, "'epoch' is a int"),
    (
      {'conv1.weight': torch.zeros(2, 2).to_sparse()},
      r'conv1\.weight is a tensor of torch\.float32 and torch\.sparse_coo',
    ),
  ],
)
def test_files_that_hold_no_plain_state(content, message, tmp_path):
  torch.save(content, tmp_path / 'a.pth')
  with pytest.raises(ValueError, match=rf'a\.pth: .*{message}'):
    models.load_pretrained(tmp_path / 'a.pth', _blank('resnet_tiny'))
