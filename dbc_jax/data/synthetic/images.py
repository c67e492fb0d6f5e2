"""The data set `demo`: synthetic pedestrians, drawn from a seed in seconds."""

import numpy as np

from dbc_jax.data.readers.release import Release
from dbc_jax.data.samples import Loaded, in_memory
from dbc_jax.data.synthetic import figure
from dbc_jax.data.synthetic.splits import Plan, draw
from dbc_jax.data.synthetic.world import World

RELEASE = Release(title='demo', image_size=(figure.HEIGHT, figure.WIDTH))

# Images of one passage of a person before one camera.
_MAX_SIGHTING = 4


def load(
  *, seed: int = 0, num_train_images: int = 1000, num_test_identities: int = 60
) -> Loaded:
  """Draws the whole data set.

  Args:
    seed: not negative; the same seed gives the same images.
    num_train_images: size of the training set; there is one identity for
      about every 9 images.
    num_test_identities: identities with queries, none of them in training.

  Returns:
    Images are uint8 RGB [128, 64, 3]; camids 0 to 4. In the gallery pid -1
    marks junk (bad crops) and 0 distractors (persons never searched for).

  Raises:
    ValueError: if an option is out of its range.
  """
  return draw(PLAN, seed, num_train_images, num_test_identities)


def _cut(share: int, least: int, rng: np.random.Generator) -> list[int]:
  """Images of each sighting; together `share`."""
  lengths = []
  while share:
    length = int(rng.integers(max(least, 2), _MAX_SIGHTING + 1))
    lengths.append(min(share, length))
    share -= lengths[-1]
  return lengths


PLAN = Plan(
  unit='images',
  train_mean=9,
  train_limits=(3, 72),
  test_limits=(8, 16),
  num_distractors=25,
  distractor_samples=4,
  num_junk=40,
  cut=_cut,
  develop=list,
  spoil=World.bad_crop,
  collect=in_memory,
)
