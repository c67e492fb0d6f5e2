"""From pixels to what a network sees: crop, flip, resize, normalise, colours.

The strong augmentation changes colours too. Learning without labels needs views
that differ in more than place: a colour that the light or a camera may change
must not tell one image from another.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

# Mean and standard deviation of ImageNet's RGB values in [0, 1].
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)

_DRAWS = 10
# RGB to luma and two axes of chroma (NTSC's YIQ): changes of saturation and
# hue are linear there.
_YIQ = np.array(
  [
    [0.299, 0.587, 0.114],
    [0.595716, -0.274453, -0.321263],
    [0.211456, -0.522591, 0.311135],
  ],
  np.float32,
)
_RGB = np.linalg.inv(_YIQ)


def normalize(images: jax.Array) -> jax.Array:
  """Pixel values [..., 3] in [0, 255] to ImageNet's normalised floats."""
  mean = jnp.asarray(MEAN, jnp.float32) * 255.0
  std = jnp.asarray(STD, jnp.float32) * 255.0
  return (images.astype(jnp.float32) - mean) / std


def resize(images: jax.Array, size: tuple[int, int]) -> jax.Array:
  """Whole images uint8 [B, H, W, 3], resized and normalised, float32.

  Bilinear, averaging where it shrinks, as Pillow does.
  """
  images = normalize(images)
  if images.shape[1:3] == tuple(size):
    return images
  return jax.image.resize(
    images, (images.shape[0], *size, images.shape[3]), 'linear'
  )


def augment(
  rng: jax.Array,
  positions: jax.Array,
  images: jax.Array,
  *,
  size: tuple[int, int],
  crop_area: tuple[float, float],
  crop_aspect: tuple[float, float],
  crop_padding: int = 0,
  erasing: float = 0.0,
) -> jax.Array:
  """Random crop, resize and flip, then normalise; then a blank rectangle.

  If none of 10 draws of a crop fits inside, the whole image is taken.

  Args:
    rng: key of the step.
    positions: [B] int32, each sample's place in the global batch, which alone
      decides its draws, and for frames with their place in the tracklet.
    images: [B, H, W, 3] uint8, or frames of tracklets [B, T, H, W, 3], of which
      each has draws of its own.
    size: (height, width) of the result.
    crop_area: bounds of a crop's share of the image's area; (0.64, 1) in the
      public code.
    crop_aspect: bounds of a crop's height / width, relative to the image's
      own; (1, 1.5) is the public code's (2, 3) for crops of 2:1.
    crop_padding: if above 0, the whole image is resized instead, gets so many
      black pixels on each side, and a crop of `size` is cut out of that.
    erasing: share of images in which a rectangle becomes ImageNet's mean
      colour: 2 to 40 % of the area, height / width between 0.3 and 1 / 0.3.

  Returns:
    [B, height, width, 3] or [B, T, height, width, 3] float32, normalised.

  Source: BUC's public training transform, which DBC and E-cluster take over.
    Zhong et al., Random Erasing Data Augmentation (2020), for the rectangle.
  """
  *batch, height, width, channels = images.shape
  keys = _keys_of_images(rng, positions, batch)
  images = normalize(images.reshape((-1, height, width, channels)))
  if crop_padding:
    images = jax.vmap(lambda key, x: _pad_and_crop(key, x, size, crop_padding))(
      keys, images
    )
  else:
    images = jax.vmap(
      lambda key, x: _augment_one(key, x, size, crop_area, crop_aspect)
    )(keys, images)
  if erasing:
    images = jax.vmap(lambda key, x: _erase(key, x, erasing))(keys, images)
  return images.reshape((*batch, *size, channels))


def augment_strongly(
  rng: jax.Array,
  positions: jax.Array,
  images: jax.Array,
  *,
  size: tuple[int, int],
  crop_area: tuple[float, float],
  crop_aspect: tuple[float, float],
  jitter: float,
  hue: float,
  grey: float,
) -> jax.Array:
  """Random crop, resize and flip, then random colours, then normalise.

  Brightness, contrast and saturation are multiplied by 1 + U(-jitter, jitter)
  each, hue is turned by U(-hue, hue) of the circle, and some images lose all
  colour. Values are clipped once, at the end.

  Args:
    rng, positions, images, size, crop_area, crop_aspect: as those of
      `augment`; a frame's place decides its colours, too.
    jitter: in [0, 1).
    hue: in [0, 0.5].
    grey: share of images without colour, in [0, 1].

  Returns:
    [B, height, width, 3] or [B, T, height, width, 3] float32, normalised.

  Source: Chen et al., A Simple Framework for Contrastive Learning of Visual
    Representations (2020), appendix A.
  """
  crop_rng, colour_rng = jax.random.split(rng)
  images = augment(
    crop_rng,
    positions,
    images,
    size=size,
    crop_area=crop_area,
    crop_aspect=crop_aspect,
  )
  *batch, height, width, channels = images.shape
  keys = _keys_of_images(colour_rng, positions, batch)
  mean, std = jnp.asarray(MEAN), jnp.asarray(STD)
  shares = images.reshape((-1, height, width, channels)) * std + mean
  shares = jax.vmap(lambda key, x: _recolour(key, x, jitter, hue, grey))(
    keys, shares
  )
  return ((shares - mean) / std).reshape(images.shape)


