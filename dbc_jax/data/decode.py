"""From image files to uint8 RGB arrays, with OpenCV, and Pillow as fallback.

Called by the readers of this package.
"""

import functools
import io
import itertools
import struct
from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from dbc_jax.data.headers import check_header
from dbc_jax.data.samples import Samples

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


def image_files(root: Path, names: Iterable[str]) -> Samples:
  """Samples that are decoded from the files `root`/name when read."""
  names = tuple(names)
  return Samples(names, functools.partial(_read, root, names))


def tracklet_files(
  root: Path, names: Iterable[str], frames: Sequence[Sequence[str]]
) -> Samples:
  """Tracklets that are decoded from files when read.

  Args:
    root: folder that all paths start from.
    names: N, one a tracklet.
    frames: N, the paths of its frames in order of time; not empty.
  """
  starts = np.cumsum([0, *map(len, frames)])
  flat = tuple(itertools.chain.from_iterable(frames))
  read = functools.partial(_read, root, flat)
  return Samples(tuple(names), read, starts, flat)


def decode_image(data: bytes) -> np.ndarray:
  """Decodes one image, given as the content of its file.

  Grey, palette, CMYK and 16-bit images become 8-bit RGB, transparency is
  dropped, a rotation noted in the file is applied, and of an animation the
  first picture is taken.

  Args:
    data: the bytes of a JPEG, PNG, WebP or BMP file.

  Returns:
    [H, W, 3] uint8 RGB.

  Raises:
    ValueError: empty, truncated, damaged, not one of these files, or of more
      than `headers.MAX_PIXELS`, which is found out before it is decoded.
  """
  check_header(data)
  # OpenCV fills what a truncated JPEG lacks with grey, Pillow refuses it.
  if not _looks_truncated(data):
    try:
      image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
      image = None
    if image is not None:
      return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
  try:
    with Image.open(io.BytesIO(data)) as opened:
      image = ImageOps.exif_transpose(opened)
      if image.mode.startswith('I'):  # 16-bit grey, which `convert` would clip.
        image = Image.fromarray((np.array(image) >> 8).astype(np.uint8))
      return np.array(image.convert('RGB'))
  except UnidentifiedImageError as error:
    raise ValueError('not an image') from error
  except _PILLOW_ERRORS as error:
    raise ValueError(f'damaged: {error}') from error


def _read(root: Path, names: tuple[str, ...], index: int) -> np.ndarray:
  try:
    return decode_image((root / names[index]).read_bytes())
  except OSError as error:
    raise ValueError(f'{names[index]}: {error.strerror}') from error
  except ValueError as error:
    raise ValueError(f'{names[index]}: {error}') from error


def _looks_truncated(data: bytes) -> bool:
  """Whether a JPEG or PNG has no end marker: suspicious, not certain."""
  if data.startswith(b'\x89PNG'):
    return b'IEND' not in data
  return data.startswith(b'\xff\xd8') and data.rfind(b'\xff\xd9') < data.rfind(
    b'\xff\xda'
  )
