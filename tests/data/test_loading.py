"""Decoding of whole splits: order, sizes, and one report of bad images."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from dbc_jax.data import load_images
from dbc_jax.data.decode import image_files
from dbc_jax.data.samples import EMPTY, in_memory

# Red above blue.
PICTURE = np.zeros((32, 16, 3), np.uint8)
PICTURE[:16, :, 0] = PICTURE[16:, :, 2] = 255


def encode(suffix, image=PICTURE):
  buffer = io.BytesIO()
  Image.fromarray(image).save(buffer, suffix)
  return buffer.getvalue()


def write(folder, files):
  for name, data in files.items():
    (folder / name).write_bytes(data)
  return image_files(folder, sorted(files))


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


def test_no_samples():
  assert load_images(EMPTY).shape == (0, 0, 0, 3)
  assert load_images(EMPTY, (8, 4)).shape == (0, 8, 4, 3)


@pytest.mark.parametrize(
  'size', [(32,), (0, 16), (32, 16, 3), 5, (1.5, 2), (10**9, 1)]
)
def test_size_is_checked(size):
  with pytest.raises(
    ValueError, match=r'^size: got .*, expected \(height, width\)'
  ):
    load_images(EMPTY, size)


@pytest.mark.parametrize(
  ('count', 'terminal', 'shown'),
  [(2001, True, 1), (2000, True, 0), (2001, False, 0)],
)
def test_progress_only_for_many_on_a_terminal(
  count, terminal, shown, capsys, monkeypatch
):
  samples = in_memory([''] * count, np.zeros((count, 1, 1, 3), np.uint8))
  monkeypatch.setattr('sys.stderr.isatty', lambda: terminal, raising=False)
  load_images(samples)
  assert ('Decoding' in capsys.readouterr().err) == shown
