"""The MARS reader, on a small copy of its layout, whole and broken."""

import shutil
import warnings

import numpy as np
import pytest
from scipy.io import loadmat, savemat
from video_layouts import MARS_QUERIES, MARS_TEST, MARS_TRAIN, write_mars

from dbc_jax.data.readers import mars
from dbc_jax.evaluation import evaluate_ranking

SPLITS = ('train', 'query', 'gallery')
TEST = np.array(MARS_TEST)
QUERIES = np.array(MARS_QUERIES) - 1


@pytest.fixture
def home(tmp_path):
  return write_mars(tmp_path)


def load(root, **options):
  with warnings.catch_warnings():
    warnings.simplefilter('error')
    warnings.filterwarnings('ignore', '.* differs from the official')
    return mars.load(root, **options)


def change(path, key, edit):
  """Rewrites a matrix of a .mat file as `edit` leaves or returns it."""
  matrix = loadmat(path)[key]
  changed = edit(matrix)
  savemat(path, {key: matrix if changed is None else changed})


def refused(root, message):
  with pytest.raises(ValueError, match=message) as caught:
    load(root)
  return str(caught.value)


def test_pids_cameras_and_frames(home):
  dataset, truth = load(home)
  expected = {
    'train': np.array(MARS_TRAIN),
    'query': TEST[QUERIES],
    'gallery': TEST,
  }
  for split in SPLITS:
    pids, camids, lengths = expected[split].T
    samples = getattr(dataset, split)
    assert len(samples) == len(pids)
    np.testing.assert_array_equal(np.diff(samples.starts), lengths)
    for field, values in (('pids', pids), ('camids', camids)):
      found = getattr(truth, f'{split}_{field}')
      np.testing.assert_array_equal(found, values)
      assert found.dtype == np.int32


def test_frames_are_paths_in_order_of_time(home):
  dataset, _ = load(home)
  folder = 'bbox_test/00-1/00-1C4T0001'
  assert dataset.gallery.names[1] == folder
  assert dataset.gallery.frame_names[2:5] == tuple(
    f'{folder}F00{frame}.jpg' for frame in (1, 2, 3)
  )
  for split in SPLITS:
    samples = getattr(dataset, split)
    assert len(set(samples.names)) == len(samples)
    for name in samples.frame_names:
      assert (home / name).is_file()


def test_frames_are_decoded(home):
  # The brightness is 5 times the place in the list of names.
  samples = load(home)[0].query
  first = TEST[: QUERIES[1], 2].sum()
  for frame in range(*samples.starts[1:3]):
    image = samples.read(frame)
    place = first + frame - samples.starts[1]
    assert (image.shape, image.dtype) == ((8, 4, 3), np.uint8)
    np.testing.assert_allclose(image, 5 * place, atol=2)


def test_queries_stay_in_the_gallery(home):
  dataset, _ = load(home)
  assert set(dataset.query.names) < set(dataset.gallery.names)


def test_the_camera_rule_keeps_a_query_from_finding_itself(home):
  truth = load(home)[1]
  # Each query finds itself first, and then those of other persons.
  pids = truth.query_pids[:, None] == truth.gallery_pids
  itself = QUERIES[:, None] == np.arange(len(TEST))
  distances = np.where(itself, 0.0, np.where(pids, 2.0, 1.0))
  given = (
    distances,
    truth.query_pids,
    truth.gallery_pids,
    truth.query_camids,
    truth.gallery_camids,
  )
  assert evaluate_ranking(*given, ranks=(1,))['rank1'] == 0
  without = evaluate_ranking(*given, ranks=(1,), camera_rule=False)
  assert without['rank1'] == 1


