"""A folder of unlabelled images: what is taken, and what is not."""

import os
import warnings

import cv2
import numpy as np
import pytest

from dbc_jax.data import load_dataset, load_images
from dbc_jax.data.samples import GroundTruth


def write(path, value=0):
  path.parent.mkdir(parents=True, exist_ok=True)
  image = np.full((6, 4, 3), value, np.uint8)
  path.write_bytes(cv2.imencode(path.suffix.lower(), image)[1].tobytes())


def load(root, **options):
  with warnings.catch_warnings():
    warnings.simplefilter('error')
    return load_dataset('folder', root, **options)


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


def told(root, **options):
  """The names of the images, and what is said of others."""
  with pytest.warns(
    UserWarning, match='Left out of the folder|no tracklet'
  ) as caught:
    dataset, _ = load_dataset('folder', root, **options)
  assert len(caught) == 1
  return dataset.train.names, str(caught[0].message)


def test_hidden_files_and_folders_are_ignored(tmp_path):
  for name in ('a.jpg', '.b.jpg', '._a.jpg', '.cache/c.jpg', 'd/.e/f.jpg'):
    write(tmp_path / name)
  names, message = told(tmp_path)
  assert names == ('a.jpg',)
  assert '1 hidden images (such as .b.jpg)' in message
  assert '2 images in hidden folders' in message


@pytest.mark.parametrize(
  'folder', ['@eaDir', '#recycle', '.Trash-1000', '__MACOSX', '$RECYCLE.BIN']
)
def test_thumbnails_and_bins_are_left_out_and_told(tmp_path, folder):
  for name in ('a.jpg', f'{folder}/a.jpg/thumb.jpg', f'b/{folder}/c.jpg'):
    write(tmp_path / name)
  names, message = told(tmp_path)
  assert names == ('a.jpg',)
  assert '2 images in hidden folders, thumbnails and bins' in message
  assert folder in message


def test_pictures_of_other_kinds_are_told(tmp_path):
  for name in ('a.jpg', 'b.jfif', 'c.JPE'):
    write(tmp_path / 'x.jpg')
    os.replace(tmp_path / 'x.jpg', tmp_path / name)
  for name in ('d.tif', 'e.HEIC', 'f.heic', 'g.mp4', 'notes.txt', 'Thumbs.db'):
    (tmp_path / name).write_bytes(b'x')
  write(tmp_path / 'x.jpg')
  os.replace(tmp_path / 'x.jpg', tmp_path / 'noname')
  names, message = told(tmp_path)
  assert names == ('a.jpg', 'b.jfif', 'c.JPE')
  for part in ('1 .tif files', '2 .heic files', '1 .mp4', 'without a suffix'):
    assert part in message
  assert 'txt' not in message
  assert '.db' not in message


def test_links_to_folders_are_told(tmp_path):
  write(tmp_path / 'root' / 'a.jpg')
  write(tmp_path / 'disk' / 'b.jpg')
  (tmp_path / 'root' / 'cam2').symlink_to(tmp_path / 'disk')
  names, message = told(tmp_path / 'root')
  assert names == ('a.jpg',)
  assert '1 links to folders (such as cam2)' in message


def test_a_named_pipe_is_no_image_and_is_not_waited_for(tmp_path):
  write(tmp_path / 'a.jpg')
  os.mkfifo(tmp_path / 'b.jpg')
  os.mkfifo(tmp_path / 'noname')
  dataset, _ = load(tmp_path)
  with pytest.raises(ValueError, match=r'b\.jpg: a named pipe'):
    load_images(dataset.train)


def test_odd_names_are_shown_as_text(tmp_path):
  name = os.fsdecode(b'\xff\x1b[31m\n.jpg')
  (tmp_path / name).write_bytes(b'x')
  dataset, _ = load(tmp_path)
  with pytest.raises(ValueError, match='1 of 1 images') as caught:
    load_images(dataset.train)
  assert r'\udcff\x1b[31m\n.jpg: not an image' in str(caught.value)
  str(caught.value).encode('utf-8')


@pytest.mark.parametrize('name', ['-1', 'nan', 'None'])
def test_a_folder_of_no_track_is_no_tracklet(tmp_path, name):
  for path in ('1/a.png', '1/b.png', f'{name}/c.png', f'{name}/d.png'):
    write(tmp_path / path)
  names, message = told(tmp_path, tracklets=True)
  assert sorted(names) == sorted(['1', f'{name}/c.png', f'{name}/d.png'])
  assert '2 images are in no tracklet' in message


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
  assert '.bmp .jfif .jpe .jpeg .jpg .png .webp' in message
  assert 'found 2 .tiff, 1 .txt' in message


