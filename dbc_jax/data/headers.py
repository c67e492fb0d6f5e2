"""What an image file says of itself before its pixels are decoded.

Called by `decode`.
"""

import struct

# Of one image. Its pixels take 192 MB, and several are decoded at a time.
MAX_PIXELS = 64_000_000

_KINDS = 'JPEG, PNG, WebP or BMP'
# JPEG markers without a length behind them.
_BARE_MARKERS = (0x00, 0x01, *range(0xD0, 0xD9))
# JPEG markers that begin a frame, and so hold its size.
_FRAME_MARKERS = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def check_header(data: bytes) -> None:
  """Refuses what is not to be decoded, at the cost of a few bytes read.

  What else OpenCV and Pillow can decode depends on how they were built, and
  so do their own limits on the size.

  Args:
    data: the content of a file.

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
