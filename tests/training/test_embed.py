"""Rows come back in order, without padding, on one device and on four."""

import functools

import jax
import numpy as np
import pytest
import small_networks

from dbc_jax import models
from dbc_jax.data import augment as augment_lib
from dbc_jax.data.frames import ResidentFrames
from dbc_jax.data.split import Split
from dbc_jax.devices import mesh
from dbc_jax.training import embed
from dbc_jax.training import step as step_lib

_SIZE = (24, 12)


@pytest.fixture(scope='module')
def network():
  encoder = models.create_encoder(small_networks.NAME, embedding_dim=8)
  return encoder, step_lib.init_variables(encoder, jax.random.key(0), _SIZE)


@functools.partial(jax.jit, static_argnames='encoder')
def _pool(encoder, variables, images):
  images = augment_lib.resize(images, _SIZE)
  return encoder.apply(variables, images, method='pool')


@pytest.mark.parametrize('num_devices', [1, 4])
@pytest.mark.parametrize('count', [3, 8, 21])
def test_equals_the_network_image_by_image(
  network, num_devices, count, monkeypatch
):
  devices = jax.local_devices()[:num_devices]
  monkeypatch.setattr(mesh, 'devices', lambda: devices)
  encoder, variables = network
  images = np.random.default_rng(0).integers(0, 256, (21, 30, 20, 3), np.uint8)
  extractor = embed.make_extractor(
    encoder, image_size=_SIZE, batch_size=7, max_frames=1
  )
  split = Split(ResidentFrames(images[:count]), np.arange(count))
  features, embeddings = extractor(variables, split)
  assert features.shape == (count, 32)
  assert embeddings.shape == (count, 8)
  pooled = _pool(encoder, variables, images)[:count]
  expected = encoder.apply(variables, pooled, method='finish')
  np.testing.assert_allclose(embeddings, expected[0], atol=2e-5)
  np.testing.assert_allclose(features, expected[1], atol=2e-5)


def test_a_tracklet_is_the_mean_of_its_frames(network):
  """Tracklets of 1, 5 and 12 frames, of which at most 6 are taken."""
  encoder, variables = network
  frames = np.random.default_rng(0).integers(0, 256, (18, *_SIZE, 3), np.uint8)
  order = np.random.default_rng(1).permutation(18)
  split = Split(ResidentFrames(frames), order, np.array([0, 1, 6, 18]))
  extractor = embed.make_extractor(
    encoder, image_size=_SIZE, batch_size=4, max_frames=6
  )
  features, embeddings = extractor(variables, split)
  pooled = np.asarray(_pool(encoder, variables, frames[order]))
  means = [
    pooled[chosen].mean(axis=0)
    for chosen in ([0], [1, 2, 3, 4, 5], [6, 8, 10, 12, 14, 16])
  ]
  expected = encoder.apply(variables, np.stack(means), method='finish')
  np.testing.assert_allclose(embeddings, expected[0], atol=2e-5)
  np.testing.assert_allclose(features, expected[1], atol=2e-5)
