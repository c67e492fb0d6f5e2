"""Two augmented views of some training images."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from dbc_jax.data.augment import MEAN, STD, augment
from dbc_jax.data.frames import ResidentFrames
from dbc_jax.data.split import Split

_BLOCK_SIZE = 128

_augment = jax.jit(
  augment, static_argnames=('size', 'crop_area', 'crop_aspect')
)


def two_views(
  split: Split,
  *,
  crop_area: Sequence[float],
  crop_aspect: Sequence[float],
  num_samples: int = 512,
  seed: int = 0,
) -> Split:
  """Some samples as training sees them, each cropped and flipped twice.

  They keep the size of the split's images, so that what extracts those is
  compiled for these, too.

  Args:
    split: the samples; of a tracklet the frame in the middle is taken.
    crop_area, crop_aspect: as in `augment`.
    num_samples: M, drawn at random; all, if there are not more.
    seed: of what is drawn. The same seed gives the same views.

  Returns:
    Of 2 M images in the 8 bits of the images themselves: the first view of
    every sample, then the second of every sample.
  """
  chosen = np.random.default_rng(seed).permutation(len(split))[:num_samples]
  shape = split.image(0).shape
  crops = {'crop_area': tuple(crop_area), 'crop_aspect': tuple(crop_aspect)}
  views = np.zeros((2, len(chosen), *shape), np.uint8)
  for start in range(0, len(chosen), _BLOCK_SIZE):
    rows = np.arange(start, min(start + _BLOCK_SIZE, len(chosen)))
    images = np.stack([split.image(int(i)) for i in chosen[rows]])
    # Padded, so that there is one compilation.
    positions = np.resize(rows, _BLOCK_SIZE)
    images = images[positions - start]
    for view in range(2):
      rng = jax.random.fold_in(jax.random.key(seed), view)
      seen = _augment(
        rng, jnp.asarray(positions), images, size=shape[:2], **crops
      )[: len(rows)]
      pixels = 255.0 * (np.asarray(seen) * STD + np.asarray(MEAN))
      views[view, rows] = np.clip(np.rint(pixels), 0, 255)
  images = views.reshape((-1, *shape))
  return Split(ResidentFrames(images), np.arange(len(images)))
