"""Sizes from the headers of image files, and what is refused by them."""

import io
import struct

import numpy as np
import pytest
from PIL import Image

from dbc_jax.data import headers

WIDTH, HEIGHT = 300, 258  # Each needs more than a byte.
PICTURE = Image.fromarray(
  np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
)


def encode(kind, image=PICTURE, **options):
  buffer = io.BytesIO()
  image.save(buffer, kind, **options)
  return buffer.getvalue()


def with_segment(marker, content):
  """A JPEG with one more segment ahead of all others."""
  jpeg = encode('JPEG')
  segment = struct.pack('>BBH', 0xFF, marker, len(content) + 2) + content
  return jpeg[:2] + segment + jpeg[2:]


def top_row_first():
  data = bytearray(encode('BMP'))
  data[22:26] = struct.pack('<i', -HEIGHT)
  return bytes(data)


def rotation():
  exif = Image.Exif()
  exif[0x0112] = 6
  return exif


FILES = {
  'jpeg': encode('JPEG'),
  'progressive jpeg': encode('JPEG', progressive=True),
  'cmyk jpeg': encode('JPEG', PICTURE.convert('CMYK')),
  'jpeg with a thumbnail': with_segment(
    0xE1, b'Exif\0\0' + encode('JPEG', PICTURE.resize((8, 8)))
  ),
  'jpeg with filler': encode('JPEG').replace(b'\xff\xdb', b'\xff\xff\xff\xdb'),
  'jpeg with stray bytes': with_segment(0xFE, b'x').replace(
    b'\xff\xdb', b'\0\0\0\xff\xdb', 1
  ),
  'jpeg with a bare marker': encode('JPEG').replace(
    b'\xff\xdb', b'\xff\xd0\xff\xdb', 1
  ),
  'png': encode('PNG'),
  'interlaced png': encode('PNG', interlace=1),
  'webp': encode('WEBP'),
  'lossless webp': encode('WEBP', lossless=True),
  'extended webp': encode('WEBP', exif=rotation()),
  'bmp': encode('BMP'),
  'bmp with the top row first': top_row_first(),
  'bmp of os/2': b'BM' + bytes(12) + struct.pack('<IHH', 12, WIDTH, HEIGHT),
}


@pytest.mark.parametrize('name', FILES)
def test_size_is_what_the_encoder_wrote(name, monkeypatch):
  monkeypatch.setattr(headers, 'MAX_PIXELS', WIDTH * HEIGHT)
  headers.check_header(FILES[name])
  monkeypatch.setattr(headers, 'MAX_PIXELS', WIDTH * HEIGHT - 1)
  with pytest.raises(ValueError, match='300 pixels wide and 258 high'):
    headers.check_header(FILES[name])


def test_webp_files_are_of_three_kinds():
  kinds = [FILES[name][12:16] for name in FILES if 'webp' in name]
  assert kinds == [b'VP8 ', b'VP8L', b'VP8X']


@pytest.mark.parametrize('name', FILES)
def test_header_that_ends_too_early(name):
  data = FILES[name]
  # Up to where the size can be; the signature alone is 12 bytes at most.
  with pytest.raises(ValueError, match=r'^damaged: truncated in its header$'):
    headers.check_header(data[: 24 if 'webp' in name else 18])


def test_jpeg_without_a_size_is_refused_at_once():
  with pytest.raises(ValueError, match='truncated in its header'):
    headers.check_header(b'\xff\xd8' + bytes(50_000_000))


@pytest.mark.parametrize(
  'data, message',
  [
    (b'', '^empty file$'),
    (b'<html>404</html>', '^not an image in JPEG, PNG, WebP or BMP$'),
    (encode('GIF'), '^not an image in'),
    (encode('TIFF'), '^not an image in'),
    (b'RIFF\0\0\0\0WAVEfmt ', '^not an image in'),
  ],
)
def test_other_files(data, message):
  with pytest.raises(ValueError, match=message):
    headers.check_header(data)


def test_limit_counts_pixels_not_sides():
  def png(width, height):
    return FILES['png'][:16] + struct.pack('>II', width, height)

  assert headers.MAX_PIXELS == 8000 * 8000
  headers.check_header(png(8000, 8000))
  headers.check_header(png(1_000_000, 64))
  with pytest.raises(ValueError, match='8000 pixels wide and 8001 high'):
    headers.check_header(png(8000, 8001))
