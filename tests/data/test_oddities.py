"""Damaged, blank and equal images are told, by name."""

import os
import sys

import cv2
import numpy as np
import pytest
import runs

from dbc_jax.data import (
  decoder_messages,
  inspection,
  load_dataset,
  load_images,
  pipeline,
)


def _broken_jpeg(image):
  """A JPEG of which a part of the scan is zeros."""
  data = bytearray(cv2.imencode('.jpg', image, [1, 95])[1].tobytes())
  start = data.rfind(b'\xff\xda') + 300
  data[start : start + 64] = bytes(64)
  return bytes(data)


def _damaged_folder(tmp_path):
  rng = np.random.default_rng(0)
  for i in range(6):
    image = rng.integers(0, 256, (16, 8, 3)).repeat(8, 0).repeat(8, 1)
    whole = cv2.imencode('.jpg', image.astype(np.uint8))[1].tobytes()
    data = _broken_jpeg(image.astype(np.uint8)) if i == 4 else whole
    (tmp_path / f'{i}.jpg').write_bytes(data)
  return load_dataset('folder', tmp_path)


def test_a_jpeg_that_a_decoder_repairs_is_named(tmp_path, capfd):
  dataset, truth = _damaged_folder(tmp_path)
  facts = inspection.inspect_pixels(dataset)
  assert len(facts.repaired) == 1
  assert facts.repaired[0].startswith('4.jpg: Corrupt JPEG data')
  loaded = pipeline.load_splits(dataset, truth, size=(64, 32), seed=0)
  assert len(loaded.notes) == 1
  assert '1 damaged JPEGs' in loaded.notes[0]
  assert '4.jpg: Corrupt JPEG' in loaded.notes[0]
  # Said once, with the name, and not by the library.
  assert not capfd.readouterr().err


def test_a_caller_that_asks_for_pixels_alone_is_warned(tmp_path):
  dataset, _ = _damaged_folder(tmp_path)
  with pytest.warns(UserWarning, match=r'1 damaged images.*\n  4\.jpg'):
    load_images(dataset.train)


def test_other_words_still_reach_the_terminal(capfd):
  with decoder_messages.collected() as messages:
    os.write(2, b'something else\nCorrupt JPEG data: bad Huffman code\n')
    sys.stderr.write('from Python')
  assert messages.damage == 'Corrupt JPEG data: bad Huffman code'
  err = capfd.readouterr().err
  assert 'something else' in err
  assert 'from Python' in err
  assert 'Huffman' not in err
  os.write(2, b'after')
  assert capfd.readouterr().err == 'after'


def test_blank_images_and_copies_of_queries_are_counted(tmp_path):
  images = np.random.default_rng(0).integers(0, 256, (6, 8, 4, 3))
  images = images.astype(np.uint8)
  images[0] = 3
  images[5] = images[3]
  root = runs.write_images(tmp_path, [f'{i}.png' for i in range(6)], images)
  rows = ['0.png,,', '1.png,,', '2.png,1,query', '3.png,2,query']
  rows += ['4.png,1,gallery', '5.png,2,gallery']
  (root / 'list.csv').write_text('\n'.join(['path,pid,split', *rows]))
  dataset, _ = load_dataset('folder', root, csv='list.csv')
  facts = inspection.inspect_pixels(dataset)
  assert facts.blank == ['0.png']
  assert facts.copies == [('3.png', '5.png')]
