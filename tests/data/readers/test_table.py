"""Images listed in a CSV file: what the columns mean, and faults by row."""

import warnings

import cv2
import numpy as np
import pytest

from dbc_jax.data import load_dataset, load_images
from dbc_jax.data.samples import EMPTY, GroundTruth


@pytest.fixture
def root(tmp_path):
  """A folder with 0.png to 9.png, whose pixels have the value of the name."""
  root = tmp_path / 'crops'
  root.mkdir()
  for value in range(10):
    cv2.imwrite(str(root / f'{value}.png'), np.full((6, 4, 3), value, np.uint8))
  return root


def load(root, text, encoding='utf-8'):
  (root / 'list.csv').write_bytes(text.encode(encoding))
  with warnings.catch_warnings():
    warnings.simplefilter('error')
    return load_dataset('folder', root, csv='list.csv')


def test_paths_alone(root):
  dataset, truth = load(root, 'path\n3.png\n1.png\n')
  assert dataset.train.names == ('3.png', '1.png')
  assert load_images(dataset.train)[:, 0, 0, 0].tolist() == [3, 1]
  assert (dataset.query, dataset.gallery) == (EMPTY, EMPTY)
  assert dataset.train.starts is None
  assert truth == GroundTruth()


def test_all_columns_of_images_in_any_order(root):
  dataset, truth = load(
    root,
    'pid,split,camid,path\n'
    '5,query,0,0.png\n'
    ',,1,1.png\n'
    '7,train,2,2.png\n'
    '5,gallery,3,3.png\n'
    '0,gallery,4,4.png\n',
  )
  assert dataset.train.names == ('1.png', '2.png')
  assert dataset.query.names == ('0.png',)
  assert dataset.gallery.names == ('3.png', '4.png')
  known = {k: v for k, v in vars(truth).items() if v is not None}
  assert {k: v.tolist() for k, v in known.items()} == {
    'train_pids': [-1, 7],
    'train_camids': [1, 2],
    'query_pids': [5],
    'query_camids': [0],
    'gallery_pids': [5, 0],
    'gallery_camids': [3, 4],
  }
  assert {v.dtype for v in known.values()} == {np.dtype(np.int32)}
  assert truth.can_evaluate


def test_columns_may_be_empty(root):
  text = 'path,camid,tracklet,pid,split\n1.png,,,,\n2.png,,,,train\n'
  dataset, truth = load(root, text)
  assert len(dataset.train) == 2
  assert dataset.train.starts is None
  assert truth == GroundTruth()


def test_test_identities_without_cameras_or_training_identities(root):
  text = 'path,pid,split\n1.png,,\n2.png,1,query\n3.png,1,gallery\n'
  _, truth = load(root, text)
  assert truth.can_evaluate
  assert truth.train_pids is truth.query_camids is truth.gallery_camids is None


def test_rows_of_a_tracklet_are_its_frames_in_their_order(root):
  dataset, truth = load(
    root,
    'path,tracklet,camid,pid,split\n'
    '5.png,b,2,,\n'
    '3.png,Straße 1,1,8,\n'
    '4.png,b,2,,\n'
    '1.png,b,1,7,query\n'
    '2.png,c,3,7,gallery\n'
    '0.png,c,3,7,gallery\n',
  )
  train, gallery = dataset.train, dataset.gallery
  assert train.names == ('b', 'Straße 1')
  assert train.starts.tolist() == [0, 2, 3]
  assert train.frame_names == ('5.png', '4.png', '3.png')
  assert [int(train.read(f)[0, 0, 0]) for f in range(3)] == [5, 4, 3]
  assert (dataset.query.names, gallery.names) == (('b',), ('c',))
  assert gallery.frame_names == ('2.png', '0.png')
  assert truth.train_pids.tolist() == [-1, 8]
  assert truth.train_camids.tolist() == [2, 1]
  assert (truth.query_pids.tolist(), truth.query_camids.tolist()) == ([7], [1])
  assert len(truth.gallery_pids) == len(truth.gallery_camids) == 1