def test_only_links_that_lead_out(tmp_path):
  write(tmp_path / 'out' / 'a.jpg')
  (tmp_path / 'in').mkdir()
  (tmp_path / 'in' / 'a.jpg').symlink_to(tmp_path / 'out' / 'a.jpg')
  with pytest.raises(ValueError, match=r'no images.*1 links that lead out'):
    load(tmp_path / 'in')


def test_one_image_is_enough_to_read(tmp_path):
  write(tmp_path / 'a.png', 7)
  dataset, _ = load(tmp_path)
  assert dataset.train.names == ('a.png',)
  assert (load_images(dataset.train) == 7).all()


def test_names_in_any_script_and_with_spaces(tmp_path):
  names = ['my crop (1).png', 'Straße 5/Überweg.png', '行人/图 1.png']
  for name in names:
    write(tmp_path / name, 9)
  dataset, _ = load(tmp_path)
  assert dataset.train.names == tuple(sorted(names))
  assert (load_images(dataset.train) == 9).all()


def test_folders_with_the_name_of_an_image_are_folders(tmp_path):
  write(tmp_path / 'a.png')
  write(tmp_path / 'x.jpg' / 'b.png')
  (tmp_path / 'empty.jpg').mkdir()
  assert load(tmp_path)[0].train.names == ('a.png', 'x.jpg/b.png')


def test_broken_links_are_unreadable_images(tmp_path):
  write(tmp_path / 'a.png')
  (tmp_path / 'b.png').symlink_to(tmp_path / 'gone.png')
  (tmp_path / 'c.png').symlink_to('c.png')
  dataset, _ = load(tmp_path)
  with pytest.raises(ValueError, match='2 of 3 images cannot') as caught:
    load_images(dataset.train)
  assert 'b.png: No such file' in str(caught.value)
  assert 'c.png: Too many levels of symbolic links' in str(caught.value)


def test_folders_that_may_not_be_read_are_named(tmp_path, monkeypatch):
  write(tmp_path / 'a.png')
  write(tmp_path / 'closed' / 'b.png')
  scandir = os.scandir

  # A real one would not stop root, whom tests may run as.
  def refuse(path):
    if os.fspath(path).endswith('closed'):
      raise PermissionError(13, 'Permission denied', path)
    return scandir(path)

  monkeypatch.setattr(os, 'scandir', refuse)
  with pytest.raises(ValueError, match='closed cannot be read: Permission'):
    load(tmp_path)


def test_folders_as_tracklets(tmp_path):
  ordered = [
    'a10/0000.png',
    'a10/0001.png',
    'a9/1_2.png',
    'a9/1_11.png',
    'a9/2_1.png',
    'b/x.png',
    'b/cam 1/f2.png',
    'b/cam 1/f9.png',
    'b/cam 1/f10.png',
  ]
  for value, name in enumerate(ordered):
    write(tmp_path / name, value)
  (tmp_path / 'notes').mkdir()
  (tmp_path / 'notes' / 'a.txt').write_text('no image')
  dataset, truth = load(tmp_path, tracklets=True)
  train = dataset.train
  assert train.names == ('a10', 'a9', 'b', 'b/cam 1')
  assert train.starts.tolist() == [0, 2, 5, 6, 9]
  assert train.frame_names == tuple(ordered)
  assert [int(train.read(f)[0, 0, 0]) for f in range(9)] == [*range(9)]
  assert truth == GroundTruth()


def test_images_outside_of_any_tracklet(tmp_path):
  for name in ('a/1.png', 'loose.png', 'other.png'):
    write(tmp_path / name)
  with pytest.raises(ValueError, match='2 images lie directly in it') as caught:
    load(tmp_path, tracklets=True)
  assert 'loose.png, other.png' in str(caught.value)
  assert 'leave tracklets out' in str(caught.value)
  assert len(load(tmp_path)[0].train) == 3


def test_a_list_has_a_column_for_tracklets(tmp_path):
  write(tmp_path / 'a' / '1.png')
  with pytest.raises(ValueError, match=r"^tracklets: got True .*csv='l\.csv'"):
    load(tmp_path, csv='l.csv', tracklets=True)
