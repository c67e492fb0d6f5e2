"""Decoding of one image: colours, headers, odd files, and damaged ones."""

import errno
import io
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from dbc_jax.data import decode
from dbc_jax.data.decode import decode_image, image_files

# Red above blue, in blocks large enough to survive JPEG.
PICTURE = np.zeros((32, 16, 3), np.uint8)
PICTURE[:16, :, 0] = PICTURE[16:, :, 2] = 255
# Options with which Pillow keeps every pixel.
LOSSLESS = {'PNG': {}, 'WEBP': {'lossless': True}}


def encode(suffix, mode='RGB', image=PICTURE, **options):
  buffer = io.BytesIO()
  Image.fromarray(image).convert(mode).save(buffer, suffix, **options)
  return buffer.getvalue()


def write(folder, files):
  for name, data in files.items():
    (folder / name).write_bytes(data)
  return image_files(folder, sorted(files))


@pytest.mark.parametrize('kind', ['PNG', 'BMP', 'JPEG', 'WEBP'])
def test_channels_are_red_green_blue(kind):
  image = decode_image(encode(kind))
  assert (image.shape, image.dtype) == ((32, 16, 3), np.uint8)
  lossy = kind in ('JPEG', 'WEBP')
  np.testing.assert_allclose(
    image[[4, 28], 8].astype(int), PICTURE[[4, 28], 8], atol=20 * lossy
  )


@pytest.mark.parametrize(
  ('kind', 'mode'),
  [
    ('JPEG', 'L'),
    ('JPEG', 'CMYK'),
    ('PNG', '1'),
    ('PNG', 'L'),
    ('PNG', 'LA'),
    ('PNG', 'P'),
    ('PNG', 'RGBA'),
    ('WEBP', 'RGBA'),
    ('BMP', '1'),
    ('BMP', 'P'),
  ],
)
def test_other_colour_modes_become_rgb(kind, mode):
  data = encode(kind, mode)
  expected = np.asarray(Image.open(io.BytesIO(data)).convert('RGB'))
  np.testing.assert_allclose(
    decode_image(data).astype(int), expected, atol=2 * (kind == 'JPEG')
  )


@pytest.mark.parametrize('marked', [True, False])
@pytest.mark.parametrize('transform', [0, 2])
def test_cmyk_jpegs_are_inverted_as_adobe_writes_them(transform, marked):
  # Stored are 255 less these: 60, 128, 128, 255.
  buffer = io.BytesIO()
  inks = Image.new('CMYK', (16, 16), (195, 127, 127, 0))
  inks.save(buffer, 'JPEG', quality=100)
  data = bytearray(buffer.getvalue())
  assert data[2:4] == b'\xff\xee'
  assert data[6:11] == b'Adobe'
  data[17] = transform  # 0: the inks themselves, 2: luminance and two chromas.
  if not marked:
    del data[2:18]
  inks_as_such = (60, 128, 128)
  grey = (195,) * 3  # C = M = Y = 255 - luminance, and inverted.
  expected = grey if transform == 2 and marked else inks_as_such
  image = decode_image(bytes(data))
  np.testing.assert_allclose(image.astype(int)[8, 8], expected, atol=2)


@pytest.mark.parametrize('channels', [1, 3, 4])
@pytest.mark.parametrize('whole', [True, False])
def test_of_16_bits_the_upper_8_are_taken(channels, whole):
  shape = (32, 16, channels)
  image = np.random.default_rng(0).integers(0, 2**16, shape, np.uint16)
  data = cv2.imencode('.png', image)[1].tobytes()  # Blue comes first.
  upper = (image >> 8).astype(np.uint8)
  expected = upper[..., 2::-1] if channels > 1 else np.repeat(upper, 3, -1)
  # Without its end marker the file is decoded by Pillow.
  decoded = decode_image(data if whole else data[:-12])
  np.testing.assert_array_equal(decoded, expected)


@pytest.mark.parametrize('kind', ['JPEG', 'PNG', 'WEBP'])
@pytest.mark.parametrize('orientation', range(1, 9))
def test_noted_rotation_is_applied(kind, orientation):
  exif = Image.Exif()
  exif[0x0112] = orientation
  # Four colours, so that all turns and mirrors differ.
  picture = PICTURE.copy()
  picture[:16, :8, 1] = picture[16:, :8, 1] = 255
  picture[16:, 8:] = 255
  data = encode(kind, image=picture, exif=exif)
  with Image.open(io.BytesIO(data)) as opened:
    expected = np.asarray(ImageOps.exif_transpose(opened)).astype(int)
  image = decode_image(data)
  assert image.shape == ((32, 16, 3) if orientation < 5 else (16, 32, 3))
  np.testing.assert_allclose(image, expected, atol=2)


