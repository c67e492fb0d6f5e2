"""Files of weights as other projects save them; and those that are refused."""

import argparse
import functools
import json
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dbc_jax import models
from dbc_jax.models import weight_files
from dbc_jax.models.torch_names import backbone_of

torch = pytest.importorskip('torch')
import torch_resnet  # noqa: E402

NAME = 'resnet_tiny'
HEAD = torch.ones(7, 5)


@functools.cache
def _state():
  net = torch_resnet.create(NAME, 2)
  torch_resnet.randomize(net, 0)
  return {k: v for k, v in net.state_dict().items() if not k.startswith('fc.')}


@functools.cache
def _blank():
  encoder = models.create_encoder(NAME, embedding_dim=4)
  shapes = jax.eval_shape(
    encoder.init, jax.random.key(0), jnp.zeros((1, 64, 32, 3))
  )
  return jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes)


def _before(prefix, state=None):
  return {prefix + name: x for name, x in (state or _state()).items()}


def _sequence(first):
  """As nn.Sequential numbers them; the first block group has this number."""
  places = {'conv1': '0', 'bn1': '1'}
  places |= {f'layer{i}': str(first - 1 + i) for i in range(1, 5)}
  return {
    '.'.join([places[name.split('.')[0]], *name.split('.')[1:]]): x
    for name, x in _state().items()
  }


def _moco():
  other = {name: torch.zeros_like(x) for name, x in _state().items()}
  return {
    **_before('module.encoder_q.'),
    **_before('module.encoder_k.', other),
    'module.encoder_q.fc.0.weight': HEAD,
    'module.queue': HEAD,
  }


CASES = {
  'torchreid.pth.tar-60': lambda: {
    'state_dict': {**_before('module.'), 'module.classifier.weight': HEAD},
    'rank1': np.float64(0.8),
    'optimizer': {'lr': 0.1},
  },
  'spcl.pth.tar': lambda: {
    'state_dict': {
      **_before('module.base.', _sequence(4)),
      'module.feat_bn.weight': torch.ones(5),
    }
  },
  'moco.pth': lambda: {'state_dict': _moco(), 'arch': 'resnet50'},
  'fastreid.PTH': lambda: {
    'model': {**_before('backbone.'), 'heads.weight': HEAD}
  },
  'layumi.pth': lambda: {
    **_before('model.'),
    'classifier.add_block.0.weight': HEAD,
  },
  'net.pkl': lambda: {'net': _state(), 'acc': 80.0, 'epoch': 3},
  'lightning.ckpt': lambda: {'state_dict': _before('model.')},
  'dino': lambda: {
    'teacher': _before('module.backbone.'),
    'student': _before('module.backbone.'),
  },
  'args.pth': lambda: {'model': _state(), 'args': argparse.Namespace(lr=1)},
}


@pytest.mark.parametrize('name', CASES)
def test_weights_of_other_projects_load(tmp_path, name):
  torch.save(CASES[name](), tmp_path / name)
  torch.save(_state(), tmp_path / 'plain.pth')
  got = models.load_pretrained(tmp_path / name, _blank())
  plain = models.load_pretrained(tmp_path / 'plain.pth', _blank())
  jax.tree.map(np.testing.assert_array_equal, got, plain)


def _refusal(tmp_path, saved, name='net.pth'):
  torch.save(saved, tmp_path / name)
  with pytest.raises(ValueError, match=name) as caught:
    models.load_pretrained(tmp_path / name, _blank())
  return str(caught.value)


def test_a_stem_without_relu_is_another_network(tmp_path):
  saved = {'state_dict': _before('module.base.', _sequence(3))}
  assert 'stem has no ReLU' in _refusal(tmp_path, saved)


def test_two_networks_are_not_chosen_from(tmp_path):
  saved = {**_before('left.'), **_before('right.')}
  assert 'several networks, of the prefixes left., right.' in _refusal(
    tmp_path, saved
  )


def test_a_message_says_what_is_in_a_file(tmp_path):
  saved = {'generator': {'a': HEAD}, 'epoch': 3}
  message = _refusal(tmp_path, saved)
  assert "'generator' (dict of 1), 'epoch' (int)" in message
  assert 'holds no tensors' in _refusal(tmp_path, {'state_dict': {}})
  whole = torch_resnet.create(NAME, 2)
  assert 'torch.nn.modules.conv.Conv2d' in _refusal(tmp_path, whole)


def test_an_entry_that_holds_itself_ends(tmp_path):
  saved = {}
  saved['model'] = saved
  assert 'holds no tensors' in _refusal(tmp_path, saved)


def test_a_variance_is_not_below_zero(tmp_path):
  state = _state() | {'bn1.running_var': -torch.ones(len(_state()['bn1.bias']))}
  assert 'bn1.running_var has' in _refusal(tmp_path, state)
  variables = jax.tree.map(np.ones_like, _blank())
  variables['batch_stats']['backbone']['stem_bn']['var'][0] = -1
  weight_files.save_npz(tmp_path / 'net.npz', variables)
  with pytest.raises(ValueError, match=r'/var has 1 values of .* below 0'):
    models.load_pretrained(tmp_path / 'net.npz', _blank())


def test_float8_is_not_called_damaged(tmp_path):
  path = tmp_path / 'net.safetensors'
  header = json.dumps(
    {
      'conv1.weight': {
        'dtype': 'F8_E4M3',
        'shape': [4],
        'data_offsets': [0, 4],
      }
    }
  ).encode()
  path.write_bytes(len(header).to_bytes(8, 'little') + header + bytes(4))
  with pytest.raises(ValueError, match=r'conv1\.weight is F8_E4M3, expected'):
    models.load_pretrained(path, _blank())


def test_a_file_that_unpacks_to_far_more_is_not_unpacked(tmp_path, monkeypatch):
  path = tmp_path / 'net.npz'
  with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
    archive.writestr('params/head/x.npy', bytes(2 * 10**8))
  monkeypatch.setattr(np, 'load', None)  # Nothing is read.
  with pytest.raises(ValueError, match='MB would unpack to 200 MB'):
    models.load_pretrained(path, _blank())


def test_a_file_of_something_else_is_named(tmp_path):
  path = tmp_path / 'net.tar.gz'
  path.write_bytes(b'\x1f\x8b' + bytes(50))
  with pytest.raises(ValueError, match=r'no file of weights.*Unpack it first'):
    models.load_pretrained(path, _blank())


def test_names_without_a_network_stay_as_they_are():
  names = ('patch_embed.proj.weight', 'xlayer1.0.conv1.weight')
  found = {name: np.zeros(1) for name in names}
  assert backbone_of('f', found) == found
