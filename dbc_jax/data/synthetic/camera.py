"""The five synthetic cameras: view, light, image quality and occluders."""

import dataclasses

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
  """What all images of one camera share.

  Attributes:
    scale, shear, taper: see `figure.Pose`.
    scene: which background; see `scene.make_scene`.
    gain: factor on red, green, blue: the colour cast.
    contrast, brightness: factor about, and shift of, the middle grey.
    gradient: (right, down), relative change of light from edge to edge.
    sharpness: resolution of the sensor relative to the image, at most 1.
    noise: standard deviation, 0..255.
    jitter: standard deviation of the crop, in pixels, before `CROP_JITTER`.
    occlusion: odds that a sighting is partly hidden, and by what:
    occluder: 'pole', 'box' or 'bush'.
  """

  scale: float
  shear: float
  taper: float
  scene: str
  gain: tuple[float, float, float]
  contrast: float
  brightness: float
  gradient: tuple[float, float]
  sharpness: float
  noise: float
  jitter: float
  occlusion: float
  occluder: str


CAMERAS = (
  Camera(
    scale=113.8,
    shear=0,
    taper=0,
    scene='street',
    gain=(1.0, 1.0, 1.0),
    contrast=1.0,
    brightness=0,
    gradient=(0.15, 0.0),
    sharpness=1,
    noise=2.5,
    jitter=1.5,
    occlusion=0.05,
    occluder='pole',
  ),
  Camera(
    scale=108.9,
    shear=0.035,
    taper=0.175,
    scene='park',
    gain=(1.06, 1.02, 0.86),
    contrast=1.05,
    brightness=10,
    gradient=(-0.2, 0.15),
    sharpness=0.9,
    noise=3,
    jitter=2.0,
    occlusion=0.15,
    occluder='bush',
  ),
  Camera(
    scale=116.6,
    shear=-0.042,
    taper=-0.07,
    scene='brick',
    gain=(0.88, 0.97, 1.1),
    contrast=0.85,
    brightness=-14,
    gradient=(0.0, -0.2),
    sharpness=0.85,
    noise=3.5,
    jitter=2.0,
    occlusion=0.1,
    occluder='pole',
  ),
  Camera(
    scale=105.4,
    shear=0.021,
    taper=0.28,
    scene='hall',
    gain=(1.08, 0.98, 0.9),
    contrast=0.9,
    brightness=4,
    gradient=(0.1, 0.25),
    sharpness=0.775,
    noise=3.5,
    jitter=2.5,
    occlusion=0.15,
    occluder='box',
  ),
  Camera(
    scale=111,
    shear=-0.021,
    taper=0.07,
    scene='parking',
    gain=(0.93, 1.04, 0.98),
    contrast=1.1,
    brightness=-8,
    gradient=(-0.15, -0.15),
    sharpness=0.95,
    noise=4,
    jitter=2.5,
    occlusion=0.2,
    occluder='box',
  ),
)


def occlude(
  image: np.ndarray, camera: Camera, x: float, rng: np.random.Generator
) -> np.ndarray:
  """Hides part of an image behind the camera's kind of object.

  Args:
    image: [128, 64, 3] float32.
    camera: which kind of object.
    x: where it stands, in pixels from the left.
    rng: for its size; the same state gives the same object in all frames.

  Returns:
    [128, 64, 3] float32.
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
    picture = picture.resize(small, Image.Resampling.BILINEAR)
    picture = picture.resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR)
    image = np.asarray(picture)
  noise = rng.standard_normal((HEIGHT, WIDTH, 1), np.float32)
  return np.clip(image + camera.noise * noise, 0, 255).astype(np.uint8)
