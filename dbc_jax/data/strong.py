"""Strong augmentation: crop, flip, then colours; called by warmup.

Learning without labels needs views that differ in more than place: a colour
that the light or a camera may change must not tell one image from another.
"""

import jax
import jax.numpy as jnp
import numpy as np

from dbc_jax.data import augment as augment_lib

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
      `transforms.augment`; a frame's place decides its colours, too.
    jitter: in [0, 1).
    hue: in [0, 0.5].
    grey: share of images without colour, in [0, 1].

  Returns:
    [B, height, width, 3] or [B, T, height, width, 3] float32, normalised.

  Source: Chen et al., A Simple Framework for Contrastive Learning of Visual
    Representations (2020), appendix A.
  """
  crop_rng, colour_rng = jax.random.split(rng)
  images = augment_lib.augment(
    crop_rng,
    positions,
    images,
    size=size,
    crop_area=crop_area,
    crop_aspect=crop_aspect,
  )
  *batch, height, width, channels = images.shape
  keys = augment_lib.keys_of_images(colour_rng, positions, batch)
  mean, std = jnp.asarray(augment_lib.MEAN), jnp.asarray(augment_lib.STD)
  shares = images.reshape((-1, height, width, channels)) * std + mean
  shares = jax.vmap(lambda key, x: _recolour(key, x, jitter, hue, grey))(
    keys, shares
  )
  return ((shares - mean) / std).reshape(images.shape)


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
