"""A family of one network that compiles fast, for tests of what trains it.

Its name in a config is 'small_networks:one_block'.
"""

from dbc_jax.models.backbones import resnet
from dbc_jax.models.backbones.resnet import frozen_prefixes as frozen
from dbc_jax.models.backbones.resnet import torch_name

__all__ = ['MEMBERS', 'create', 'frozen', 'groups', 'torch_name']

MEMBERS = {'one_block': resnet.ResNetSpec('bottleneck', (1,), 8, 'small')}
NAME = 'small_networks:one_block'


def create(name, **options):
  """The network of a name; the options are attributes of `ResNet`."""
  return resnet.ResNet(**MEMBERS[name]._asdict(), **options)


def groups(name):
  """How many block groups there are."""
  return len(MEMBERS[name].stage_sizes)
