"""The embedded data set: synthetic pedestrians, drawn from a seed in seconds.

Called by the dispatch of this package under the name `demo`.
"""

import numpy as np

from dbc_jax.data import samples as samples_lib
from dbc_jax.data.synthetic import splits as splits_lib
from dbc_jax.data.synthetic.world import World

# Images of one passage of a person before one camera.
_MAX_SIGHTING = 4


def load(
  *, seed: int = 0, num_train_images: int = 1000, num_test_identities: int = 60
) -> tuple[samples_lib.Dataset, samples_lib.GroundTruth]:
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
  return splits_lib.draw(PLAN, seed, num_train_images, num_test_identities)


def _cut(share: int, least: int, rng: np.random.Generator) -> list[int]:
  """Images of each sighting; together `share`."""
  lengths = []
  while share:
    length = int(rng.integers(max(least, 2), _MAX_SIGHTING + 1))
    lengths.append(min(share, length))
    share -= lengths[-1]
  return lengths


def _collect(name: str, images: list[np.ndarray]) -> samples_lib.Samples:
  # Names tell the position alone: training must not learn the truth there.
  names = [f'{name}/{i:06d}.png' for i in range(len(images))]
  return samples_lib.in_memory(names, np.stack(images))


PLAN = splits_lib.Plan(
  unit='images',
  train_mean=9,
  train_limits=(3, 72),
  train_skew=0.9,
  test_limits=(8, 16),
  num_distractors=25,
  distractor_samples=4,
  num_junk=40,
  cut=_cut,
  develop=list,
  spoil=World.bad_crop,
  collect=_collect,
)
