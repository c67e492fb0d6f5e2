"""The embedded data set: synthetic pedestrians, drawn from a seed in seconds.

Called by the dispatch of this package under the name `demo`.
"""

import dataclasses

import numpy as np

from dbc_jax.data import camera, figure, manifest, pedestrian, scene

# Mean and spread (of the logarithm) of images per training identity; real
# sets are skewed likewise (Market-1501: 2 to 72, mean 17).
_MEAN_IMAGES = 9
_SKEW = 0.9
_MIN_IMAGES, _MAX_IMAGES = 3, 72
# Images of one passage of a person before one camera.
_MAX_SIGHTING = 4
_NUM_JUNK = 40
_NUM_DISTRACTORS = 100
_DISTRACTORS_PER_PERSON = 4
_JUNK_PID, _DISTRACTOR_PID = -1, 0
_MAX_PID = 1500

# First word of every derived seed, so that unlike draws share no stream.
_PERSON, _SCENE, _SIGHTING, _FRAME, _TRAIN, _TEST, _JUNK, _PIDS = range(8)


@dataclasses.dataclass(frozen=True)
class _Sighting:
  """A person passing a camera: `count` consecutive images."""

  person: int
  camid: int
  visit: int
  count: int


@dataclasses.dataclass
class _Split:
  """Images of one split with their truth, in the order they were drawn."""

  images: list[np.ndarray] = dataclasses.field(default_factory=list)
  pids: list[int] = dataclasses.field(default_factory=list)
  camids: list[int] = dataclasses.field(default_factory=list)

  def add(self, image: np.ndarray, pid: int, camid: int) -> None:
    self.images.append(image)
    self.pids.append(pid)
    self.camids.append(camid)

  def shuffled(
    self, name: str, rng: np.random.Generator
  ) -> tuple[manifest.Samples, np.ndarray, np.ndarray]:
    order = rng.permutation(len(self.images))
    # Names tell the position alone: training must not learn the truth there.
    names = [f'{name}/{i:06d}.png' for i in range(len(order))]
    samples = manifest.in_memory(names, np.stack(self.images)[order])
    pids = np.array(self.pids, np.int32)[order]
    return samples, pids, np.array(self.camids, np.int32)[order]


def load(
  *, seed: int = 0, num_train_images: int = 1000, num_test_identities: int = 60
) -> tuple[manifest.Dataset, manifest.GroundTruth]:
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
  for name, value, least in (
    ('seed', seed, 0),
    ('num_train_images', num_train_images, 2 * _MEAN_IMAGES),
    ('num_test_identities', num_test_identities, 2),
  ):
    if value < least:
      raise ValueError(f'{name} is {value}; give at least {least}')
  world = _World(seed)
  counts = _long_tail(num_train_images, world.rng(_TRAIN))
  num_train = len(counts)
  num_distractors = _NUM_DISTRACTORS // _DISTRACTORS_PER_PERSON
  if num_train + num_test_identities > _MAX_PID:
    raise ValueError(
      f'num_train_images={num_train_images} and num_test_identities='
      f'{num_test_identities} need over {_MAX_PID} identities; lower them'
    )
  pids = 1 + world.rng(_PIDS).permutation(_MAX_PID)

  train = _Split()
  for person, count in enumerate(counts):
    for sighting in _visits(person, count, world.rng(_TRAIN, person)):
      for image in world.film(sighting):
        train.add(image, pids[person], sighting.camid)

  query, gallery = _Split(), _Split()
  for person in range(num_train, num_train + num_test_identities):
    rng = world.rng(_TEST, person)
    count = int(rng.integers(8, 17))
    queried = set()
    for sighting in _visits(person, count, rng, least=2):
      for frame, image in enumerate(world.film(sighting)):
        # One query a camera; at least one more image stays in the gallery.
        first = frame == 0 and sighting.camid not in queried
        queried.add(sighting.camid)
        split = query if first else gallery
        split.add(image, pids[person], sighting.camid)
  strangers = num_train + num_test_identities + np.arange(num_distractors)
  for person in strangers:
    rng = world.rng(_TEST, person)
    for sighting in _visits(person, _DISTRACTORS_PER_PERSON, rng):
      for image in world.film(sighting):
        gallery.add(image, _DISTRACTOR_PID, sighting.camid)
  for index in range(_NUM_JUNK):
    person = num_train + index % num_test_identities
    camid = index % len(camera.CAMERAS)
    gallery.add(world.bad_crop(person, camid, index), _JUNK_PID, camid)

  rng = world.rng(_PIDS, 1)
  splits = {'train': train, 'query': query, 'gallery': gallery}
  samples, truth = {}, {}
  for name, split in splits.items():
    samples[name], truth[f'{name}_pids'], truth[f'{name}_camids'] = (
      split.shuffled(name, rng)
    )
  return manifest.Dataset(**samples), manifest.GroundTruth(**truth)


def _long_tail(total: int, rng: np.random.Generator) -> list[int]:
  """Images of each identity: skewed, summing to `total`."""
  num_identities = max(round(total / _MEAN_IMAGES), 2)
  weights = np.exp(_SKEW * rng.standard_normal(num_identities))
  spare = total - _MIN_IMAGES * num_identities
  counts = _MIN_IMAGES + np.floor(spare * weights / weights.sum()).astype(int)
  counts = np.minimum(counts, _MAX_IMAGES)
  # What rounding and the upper limit took away goes to the rarest.
  while counts.sum() < total:
    counts[np.argmin(counts)] += 1
  return counts.tolist()


