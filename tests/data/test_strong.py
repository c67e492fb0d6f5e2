"""Strong augmentation: what its colours do, and what decides its draws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dbc_jax.data import augment as augment_lib
from dbc_jax.data.strong import augment_strongly

_SIZE = (12, 6)
_PLACE = {
  'size': _SIZE,
  'crop_area': (0.4, 1.0),
  'crop_aspect': (0.75, 1.33),
}
_KEY = jax.random.key(5)


@pytest.fixture(scope='module')
def images():
  rng = np.random.default_rng(0)
  return rng.integers(60, 190, (8, 12, 6, 3), dtype=np.uint8)


def _augment(images, positions=None, *, jitter=0.0, hue=0.0, grey=0.0):
  """Values in [0, 1]."""
  if positions is None:
    positions = jnp.arange(len(images))
  result = augment_strongly(
    _KEY, positions, images, jitter=jitter, hue=hue, grey=grey, **_PLACE
  )
  return np.asarray(result) * augment_lib.STD + np.asarray(augment_lib.MEAN)


def test_without_colours_it_is_the_plain_augmentation(images):
  crop_key = jax.random.split(_KEY)[0]
  plain = augment_lib.augment(crop_key, jnp.arange(8), images, **_PLACE)
  plain = np.asarray(plain) * augment_lib.STD + np.asarray(augment_lib.MEAN)
  np.testing.assert_allclose(_augment(images), plain, atol=1e-5)


def test_grey_keeps_luma_alone(images):
  colours, grey = _augment(images), _augment(images, grey=1.0)
  luma = colours @ np.array([0.299, 0.587, 0.114])
  np.testing.assert_allclose(grey, np.stack([luma] * 3, axis=-1), atol=1e-5)
  some = _augment(np.repeat(images, 32, axis=0), grey=0.25)
  share = np.mean(np.ptp(some, axis=-1).max(axis=(1, 2)) < 1e-5)
  assert 0.15 < share < 0.35


def test_hue_turns_chroma_and_leaves_luma(images):
  before, after = _augment(images), _augment(images, hue=0.1)
  luma = np.array([0.299, 0.587, 0.114])
  np.testing.assert_allclose(before @ luma, after @ luma, atol=1e-4)
  # The two axes of chroma, by their definition.
  axes = np.array(
    [[0.595716, -0.274453, -0.321263], [0.211456, -0.522591, 0.311135]]
  )
  turned = []
  for a, b in zip(before @ axes.T, after @ axes.T, strict=True):
    a, b = a[..., 0] + 1j * a[..., 1], b[..., 0] + 1j * b[..., 1]
    np.testing.assert_allclose(np.abs(a), np.abs(b), atol=1e-4)
    clear = np.abs(a) > 0.05
    turn = np.angle(b[clear] / a[clear]) / (2 * np.pi)
    assert np.ptp(turn) < 1e-2  # one turn for all pixels of an image
    turned.append(turn.mean())
  assert np.abs(turned).max() <= 0.1 + 1e-3 and np.ptp(turned) > 0.02


def test_jitter_changes_levels_within_its_bounds():
  flat = np.full((64, 12, 6, 3), 100, np.uint8)
  # A grey image has neither contrast nor saturation: brightness is left.
  factors = _augment(flat, jitter=0.4).mean(axis=(1, 2, 3)) / (100 / 255)
  assert 0.6 <= factors.min() < 0.7 and 1.3 < factors.max() <= 1.4


def test_values_stay_those_of_pixels():
  rng = np.random.default_rng(1)
  extremes = 255 * rng.integers(0, 2, (16, 12, 6, 3), dtype=np.uint8)
  values = _augment(extremes, jitter=0.9, hue=0.5)
  assert values.min() >= -1e-6 and values.max() <= 1.0 + 1e-6
  assert np.isfinite(values).all()


def test_a_place_in_the_batch_decides_all_draws(images):
  fields = {'jitter': 0.4, 'hue': 0.1, 'grey': 0.2}
  whole = _augment(images, **fields)
  half = _augment(images[4:], jnp.arange(4, 8), **fields)
  np.testing.assert_allclose(whole[4:], half, atol=1e-6)
  again = _augment(np.stack([images[0]] * 2), jnp.array([3, 4]), **fields)
  assert np.abs(again[0] - again[1]).max() > 0.01
  # Frames are rows of a longer batch.
  frames = _augment(images.reshape(4, 2, 12, 6, 3), jnp.arange(4), **fields)
  np.testing.assert_allclose(frames.reshape(whole.shape), whole, atol=1e-6)
