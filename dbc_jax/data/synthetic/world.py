"""The persons and places of one seed, and what the cameras see of them."""

import functools

import numpy as np

from dbc_jax.data.synthetic import camera, figure, pedestrian, scene

# First word of every derived seed, so that unlike draws share no stream.
_PERSON, _SCENE, _SIGHTING, _FRAME, TRAIN, TEST, _JUNK, PIDS, CLOCK = range(9)


class World:
  """The persons and places of one seed, made when first needed."""

  def __init__(self, seed: int) -> None:
    self._seed = seed
    self._person = functools.cache(
      lambda person: pedestrian.sample_identity(self.rng(_PERSON, person))
    )
    self._scenes = [
      scene.make_scene(view.scene, self.rng(_SCENE, camid))
      for camid, view in enumerate(camera.CAMERAS)
    ]

  def rng(self, *words: int) -> np.random.Generator:
    """A stream of its own: no image depends on how many came before it."""
    return np.random.Generator(np.random.PCG64([self._seed, *words]))

  def film(
    self, person: int, camid: int, visit: int, count: int
  ) -> list[np.ndarray]:
    """A person passing a camera: `count` images, in order of time.

    Each is uint8 [128, 64, 3]. `visit` tells apart the sightings of one person
    by one camera.
    """
    view = camera.CAMERAS[camid]
    words = person, camid, visit
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
    for frame in range(count):
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
      image = self._compose(person, pose, camid, place + walked, folds)
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
    """A box that a detector should not have given, [128, 64, 3] uint8.

    It shows a part of the person; every fourth `index` shows nobody.
    """
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


def _folds(rng: np.random.Generator) -> np.ndarray:
  """Shading of cloth, [128, 64] float32 about 1: no garment is flat."""
  size = 8
  grid = rng.normal(1, 0.09, (figure.HEIGHT // size, figure.WIDTH // size))
  return scene.enlarge(grid, size)