def _keys_of_images(
  rng: jax.Array, positions: jax.Array, batch: Sequence[int]
) -> jax.Array:
  """A key for each image: [B], or [B T] for batches [B, T] of tracklets."""
  if len(batch) == 2:
    positions = positions[:, None] * batch[1] + jnp.arange(batch[1])
  return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(rng, positions.ravel())


def _augment_one(
  key: jax.Array,
  image: jax.Array,
  size: tuple[int, int],
  crop_area: tuple[float, float],
  crop_aspect: tuple[float, float],
) -> jax.Array:
  height, width, channels = image.shape
  area_key, aspect_key, place_key, flip_key = jax.random.split(key, 4)
  area = jax.random.uniform(
    area_key, (_DRAWS,), minval=crop_area[0], maxval=crop_area[1]
  )
  aspect = jax.random.uniform(
    aspect_key, (_DRAWS,), minval=crop_aspect[0], maxval=crop_aspect[1]
  )
  tall = jnp.sqrt(area * aspect)  # shares of the image's height and width
  wide = jnp.sqrt(area / aspect)
  fits = (tall <= 1.0) & (wide <= 1.0)
  first = jnp.argmax(fits)
  tall = jnp.where(fits.any(), tall[first], 1.0)
  wide = jnp.where(fits.any(), wide[first], 1.0)
  place = jax.random.uniform(place_key, (2,))
  top = place[0] * (1.0 - tall) * height
  left = place[1] * (1.0 - wide) * width
  scale = jnp.stack([size[0] / (tall * height), size[1] / (wide * width)])
  image = jax.image.scale_and_translate(
    image,
    (*size, channels),
    (0, 1),
    scale,
    -jnp.stack([top, left]) * scale,
    method='linear',
  )
  return jnp.where(jax.random.bernoulli(flip_key), image[:, ::-1], image)


def _pad_and_crop(
  key: jax.Array, image: jax.Array, size: tuple[int, int], padding: int
) -> jax.Array:
  _, _, place_key, flip_key = jax.random.split(key, 4)
  image = jax.image.resize(image, (*size, image.shape[2]), 'linear')
  black = normalize(jnp.zeros(3))
  image = jnp.pad(
    image - black, ((padding, padding), (padding, padding), (0, 0))
  )
  start = jax.random.randint(place_key, (2,), 0, 2 * padding + 1)
  image = jax.lax.dynamic_slice(image, (*start, 0), (*size, image.shape[2]))
  image += black
  return jnp.where(jax.random.bernoulli(flip_key), image[:, ::-1], image)


def _erase(key: jax.Array, image: jax.Array, share: float) -> jax.Array:
  """One normalised image; the first of 10 rectangles that fits, if any."""
  # A key of its own: the crop has split the image's four ways.
  keys = jax.random.split(jax.random.fold_in(key, 1), 4)
  height, width = image.shape[:2]
  area = jax.random.uniform(keys[0], (_DRAWS,), minval=0.02, maxval=0.4)
  aspect = jax.random.uniform(keys[1], (_DRAWS,), minval=0.3, maxval=1 / 0.3)
  tall = jnp.round(jnp.sqrt(area * height * width * aspect))
  wide = jnp.round(jnp.sqrt(area * height * width / aspect))
  fits = (tall < height) & (wide < width)
  first = jnp.argmax(fits)
  place = jax.random.uniform(keys[2], (2,))
  top = jnp.floor(place[0] * (height - tall[first] + 1))
  left = jnp.floor(place[1] * (width - wide[first] + 1))
  rows, columns = jnp.arange(height)[:, None], jnp.arange(width)
  inside = (rows >= top) & (rows < top + tall[first])
  inside &= (columns >= left) & (columns < left + wide[first])
  drawn = jax.random.bernoulli(keys[3], share) & fits.any()
  # The mean colour is 0 once normalised.
  return jnp.where((inside & drawn)[..., None], 0.0, image)


def _recolour(
  key: jax.Array, image: jax.Array, jitter: float, hue: float, grey: float
) -> jax.Array:
  """One image [H, W, 3] of values in [0, 1]."""
  factor_key, hue_key, grey_key = jax.random.split(key, 3)
  brightness, contrast, saturation = jax.random.uniform(
    factor_key, (3,), minval=1.0 - jitter, maxval=1.0 + jitter
  )
  turn = 2.0 * jnp.pi * jax.random.uniform(hue_key, minval=-hue, maxval=hue)
  saturation = jnp.where(jax.random.bernoulli(grey_key, grey), 0.0, saturation)
  cos, sin = saturation * jnp.cos(turn), saturation * jnp.sin(turn)
  chroma = jnp.array([[1.0, 0.0, 0.0], [0.0, cos, -sin], [0.0, sin, cos]])
  image = brightness * image
  level = jnp.mean(image @ _YIQ[0])
  image = contrast * (image - level) + level
  # Colours are cheap; the GPU's short matrix products would round them.
  image = jnp.matmul(image, (_RGB @ chroma @ _YIQ).T, precision='highest')
  return jnp.clip(image, 0.0, 1.0)
