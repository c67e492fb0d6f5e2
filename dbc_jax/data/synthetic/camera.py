"""The five synthetic cameras: view, light, image quality and occluders."""

import dataclasses
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from dbc_jax.data.synthetic.figure import HEIGHT, WIDTH

# How hard the set is, with `scene.CONTRAST`. Each multiplies the fields of
# every camera below: a strong cast hides the garments' colours, a loose crop
# spoils the match of raw pixels but not that of a convolutional network.
CAST = 0.15
CROP_JITTER = 3.0


@dataclasses.dataclass(frozen=True)
class Camera:
  """What all images of one camera share."""

  # See `figure.Pose`.
  scale: float
  shear: float
  taper: float
  scene: str  # Which background; see `scene.make_scene`.
  gain: tuple[float, float, float]  # On red, green, blue: the colour cast.
  # Factor about, and shift of, the middle grey.
  contrast: float
  brightness: float
  gradient: tuple[float, float]  # Of light from edge to edge: right, down.
  sharpness: float  # Of the sensor, relative to the image; at most 1.
  noise: float  # Standard deviation, 0..255.
  jitter: float  # That of the crop, in pixels, before `CROP_JITTER`.
  # Odds that a sighting is partly hidden, and by what.
  occlusion: float
  occluder: str  # 'pole', 'box' or 'bush'.


# A column is a camera.
_TABLE: dict[str, tuple[Any, ...]] = {
  'scale': (113.8, 108.9, 116.6, 105.4, 111),
  'shear': (0, 0.035, -0.042, 0.021, -0.021),
  'taper': (0, 0.175, -0.07, 0.28, 0.07),
  'scene': ('street', 'park', 'brick', 'hall', 'parking'),
  'gain': (
    (1.0, 1.0, 1.0),
    (1.06, 1.02, 0.86),
    (0.88, 0.97, 1.1),
    (1.08, 0.98, 0.9),
    (0.93, 1.04, 0.98),
  ),
  'contrast': (1.0, 1.05, 0.85, 0.9, 1.1),
  'brightness': (0, 10, -14, 4, -8),
  'gradient': (
    (0.15, 0.0),
    (-0.2, 0.15),
    (0.0, -0.2),
    (0.1, 0.25),
    (-0.15, -0.15),
  ),
  'sharpness': (1, 0.9, 0.85, 0.775, 0.95),
  'noise': (2.5, 3, 3.5, 3.5, 4),
  'jitter': (1.5, 2.0, 2.0, 2.5, 2.5),
  'occlusion': (0.05, 0.15, 0.1, 0.15, 0.2),
  'occluder': ('pole', 'bush', 'pole', 'box', 'box'),
}
CAMERAS = tuple(
  Camera(**dict(zip(_TABLE, column, strict=True)))
  for column in zip(*_TABLE.values(), strict=True)
)


def occlude(
  image: np.ndarray, camera: Camera, x: float, rng: np.random.Generator
) -> np.ndarray:
  """Hides part of an image, [128, 64, 3] float32, behind the camera's object.

  It stands x pixels from the left. The same state of `rng` gives the same
  object in all frames.
  """
  layer = Image.new('RGBA', (WIDTH, HEIGHT))
  pen = ImageDraw.Draw(layer)
  tone = int(rng.integers(60, 150))
  x = round(x)
  if camera.occluder == 'pole':
    half = int(rng.integers(3, 6))
    pen.rectangle((x - half, 0, x + half, HEIGHT), (tone, tone, tone + 6, 255))
  elif camera.occluder == 'box':
    half, top = int(rng.integers(12, 24)), int(rng.integers(74, 100))
    box = (x - half, top, x + half, HEIGHT)
    pen.rectangle(box, (tone, tone - 10, tone - 24, 255), (50, 46, 40, 255))
  else:
    top = int(rng.integers(84, 104))
    for _ in range(14):
      cx = x + int(rng.integers(-22, 23))
      cy = int(rng.integers(top, HEIGHT + 10))
      fill = (44, int(rng.integers(76, 124)), 46, 255)
      pen.ellipse((cx - 9, cy - 8, cx + 9, cy + 8), fill)
  pixels = np.asarray(layer)
  return np.where(pixels[..., 3:] > 0, pixels[..., :3], image)


def expose(
  image: np.ndarray, camera: Camera, light: float, rng: np.random.Generator
) -> np.ndarray:
  """What the camera records of a scene: [128, 64, 3] float32 to uint8."""
  right, down = camera.gradient
  ramp = np.linspace(-0.5, 0.5, WIDTH, dtype=np.float32) * right
  ramp = ramp + np.linspace(-0.5, 0.5, HEIGHT, dtype=np.float32)[:, None] * down
  contrast = 1 + CAST * (camera.contrast - 1)
  gain = 1 + CAST * (np.array(camera.gain, np.float32) - 1)
  image = 118 + contrast * (image - 118) + CAST * camera.brightness
  image = image * (light * (1 + CAST * ramp))[..., None] * gain
  if camera.sharpness < 1:
    small = round(WIDTH * camera.sharpness), round(HEIGHT * camera.sharpness)
    picture = Image.fromarray(np.clip(image, 0, 255).astype(np.uint8))
    picture = _shrink(picture, *small)
    picture = picture.resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR)
    image = np.asarray(picture)
  noise = rng.standard_normal((HEIGHT, WIDTH, 1), np.float32)
  return np.clip(image + camera.noise * noise, 0, 255).astype(np.uint8)


def _shrink(picture: Image.Image, width: int, height: int) -> Image.Image:
  """First the side that shrinks more, as Pillow does from release 13 on.

  Earlier ones begin with the width, and round to other pixels.
  """
  first = (width, picture.height)
  if height * picture.width < width * picture.height:
    first = (picture.width, height)
  for size in (first, (width, height)):
    picture = picture.resize(size, Image.Resampling.BILINEAR)
  return picture
