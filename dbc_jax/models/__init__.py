"""The embedding network, as pure linen modules; called by train and extract."""

from dbc_jax.models.encoder import Encoder, create_encoder
from dbc_jax.models.resnet import RESNETS, ResNet, frozen_prefixes

__all__ = ['RESNETS', 'Encoder', 'ResNet', 'create_encoder', 'frozen_prefixes']
