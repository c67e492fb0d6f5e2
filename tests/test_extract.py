"""Rows come back in order, without padding, on one device and on four."""

import jax
import numpy as np
import pytest

from dbc_jax import extract, models, parallel, train
from dbc_jax.data import transforms

_SIZE = (24, 12)


@pytest.mark.parametrize('num_devices', [1, 4])
@pytest.mark.parametrize('count', [3, 8, 21])
def test_equals_the_network_image_by_image(num_devices, count, monkeypatch):
  devices = jax.local_devices()[:num_devices]
  monkeypatch.setattr(parallel, 'devices', lambda: devices)
  encoder = models.create_encoder('resnet_tiny', embedding_dim=8)
  variables = train.init_variables(encoder, jax.random.key(0), _SIZE)
  images = np.random.default_rng(0).integers(
    0, 256, (count, 30, 20, 3), np.uint8
  )
  extractor = extract.make_extractor(encoder, image_size=_SIZE, batch_size=7)
  features, embeddings = extractor(variables, images)
  assert features.shape == (count, 256) and embeddings.shape == (count, 8)
  expected = encoder.apply(variables, transforms.resize(images, _SIZE))
  np.testing.assert_allclose(embeddings, expected[0], atol=2e-5)
  np.testing.assert_allclose(features, expected[1], atol=2e-5)