@pytest.mark.parametrize('kind', ['PNG', 'WEBP'])
def test_of_an_animation_the_first_picture_is_taken(kind):
  second = Image.fromarray(255 - PICTURE)
  data = encode(kind, save_all=True, append_images=[second], **LOSSLESS[kind])
  np.testing.assert_array_equal(decode_image(data), PICTURE)


@pytest.mark.parametrize('kind', ['GIF', 'TIFF'])
def test_other_kinds_are_refused_whatever_their_suffix(kind, tmp_path):
  samples = write(tmp_path, {'a.png': encode(kind)})
  with pytest.raises(ValueError, match=r'^a\.png: not an image in JPEG, PNG'):
    samples.read(0)


def test_huge_images_are_refused_before_they_are_decoded(monkeypatch):
  header = struct.pack('>II5B', 20_000, 20_000, 1, 0, 0, 0, 0)
  rows = zlib.compress(bytes(20_000 * 2501))  # 50 MB of zeros.
  chunks = ((b'IHDR', header), (b'IDAT', rows), (b'IEND', b''))
  bomb = b'\x89PNG\r\n\x1a\n' + b''.join(
    struct.pack('>I', len(content))
    + kind
    + content
    + struct.pack('>I', zlib.crc32(kind + content))
    for kind, content in chunks
  )
  assert len(bomb) < 100_000
  for module, name in ((cv2, 'imdecode'), (Image, 'open')):
    monkeypatch.setattr(module, name, lambda *_: pytest.fail('decoded'))
  with pytest.raises(ValueError, match=r'20000 pixels wide.*64,000,000'):
    decode_image(bomb)


def test_pillow_decodes_what_opencv_refuses():
  data = encode('PNG')[:-12]  # All pixels are there, the end marker is not.
  np.testing.assert_array_equal(decode_image(data), PICTURE)


@pytest.mark.parametrize('kind', ['JPEG', 'PNG'])
def test_signature_with_nonsense_behind_it(kind):
  data = encode(kind)
  with pytest.raises(ValueError, match=r'damaged|not an image'):
    decode_image(data[:8] + bytes(8) + data[16:24] + bytes(100))


def test_bytes_after_the_end_do_no_harm():
  data = encode('JPEG')
  np.testing.assert_array_equal(
    decode_image(data + b'\xff\xda and so on'), decode_image(data)
  )


@pytest.mark.parametrize('kind', ['JPEG', 'PNG', 'WEBP', 'BMP'])
@pytest.mark.parametrize('share', [0.3, 0.6, 0.9])
def test_truncated_images_are_refused(kind, share):
  noise = np.random.default_rng(0).integers(0, 256, (64, 32, 3), np.uint8)
  data = encode(kind, image=noise)
  with pytest.raises(ValueError, match=r'^damaged: '):
    decode_image(data[: int(share * len(data))])


