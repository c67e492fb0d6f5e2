"""Decoding: colour order, odd files, sizes, and one report of bad ones."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from dbc_jax.data import load_images
from dbc_jax.data.decode import decode_image, image_files
from dbc_jax.data.manifest import EMPTY, in_memory

# Red above blue, in blocks large enough to survive JPEG.
PICTURE = np.zeros((32, 16, 3), np.uint8)
PICTURE[:16, :, 0] = PICTURE[16:, :, 2] = 255


def encode(suffix, mode='RGB', image=PICTURE, **options):
  buffer = io.BytesIO()
  Image.fromarray(image).convert(mode).save(buffer, suffix, **options)
  return buffer.getvalue()


@pytest.mark.parametrize('kind', ['PNG', 'BMP', 'JPEG', 'WEBP'])
def test_channels_are_red_green_blue(kind):
  image = decode_image(encode(kind))
  assert (image.shape, image.dtype) == ((32, 16, 3), np.uint8)
  lossy = kind in ('JPEG', 'WEBP')
  np.testing.assert_allclose(
    image[[4, 28], 8].astype(int), PICTURE[[4, 28], 8], atol=20 * lossy
  )


@pytest.mark.parametrize(
  'kind, mode',
  [
    ('JPEG', 'L'),
    ('JPEG', 'CMYK'),
    ('PNG', '1'),
    ('PNG', 'P'),
    ('PNG', 'RGBA'),
    ('BMP', 'P'),
  ],
)
def test_other_colour_modes_become_rgb(kind, mode):
  data = encode(kind, mode)
  expected = np.asarray(Image.open(io.BytesIO(data)).convert('RGB'))
  np.testing.assert_allclose(
    decode_image(data).astype(int), expected, atol=2 * (kind == 'JPEG')
  )


def test_noted_rotation_is_applied():
  exif = Image.Exif()
  exif[0x0112] = 6  # Shown after a quarter turn clockwise.
  image = decode_image(encode('JPEG', exif=exif))
  assert image.shape == (16, 32, 3)
  assert image[8, 28, 0] > 200  # The top, red, is now on the right.


def test_pillow_decodes_what_opencv_refuses():
  data = encode('PNG')[:-12]  # All pixels are there, the end marker is not.
  np.testing.assert_array_equal(decode_image(data), PICTURE)


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
  with pytest.raises(ValueError):
    decode_image(data[: int(share * len(data))])


def test_truncated_jpegs_are_refused_though_opencv_takes_them(monkeypatch):
  # Some versions of OpenCV fill the missing part with grey.
  data = encode('JPEG', progressive=True)
  decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
  monkeypatch.setattr(cv2, 'imdecode', lambda *_: decoded)
  for cut in (data[: len(data) // 2] + bytes(500), data[:-2]):
    with pytest.raises(ValueError, match=r'damaged: .*truncated'):
      decode_image(cut)


@pytest.mark.parametrize('size', [(32, 16), (16, 8), (64, 48), (64, 8)])
def test_images_are_resized_to_one_size(size):
  flat = np.full((32, 16, 3), 77, np.uint8)
  images = load_images(in_memory(['a', 'b'], np.stack([PICTURE, flat])), size)
  assert (images.shape, images.dtype) == ((2, *size, 3), np.uint8)
  assert (images[1] == 77).all()
  np.testing.assert_array_equal(images[0, 0, 0], PICTURE[0, 0])
  np.testing.assert_array_equal(images[0, -1, -1], PICTURE[-1, -1])


def test_shrinking_averages_and_enlarging_interpolates():
  rng = np.random.default_rng(0)
  picture = rng.integers(0, 256, (1, 32, 16, 3), np.uint8)
  samples = in_memory(['a'], picture)
  means = picture[0].reshape(8, 4, 4, 4, 3).mean(axis=(1, 3))
  np.testing.assert_allclose(load_images(samples, (8, 4))[0], means, atol=1)
  np.testing.assert_array_equal(
    load_images(samples, (64, 32))[0],
    cv2.resize(picture[0], (32, 64), interpolation=cv2.INTER_LINEAR),
  )
  np.testing.assert_array_equal(load_images(samples, (32, 16)), picture)


def write(folder, files):
  for name, data in files.items():
    (folder / name).write_bytes(data)
  return image_files(folder, sorted(files))


def test_order_is_kept_and_native_size_too(tmp_path):
  pictures = np.random.default_rng(0).integers(0, 256, (50, 6, 4, 3), np.uint8)
  samples = write(
    tmp_path,
    {f'{i:02}.png': encode('PNG', image=p) for i, p in enumerate(pictures)},
  )
  np.testing.assert_array_equal(load_images(samples), pictures)


def test_several_native_sizes_are_an_error(tmp_path):
  samples = write(
    tmp_path,
    {'a.png': encode('PNG'), 'b.png': encode('PNG', image=PICTURE[:20])},
  )
  with pytest.raises(ValueError, match=r'2 sizes') as caught:
    load_images(samples)
  assert '32 x 16, as a.png' in str(caught.value)
  assert '20 x 16, as b.png' in str(caught.value)
  assert load_images(samples, (32, 16)).shape == (2, 32, 16, 3)


def test_unreadable_images_are_reported_together(tmp_path):
  good = encode('JPEG')
  bad = {
    'empty.jpg': b'',
    'text.jpg': b'<html>404 Not Found</html>',
    'half.jpg': good[: len(good) // 2],
  }
  samples = write(tmp_path, {'good.jpg': good, 'lost.jpg': good, **bad})
  (tmp_path / 'lost.jpg').unlink()
  with pytest.raises(ValueError, match=r'^4 of 5 images cannot') as caught:
    load_images(samples, (32, 16))
  message = str(caught.value)
  assert 'empty.jpg: empty file' in message
  assert 'text.jpg: not an image' in message
  assert 'half.jpg: damaged: ' in message
  assert 'lost.jpg: No such file' in message
  assert 'good.jpg' not in message
  assert 'remove them' in message


def test_ten_unreadable_names_are_enough(tmp_path):
  samples = write(tmp_path, {f'{i:02}.jpg': b'' for i in range(12)})
  with pytest.raises(ValueError, match='12 of 12') as caught:
    load_images(samples)
  assert '09.jpg' in str(caught.value)
  assert '10.jpg' not in str(caught.value)


def test_one_bad_image_names_itself(tmp_path):
  samples = write(tmp_path, {'bad.jpg': b'x'})
  with pytest.raises(ValueError, match=r'^bad\.jpg: not an image'):
    samples.read(0)


def test_no_samples():
  assert load_images(EMPTY).shape == (0, 0, 0, 3)
  assert load_images(EMPTY, (8, 4)).shape == (0, 8, 4, 3)


@pytest.mark.parametrize('size', [(32,), (0, 16), (32, 16, 3)])
def test_size_is_checked(size):
  with pytest.raises(ValueError, match=r'size: expected \(height, width\)'):
    load_images(EMPTY, size)


@pytest.mark.parametrize(
  'count, terminal, shown', [(2001, True, 1), (2000, True, 0), (2001, False, 0)]
)
def test_progress_only_for_many_on_a_terminal(
  count, terminal, shown, capsys, monkeypatch
):
  samples = in_memory([''] * count, np.zeros((count, 1, 1, 3), np.uint8))
  monkeypatch.setattr('sys.stderr.isatty', lambda: terminal, raising=False)
  load_images(samples)
  assert ('Decoding' in capsys.readouterr().err) == shown