@pytest.mark.parametrize('encoding', ['utf-8', 'utf-8-sig'])
@pytest.mark.parametrize('end', ['\n', '\r\n'])
def test_quotes_names_and_line_ends(root, encoding, end):
  names = ['a, b.png', 'say "x".png', '行人 1.png', 'two\nlines.png']
  for name in names:
    (root / name).write_bytes((root / '0.png').read_bytes())
  cells = [name.replace('"', '""') for name in names]
  text = end.join(['path', *(f'"{cell}"' for cell in cells), '', ''])
  assert load(root, text, encoding)[0].train.names == tuple(names)


def test_list_may_lie_elsewhere(root, tmp_path):
  table = tmp_path / 'elsewhere.csv'
  table.write_text('path\n1.png\n')
  for path in (str(table), '../elsewhere.csv'):
    dataset, _ = load_dataset('folder', root, csv=path)
    assert dataset.train.names == ('1.png',)


@pytest.mark.parametrize(
  ('header', 'message'),
  [
    ('', 'no column path'),
    ('camid,split', 'no column path'),
    ('path,cam,id', "unknown columns 'cam', 'id'.*any of camid, tracklet"),
    ('path|camid', r"unknown columns 'path\|camid'; no column path.*commas"),
    ('path,pid,pid', 'more than one column pid'),
    ('1.png,3', "unknown columns '1.png', '3'"),
  ],
)
def test_header(root, header, message):
  with pytest.raises(ValueError, match=rf'list\.csv, row 1: {message}'):
    load(root, f'{header}\n1.png\n')


@pytest.mark.parametrize(
  ('header', 'row', 'message'),
  [
    ('path,pid', ',3', 'path is empty'),
    ('path', '/etc/passwd', "path: got '/etc/passwd', expected .* starts at"),
    ('path', '../out.png', r"path: got '\.\./out\.png', .* not lead out of it"),
    ('path', 'link.png', "path: got 'link.png', .* not lead out of it"),
    ('path', 'lost.png', "path: 'lost.png' does not exist"),
    ('path', 'x.png', "path: 'x.png' is a folder"),
    ('path', '0.png', "path: '0.png' is the file of row 2 again"),
    ('path', 'x.png/../0.png', 'is the file of row 2 again'),
    ('path', '1.png,2', '2 cells, but row 1 has 1'),
    ('path,pid,split', '1.png,1', '2 cells, but row 1 has 3'),
    ('path,pid', '1.png,-2', "pid: got '-2', expected an integer from 0"),
    ('path,pid', '1.png,7.5', "pid: got '7.5', expected an integer from 0"),
    ('path,pid,split', '1.png,-1,query', 'a query needs a person'),
    ('path,pid', '1.png,1_0', "pid: got '1_0', expected an integer"),
    ('path,pid', '1.png,٣', "pid: got '٣', expected an integer"),
    ('path,pid', '1.png,2147483648', 'integer from 0 to 2147483647'),
    ('path,camid', '1.png,c1', "camid: got 'c1', expected an integer from 0"),
    ('path,camid', '1.png,', 'camid is empty, but not on all rows'),
    ('path,split', '1.png,test', "split: got 'test', expected train, query"),
    ('path,split', '1.png,query', 'pid is empty; in the query it is needed'),
    ('path,pid,split', '1.png,,gallery', 'pid is empty; in the gallery'),
  ],
)
def test_faults_of_a_row(root, tmp_path, header, row, message):
  (tmp_path / 'out.png').write_bytes((root / '0.png').read_bytes())
  (root / 'link.png').symlink_to(tmp_path / 'out.png')
  (root / 'x.png').mkdir()
  filled = {'path': '0.png', 'split': ''}
  good = ','.join(filled.get(column, '1') for column in header.split(','))
  with pytest.raises(ValueError, match=rf'\n  row 4.*{message}') as caught:
    load(root, f'{header}\n{good}\n\n{row}\n')
  assert '1 of 2 rows have a fault' in str(caught.value)
  # A number alone is hard to find in a list.
  assert row.split(',')[0] in str(caught.value)


