"""What is behind each synthetic camera: five painted places."""

import numpy as np
from PIL import Image, ImageDraw

# What makes raw pixels match by place, not by person: the contrast and the
# colour of every place, as shares of what is painted below.
CONTRAST = 0.35
COLOUR = 0.4

_SCENE_SIZE = (176, 320)  # high, wide: crops of 128 x 64 are taken from it


def make_scene(name: str, rng: np.random.Generator) -> np.ndarray:
  """A place of `Camera.scene`, as [176, 320, 3] float32 of 0..255."""
  high, wide = _SCENE_SIZE
  picture = Image.new('RGB', (wide, high))
  pen = ImageDraw.Draw(picture)
  _PAINTERS[name](pen, rng)
  scene = np.asarray(picture).astype(np.float32)
  for size, strength in ((40, 8), (10, 7), (3, 6)):
    grid = rng.normal(0, strength, (high // size + 2, wide // size + 2))
    scene += enlarge(grid, size)[:high, :wide, None]
  grey = scene.mean(-1, keepdims=True)
  scene = grey + COLOUR * (scene - grey)
  return 118 + CONTRAST * (scene - 118)


def enlarge(grid: np.ndarray, size: int) -> np.ndarray:
  """Smooth interpolation of a coarse grid: mottled ground, shading."""
  image = Image.fromarray(grid.astype(np.float32))
  shape = (grid.shape[1] * size, grid.shape[0] * size)
  return np.asarray(image.resize(shape, Image.Resampling.BILINEAR))


def _street(pen: ImageDraw.ImageDraw, rng: np.random.Generator) -> None:
  pen.rectangle((0, 0, 320, 176), fill=(158, 152, 144))
  paints = [(96, 116, 134), (178, 166, 140), (120, 92, 84), (70, 74, 84)]
  for _ in range(9):
    x, y = int(rng.integers(0, 320)), int(rng.integers(80, 100))
    w, h = int(rng.integers(25, 50)), int(rng.integers(45, 90))
    paint = paints[rng.integers(len(paints))]
    pen.rectangle((x, y - h, x + w, y), fill=paint)
  pen.rectangle((0, 100, 320, 176), fill=(138, 138, 140))
  for y in range(100, 176, 15):
    pen.line((0, y, 320, y), fill=(116, 116, 120), width=1)
  for x in range(-60, 400, 24):
    pen.line((x, 100, x * 2 - 160, 176), fill=(116, 116, 120), width=1)


def _park(pen: ImageDraw.ImageDraw, rng: np.random.Generator) -> None:
  pen.rectangle((0, 0, 320, 176), fill=(148, 172, 184))
  for _ in range(26):
    x, y = int(rng.integers(-10, 320)), int(rng.integers(10, 80))
    r = int(rng.integers(14, 34))
    green = int(rng.integers(80, 130))
    pen.ellipse((x - r, y - r, x + r, y + r), fill=(60, green, 58))
  pen.rectangle((0, 84, 320, 176), fill=(110, 142, 80))
  pen.polygon(((0, 150), (320, 104), (320, 140), (0, 176)), (176, 160, 130))


def _brick(pen: ImageDraw.ImageDraw, rng: np.random.Generator) -> None:
  pen.rectangle((0, 0, 320, 176), fill=(146, 98, 82))
  for row, y in enumerate(range(0, 120, 8)):
    for x in range(-16 * (row % 2) // 2, 320, 16):
      tone = int(rng.integers(-16, 16))
      fill = (146 + tone, 96 + tone, 80 + tone)
      pen.rectangle((x + 1, y + 1, x + 15, y + 7), fill=fill)
  for x in range(int(rng.integers(10, 60)), 320, 90):
    pen.rectangle((x, 24, x + 30, 84), fill=(64, 76, 92))
    pen.rectangle((x, 24, x + 30, 84), outline=(188, 180, 168), width=3)
  pen.rectangle((0, 116, 320, 176), fill=(104, 104, 110))
  pen.rectangle((0, 116, 320, 124), fill=(150, 148, 144))


def _hall(pen: ImageDraw.ImageDraw, rng: np.random.Generator) -> None:
  pen.rectangle((0, 0, 320, 176), fill=(196, 184, 160))
  for x in range(int(rng.integers(0, 40)), 320, 64):
    pen.rectangle((x, 20, x + 34, 108), fill=(150, 120, 88))
    pen.rectangle((x + 26, 60, x + 30, 66), fill=(214, 200, 120))
  pen.rectangle((0, 108, 320, 114), fill=(120, 104, 88))
  for i, y in enumerate(range(114, 176, 12)):
    for j, x in enumerate(range(-20, 320, 26)):
      fill = (176, 170, 158) if (i + j) % 2 else (140, 134, 126)
      pen.rectangle((x, y, x + 25, y + 11), fill=fill)


def _parking(pen: ImageDraw.ImageDraw, rng: np.random.Generator) -> None:
  pen.rectangle((0, 0, 320, 176), fill=(120, 128, 122))
  pen.rectangle((0, 0, 320, 50), fill=(168, 178, 190))
  paints = [(150, 50, 48), (54, 78, 130), (196, 196, 192), (60, 60, 66)]
  for x in range(int(rng.integers(-40, 0)), 320, 76):
    paint = paints[rng.integers(len(paints))]
    pen.rounded_rectangle((x, 62, x + 66, 92), 8, fill=paint)
    pen.rounded_rectangle((x + 12, 44, x + 54, 70), 8, fill=(88, 100, 112))
    for wheel in (x + 8, x + 44):
      pen.ellipse((wheel, 84, wheel + 14, 98), fill=(30, 30, 32))
  for x in range(-40, 400, 50):
    pen.line((x, 104, x - 50, 176), fill=(206, 200, 160), width=3)


_PAINTERS = {
  'street': _street,
  'park': _park,
  'brick': _brick,
  'hall': _hall,
  'parking': _parking,
}
