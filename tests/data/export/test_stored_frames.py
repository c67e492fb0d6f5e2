"""What is copied of an image file, and what a digest of a data set notices."""

import dataclasses
import io
import os

import layouts
import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from dbc_jax.data.decode import decode_image
from dbc_jax.data.export import stored_frames
from dbc_jax.data.export.stored_frames import digest_files, storable
from dbc_jax.data.readers import market1501

PICTURE = np.random.default_rng(0).integers(0, 256, (12, 8, 4), np.uint8)
TURNED = Image.Exif()
TURNED[0x0112] = 6  # Shown after a quarter turn.


def encode(kind: str, mode: str, **options) -> bytes:
  buffer = io.BytesIO()
  if mode == 'I;16':
    image = Image.fromarray(PICTURE[..., 0].astype(np.uint16) * 257)
  else:
    image = Image.fromarray(PICTURE).convert(mode)
  image.save(buffer, kind, **options)
  return buffer.getvalue()


@pytest.mark.parametrize(
  ('kind', 'mode', 'options', 'is_kept'),
  [
    ('JPEG', 'RGB', {}, True),
    ('JPEG', 'RGB', {'progressive': True}, True),
    ('JPEG', 'L', {}, True),
    ('PNG', 'RGB', {}, True),
    ('PNG', 'L', {}, True),
    ('JPEG', 'RGB', {'exif': TURNED}, False),
    ('PNG', 'RGBA', {}, False),
    ('PNG', 'I;16', {}, False),
    ('WEBP', 'RGB', {}, False),
    ('BMP', 'RGB', {}, False),
  ],
)
def test_tfds_decodes_what_is_stored_as_we_decode_the_file(
  kind, mode, options, is_kept
):
  data = encode(kind, mode, **options)
  stored = storable(data)
  assert (stored == data) == is_kept
  np.testing.assert_array_equal(
    tfds.features.Image().decode_example_np(stored), decode_image(data)
  )


@pytest.mark.parametrize(('kind', 'mode'), [('JPEG', 'CMYK'), ('PNG', 'P')])
def test_other_modes_come_out_the_same_too(kind, mode):
  data = encode(kind, mode)
  np.testing.assert_array_equal(
    tfds.features.Image().decode_example_np(storable(data)), decode_image(data)
  )


def test_frames_come_sample_by_sample_across_blocks(tmp_path, monkeypatch):
  monkeypatch.setattr(stored_frames, '_BLOCK', 3)
  names = [f'{i}.png' for i in range(7)]
  for i, name in enumerate(names):
    Image.fromarray(PICTURE[: i + 1, :, :3]).save(tmp_path / name)
  samples = stored_frames.Samples(
    ('a', 'b', 'c'), lambda f: None, np.array([0, 1, 5, 7]), tuple(names)
  )
  files = [(tmp_path / name).read_bytes() for name in names]
  read = list(stored_frames.read_stored(tmp_path, samples, ''))
  assert read == [files[:1], files[1:5], files[5:]]


def test_digest_notices_every_change(tmp_path):
  layouts.write_market1501(tmp_path)
  dataset, truth = market1501.load(tmp_path)
  file = tmp_path / dataset.query.names[0]
  digests = [digest_files(tmp_path, dataset, truth)]
  assert digest_files(tmp_path, *market1501.load(tmp_path)) == digests[0]

  changed = dataclasses.replace(truth, gallery_pids=truth.gallery_pids[::-1])
  digests.append(digest_files(tmp_path, dataset, changed))
  changed = dataclasses.replace(truth, train_camids=None)
  digests.append(digest_files(tmp_path, dataset, changed))
  changed = dataclasses.replace(
    dataset, train=dataset.query, query=dataset.train
  )
  digests.append(digest_files(tmp_path, changed, truth))
  os.utime(file, (0, 0))
  digests.append(digest_files(tmp_path, dataset, truth))
  file.write_bytes(file.read_bytes() + b' ')
  os.utime(file, (0, 0))
  digests.append(digest_files(tmp_path, dataset, truth))
  file.unlink()
  digests.append(digest_files(tmp_path, dataset, truth))
  assert len(set(digests)) == len(digests)
