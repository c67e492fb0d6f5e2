"""Networks to export, with the features that they have in JAX."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import runs

from dbc_jax import models
from dbc_jax.export import Network
from dbc_jax.models.backbones import resnet
from dbc_jax.run import build, restore
from dbc_jax.training import camera_statistics


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
  variables = shaken(variables)
  network = Network(
    name=name,
    spec=resnet.RESNETS[name],
    params=variables['params'],
    stats=variables['batch_stats'],
    image_size=size,
    **fields,
  )
  return network, lambda x: np.asarray(encoder.apply(variables, x)[1])


def shaken(variables):
  """Variables with statistics, scales and exponents that are not the first."""
  keys = iter(jax.random.split(jax.random.key(1), 10_000))

  def shake(path, x):
    noise = jax.random.normal(next(keys), x.shape)
    if path[-1].key in ('scale', 'var', 'p'):
      return x * jnp.exp(0.2 * noise)
    return x + 0.1 * noise * (path[-1].key in ('bias', 'mean'))

  variables = jax.tree_util.tree_map_with_path(shake, variables)
  return jax.tree.map(np.asarray, variables)


def make_run(name, size=(64, 32), camids=(), **options):
  """A run of random weights, without training images."""
  config = runs.small_config('demo', pathlib.Path())
  config.model.update({'name': name, 'embedding_dim': 8} | options)
  config.data.update({'image_size': size, 'stored_size': size})
  config.extract_batch_size = 8
  if camids:
    config.data.update({'camera_statistics': True, 'use_cameras': 'True'})
  parts = build.Parts(config)
  variables = shaken(parts.init_variables())
  if camids:
    variables[camera_statistics.KEY] = {
      'camids': np.array(camids, np.int32),
      'batch_stats': jax.tree.map(
        lambda x: np.stack([x * (1 + i / 5) for i in range(len(camids))]),
        variables['batch_stats'],
      ),
    }
  labels = np.arange(12, dtype=np.int32) // 3
  return restore.RestoredRun(parts, 0, variables, labels, 'digest')
