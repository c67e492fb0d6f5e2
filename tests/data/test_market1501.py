"""The Market-1501 reader, on small copies of its layout."""

import os
import time
import warnings

import cv2
import numpy as np
import pytest

from dbc_jax.data import load_dataset, load_images

# Names as in the release: junk, distractors, doubled suffixes.
FILES = {
  'bounding_box_train': [
    '0002_c1s1_000451_03.jpg',
    '0002_c1s1_000551_01.jpg',
    '0002_c2s1_000301_01.jpg',
    '0007_c3s3_077419_03.jpg',
    '0010_c6s4_002427_02.jpg',
    '0010_c5s4_002502_01.jpg',
  ],
  'query': [
    '0001_c1s1_001051_00.jpg',
    '0003_c4s6_015641_00.jpg',
    '0004_c1s6_015996_00.jpg',
    '1488_c1s6_023021_00.jpg.jpg',
  ],
  'bounding_box_test': [
    '-1_c1s1_000401_03.jpg',
    '-1_c6s3_094992_04.jpg.jpg',
    '0000_c1s1_000151_01.jpg',
    '0000_c1s6_023071_04.jpg.jpg',
    '0001_c2s1_000976_01.jpg',
    '0003_c1s6_015971_02.jpg',
    '0004_c4s6_016021_01.jpg',
    '1488_c5s3_071762_01.jpg.jpg',
  ],
}


def build(home, files=FILES):
  image = np.full((8, 4, 3), (255, 0, 0), np.uint8)  # Blue, to OpenCV.
  data = cv2.imencode('.jpg', image)[1].tobytes()
  for split, names in files.items():
    (home / split).mkdir(parents=True)
    (home / split / 'Thumbs.db').write_bytes(b'not an image')
    (home / split / '._0001_c1s1_001051_00.jpg').write_bytes(b'not either')
    for name in names:
      (home / split / name).write_bytes(data)
  return home


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


def test_samples_know_no_identities(tmp_path):
  dataset, _ = load(build(tmp_path))
  assert set(vars(dataset)) == {'train', 'query', 'gallery'}
  assert set(vars(dataset.train)) == {'names', 'read'}


def test_images_are_decoded_to_rgb(tmp_path):
  dataset, _ = load(build(tmp_path))
  for split in (dataset.train, dataset.query, dataset.gallery):
    images = load_images(split)
    assert images.shape == (len(split), 8, 4, 3)
    assert images[..., 2].min() > 240 and images[..., :2].max() < 15


@pytest.mark.parametrize('name', ['Market-1501-v15.09.15', 'market1501'])
def test_root_may_be_the_folder_above(tmp_path, name):
  build(tmp_path / name)
  (tmp_path / 'other').mkdir()
  above, _ = load(tmp_path)
  inside, _ = load(str(tmp_path / name))
  assert above.query.names[0] == f'{name}/query/0001_c1s1_001051_00.jpg'
  assert inside.query.names[0] == 'query/0001_c1s1_001051_00.jpg'
  np.testing.assert_array_equal(above.query.read(0), inside.query.read(0))


def test_other_sizes_give_one_warning(tmp_path):
  with pytest.warns(UserWarning) as caught:
    load_dataset('market1501', build(tmp_path))
  assert len(caught) == 1
  message = str(caught[0].message)
  assert '6 training images (official: 12,936)' in message
  assert '3 training identities (official: 751)' in message
  assert '2 junk images in the gallery (official: 3,819)' in message


@pytest.mark.parametrize('number', [1, 2, 3])
def test_reduced_set(tmp_path, number):
  dataset, truth = load(build(tmp_path), num_identities=number)
  assert len(np.unique(truth.train_pids)) == number
  test_pids = set(truth.query_pids.tolist())
  assert len(test_pids) == number
  # Queries and gallery are of the same persons: no distractors, no junk.
  assert set(truth.gallery_pids.tolist()) == test_pids
  assert not test_pids & {-1, 0}
  for split, pids in (
    (dataset.train, truth.train_pids),
    (dataset.query, truth.query_pids),
    (dataset.gallery, truth.gallery_pids),
  ):
    found = [int(os.path.basename(name).split('_')[0]) for name in split.names]
    assert found == pids.tolist()
    split.read(0)


def test_all_images_of_a_chosen_identity_are_kept(tmp_path):
  whole, whole_truth = load(build(tmp_path))
  part, part_truth = load(tmp_path, num_identities=2)
  chosen = np.isin(whole_truth.train_pids, part_truth.train_pids)
  assert part.train.names == tuple(np.array(whole.train.names)[chosen])


def test_smaller_sets_are_nested_and_seeds_differ(tmp_path):
  build(
    tmp_path,
    {
      'bounding_box_train': [
        f'{i:04}_c1s1_000001_00.jpg' for i in range(2, 30)
      ],
      'query': [f'{i:04}_c1s1_000001_00.jpg' for i in range(30, 60)],
      'bounding_box_test': [
        f'{i:04}_c2s1_000001_00.jpg' for i in range(30, 60)
      ],
    },
  )

  def pids(**options):
    truth = load(tmp_path, **options)[1]
    return set(truth.train_pids.tolist()), set(truth.query_pids.tolist())

  small, large = pids(num_identities=5), pids(num_identities=9)
  assert small[0] < large[0] and small[1] < large[1]
  assert pids(num_identities=9) == large
  assert pids(num_identities=9, seed=1) != large


@pytest.mark.parametrize('number', [0, -1, 4])
def test_num_identities_is_checked(tmp_path, number):
  with pytest.raises(ValueError, match=rf'expected 1 to 3, got {number}'):
    load(build(tmp_path), num_identities=number)


def test_missing_split_is_named_with_what_was_found(tmp_path):
  build(tmp_path)
  (tmp_path / 'query').rename(tmp_path / 'queries')
  with pytest.raises(ValueError, match='not laid out like Market') as caught:
    load(tmp_path)
  assert 'expected the folders bounding_box_train, query' in str(caught.value)
  assert 'found bounding_box_test, bounding_box_train, queries' in str(
    caught.value
  )


def test_split_given_as_root_points_above(tmp_path):
  build(tmp_path)
  with pytest.raises(ValueError, match='folder above') as caught:
    load(tmp_path / 'query')
  assert str(caught.value).endswith(f'is meant: {tmp_path}.')


def test_several_copies_are_an_error(tmp_path):
  build(tmp_path / 'Market-1501-a')
  build(tmp_path / 'Market-1501-b')
  with pytest.raises(ValueError, match=r'Market-1501-a, Market-1501-b\. Name'):
    load(tmp_path)


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


def test_empty_split_is_an_error(tmp_path):
  build(tmp_path, FILES | {'query': []})
  with pytest.raises(ValueError, match='query holds no images'):
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
