"""The DukeMTMC-reID reader: names, cameras, persons without a query."""

import warnings

import layouts
import pytest

from dbc_jax.data.readers import dukemtmc_reid, market1501


def load(root, **options):
  with warnings.catch_warnings():
    warnings.simplefilter('ignore')  # The sizes are not the official ones.
    return dukemtmc_reid.load(root, **options)


def test_names_pids_and_cameras(tmp_path):
  dataset, truth = load(layouts.write_dukemtmc_reid(tmp_path))
  for split, samples in (
    ('bounding_box_train', dataset.train),
    ('query', dataset.query),
    ('bounding_box_test', dataset.gallery),
  ):
    names = sorted(layouts.DUKEMTMC_REID[split])
    assert samples.names == tuple(f'{split}/{name}' for name in names)
  assert truth.train_pids.tolist() == [1, 1, 8, 8, 8, 4740]
  assert truth.train_camids.tolist() == [2, 5, 1, 2, 8, 7]
  assert truth.query_pids.tolist() == [5, 5, 33, 6989]
  assert truth.query_camids.tolist() == [2, 5, 1, 6]
  assert truth.gallery_pids.tolist() == [3, 5, 5, 33, 6989, 6989, 7139]
  assert truth.gallery_camids.tolist() == [1, 2, 5, 6, 7, 8, 3]
  assert truth.can_evaluate


def test_persons_without_a_query_leave_with_a_reduced_set(tmp_path):
  _, truth = load(layouts.write_dukemtmc_reid(tmp_path), num_identities=3)
  assert set(truth.gallery_pids.tolist()) == {5, 33, 6989}


@pytest.mark.parametrize(
  'name',
  [
    '0002_c1s1_000451_03.jpg',  # Market-1501.
    '0002_c9_f0044158.jpg',
    '0002_c0_f0044158.jpg',
    '-1_c1_f0044158.jpg',
    '0002_c1_f044158.jpg',
    '0002_c1_f0044158.png',
    'x0002_c1_f0044158.jpg',
  ],
)
def test_other_names_are_refused(tmp_path, name):
  files = layouts.DUKEMTMC_REID | {'query': ['0005_c2_f0046985.jpg', name]}
  with pytest.raises(
    ValueError, match=r'query: 1 of 2 images are not named like those of Duke'
  ) as caught:
    load(layouts.write_dukemtmc_reid(tmp_path, files))
  assert f'(0002_c1_f0044158.jpg): {name}. Is this' in str(caught.value)


def test_neither_reader_takes_the_other_data_set(tmp_path):
  layouts.write_dukemtmc_reid(tmp_path / 'duke')
  layouts.write_market1501(tmp_path / 'market')
  with pytest.raises(ValueError, match='6 of 6 images are not named like'):
    market1501.load(tmp_path / 'duke')
  with pytest.raises(ValueError, match='6 of 6 images are not named like'):
    load(tmp_path / 'market')


def test_official_sizes_are_those_of_the_release():
  sizes = dukemtmc_reid.RELEASE.sizes
  # The authors count 36,411 images of 1,404 persons in two or more cameras,
  # and 408 of one camera.
  images = [sizes[f'{split} images'] for split in ('training', 'query')]
  assert sum(images) + sizes['gallery images'] == 36411
  persons = sizes['training identities'] + sizes['query identities']
  assert persons == 1404
  assert sizes['gallery identities'] - sizes['query identities'] == 408