def test_drop_queries_takes_junk_out_too(home):
  dataset, truth = load(home, drop_queries=True)
  kept = [i for i in range(len(TEST)) if i not in QUERIES and TEST[i, 0] != -1]
  np.testing.assert_array_equal(truth.gallery_pids, TEST[kept, 0])
  np.testing.assert_array_equal(truth.gallery_camids, TEST[kept, 1])
  np.testing.assert_array_equal(np.diff(dataset.gallery.starts), TEST[kept, 2])
  assert not set(dataset.query.names) & set(dataset.gallery.names)
  whole, _ = load(home)
  assert dataset.gallery.names == tuple(whole.gallery.names[i] for i in kept)
  assert dataset.query.frame_names == whole.query.frame_names


@pytest.mark.parametrize('name', ['MARS', 'mars v160809 é'])
def test_root_may_be_the_folder_around(tmp_path, name):
  home = write_mars(tmp_path / name)
  (tmp_path / 'MARS-evaluation').mkdir()
  samples = load(tmp_path)[0].query
  assert samples.names[0] == f'{name}/bbox_test/0002/0002C1T0001'
  np.testing.assert_array_equal(samples.read(0), load(home)[0].query.read(0))


def test_other_sizes_are_told(home):
  with pytest.warns(UserWarning, match='official MARS') as caught:
    mars.load(home)
  assert len(caught) == 1
  for part in (
    '5 training tracklets (official: 8,298)',
    '2 training identities (official: 625)',
    '4 query tracklets (official: 1,980)',
    '9 gallery tracklets (official: 12,180)',
    '2 junk tracklets in the gallery (official: 870)',
  ):
    assert part in str(caught[0].message)
  with pytest.warns(UserWarning, match='official MARS') as caught:
    mars.load(home, drop_queries=True)
  message = str(caught[0].message)
  assert '3 gallery tracklets (official: 9,330)' in message
  assert 'junk' not in message


def test_person_in_both_train_and_test_is_told(tmp_path, monkeypatch):
  # Distractors and junk are no persons, wherever they are.
  tracklets = [*MARS_TRAIN, (0, 1, 2), (1500, 1, 2)]
  monkeypatch.setattr('video_layouts.MARS_TRAIN', tracklets)
  write_mars(tmp_path)
  with pytest.warns(UserWarning, match='1 identities are both .* pid 1500'):
    mars.load(tmp_path)


def test_missing_folder(home):
  shutil.rmtree(home / 'bbox_test')
  refused(home, 'not laid out like MARS: .*found bbox_train, info')


def test_missing_lists_are_named(home):
  for name in ('train_name.txt', 'query_IDX.mat'):
    (home / 'info' / name).unlink()
  refused(home, r'lacks info/train_name\.txt, info/query_IDX\.mat\.')
  shutil.rmtree(home / 'info')
  refused(home, r'lacks info/train_name\.txt, .* put all five into info\.')


def test_lines_end_as_on_windows_or_with_blank_ones(home):
  expected, _ = load(home)
  path = home / 'info/test_name.txt'
  lines = path.read_text().splitlines()
  path.write_bytes('\r\n'.join([*lines, '', '']).encode())
  assert load(home)[0].gallery.frame_names == expected.gallery.frame_names


@pytest.mark.parametrize(
  'line', ['', '../0002C1T0001F001.jpg', '0002C7T0001F001.jpg', 'Thumbs.db']
)
def test_foreign_lines_are_named(home, line):
  path = home / 'info/test_name.txt'
  lines = path.read_text().splitlines()
  path.write_text('\n'.join([*lines[:3], line, *lines[4:]]))
  message = refused(home, r'test_name\.txt: 1 of 23 lines are no file name')
  assert f'line 4: {line!r}.' in message


@pytest.mark.parametrize('content', [b'', b'\xff\xd8\xff'])
def test_list_without_names(home, content):
  (home / 'info/train_name.txt').write_bytes(content)
  refused(home, r'train_name\.txt: . of . lines are no file name')


def test_lists_cut_short(home):
  path = home / 'info/tracks_test_info.mat'
  data = path.read_bytes()
  for length in range(len(data)):
    path.write_bytes(data[:length])
    refused(home, r'test_info\.mat(: .* found nothing| cannot be read: .*Copy)')


