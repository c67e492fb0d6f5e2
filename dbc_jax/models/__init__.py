"""The embedding network, as pure linen modules.

Weights come in through `load_pretrained`, out through `save_npz`.
"""

from dbc_jax.models.backbones import find_family
from dbc_jax.models.backbones.resnet import RESNETS, ResNet, frozen_prefixes
from dbc_jax.models.encoder import Encoder, create_encoder
from dbc_jax.models.pretrained import load_pretrained, network_of
from dbc_jax.models.weight_files import save_npz

__all__ = [
  'RESNETS',
  'Encoder',
  'ResNet',
  'create_encoder',
  'find_family',
  'frozen_prefixes',
  'load_pretrained',
  'network_of',
  'save_npz',
]
