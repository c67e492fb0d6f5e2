"""The data set `demo_video`: tracklets of the pedestrians of `images`."""

import numpy as np

from dbc_jax.data.readers.release import Release
from dbc_jax.data.samples import Loaded, in_memory_tracklets
from dbc_jax.data.synthetic import clock, figure
from dbc_jax.data.synthetic.splits import Plan, draw
from dbc_jax.data.synthetic.world import World

RELEASE = Release(
  title='demo_video', image_size=(figure.HEIGHT, figure.WIDTH), is_video=True
)

# Images of one passage of a person before one camera, which is a tracklet.
_MIN_FRAMES, _MAX_FRAMES = 4, 12
# Odds that a tracklet ends with the frame at hand: most are short, as in real
# sets.
_END = 0.4


def load(
  *,
  seed: int = 0,
  num_train_tracklets: int = 250,
  num_test_identities: int = 30,
) -> Loaded:
  """Draws the whole data set, as `images.load` does.

  Args:
    seed: persons and places are those of the image set `demo` with this seed.
    num_train_tracklets: size of the training set; there is one identity for
      about every 5 tracklets.
    num_test_identities: identities with queries, none of them in training.

  Returns:
    As `images.load`; samples are tracklets of 4 to 12 frames. The truth has the
    frames and times of training.

  Raises:
    ValueError: if an option is out of its range.
  """
  return draw(PLAN, seed, num_train_tracklets, num_test_identities)


def _cut(share: int, least: int, rng: np.random.Generator) -> list[int]:
  """Frames of each of `share` tracklets."""
  del least  # Every sighting is one tracklet.
  lengths = _MIN_FRAMES - 1 + rng.geometric(_END, share)
  return np.minimum(lengths, _MAX_FRAMES).tolist()


def _spoil(world: World, person: int, camid: int, index: int) -> np.ndarray:
  """What a tracker follows that has lost its person: bad crops in a row."""
  crops = range(index * _MIN_FRAMES, (index + 1) * _MIN_FRAMES)
  return np.stack([world.bad_crop(person, camid, crop) for crop in crops])


PLAN = Plan(
  unit='tracklets',
  train_mean=5,
  train_limits=(2, 30),
  test_limits=(4, 8),
  num_distractors=20,
  distractor_samples=2,
  num_junk=15,
  cut=_cut,
  develop=lambda frames: [np.stack(frames)],
  spoil=_spoil,
  collect=in_memory_tracklets,
  schedule=clock.schedule,
)