def test_truncated_jpegs_are_refused_though_opencv_takes_them(monkeypatch):
  # Some versions of OpenCV fill the missing part with grey.
  data = encode('JPEG', progressive=True)
  decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
  monkeypatch.setattr(cv2, 'imdecode', lambda *_: decoded)
  for cut in (data[: len(data) // 2] + bytes(500), data[:-2]):
    with pytest.raises(ValueError, match=r'damaged: .*truncated'):
      decode_image(cut)


def test_one_bad_image_names_itself(tmp_path):
  samples = write(tmp_path, {'bad.jpg': b'x'})
  with pytest.raises(ValueError, match=r'^bad\.jpg: not an image'):
    samples.read(0)


def test_files_that_may_not_be_read(tmp_path, monkeypatch):
  samples = write(tmp_path, {'a.png': encode('PNG')})

  # A real one would not stop root, whom tests may run as.
  def refuse(path):
    raise PermissionError(errno.EACCES, 'Permission denied', str(path))

  monkeypatch.setattr(Path, 'read_bytes', refuse)
  with pytest.raises(ValueError, match=r'^a\.png: Permission denied$'):
    samples.read(0)


# Sizes from the headers of files, and what is refused by them.
WIDTH, HEIGHT = 300, 258  # Each needs more than a byte.
LARGE = Image.fromarray(
  np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
)


def encode_picture(kind, image=LARGE, **options):
  buffer = io.BytesIO()
  image.save(buffer, kind, **options)
  return buffer.getvalue()


def with_segment(marker, content):
  """A JPEG with one more segment ahead of all others."""
  jpeg = encode_picture('JPEG')
  segment = struct.pack('>BBH', 0xFF, marker, len(content) + 2) + content
  return jpeg[:2] + segment + jpeg[2:]


def top_row_first():
  data = bytearray(encode_picture('BMP'))
  data[22:26] = struct.pack('<i', -HEIGHT)
  return bytes(data)


def rotation():
  exif = Image.Exif()
  exif[0x0112] = 6
  return exif


FILES = {
  'jpeg': encode_picture('JPEG'),
  'progressive jpeg': encode_picture('JPEG', progressive=True),
  'cmyk jpeg': encode_picture('JPEG', LARGE.convert('CMYK')),
  'jpeg with a thumbnail': with_segment(
    0xE1, b'Exif\0\0' + encode_picture('JPEG', LARGE.resize((8, 8)))
  ),
  'jpeg with filler': encode_picture('JPEG').replace(
    b'\xff\xdb', b'\xff\xff\xff\xdb'
  ),
  'jpeg with stray bytes': with_segment(0xFE, b'x').replace(
    b'\xff\xdb', b'\0\0\0\xff\xdb', 1
  ),
  'jpeg with a bare marker': encode_picture('JPEG').replace(
    b'\xff\xdb', b'\xff\xd0\xff\xdb', 1
  ),
  'png': encode_picture('PNG'),
  'interlaced png': encode_picture('PNG', interlace=1),
  'webp': encode_picture('WEBP'),
  'lossless webp': encode_picture('WEBP', lossless=True),
  'extended webp': encode_picture('WEBP', exif=rotation()),
  'bmp': encode_picture('BMP'),
  'bmp with the top row first': top_row_first(),
  'bmp of os/2': b'BM' + bytes(12) + struct.pack('<IHH', 12, WIDTH, HEIGHT),
}


@pytest.mark.parametrize('name', FILES)
def test_size_is_what_the_encoder_wrote(name, monkeypatch):
  monkeypatch.setattr(decode, 'MAX_PIXELS', WIDTH * HEIGHT)
  decode.check_header(FILES[name])
  monkeypatch.setattr(decode, 'MAX_PIXELS', WIDTH * HEIGHT - 1)
  with pytest.raises(ValueError, match='300 pixels wide and 258 high'):
    decode.check_header(FILES[name])


def test_webp_files_are_of_three_kinds():
  kinds = [FILES[name][12:16] for name in FILES if 'webp' in name]
  assert kinds == [b'VP8 ', b'VP8L', b'VP8X']


@pytest.mark.parametrize('name', FILES)
def test_header_that_ends_too_early(name):
  data = FILES[name]
  # Up to where the size can be; the signature alone is 12 bytes at most.
  with pytest.raises(ValueError, match=r'^damaged: truncated in its header$'):
    decode.check_header(data[: 24 if 'webp' in name else 18])


def test_jpeg_without_a_size_is_refused_at_once():
  with pytest.raises(ValueError, match='truncated in its header'):
    decode.check_header(b'\xff\xd8' + bytes(50_000_000))


@pytest.mark.parametrize(
  ('data', 'message'),
  [
    (b'', '^empty file$'),
    (b'<html>404</html>', '^not an image in JPEG, PNG, WebP or BMP$'),
    (encode_picture('GIF'), '^not an image in'),
    (encode_picture('TIFF'), '^not an image in'),
    (b'RIFF\0\0\0\0WAVEfmt ', '^not an image in'),
  ],
)
def test_other_files(data, message):
  with pytest.raises(ValueError, match=message):
    decode.check_header(data)


def test_limit_counts_pixels_not_sides():
  def png(width, height):
    return FILES['png'][:16] + struct.pack('>II', width, height)

  assert decode.MAX_PIXELS == 8000 * 8000
  decode.check_header(png(8000, 8000))
  decode.check_header(png(1_000_000, 64))
  with pytest.raises(ValueError, match='8000 pixels wide and 8001 high'):
    decode.check_header(png(8000, 8001))
