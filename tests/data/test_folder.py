"""A folder of unlabelled images: what is taken, and what is not."""

import warnings

import cv2
import numpy as np
import pytest

from dbc_jax.data import load_dataset, load_images
from dbc_jax.data.manifest import GroundTruth


def write(path, value=0):
  path.parent.mkdir(parents=True, exist_ok=True)
  image = np.full((6, 4, 3), value, np.uint8)
  path.write_bytes(cv2.imencode(path.suffix.lower(), image)[1].tobytes())


def load(root):
  with warnings.catch_warnings():
    warnings.simplefilter('error')
    return load_dataset('folder', root)


def test_images_at_any_depth_sorted_by_name(tmp_path):
  files = ['z.jpg', 'a/b/c.PNG', 'a/x.JPEG', 'a.bmp', 'b/y.webp', 'b/10.Jpg']
  for value, name in enumerate(files):
    write(tmp_path / name, 40 * value)
  for name in ('notes.txt', 'a/clusters.csv', 'a/jpg'):
    (tmp_path / name).write_text('no image')
  dataset, truth = load(tmp_path)
  assert dataset.train.names == tuple(sorted(files))
  images = load_images(dataset.train)
  for name, image in zip(dataset.train.names, images, strict=True):
    np.testing.assert_allclose(image, 40 * files.index(name), atol=3)
  assert (len(dataset.query), len(dataset.gallery)) == (0, 0)
  assert truth == GroundTruth()
  assert not truth.can_evaluate


def test_hidden_files_and_folders_are_ignored(tmp_path):
  for name in ('a.jpg', '.b.jpg', '._a.jpg', '.cache/c.jpg', 'd/.e/f.jpg'):
    write(tmp_path / name)
  assert load(tmp_path)[0].train.names == ('a.jpg',)


def test_root_may_be_hidden_or_a_link(tmp_path):
  write(tmp_path / '.crops' / 'a.jpg')
  assert len(load(tmp_path / '.crops')[0].train) == 1
  (tmp_path / 'link').symlink_to(tmp_path / '.crops')
  assert len(load(tmp_path / 'link')[0].train) == 1


def test_links_that_lead_out_are_left_out_with_a_warning(tmp_path):
  write(tmp_path / 'out' / 'secret.jpg')
  write(tmp_path / 'in' / 'a' / 'a.jpg')
  root = tmp_path / 'in'
  (root / 'b.jpg').symlink_to(tmp_path / 'out' / 'secret.jpg')
  (root / 'folder').symlink_to(tmp_path / 'out')
  (root / 'loop').symlink_to(root)
  (root / 'c.jpg').symlink_to(root / 'a' / 'a.jpg')
  with pytest.warns(UserWarning, match='1 links that lead out') as caught:
    dataset, _ = load_dataset('folder', root)
  assert len(caught) == 1
  assert dataset.train.names == ('a/a.jpg', 'c.jpg')


def test_no_images(tmp_path):
  (tmp_path / 'deep').mkdir()
  for name in ('a.tiff', 'deep/b.tiff', 'c.txt'):
    (tmp_path / name).write_bytes(b'')
  with pytest.raises(ValueError, match='holds no images') as caught:
    load(tmp_path)
  message = str(caught.value)
  assert '.bmp .jpeg .jpg .png .webp' in message
  assert 'found 2 .tiff, 1 .txt' in message


def test_only_links_that_lead_out(tmp_path):
  write(tmp_path / 'out' / 'a.jpg')
  (tmp_path / 'in').mkdir()
  (tmp_path / 'in' / 'a.jpg').symlink_to(tmp_path / 'out' / 'a.jpg')
  with pytest.raises(ValueError, match=r'no images.*1 links that lead out'):
    load(tmp_path / 'in')