def test_hdf5_is_refused(home):
  header = b'MATLAB 7.3 MAT-file'.ljust(124) + b'\x00\x02IM'
  (home / 'info/query_IDX.mat').write_bytes(header + bytes(100))
  refused(home, r'query_IDX\.mat cannot be read: .*HDF')


def test_wrong_key(home):
  path = home / 'info/tracks_test_info.mat'
  shutil.copy(home / 'info/tracks_train_info.mat', path)
  refused(home, r"expected a matrix 'track_test_info', found track_train_info")


@pytest.mark.parametrize(
  ('name', 'key', 'edit', 'message'),
  [
    ('tracks_test', 'track_test', lambda m: m[:, :3], 'columns .*got 9 x 3'),
    ('tracks_train', 'track_train', lambda m: m[:0], 'columns .*got 0 x 4'),
    ('tracks_test', 'track_test', lambda m: m + 0.5, 'whole numbers'),
    ('tracks_test', 'track_test', lambda m: m + np.nan, 'whole numbers'),
    ('tracks_test', 'track_test', lambda m: 'text', 'matrix of numbers, got'),
    ('tracks_test', 'track_test', lambda m: m[None], r'got int32 of shape'),
  ],
)
def test_wrong_shape_or_type(home, name, key, edit, message):
  change(home / f'info/{name}_info.mat', f'{key}_info', edit)
  refused(home, message)


def test_numbers_may_be_floating_point_and_queries_a_column(home):
  expected = load(home)[1]
  change(home / 'info/tracks_test_info.mat', 'track_test_info', np.float64)
  change(home / 'info/query_IDX.mat', 'query_IDX', np.transpose)
  found = load(home)[1]
  for field, values in vars(expected).items():
    np.testing.assert_array_equal(getattr(found, field), values)


@pytest.mark.parametrize(('column', 'value'), [(0, 0), (0, 9), (1, 24), (1, 4)])
def test_frames_outside_the_list(home, column, value):
  # Row 3 has frames 6 and 7 of 23.
  row = [6, 7]
  row[column] = value

  def edit(rows):
    rows[2, column] = value

  change(home / 'info/tracks_test_info.mat', 'track_test_info', edit)
  refused(
    home,
    rf'tracks_test_info\.mat, row 3: frames {row[0]} to {row[1]}; '
    r'expected 1 to 23, the lines of test_name\.txt',
  )


@pytest.mark.parametrize(
  ('edit', 'first_other'),
  [
    ([1, 10, 1, 1], '0001C2T0001F001.jpg'),  # Another camera.
    ([9, 12, 1, 2], '0007C3T0001F001.jpg'),  # Another person.
    ([1, 3, 1, 4], '0001C1T0001F001.jpg'),
    ([1, 3, -1, 1], '0001C1T0001F001.jpg'),
  ],
)
def test_frames_of_others(home, edit, first_other):
  def replace(rows):
    rows[0] = edit

  change(home / 'info/tracks_train_info.mat', 'track_train_info', replace)
  message = refused(home, r'tracks_train_info\.mat, row 1: a tracklet of pid')
  assert f'pid {edit[2]} and camera {edit[3]}, but' in message
  assert f'are of others: {first_other}' in message


@pytest.mark.parametrize('number', [0, 10])
def test_queries_outside_the_test_tracklets(home, number):
  def edit(queries):
    queries[0, 1] = number

  change(home / 'info/query_IDX.mat', 'query_IDX', edit)
  refused(home, rf'query_IDX\.mat: expected numbers from 1 to 9,.*got {number}')


def test_queries_that_are_a_table(home):
  change(home / 'info/query_IDX.mat', 'query_IDX', lambda m: m.reshape(2, 2))
  refused(home, r'query_IDX\.mat: expected one row or one column.*got 2 x 2')


def test_missing_first_frames_are_counted(home):
  shutil.rmtree(home / 'bbox_test/0002')
  message = refused(home, '3 of 9 tracklets of bbox_test lack their first')
  assert 'bbox_test/0002/0002C3T0001F001.jpg. Unpack bbox_test' in message