@pytest.mark.parametrize(
  ('row', 'message'),
  [
    (
      '1.png,a,2,4',
      "camid: got '2', expected '1' as in row 2, .* tracklet 'a'",
    ),
    ('1.png,a,1,', "pid: got '', expected '4' as in row 2, '0.png',"),
  ],
)
def test_a_tracklet_has_one_camera_and_identity(root, row, message):
  with pytest.raises(ValueError, match=f"row 3, '1.png': {message}"):
    load(root, f'path,tracklet,camid,pid\n0.png,a,1,4\n{row}\n')


def test_ten_faults_are_named(root):
  text = 'path\n' + ''.join(f'lost{i}.png\n' for i in range(12))
  with pytest.raises(ValueError, match='12 of 12 rows have') as caught:
    load(root, text)
  assert "row 11: path: 'lost9.png'" in str(caught.value)
  assert 'lost10' not in str(caught.value)
  assert str(caught.value).endswith('...\nCorrect them or take them out.')


@pytest.mark.parametrize(
  ('rows', 'message'),
  [
    ('', 'lists no images'),
    ('0.png,1,query\n1.png,,', '1 rows are for the query, none is for the gal'),
    ('0.png,1,gallery\n1.png,,', 'for the gallery, none is for the query'),
  ],
)
def test_splits_that_are_missing(root, rows, message):
  with pytest.raises(ValueError, match=message):
    load(root, f'path,pid,split\n{rows}\n')


def test_a_test_set_has_no_training_rows(root):
  dataset, truth = load(
    root, 'path,camid,pid,split\n0.png,1,1,query\n1.png,2,1,gallery\n'
  )
  assert dataset.train == EMPTY
  assert dataset.query.names == ('0.png',)
  assert dataset.gallery.names == ('1.png',)
  assert truth.train_pids is truth.train_camids is None
  assert truth.can_evaluate


def test_identities_in_training_and_test_are_a_warning(root):
  text = 'path,pid,split\n0.png,1,\n1.png,1,query\n2.png,1,gallery\n3.png,,\n'
  with pytest.raises(UserWarning, match=r'list\.csv: 1 identities are both'):
    load(root, text)


@pytest.mark.parametrize(
  ('text', 'encoding', 'message'),
  [
    ('path\n0.png\nä.png', 'latin-1', 'line 3: not UTF-8 text. Save it as'),
    ('path\n0.png', 'utf-16-le', 'unknown columns'),
    ('path\n0.png\n"1.png\n', 'utf-8', 'row 3: unexpected end of data'),
    ('path\n"0.png"x\n', 'utf-8', 'row 2: .*quoted cell is written twice'),
    ('path\n\0.png\n', 'utf-8', 'row 2, .*null'),
  ],
)
def test_files_that_are_no_table(root, text, encoding, message):
  with pytest.raises(ValueError, match=message):
    load(root, text, encoding)


def test_missing_list_is_named(root):
  with pytest.raises(ValueError, match=r'^csv: .*lost\.csv: No such file'):
    load_dataset('folder', root, csv='lost.csv')
  with pytest.raises(ValueError, match=r'^csv: .*crops: Is a directory'):
    load_dataset('folder', root, csv='.')


@pytest.mark.parametrize(
  ('text', 'encoding'),
  [
    ('path;pid\n1.png;7\n', 'utf-8'),
    ('path\tpid\n1.png\t7\n', 'utf-8'),
    ('path,pid\r\n1.png,7\r\n', 'utf-16'),
    ('sep=;\r\npath;pid\r\n1.png;7\r\n', 'utf-8-sig'),
    ('Path, PID\n1.png, 7\n', 'utf-8'),
    (',path,pid,\n0,1.png,7.0,\n', 'utf-8'),
    ('path,pid\n1.png,7\n,\n,\n', 'utf-8'),
    ('"path";"pid"\n"1.png";"7"\n', 'utf-8'),
  ],
)
def test_tables_as_spreadsheets_and_pandas_write_them(root, text, encoding):
  dataset, truth = load(root, text, encoding)
  assert dataset.train.names == ('1.png',)
  assert truth.train_pids.tolist() == [7]


