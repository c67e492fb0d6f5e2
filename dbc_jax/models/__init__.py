"""The embedding network, as pure linen modules; called by train and extract."""

from dbc_jax.models.encoder import Encoder, create_encoder, l2_normalize
from dbc_jax.models.resnet import RESNETS, ResNet

__all__ = ['RESNETS', 'Encoder', 'ResNet', 'create_encoder', 'l2_normalize']
