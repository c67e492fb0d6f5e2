"""Augmentation and resizing: bounds, independence, agreement with Pillow."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from dbc_jax.data import augment as augment_lib

_CROPS = {'crop_area': (0.64, 1.0), 'crop_aspect': (1.0, 1.5)}


def _augment(key, positions, images, size):
  return augment_lib.augment(key, positions, images, size=size, **_CROPS)


def _smooth(rng, height, width):
  small = rng.integers(0, 256, (6, 4, 3), np.uint8)
  return np.asarray(
    Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)
  )


def test_normalize_is_imagenets():
  white = augment_lib.normalize(jnp.full((1, 3), 255, jnp.uint8))
  expected = (1.0 - np.array(augment_lib.MEAN)) / np.array(augment_lib.STD)
  np.testing.assert_allclose(white[0], expected, rtol=1e-5)


@pytest.mark.parametrize('size', [(64, 32), (128, 64), (40, 50)])
def test_resize_agrees_with_pillow(size):
  image = _smooth(np.random.default_rng(0), 80, 44)
  expected = np.asarray(
    Image.fromarray(image).resize(size[::-1], Image.Resampling.BILINEAR)
  )
  got = augment_lib.resize(jnp.asarray(image)[None], size)[0]
  expected = augment_lib.normalize(jnp.asarray(expected))
  # Pillow rounds to whole pixel values, twice.
  assert np.abs(np.asarray(got - expected)).max() < 1.5 / 255 / 0.22


def test_draws_depend_on_the_global_position_alone():
  rng = np.random.default_rng(1)
  images = jnp.asarray(np.stack([_smooth(rng, 32, 16) for _ in range(4)]))
  key = jax.random.key(0)
  whole = _augment(key, jnp.arange(4), images, (32, 16))
  second_half = _augment(key, jnp.arange(2, 4), images[2:], (32, 16))
  np.testing.assert_allclose(whole[2:], second_half, atol=1e-5)
  moved = _augment(key, jnp.arange(4) + 4, images, (32, 16))
  assert np.abs(np.asarray(whole - moved)).max() > 0.1


def test_crops_cover_the_stated_areas_and_shapes():
  # The pixel value is its column (red) and row (green): the corners of the
  # result tell the crop.
  height, width = 100, 50
  rows, columns = np.mgrid[0:height, 0:width]
  image = np.stack([columns, rows, 0 * rows], axis=-1).astype(np.uint8)
  images = jnp.broadcast_to(image, (400, height, width, 3))
  out = _augment(jax.random.key(3), jnp.arange(400), images, (20, 10))
  out = np.asarray(out) * np.array(augment_lib.STD) + np.array(augment_lib.MEAN)
  out *= 255.0
  # Centres of the outermost output pixels lie 1/20 and 1/40 inside the crop.
  wide = (out[:, 10, -1, 0] - out[:, 10, 0, 0]) / 0.9
  tall = (out[:, -1, 5, 1] - out[:, 0, 5, 1]) / 0.95
  flipped = wide < 0
  assert 0.4 < flipped.mean() < 0.6
  area = np.abs(wide) * tall / (height * width)
  aspect = tall / np.abs(wide)
  slack = 0.03
  assert area.min() > 0.64 - slack and area.max() < 1.0 + slack
  assert aspect.min() > 2.0 - 0.1 and aspect.max() < 3.0 + 0.1
  assert area.min() < 0.7 and area.max() > 0.9
  assert out.min() > -1.0 and out[..., 1].max() < height
