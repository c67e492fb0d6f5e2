"""The DukeMTMC-VideoReID reader, on a small copy of its layout."""

import shutil
import subprocess
import sys
import warnings

import numpy as np
import pytest
import video_layouts
from video_layouts import DUKEMTMC_VIDEOREID, write_dukemtmc_videoreid

from dbc_jax.data.readers import dukemtmc_videoreid

SPLITS = ('train', 'query', 'gallery')


@pytest.fixture
def home(tmp_path):
  return write_dukemtmc_videoreid(tmp_path)


def load(root):
  with warnings.catch_warnings():
    warnings.simplefilter('error')
    warnings.filterwarnings('ignore', '.* differs from the official')
    return dukemtmc_videoreid.load(root)


def refused(root, message):
  with pytest.raises(ValueError, match=message) as caught:
    load(root)
  return str(caught.value)


@pytest.mark.parametrize('separator', ['_', ''])
def test_tracklets_pids_and_cameras(tmp_path, separator):
  write_dukemtmc_videoreid(tmp_path, separator)
  dataset, truth = load(tmp_path)
  for split in SPLITS:
    folders = [name for name in DUKEMTMC_VIDEOREID if name.startswith(split)]
    samples = getattr(dataset, split)
    assert samples.names == tuple(folders)
    camids, lengths = zip(
      *(DUKEMTMC_VIDEOREID[name] for name in folders), strict=True
    )
    np.testing.assert_array_equal(np.diff(samples.starts), lengths)
    pids = [int(name.split('/')[1]) for name in folders]
    for field, values in (('pids', pids), ('camids', camids)):
      found = getattr(truth, f'{split}_{field}')
      np.testing.assert_array_equal(found, values)
      assert found.dtype == np.int32


@pytest.mark.parametrize('separator', ['_', ''])
def test_frames_are_in_order_of_time(tmp_path, separator):
  # The brightness is 5 times the number of the frame.
  samples = load(write_dukemtmc_videoreid(tmp_path, separator))[0].train
  shown = [samples.read(f).mean() / 5 for f in range(samples.num_frames)]
  expected = [*range(1, 4), *range(1, 3), *range(1, 13)]
  np.testing.assert_allclose(shown, expected, atol=0.4)


def test_other_files_and_hidden_ones_are_ignored(home):
  expected, _ = load(home)
  for name in (
    'README.txt',
    'train/Thumbs.db',
    'train/0001/.DS_Store',
    'train/0001/0001/Thumbs.db',
    'train/0001/0001/._0001_C6_F0001_X9998.jpg',
  ):
    (home / name).write_bytes(b'no image')
  (home / 'train/0001/.cache').mkdir()
  (home / 'query/.cache').mkdir()
  dataset, _ = load(home)
  for split in SPLITS:
    found = getattr(dataset, split).frame_names
    assert found == getattr(expected, split).frame_names


@pytest.mark.parametrize('name', ['DukeMTMC-VideoReID', 'dukemtmc-vidreid é 2'])
def test_root_may_be_the_folder_around(tmp_path, name):
  write_dukemtmc_videoreid(tmp_path / name)
  (tmp_path / 'DukeMTMC-reID').mkdir()
  samples = load(tmp_path)[0].query
  assert samples.names[0] == f'{name}/query/0002/0004'
  assert samples.read(0).shape == (8, 4, 3)


def test_other_sizes_are_told(home):
  with pytest.warns(UserWarning, match='official DukeMTMC-Vi') as caught:
    dukemtmc_videoreid.load(home)
  assert len(caught) == 1
  for part in (
    '3 training tracklets (official: 2,196)',
    '2 training identities (official: 702)',
    '2 query tracklets (official: 702)',
    '2 query identities (official: 702)',
    '4 gallery tracklets (official: 2,636)',
  ):
    assert part in str(caught[0].message)


