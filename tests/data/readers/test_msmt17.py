"""The MSMT17 reader: lists, both versions, numbering of persons."""

import warnings

import layouts
import numpy as np
import pytest

from dbc_jax.data.readers import msmt17
from dbc_jax.evaluation import evaluate_ranking


def load(root, **options):
  with warnings.catch_warnings():
    warnings.simplefilter('ignore')  # The sizes are not the official ones.
    return msmt17.load(root, **options)


@pytest.fixture
def root(tmp_path):
  return layouts.write_msmt17(tmp_path / 'MSMT17_V1')


def append(path, text):
  path.write_text(path.read_text() + text)


@pytest.mark.parametrize(
  ('version', 'train', 'test'),
  [(1, 'train', 'test'), (2, 'mask_train_v2', 'mask_test_v2')],
)
def test_names_pids_and_cameras(tmp_path, version, train, test):
  home = tmp_path / f'MSMT17_V{version}'
  layouts.write_msmt17(home, version)
  dataset, truth = load(home)
  lists = layouts.MSMT17
  in_training = [*lists['list_train.txt'], *lists['list_val.txt']]
  assert dataset.train.names == tuple(f'{train}/{n}' for n in in_training)
  assert dataset.query.names == tuple(
    f'{test}/{n}' for n in lists['list_query.txt']
  )
  assert dataset.gallery.names == tuple(
    f'{test}/{n}' for n in lists['list_gallery.txt']
  )
  assert truth.train_pids.tolist() == [0, 0, 1, 2, 0, 1, 2]
  assert truth.train_camids.tolist() == [12, 12, 1, 15, 4, 9, 2]
  # Three persons are in training, so those of the test set come after 2.
  assert truth.query_pids.tolist() == [3, 4]
  assert truth.query_camids.tolist() == [1, 7]
  assert truth.gallery_pids.tolist() == [3, 3, 4]
  assert truth.gallery_camids.tolist() == [1, 14, 3]


def test_equal_numbers_in_training_and_test_give_no_warning(root):
  with pytest.warns(UserWarning, match='differs from the official') as caught:
    msmt17.load(root)
  assert len(caught) == 1


def test_ranking_takes_pid_zero_for_a_person(root):
  """As it would be without an offset too."""
  _, truth = load(root)
  far = np.array([[9.0, 1, 0], [0, 0, 1]])
  for shift in (0, truth.query_pids.min()):
    scores = evaluate_ranking(
      far,
      truth.query_pids - shift,
      truth.gallery_pids - shift,
      truth.query_camids,
      truth.gallery_camids,
    )
    # The first person's match is second; the second person's is third.
    assert scores['num_valid_queries'] == 2
    np.testing.assert_allclose(scores['map'], (1 / 2 + 1 / 3) / 2)


def test_pids_are_those_of_the_lists(root):
  (root / 'list_query.txt').write_text(
    '0000/0000_000_01_0303morning_0015_0.jpg 7\n'
  )
  assert load(root)[1].query_pids.tolist() == [3 + 7]


def test_num_identities_is_checked_in_the_test_set_too(root):
  with pytest.raises(ValueError, match=r'expected 1 to 2, got 3\.'):
    load(root, num_identities=3)


def test_images_without_a_line_are_left_out(root):
  extra = root / 'train' / '0000' / '0000_099_01_0303morning_0015_0.jpg'
  extra.write_bytes(b'')
  dataset, _ = load(root)
  assert len(dataset.train) == 7


def test_windows_line_ends_and_blank_lines_at_the_end(root):
  before = load(root)
  for name in layouts.MSMT17:
    text = (root / name).read_text().replace('\n', '\r\n')
    (root / name).write_bytes(f'{text}\r\n\r\n'.encode())
  after = load(root)
  assert before[0].train.names == after[0].train.names
  np.testing.assert_array_equal(before[1].query_pids, after[1].query_pids)


def test_both_versions_in_one_folder_are_an_error(root):
  layouts.write_msmt17(root, version=2)
  with pytest.raises(ValueError, match='holds two versions of MSMT17, train,'):
    load(root)


@pytest.mark.parametrize('name', layouts.MSMT17)
def test_missing_list_is_named(root, name):
  (root / name).unlink()
  with pytest.raises(ValueError, match=f'{name} is missing') as caught:
    load(root)
  assert 'beside its folders train, test' in str(caught.value)