def test_minus_one_is_nobody_known(root):
  text = 'path,pid,split\n0.png,-1,\n1.png,3,query\n2.png,-1,gallery\n'
  dataset, truth = load(root, f'{text}3.png,3.0,gallery\n')
  assert truth.train_pids is None
  assert truth.gallery_pids.tolist() == [-1, 3]
  assert len(dataset.gallery) == 2


@pytest.mark.parametrize('none', ['', '-1', '-1.0', 'nan', 'NaN', 'None'])
def test_what_a_tracker_writes_for_no_track_is_none(root, none):
  rows = f'0.png,1\n1.png,{none}\n2.png,1\n3.png,{none}\n'
  with pytest.warns(UserWarning, match=r'2 images are in no tracklet.*1\.png'):
    dataset, _ = load_dataset('folder', _written(root, rows), csv='list.csv')
  assert dataset.train.names == ('1', '1.png', '3.png')
  assert dataset.train.starts.tolist() == [0, 2, 3, 4]


def test_a_number_of_two_videos_is_told(root):
  for video in ('a', 'b'):
    (root / video).mkdir()
    (root / video / '0.png').write_bytes((root / '0.png').read_bytes())
  rows = 'a/0.png,1\nb/0.png,1\n'
  with pytest.warns(UserWarning, match='1 tracklets have images of several'):
    load_dataset('folder', _written(root, rows), csv='list.csv')


def _written(root, rows):
  (root / 'list.csv').write_text(f'path,tracklet\n{rows}')
  return root


def test_separators_of_windows_are_told(root):
  (root / 'a').mkdir()
  (root / 'a' / '0.png').write_bytes(b'x')
  with pytest.raises(ValueError, match='does not exist; write / in place of'):
    load(root, 'path\na\\0.png\n')


def test_frames_and_times_of_training(root):
  _, truth = load(
    root,
    'path,frame,time,pid,split\n'
    '1.png,7,1.4,,\n'
    '0.png,,,5,query\n'
    '3.png,5.0,-1,,train\n'
    '4.png,5,1e3,5,gallery\n',
  )
  assert truth.train_frames.tolist() == [[7, 7], [5, 5]]
  assert truth.train_times.tolist() == [[1.4, 1.4], [-1.0, -1.0]]
  assert truth.train_frames.dtype == np.int64
  assert truth.train_times.dtype == np.float64


def test_a_tracklet_lasts_from_its_first_frame_to_its_last(root):
  _, truth = load(
    root,
    'path,tracklet,frame\n1.png,a,7\n2.png,b,5\n3.png,a,6\n4.png,c,8\n',
  )
  assert truth.train_frames.tolist() == [[6, 7], [5, 5], [8, 8]]
  assert truth.train_times is None


@pytest.mark.parametrize(
  ('text', 'fault'),
  [
    ('path,frame\n1.png,x\n', "frame: got 'x', expected an integer"),
    ('path,frame\n1.png,-1\n', "frame: got '-1', expected an integer"),
    ('path,time\n1.png,10:30\n', "time: got '10:30', expected seconds"),
    ('path,time\n1.png,nan\n', "time: got 'nan', expected seconds"),
    ('path,time\n1.png,1e999\n', "time: got '1e999', expected seconds"),
    ('path,time\n1.png,1\n2.png,\n', 'row 3, .*time is empty, but not on all'),
    ('path,frame\n1.png,1\n2.png,\n', 'row 3, .*frame is empty, but not on'),
  ],
)
def test_bad_frames_and_times_are_named(root, text, fault):
  with pytest.raises(ValueError, match=fault):
    load(root, text)