def test_test_folders_alone_are_a_test_set(home):
  shutil.rmtree(home / 'train')
  with pytest.warns(UserWarning, match='differs') as caught:
    dataset, truth = dukemtmc_videoreid.load(home)
  assert 'training' not in str(caught[-1].message)
  assert not len(dataset.train)
  assert truth.train_pids is None
  assert len(dataset.query) == len(truth.query_pids) > 0


def test_person_in_both_train_and_test_is_told(home, monkeypatch):
  both = DUKEMTMC_VIDEOREID | {'gallery/0005/0010': (3, 2)}
  monkeypatch.setattr(video_layouts, 'DUKEMTMC_VIDEOREID', both)
  write_dukemtmc_videoreid(home)
  with pytest.warns(UserWarning, match=r'1 identities are both .* pid 5\.'):
    dukemtmc_videoreid.load(home)


def test_tracklets_without_images_are_left_out_with_a_warning(home):
  expected, _ = load(home)
  for name in ('train/0001/0009', 'gallery/0002/0001'):
    (home / name).mkdir()
  (home / 'train/0001/0009/Thumbs.db').write_bytes(b'no image')
  with pytest.warns(UserWarning, match='2 tracklet folders') as caught:
    dataset, _ = dukemtmc_videoreid.load(home)
  assert 'left out: train/0001/0009, gallery/0002/0001.' in str(
    caught[0].message
  )
  for split in SPLITS:
    assert getattr(dataset, split).names == getattr(expected, split).names


def test_missing_split(home):
  shutil.rmtree(home / 'query')
  refused(home, 'not laid out like DukeMTMC-VideoReID: .*found gallery, train')


def test_split_without_tracklets(home):
  shutil.rmtree(home / 'query')
  (home / 'query/0002').mkdir(parents=True)
  refused(home, r'query holds no tracklets: expected images in folders such as')


@pytest.mark.parametrize('person', ['1', '00001', 'ID01', '-1'])
def test_foreign_folders_are_named(home, person):
  (home / 'gallery' / person).mkdir()
  refused(home, rf'gallery/{person}: expected folders .* such as 0001\.')


@pytest.mark.parametrize(
  'name',
  [
    '0001_c6s1_000001_00.jpg',
    '0001_C9_F0001_X1.jpg',
    '0001C6_F0001_X1.jpg',
    '0001_C6_F0001_X1.png',
    '0001_C6_F1_X1.jpg',
  ],
)
def test_foreign_images_are_named(home, name):
  (home / 'train/0001/0002' / name).write_bytes(b'')
  message = refused(home, 'train: 1 images are not named like those of Duke')
  assert f': train/0001/0002/{name}. Is this' in message


def test_foreign_images_are_counted_over_the_split(home):
  for folder in ('0001/0001', '0001/0002', '0005/0003'):
    for number in range(4):
      (home / 'train' / folder / f'{number}.jpg').write_bytes(b'')
  refused(home, 'train: 12 images .* and 2 more')


def test_tracklet_of_several_cameras(home):
  (home / 'train/0001/0002/0001_C6_F0003_X1.jpg').write_bytes(b'')
  refused(home, r'train/0001/0002: .* got persons 0001 and cameras 6, 7\.')


def test_tracklet_of_another_person(home):
  (home / 'train/0001/0002').rename(home / 'train/0005/0002')
  refused(home, 'train/0005/0002: .* person 0005 .* got persons 0001 and')


@pytest.mark.parametrize('name', list(video_layouts.WRITERS))
def test_layouts_can_be_written_by_hand(tmp_path, name):
  root = tmp_path / 'copy'
  command = [sys.executable, video_layouts.__file__, name, str(root)]
  subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
  video_layouts.WRITERS[name](tmp_path / 'again')
  files = [
    sorted(path.relative_to(home) for path in home.rglob('*'))
    for home in (root, tmp_path / 'again')
  ]
  assert files[0] == files[1]
  assert files[0]
  wrong = subprocess.run([*command[:2], 'x'], capture_output=True, text=True)
  assert wrong.returncode == 1
  assert 'mars|dukemtmc_videoreid' in wrong.stderr
