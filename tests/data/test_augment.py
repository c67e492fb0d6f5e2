"""Augmentation and resizing: bounds, colours, draws, agreement with Pillow."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from dbc_jax.data.augment import (
  MEAN,
  STD,
  augment,
  augment_strongly,
  normalize,
  resize,
)

_CROPS = {'crop_area': (0.64, 1.0), 'crop_aspect': (1.0, 1.5)}


@functools.partial(jax.jit, static_argnames='size')
def _augment(key, positions, images, size):
  return augment(key, positions, images, size=size, **_CROPS)


def _smooth(rng, height, width):
  small = rng.integers(0, 256, (6, 4, 3), np.uint8)
  return np.asarray(
    Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)
  )


def test_normalize_is_imagenets():
  white = normalize(jnp.full((1, 3), 255, jnp.uint8))
  expected = (1.0 - np.array(MEAN)) / np.array(STD)
  np.testing.assert_allclose(white[0], expected, rtol=1e-5)


@pytest.mark.parametrize('size', [(64, 32), (128, 64), (40, 50)])
def test_resize_agrees_with_pillow(size):
  image = _smooth(np.random.default_rng(0), 80, 44)
  expected = np.asarray(
    Image.fromarray(image).resize(size[::-1], Image.Resampling.BILINEAR)
  )
  got = resize(jnp.asarray(image)[None], size)[0]
  expected = normalize(jnp.asarray(expected))
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
  out = np.asarray(out) * np.array(STD) + np.array(MEAN)
  out *= 255.0
  # Centres of the outermost output pixels lie 1/20 and 1/40 inside the crop.
  wide = (out[:, 10, -1, 0] - out[:, 10, 0, 0]) / 0.9
  tall = (out[:, -1, 5, 1] - out[:, 0, 5, 1]) / 0.95
  flipped = wide < 0
  assert 0.4 < flipped.mean() < 0.6
  area = np.abs(wide) * tall / (height * width)
  aspect = tall / np.abs(wide)
  slack = 0.03
  assert area.min() > 0.64 - slack
  assert area.max() < 1.0 + slack
  assert aspect.min() > 2.0 - 0.1
  assert aspect.max() < 3.0 + 0.1
  assert area.min() < 0.7
  assert area.max() > 0.9
  assert out.min() > -1.0
  assert out[..., 1].max() < height


# The strong augmentation: its colours, and what decides its draws.
_SMALL = (12, 6)
_PLACE = {
  'size': _SMALL,
  'crop_area': (0.4, 1.0),
  'crop_aspect': (0.75, 1.33),
}
_KEY = jax.random.key(5)
_plainly = jax.jit(functools.partial(augment, **_PLACE))
_strongly = jax.jit(functools.partial(augment_strongly, **_PLACE))


@pytest.fixture(scope='module')
def images():
  rng = np.random.default_rng(0)
  return rng.integers(60, 190, (8, 12, 6, 3), dtype=np.uint8)


def _recolour(images, positions=None, *, jitter=0.0, hue=0.0, grey=0.0):
  """Values in [0, 1]."""
  if positions is None:
    positions = jnp.arange(len(images))
  result = _strongly(_KEY, positions, images, jitter=jitter, hue=hue, grey=grey)
  return np.asarray(result) * STD + np.asarray(MEAN)


def test_without_colours_it_is_the_plain_augmentation(images):
  crop_key = jax.random.split(_KEY)[0]
  plain = _plainly(crop_key, jnp.arange(8), images)
  plain = np.asarray(plain) * STD + np.asarray(MEAN)
  np.testing.assert_allclose(_recolour(images), plain, atol=1e-5)


def test_grey_keeps_luma_alone(images):
  colours, grey = _recolour(images), _recolour(images, grey=1.0)
  luma = colours @ np.array([0.299, 0.587, 0.114])
  np.testing.assert_allclose(grey, np.stack([luma] * 3, axis=-1), atol=1e-5)
  some = _recolour(np.repeat(images, 32, axis=0), grey=0.25)
  share = np.mean(np.ptp(some, axis=-1).max(axis=(1, 2)) < 1e-5)
  assert 0.15 < share < 0.35


def test_hue_turns_chroma_and_leaves_luma(images):
  before, after = _recolour(images), _recolour(images, hue=0.1)
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
  assert np.abs(turned).max() <= 0.1 + 1e-3
  assert np.ptp(turned) > 0.02


def test_jitter_changes_levels_within_its_bounds():
  flat = np.full((64, 12, 6, 3), 100, np.uint8)
  # A grey image has neither contrast nor saturation: brightness is left.
  factors = _recolour(flat, jitter=0.4).mean(axis=(1, 2, 3)) / (100 / 255)
  assert 0.6 <= factors.min() < 0.7
  assert 1.3 < factors.max() <= 1.4


def test_values_stay_those_of_pixels():
  rng = np.random.default_rng(1)
  extremes = 255 * rng.integers(0, 2, (16, 12, 6, 3), dtype=np.uint8)
  values = _recolour(extremes, jitter=0.9, hue=0.5)
  assert values.min() >= -1e-6
  assert values.max() <= 1.0 + 1e-6
  assert np.isfinite(values).all()


@pytest.mark.slow
def test_a_place_in_the_batch_decides_all_draws(images):
  fields = {'jitter': 0.4, 'hue': 0.1, 'grey': 0.2}
  whole = _recolour(images, **fields)
  half = _recolour(images[4:], jnp.arange(4, 8), **fields)
  np.testing.assert_allclose(whole[4:], half, atol=1e-6)
  again = _recolour(np.stack([images[0]] * 2), jnp.array([3, 4]), **fields)
  assert np.abs(again[0] - again[1]).max() > 0.01
  # Frames are rows of a longer batch.
  frames = _recolour(images.reshape(4, 2, 12, 6, 3), jnp.arange(4), **fields)
  np.testing.assert_allclose(frames.reshape(whole.shape), whole, atol=1e-6)


@functools.partial(jax.jit, static_argnames=('padding', 'erasing'))
def _augment_more(key, images, padding=0, erasing=0.0):
  return augment(
    key,
    jnp.arange(len(images)),
    images,
    size=images.shape[1:3],
    **_CROPS,
    crop_padding=padding,
    erasing=erasing,
  )


@pytest.mark.slow
def test_padded_crops_are_shifts_with_black_at_the_border():
  image = np.random.default_rng(8).integers(1, 256, (12, 8, 3), np.uint8)
  images = jnp.asarray(np.repeat(image[None], 200, axis=0))
  got = np.asarray(_augment_more(jax.random.key(0), images, padding=2))
  padded = np.pad(image, ((2, 2), (2, 2), (0, 0)))
  shifts = {}
  for top in range(5):
    for left in range(5):
      crop = padded[top : top + 12, left : left + 8]
      for flipped in (crop, crop[:, ::-1]):
        values = np.asarray(normalize(jnp.asarray(flipped)))
        shifts[values.round(3).tobytes()] = 0
  for each in got:
    shifts[each.round(3).tobytes()] += 1
  # 50 of them, 200 draws: nearly all are drawn, and none much too often.
  assert len(shifts) == 50
  assert sum(count > 0 for count in shifts.values()) >= 45
  assert max(shifts.values()) <= 15


@pytest.mark.slow
def test_erasing_blanks_one_rectangle_of_some_images():
  image = np.full((40, 20, 3), 255, np.uint8)
  images = jnp.asarray(np.repeat(image[None], 300, axis=0))
  plain = np.asarray(_augment_more(jax.random.key(1), images, padding=0))
  got = np.asarray(_augment_more(jax.random.key(1), images, erasing=0.5))
  blank = (got == 0.0).all(axis=3)
  np.testing.assert_array_equal(got[~blank], plain[~blank])
  erased = blank.any(axis=(1, 2))
  assert 0.4 < erased.mean() < 0.6
  areas = []
  for each in blank[erased]:
    rows, columns = (
      np.flatnonzero(each.any(axis=1)),
      np.flatnonzero(each.any(0)),
    )
    tall, wide = np.ptp(rows) + 1, np.ptp(columns) + 1
    assert each.sum() == tall * wide
    assert 0.25 < tall / wide < 4
    areas.append(tall * wide / 800)
  assert min(areas) > 0.015
  assert max(areas) < 0.42
  assert 0.1 < np.mean(areas) < 0.3