def _visits(
  person: int, count: int, rng: np.random.Generator, *, least: int = 1
) -> list[_Sighting]:
  """Splits a person's images into sightings by two to five cameras.

  Args:
    person: whose.
    count: how many images; at least 2 * `least`.
    rng: for the split.
    least: fewest images of a sighting.

  Returns:
    Sightings; the first of each camera has at least `least` images.
  """
  most = min(len(camera.CAMERAS), count // max(least, 2))
  num_cameras = int(rng.integers(2, most + 1)) if most > 2 else 2
  camids = rng.permutation(len(camera.CAMERAS))[:num_cameras]
  shares = np.full(num_cameras, least)
  extra = rng.integers(0, num_cameras, count - shares.sum())
  shares = shares + np.bincount(extra, minlength=num_cameras)
  sightings = []
  for camid, share in zip(camids.tolist(), shares.tolist(), strict=True):
    visit = 0
    while share:
      length = min(share, int(rng.integers(max(least, 2), _MAX_SIGHTING + 1)))
      sightings.append(_Sighting(person, camid, visit, length))
      share -= length
      visit += 1
  return sightings


def _folds(rng: np.random.Generator) -> np.ndarray:
  """Shading of cloth, [128, 64] float32 about 1: no garment is flat."""
  size = 8
  grid = rng.normal(1, 0.09, (figure.HEIGHT // size, figure.WIDTH // size))
  return scene.enlarge(grid, size)


class _World:
  """The persons and places of one seed, made when first needed."""

  def __init__(self, seed: int) -> None:
    self._seed = seed
    self._persons: dict[int, pedestrian.Identity] = {}
    self._scenes = [
      scene.make_scene(view.scene, self.rng(_SCENE, camid))
      for camid, view in enumerate(camera.CAMERAS)
    ]

  def rng(self, *words: int) -> np.random.Generator:
    """A stream of its own: no image depends on how many came before it."""
    return np.random.Generator(np.random.PCG64([self._seed, *words]))

  def _person(self, person: int) -> pedestrian.Identity:
    if person not in self._persons:
      identity = pedestrian.sample_identity(self.rng(_PERSON, person))
      self._persons[person] = identity
    return self._persons[person]

  def film(self, sighting: _Sighting) -> list[np.ndarray]:
    """The images of one sighting, in order of time."""
    view = camera.CAMERAS[sighting.camid]
    words = sighting.person, sighting.camid, sighting.visit
    rng = self.rng(_SIGHTING, *words)
    yaw = rng.integers(4) * np.pi / 2 + rng.normal(0, 0.25)
    phase, swing = rng.uniform(0, 2 * np.pi), rng.uniform(0.2, 0.5)
    light = np.exp(rng.normal(0, 0.08))
    size = rng.normal(1, 0.03)
    place = rng.uniform((4, 10), (252, 38))
    folds = _folds(rng)
    hidden = rng.random() < view.occlusion
    obstacle = rng.uniform(8, 56)
    images = []
    for frame in range(sighting.count):
      rng = self.rng(_FRAME, *words, frame)
      left, up = rng.normal(0, view.jitter * camera.CROP_JITTER, 2)
      scale = view.scale * size * rng.normal(1, 0.015)
      pose = figure.Pose(
        yaw=yaw + rng.normal(0, 0.08),
        phase=phase + 0.9 * frame + rng.normal(0, 0.15),
        swing=swing,
        centre=figure.WIDTH / 2 + left,
        foot=figure.HEIGHT / 2 + scale / 2 + up,
        scale=scale,
        shear=view.shear,
        taper=view.taper,
      )
      # The crop follows the person, so the scene slides past behind.
      walked = 5 * frame * np.sin(yaw), 0
      image = self._compose(
        words[0], pose, sighting.camid, place + walked, folds
      )
      if hidden:
        obstacle_x = obstacle - 4 * frame * np.sin(yaw)
        image = camera.occlude(
          image, view, obstacle_x, self.rng(_SIGHTING, *words, 1)
        )
      images.append(camera.expose(image, view, light, rng))
    return images

  def _compose(
    self,
    person: int,
    pose: figure.Pose,
    camid: int,
    place: np.ndarray,
    folds: np.ndarray,
  ) -> np.ndarray:
    """The person before the scene, [128, 64, 3] float32, as yet unexposed."""
    drawn = figure.draw(self._person(person), pose).astype(np.float32)
    image = self._backdrop(camid, place)
    image = image * figure.shadow(pose)[..., None]
    colour = drawn[..., :3] * folds[..., None]
    return image + drawn[..., 3:] / 255 * (colour - image)

  def _backdrop(self, camid: int, place: np.ndarray) -> np.ndarray:
    full = self._scenes[camid]
    high, wide = full.shape[:2]
    x = int(np.clip(place[0], 0, wide - figure.WIDTH))
    y = int(np.clip(place[1], 0, high - figure.HEIGHT))
    return full[y : y + figure.HEIGHT, x : x + figure.WIDTH]

  def bad_crop(self, person: int, camid: int, index: int) -> np.ndarray:
    """A box that a detector should not have given: a part, or no person."""
    rng = self.rng(_JUNK, index)
    view = camera.CAMERAS[camid]
    place = rng.uniform((0, 0), (256, 48))
    if index % 4 == 0:
      image = self._backdrop(camid, place)
    else:
      scale = view.scale * rng.uniform(1.5, 2.2)
      pose = figure.Pose(
        yaw=rng.uniform(0, 2 * np.pi),
        phase=rng.uniform(0, 2 * np.pi),
        swing=0.4,
        centre=rng.uniform(0, figure.WIDTH),
        foot=rng.uniform(0.6, 1.0) * scale + rng.uniform(0, 40),
        scale=scale,
        shear=view.shear,
        taper=view.taper,
      )
      image = self._compose(person, pose, camid, place, _folds(rng))
    return camera.expose(image, view, 1.0, rng)
