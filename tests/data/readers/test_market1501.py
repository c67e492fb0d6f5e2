"""The Market-1501 reader: names, junk, distractors, and the release itself.

What it shares with other readers is in test_bounding_boxes.py.
"""

import os
import time
import warnings

import layouts
import numpy as np
import pytest

from dbc_jax.data import load_dataset, load_images

FILES = layouts.MARKET1501
build = layouts.write_market1501


def load(root, **options):
  with warnings.catch_warnings():
    warnings.simplefilter('ignore')  # The sizes are not the official ones.
    return load_dataset('market1501', root, **options)


def test_names_pids_and_cameras(tmp_path):
  dataset, truth = load(build(tmp_path))
  assert dataset.train.names == tuple(
    f'bounding_box_train/{name}' for name in sorted(FILES['bounding_box_train'])
  )
  assert truth.train_pids.tolist() == [2, 2, 2, 7, 10, 10]
  assert truth.train_camids.tolist() == [1, 1, 2, 3, 5, 6]
  assert truth.query_pids.tolist() == [1, 3, 4, 1488]
  assert truth.query_camids.tolist() == [1, 4, 1, 1]
  assert truth.gallery_pids.tolist() == [-1, -1, 0, 0, 1, 3, 4, 1488]
  assert truth.gallery_camids.tolist() == [1, 6, 1, 1, 2, 1, 4, 5]
  assert truth.gallery_pids.dtype == truth.gallery_camids.dtype == np.int32
  assert truth.can_evaluate


@pytest.mark.parametrize('name', ['Market-1501-v15.09.15', 'market1501'])
def test_root_may_be_the_folder_above(tmp_path, name):
  build(tmp_path / name)
  (tmp_path / 'other').mkdir()
  above, _ = load(tmp_path)
  inside, _ = load(str(tmp_path / name))
  assert above.query.names[0] == f'{name}/query/0001_c1s1_001051_00.jpg'
  assert inside.query.names[0] == 'query/0001_c1s1_001051_00.jpg'


def test_other_sizes_give_one_warning(tmp_path):
  with pytest.warns(UserWarning, match='differs from') as caught:
    load_dataset('market1501', build(tmp_path))
  assert len(caught) == 1
  message = str(caught[0].message)
  assert '6 training images (official: 12,936)' in message
  assert '3 training identities (official: 751)' in message
  assert '2 junk images in the gallery (official: 3,819)' in message


@pytest.mark.parametrize('number', [1, 2, 3])
def test_reduced_set_has_no_junk_and_no_distractors(tmp_path, number):
  dataset, truth = load(build(tmp_path), num_identities=number)
  for split, pids in (
    (dataset.train, truth.train_pids),
    (dataset.query, truth.query_pids),
    (dataset.gallery, truth.gallery_pids),
  ):
    assert len(np.unique(pids)) == number
    found = [int(os.path.basename(name).split('_')[0]) for name in split.names]
    assert found == pids.tolist()
    assert not set(found) & {-1, 0}


def test_distractors_and_junk_are_not_shared_identities(tmp_path):
  both = ['0000_c1s1_000151_02.jpg', '-1_c1s1_000401_02.jpg']
  train = [*FILES['bounding_box_train'], *both]
  with pytest.warns(UserWarning, match='differs from') as caught:
    load_dataset(
      'market1501', build(tmp_path, FILES | {'bounding_box_train': train})
    )
  assert len(caught) == 1  # Of the sizes.


def test_missing_split_is_named_with_what_was_found(tmp_path):
  build(tmp_path)
  (tmp_path / 'query').rename(tmp_path / 'queries')
  with pytest.raises(ValueError, match='not laid out like Market') as caught:
    load(tmp_path)
  assert str(caught.value) == (
    f'{tmp_path} is not laid out like Market-1501: expected the folders '
    'bounding_box_train, query, bounding_box_test or query, '
    'bounding_box_test, in it or in one folder '
    'Market-1501*; found bounding_box_test, bounding_box_train, queries.'
  )


def test_names_of_another_data_set_are_refused(tmp_path):
  # DukeMTMC-reID has the same folders, but other names.
  build(tmp_path, FILES | {'query': ['0005_c2_f0046985.jpg']})
  with pytest.raises(ValueError, match='1 of 1 images are not named') as caught:
    load(tmp_path)
  assert '0005_c2_f0046985.jpg' in str(caught.value)


def test_camera_beyond_six_is_refused(tmp_path):
  build(tmp_path, FILES | {'query': ['0005_c7s1_000001_00.jpg']})
  with pytest.raises(ValueError, match='not named'):
    load(tmp_path)


@pytest.mark.skipif(
  'DBC_JAX_MARKET1501' not in os.environ,
  reason='DBC_JAX_MARKET1501 does not name the folder of Market-1501',
)
def test_official_release():
  start = time.perf_counter()
  with warnings.catch_warnings():
    warnings.simplefilter('error')
    dataset, truth = load_dataset(
      'market1501', os.environ['DBC_JAX_MARKET1501']
    )
  assert time.perf_counter() - start < 1
  assert len(dataset.train) == 12936
  assert len(np.unique(truth.train_pids)) == 751
  assert len(dataset.query) == 3368
  assert len(np.unique(truth.query_pids)) == 750
  assert len(dataset.gallery) == 19732
  assert (truth.gallery_pids == -1).sum() == 3819
  assert set(truth.gallery_pids) == {-1, 0, *truth.query_pids}
  for camids in (truth.train_camids, truth.query_camids, truth.gallery_camids):
    assert np.unique(camids).tolist() == [1, 2, 3, 4, 5, 6]
  doubled = [n for n in dataset.query.names if n.endswith('.jpg.jpg')]
  assert len(doubled) == 6
  assert load_images(dataset.query).shape == (3368, 128, 64, 3)
