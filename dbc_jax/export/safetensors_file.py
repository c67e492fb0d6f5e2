"""safetensors under torchvision's names, for torchvision and timm."""

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from dbc_jax import values
from dbc_jax.export.network import Network
from dbc_jax.models.backbones import resnet
from dbc_jax.models.weight_files import flatten

# What torchvision and timm build by a name of their own.
_KNOWN = ('resnet18', 'resnet34', 'resnet50', 'resnet101')


def write_safetensors(
  path: Path, network: Network, *, metadata: Mapping[str, str]
) -> list[str]:
  """Writes the backbone's arrays, float32, without a classifier.

  Args:
    path: ends in .safetensors.
    network: of `network_of_run`.
    metadata: that is written into it.

  Returns:
    Lines of Python that load it in torchvision.

  Raises:
    ValueError: torchvision cannot build this network; names what it lacks.
  """
  path = values.path(path, 'path')
  if found := beyond_torchvision(network):
    raise ValueError(
      f'--format=safetensors: torchvision cannot build {network.name} with '
      f'{", ".join(found)}; --format=onnx and --format=hub have all of it'
    )
  arrays: dict[str, np.ndarray] = {}
  for tree in (network.params['backbone'], network.stats['backbone']):
    for key, value in flatten(tree).items():
      array = np.asarray(value, np.float32)
      if key.endswith('kernel'):
        array = array.transpose(3, 2, 0, 1)
      arrays[resnet.torch_name(key)] = np.ascontiguousarray(array)
  for name in [each for each in arrays if each.endswith('running_mean')]:
    counter = name.replace('running_mean', 'num_batches_tracked')
    arrays[counter] = np.zeros((), np.int64)
  partial = path.with_name(f'{path.name}.tmp')
  save_file(arrays, partial, metadata=dict(metadata))
  os.replace(partial, path)
  return _loading(path, network)


def beyond_torchvision(network: Network) -> list[str]:
  """What of a network torchvision cannot build, in words; none if it can."""
  beyond = {
    'the stem of small networks': network.spec.stem != 'imagenet',
    'stripes (model.parts)': network.parts > 1 or network.parts_and_global,
    'GeM (model.pooling)': network.pooling != 'mean',
    'a neck (model.neck)': network.neck,
  }
  return [what for what, is_so in beyond.items() if is_so]


def _loading(path: Path, network: Network) -> list[str]:
  sizes = list(network.spec.stage_sizes)
  block = 'Bottleneck' if network.spec.block == 'bottleneck' else 'BasicBlock'
  build = f'torchvision.models.{network.name}()'
  if network.name not in _KNOWN:
    build = f'R.ResNet(R.{block}, {sizes})'
  lines = [
    'import safetensors.torch, torch, torchvision',
    'from torchvision.models import resnet as R',
    f'net = {build}',
    'net.fc = torch.nn.Identity()',
    f"safetensors.torch.load_model(net, '{path}')",
  ]
  if network.last_stride == 1:
    conv = 'conv2' if block == 'Bottleneck' else 'conv1'
    lines += [
      f'net.layer{len(sizes)}[0].{conv}.stride = (1, 1)',
      f'net.layer{len(sizes)}[0].downsample[0].stride = (1, 1)',
    ]
  return [*lines, 'net.eval()  # its output, of unit length, is the feature']
