"""From image files to uint8 RGB arrays, with OpenCV, and Pillow as fallback.

Called by the readers of this package, and by the driver to hold a split in
memory.
"""

import functools
import io
import os
import struct
import sys
from collections.abc import Iterable, Sequence
from concurrent import futures
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from tqdm import tqdm

from dbc_jax.data.manifest import Samples

IMAGE_SUFFIXES = ('.bmp', '.jpeg', '.jpg', '.png', '.webp')

# What Pillow's readers answer damaged files with.
_PILLOW_ERRORS = (
  OSError,
  SyntaxError,
  ValueError,
  IndexError,
  EOFError,
  struct.error,
  Image.DecompressionBombError,
)
_NAMES_SHOWN = 10
_PROGRESS_FROM = 2000
_MAX_THREADS = 8


def image_files(root: Path, names: Iterable[str]) -> Samples:
  """Samples that are decoded from the files `root`/name when read."""
  names = tuple(names)
  return Samples(names, functools.partial(_read, root, names))


def decode_image(data: bytes) -> np.ndarray:
  """Decodes one image, given as the content of its file.

  Grey, palette, CMYK and 16-bit images become 8-bit RGB, transparency is
  dropped, and a rotation noted in the file is applied.

  Args:
    data: the bytes of a JPEG, PNG, WebP or BMP file.

  Returns:
    [H, W, 3] uint8 RGB.

  Raises:
    ValueError: empty, truncated, or not an image.
  """
  if not data:
    raise ValueError('empty file')
  # OpenCV fills what a truncated JPEG lacks with grey, Pillow refuses it.
  if not _looks_truncated(data):
    try:
      image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
      image = None
    if image is not None:
      return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
  try:
    with Image.open(io.BytesIO(data)) as image:
      return np.array(ImageOps.exif_transpose(image).convert('RGB'))
  except UnidentifiedImageError as error:
    raise ValueError('not an image') from error
  except _PILLOW_ERRORS as error:
    raise ValueError(f'damaged: {error}') from error


def load_images(
  samples: Samples, size: tuple[int, int] | None = None
) -> np.ndarray:
  """Decodes a whole split into one array, on several threads.

  An image of another size than `size` is resized: with OpenCV's INTER_AREA
  where neither side grows, else with INTER_LINEAR. The aspect ratio is not
  kept.

  Args:
    samples: N images.
    size: (height, width) in pixels of the result. None keeps the native size,
      which all images must then share.

  Returns:
    [N, height, width, 3] uint8 RGB. With no samples and no size, height and
    width are 0.

  Raises:
    ValueError: images that cannot be read (all are tried, one error tells
      their number and the first ten), or of several sizes with `size=None`.
  """
  if size is not None and (len(size) != 2 or min(size) < 1):
    raise ValueError(f'size: expected (height, width) in pixels, got {size}.')

  def read(index: int) -> np.ndarray | str:
    try:
      image = samples.read(index)
    except ValueError as error:
      return str(error)
    return image if size is None else _resize(image, size)

  images = np.zeros((len(samples), *(size or (0, 0)), 3), np.uint8)
  unreadable, first = [], None
  shapes = {}
  threads = min(_MAX_THREADS, max(2, os.cpu_count() or 1))
  with futures.ThreadPoolExecutor(threads) as executor:
    results = tqdm(
      executor.map(read, range(len(samples))),
      total=len(samples),
      desc='Decoding',
      unit='image',
      disable=len(samples) <= _PROGRESS_FROM or not sys.stderr.isatty(),
    )
    for index, result in enumerate(results):
      if isinstance(result, str):
        unreadable.append(result)
        continue
      if first is None:
        first = result.shape
        images = np.zeros((len(samples), *first), np.uint8)
      if result.shape == first:
        images[index] = result
      shapes.setdefault(result.shape[:2], samples.names[index])
  if unreadable:
    raise ValueError(
      f'{len(unreadable)} of {len(samples)} images cannot be read:'
      f'{_listed(unreadable)}\nCopy them again or remove them.'
    )
  if len(shapes) > 1:
    found = [f'{h} x {w}, as {name}' for (h, w), name in shapes.items()]
    raise ValueError(
      f'The images have {len(shapes)} sizes (height x width):{_listed(found)}'
      '\nGive the size that all are to be resized to.'
    )
  return images


def _listed(lines: Sequence[str]) -> str:
  more = ['...'] if len(lines) > _NAMES_SHOWN else []
  return ''.join(f'\n  {line}' for line in [*lines[:_NAMES_SHOWN], *more])


def _read(root: Path, names: tuple[str, ...], index: int) -> np.ndarray:
  try:
    return decode_image((root / names[index]).read_bytes())
  except OSError as error:
    raise ValueError(f'{names[index]}: {error.strerror}') from error
  except ValueError as error:
    raise ValueError(f'{names[index]}: {error}') from error


def _looks_truncated(data: bytes) -> bool:
  """Whether a JPEG's last scan has no end marker: suspicious, not certain."""
  return data.startswith(b'\xff\xd8') and data.rfind(b'\xff\xd9') < data.rfind(
    b'\xff\xda'
  )


def _resize(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
  height, width = size
  if image.shape[:2] == (height, width):
    return image
  grows = height > image.shape[0] or width > image.shape[1]
  return cv2.resize(
    image,
    (width, height),
    interpolation=cv2.INTER_LINEAR if grows else cv2.INTER_AREA,
  )