def test_empty_list_is_an_error(root):
  (root / 'list_val.txt').write_text('\n\n')
  with pytest.raises(ValueError, match=r'list_val\.txt lists no images'):
    load(root)


def test_list_that_is_no_text_is_named(root):
  (root / 'list_val.txt').write_bytes(b'\xff\xd8\xff\xe0 a picture')
  with pytest.raises(ValueError, match=r'list_val\.txt is not a text file'):
    load(root)


@pytest.mark.parametrize(
  'line',
  [
    '0000/0000_000_01_0303morning_0015_0.jpg',
    '0000/0000_000_01_0303morning_0015_0.jpg -1',
    '0000/0000_000_01_0303morning_0015_0.jpg 1.5',
    '0000/0000_000_01_0303morning_0015_0.jpg 1 2',
    '0000/0000_000_00_0303morning_0015_0.jpg 0',
    '0000/0000_000_16_0303morning_0015_0.jpg 0',
    '0000/0000_c1_f0044158.jpg 0',
    '0000/0000_000_01_0303morning_0015_0.png 0',
    '0000/0000_000_01_0303morning_0015_0.jpg,0',
  ],
)
def test_malformed_lines_are_named_with_their_number(root, line):
  good = '0002/0002_009_15_0114noon_0284_0.jpg 2'
  append(root / 'list_train.txt', f'{line}\n{good}\n{line}\n{good}\n')
  with pytest.raises(ValueError, match='2 lines are not like') as caught:
    load(root)
  message = str(caught.value)
  assert message.startswith(str(root / 'list_train.txt'))
  assert message.endswith(f'line 5: {line!r}, line 7: {line!r}.')


@pytest.mark.parametrize('start', ['/', '../', '0000/../../', '0000/../'])
def test_paths_that_may_leave_the_folder_are_refused(root, start):
  path = f'{start}0000_000_01_0303morning_0015_0.jpg'
  append(root / 'list_query.txt', f'{path} 0\n')
  with pytest.raises(ValueError, match='1 paths may lead out') as caught:
    load(root)
  assert str(root / 'list_query.txt') in str(caught.value)
  assert f'line 3: {path}. ' in str(caught.value)


@pytest.mark.parametrize('spelt', ['0000/', './0000/', '0000/./', '0000//'])
def test_repeated_paths_are_named_with_both_lines(root, spelt):
  path = layouts.MSMT17['list_gallery.txt'][1]
  append(root / 'list_gallery.txt', f'{path.replace("0000/", spelt)} 0\n')
  with pytest.raises(ValueError, match='1 images of test are listed') as caught:
    load(root)
  assert (
    f'{path} (list_gallery.txt, line 4, first in list_gallery.txt, line 2)'
    in str(caught.value)
  )


def test_image_in_both_training_lists_is_repeated(root):
  path = layouts.MSMT17['list_train.txt'][2]
  append(root / 'list_val.txt', f'{path} 1\n')
  with pytest.raises(ValueError, match='1 images of train are listed') as error:
    load(root)
  assert '(list_val.txt, line 4, first in list_train.txt, line 3)' in str(
    error.value
  )


def test_missing_files_are_counted_and_ten_are_named(root):
  paths = [f'0003/0003_{i:03}_01_0303morning_0001_0.jpg' for i in range(12)]
  append(root / 'list_val.txt', ''.join(f'{path} 3\n' for path in paths))
  (root / 'train' / layouts.MSMT17['list_train.txt'][0]).unlink()
  with pytest.raises(ValueError, match='13 of 19 images in list_t') as caught:
    load(root)
  message = str(caught.value)
  assert message.startswith(str(root / 'train'))
  assert layouts.MSMT17['list_train.txt'][0] in message
  assert paths[8] in message
  assert paths[9] not in message
  assert ' and 3 more. ' in message


def test_official_sizes_are_those_of_the_release():
  sizes = msmt17.RELEASE.sizes
  # The authors count 126,441 images of 4,101 persons.
  splits = ('training', 'query', 'gallery')
  assert sum(sizes[f'{split} images'] for split in splits) == 126441
  assert sizes['training identities'] + sizes['gallery identities'] == 4101


def test_lists_of_windows_and_with_blank_lines(root):
  names = load(root)[0].train.names
  for path in root.glob('list_*.txt'):
    text = path.read_text(encoding='utf-8').rstrip().replace('\n', '\n\n')
    path.write_text('\ufeff' + text + '\n\n', encoding='utf-8')
  assert load(root)[0].train.names == names
