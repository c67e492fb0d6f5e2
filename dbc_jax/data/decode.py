"""From image files to uint8 RGB arrays, with OpenCV, and Pillow as fallback."""

import functools
import io
import itertools
import os
import re
import stat
import struct
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

import cv2
import numpy as np
import PIL
from PIL import Image, ImageOps, UnidentifiedImageError, features

from dbc_jax.data.samples import Samples, printable

T = TypeVar('T')
# An image: the path of its file, or its pixels.
Source = str | os.PathLike[str] | np.ndarray

IMAGE_SUFFIXES = ('.bmp', '.jfif', '.jpe', '.jpeg', '.jpg', '.png', '.webp')
# Of one image. Its pixels take 192 MB, and several are decoded at a time.
MAX_PIXELS = 64_000_000

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
_KINDS = 'JPEG, PNG, WebP or BMP'
# JPEG markers without a length behind them.
_BARE_MARKERS = (0x00, 0x01, *range(0xD0, 0xD9))
# JPEG markers that begin a frame, and so hold its size.
_FRAME_MARKERS = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def image_files(
  root: Path,
  names: Iterable[str],
  frames: Sequence[Sequence[str]] | None = None,
) -> Samples:
  """Samples that are decoded from files when they are read.

  Args:
    root: folder that all paths start from.
    names: N paths of images, or N names of tracklets.
    frames: N, the paths of each tracklet's frames in order of time, at least
      one; None for images.
  """
  names = tuple(names)
  if frames is None:
    return Samples(names, functools.partial(_read, root, names))
  starts = np.cumsum([0, *map(len, frames)])
  flat = tuple(itertools.chain.from_iterable(frames))
  return Samples(names, functools.partial(_read, root, flat), starts, flat)


def samples_of(items: Sequence[Source | Sequence[Source]]) -> Samples:
  """Samples of images or tracklets that belong to no data set.

  Args:
    items: N images or N tracklets. An image is the path of a file, absolute or
      from the current folder, or an array uint8 RGB [H, W, 3]. A tracklet is a
      sequence of images in order of time, or an array uint8 RGB [T, H, W, 3].

  Returns:
    The samples in the order given. A path is the name of its frame. An array
    has the number of its frame for a name, and a tracklet its own number, from
    0. Files are opened when they are read.

  Raises:
    ValueError: there are no items, an item is neither an image nor a tracklet,
      or there are items of both kinds.
  """
  is_list = isinstance(items, Sequence | np.ndarray)
  if not is_list or isinstance(items, str) or not len(items):
    raise ValueError(
      f'items: got {items!r}, expected a list of paths or arrays, at least one'
    )
  is_video = _is_tracklet(items[0])
  tracklets: list[Sequence[Any]] = []
  for i, item in enumerate(cast(Sequence[Any], items)):
    if _is_tracklet(item) != is_video:
      kinds = (
        ('a tracklet', 'an image') if is_video else ('an image', 'a tracklet')
      )
      raise ValueError(
        f'items: item 0 is {kinds[0]}, item {i} {kinds[1]}; give either alone'
      )
    tracklets.append(item if is_video else [item])
    for source in tracklets[-1]:
      _check_source(i, source)
    if not len(tracklets[-1]):
      raise ValueError(f'items: item {i} is a tracklet without frames')
  sources = tuple(itertools.chain.from_iterable(tracklets))
  names = tuple(
    f'{frame}' if isinstance(source, np.ndarray) else os.fspath(source)
    for frame, source in enumerate(sources)
  )

  def read(frame: int) -> np.ndarray:
    source = sources[frame]
    is_array = isinstance(source, np.ndarray)
    return source if is_array else _read(Path(), names, frame)

  if not is_video:
    return Samples(names, read)
  starts = np.cumsum([0, *map(len, tracklets)])
  return Samples(tuple(map(str, range(len(tracklets)))), read, starts, names)


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
      than `MAX_PIXELS`, which is found out before it is decoded.
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


def decoders() -> dict[str, str]:
  """The releases of what decodes images here, and draws those of the demos.

  The pixels of a JPEG differ by a level or two from one to another.
  """
  found = re.search(r'^ *JPEG: +(.*)$', cv2.getBuildInformation(), re.MULTILINE)
  version = found and re.search(r'ver ([\w.-]+)', found[1])
  jpeg = version[1] if version else 'unknown'
  other = features.version('libjpeg_turbo') or features.version('jpg')
  return {
    'OpenCV': f'{cv2.__version__} (libjpeg {jpeg})',
    'Pillow': f'{PIL.__version__} (libjpeg {other or "unknown"})',
  }


