"""Networks to export, with the features that they have in JAX."""

import jax
import jax.numpy as jnp
import numpy as np

from dbc_jax import models
from dbc_jax.export import Network
from dbc_jax.models.backbones import resnet


def make_network(name, size=(64, 32), **options):
  """One of random parameters and statistics, and its features in JAX."""
  fields = {
    'last_stride': 2,
    'pooling': 'mean',
    'neck': False,
    'parts': 1,
    'parts_and_global': False,
  } | options
  encoder = models.create_encoder(
    name, embedding_dim=8, head_layers=1, dropout=0.0, **fields
  )
  variables = encoder.init(jax.random.key(0), jnp.zeros((1, *size, 3)))
  keys = iter(jax.random.split(jax.random.key(1), 10_000))

  def shaken(path, x):
    noise = jax.random.normal(next(keys), x.shape)
    if path[-1].key in ('scale', 'var', 'p'):
      return x * jnp.exp(0.2 * noise)
    return x + 0.1 * noise * (path[-1].key in ('bias', 'mean'))

  variables = jax.tree_util.tree_map_with_path(shaken, variables)
  variables = jax.tree.map(np.asarray, variables)
  network = Network(
    name=name,
    spec=resnet.RESNETS[name],
    params=variables['params'],
    stats=variables['batch_stats'],
    image_size=size,
    **fields,
  )
  return network, lambda x: np.asarray(encoder.apply(variables, x)[1])
