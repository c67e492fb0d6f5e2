"""safetensors beside torch: its names, its shapes, its features."""

import jax.numpy as jnp
import numpy as np
import pytest
from exported_networks import make_network
from safetensors.numpy import load_file

from dbc_jax.data import augment
from dbc_jax.export import write_safetensors

torch = pytest.importorskip('torch')


@pytest.mark.slow
@pytest.mark.parametrize('last_stride', [1, 2])
@pytest.mark.parametrize('name', ['resnet50', 'resnet2223'])
def test_torch_gives_the_features_of_jax(name, last_stride, tmp_path):
  import torch_resnet

  network, features = make_network(name, last_stride=last_stride)
  path = tmp_path / 'w.safetensors'
  lines = write_safetensors(path, network, metadata={'network': name})
  assert sum('stride = (1, 1)' in line for line in lines) == 2 * (
    last_stride == 1
  )
  arrays = load_file(path)
  assert not [key for key in arrays if key.startswith('fc.')]
  counters = [key for key in arrays if key.endswith('num_batches_tracked')]
  means = [key for key in arrays if key.endswith('running_mean')]
  assert len(counters) == len(means)
  if name == 'resnet50':
    assert (len(arrays), len(counters)) == (318, 53)
  net = torch_resnet.create(name, last_stride)
  missing, unexpected = net.load_state_dict(
    {key: torch.from_numpy(np.array(value)) for key, value in arrays.items()},
    strict=False,
  )
  assert not unexpected
  assert not [key for key in missing if not key.startswith('fc.')]
  rng = np.random.default_rng(0)
  images = rng.integers(0, 256, (2, 64, 32, 3)).astype(np.uint8)
  x = np.asarray(augment.normalize(jnp.asarray(images)))
  with torch.no_grad():
    found = net.eval()(torch.from_numpy(x.transpose(0, 3, 1, 2).copy()))
  found = found.numpy()
  found /= np.linalg.norm(found, axis=1, keepdims=True)
  np.testing.assert_allclose(found, features(jnp.asarray(x)), atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
  ('name', 'options', 'message'),
  [
    ('resnet8', {}, 'the stem of small networks'),
    ('resnet18', {'parts': 2}, r'stripes \(model.parts\)'),
    ('resnet18', {'pooling': 'gem', 'neck': True}, 'GeM .*, a neck'),
  ],
)
def test_what_torchvision_lacks_is_refused(name, options, message, tmp_path):
  network, _ = make_network(name, **options)
  with pytest.raises(ValueError, match=message):
    write_safetensors(tmp_path / 'w.safetensors', network, metadata={})
  assert not [*tmp_path.iterdir()]