def read_file(root: Path, name: str, decode: Callable[[bytes], T]) -> T:
  """What `decode` makes of a file; a ValueError names the file."""
  try:
    # A named pipe, or a terminal, would be waited for, for ever.
    kind = stat.S_IFMT(os.stat(root / name).st_mode)
    if kind not in (stat.S_IFREG, stat.S_IFDIR):
      raise ValueError('a named pipe, a socket or a device, and no file')
    return decode((root / name).read_bytes())
  except OSError as error:
    raise ValueError(f'{printable(name)}: {error.strerror}') from error
  except ValueError as error:
    raise ValueError(f'{printable(name)}: {error}') from error


def _read(root: Path, names: Sequence[str], index: int) -> np.ndarray:
  return read_file(root, names[index], decode_image)


def _is_tracklet(item: Any) -> bool:
  is_array = isinstance(item, np.ndarray)
  return item.ndim == 4 if is_array else isinstance(item, list | tuple)


def _check_source(item: int, source: Any) -> None:
  if isinstance(source, str | os.PathLike):
    return
  found = type(source).__name__
  if isinstance(source, np.ndarray):
    found = f'{source.dtype} of shape {source.shape}'
    if source.dtype == np.uint8 and source.shape[2:] == (3,):
      return
  raise ValueError(
    f'items: item {item} has {found}; expected the path of an image, or an '
    'array uint8 [H, W, 3]'
  )


def _looks_truncated(data: bytes) -> bool:
  """Whether a JPEG or PNG has no end marker: suspicious, not certain."""
  if data.startswith(b'\x89PNG'):
    return b'IEND' not in data
  return data.startswith(b'\xff\xd8') and data.rfind(b'\xff\xd9') < data.rfind(
    b'\xff\xda'
  )


def check_header(data: bytes) -> None:
  """Refuses what is not to be decoded, at the cost of a few bytes read.

  What else OpenCV and Pillow can decode depends on how they were built, and
  so do their own limits on the size.

  Raises:
    ValueError: empty, no JPEG, PNG, WebP or BMP, cut short in its header, or
      of more than MAX_PIXELS.
  """
  if not data:
    raise ValueError('empty file')
  try:
    width, height = _size(data)
  except struct.error as error:
    raise ValueError('damaged: truncated in its header') from error
  if width * height > MAX_PIXELS:
    raise ValueError(
      f'too large: {width} pixels wide and {height} high, expected at most '
      f'{MAX_PIXELS:,} in all; make it smaller'
    )


def _size(data: bytes) -> tuple[int, int]:
  """(width, height) in pixels; struct.error where the data end too early."""
  if data.startswith(b'\x89PNG\r\n\x1a\n'):
    return struct.unpack_from('>II', data, 16)
  if data.startswith(b'\xff\xd8'):
    return _jpeg_size(data)
  if data.startswith(b'RIFF') and data[8:12] == b'WEBP':
    return _webp_size(data)
  if data.startswith(b'BM'):
    return _bmp_size(data)
  raise ValueError(f'not an image in {_KINDS}')


def _jpeg_size(data: bytes) -> tuple[int, int]:
  position = 2
  while True:
    filler, marker, length = struct.unpack_from('>BBH', data, position)
    if filler != 0xFF or marker == 0xFF:
      position = data.find(b'\xff', position + 1)
      if position < 0:
        raise struct.error
    elif marker in _BARE_MARKERS:
      position += 2
    elif marker in _FRAME_MARKERS:
      height, width = struct.unpack_from('>HH', data, position + 5)
      return width, height
    else:
      position += 2 + length


def _webp_size(data: bytes) -> tuple[int, int]:
  kind = data[12:16]
  if kind == b'VP8X':  # Both less one, in 24 bits each.
    width, width_high, height, height_high = struct.unpack_from(
      '<HBHB', data, 24
    )
    return 1 + width + (width_high << 16), 1 + height + (height_high << 16)
  if kind == b'VP8L':  # Both less one, in 14 bits each.
    (bits,) = struct.unpack_from('<I', data, 21)
    return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
  width, height = struct.unpack_from('<HH', data, 26)
  return width & 0x3FFF, height & 0x3FFF


def _bmp_size(data: bytes) -> tuple[int, int]:
  (header,) = struct.unpack_from('<I', data, 14)
  width, height = struct.unpack_from('<HH' if header == 12 else '<ii', data, 18)
  return width, abs(height)  # Below 0 where the top row comes first.
