"""Cameras and tracklets by a pattern of paths."""

import numpy as np
import pytest
import runs

from dbc_jax.commands import check_data
from dbc_jax.data import load_dataset
from dbc_jax.data.readers.pattern import compile_pattern, match_of


def folder(tmp_path, names):
  images = runs.make_images(len(names), 2)
  return runs.write_images(tmp_path / 'crops', names, images)


@pytest.mark.parametrize(
  ('pattern', 'path', 'expected'),
  [
    ('cam{camid}/*', 'cam3/a.png', {'camid': '3'}),
    ('*_c{camid}s*', 'x/0002_c1s2_000451_03.jpg', {'camid': '1'}),
    (
      'cam{camid}/{tracklet}_{frame}',
      'cam12/7_0009.png',
      {'camid': '12', 'tracklet': '7', 'frame': '0009'},
    ),
    ('**/{camid}/*', 'a/b/north/x.y.png', {'camid': 'north'}),
    # What is no field is taken as it stands.
    ('a.b+{camid}', 'a.b+4.png', {'camid': '4'}),
    ('a.b+{camid}', 'axb+4.png', None),
    # A whole path, or a whole name.
    ('cam{camid}/*', 'x/cam3/a.png', None),
    ('cam{camid}', 'cam3_1.png', {'camid': '3_1'}),
  ],
)
def test_what_a_pattern_reads(pattern, path, expected):
  match = match_of(compile_pattern(pattern), pattern, path)
  assert (match and match.groupdict()) == expected


def test_cameras_of_images(tmp_path):
  names = ['c10_b.png', 'c2_a.png', 'c2_b.png']
  root = folder(tmp_path, names)
  dataset, truth = load_dataset('folder', root, pattern='c{camid}_*')
  assert dataset.train.names == tuple(names)
  assert truth.train_camids.tolist() == [10, 2, 2]
  assert truth.train_camids.dtype == np.int32
  assert truth.train_pids is None


def test_cameras_that_are_words_have_their_own_number_in_every_folder(tmp_path):
  root = folder(tmp_path, ['south/1.png', 'north/1.png', 'south/2.png'])
  _, truth = load_dataset('folder', root, pattern='{camid}/*')
  # Files are sorted by path: north first.
  north, south, other = truth.train_camids.tolist()
  assert north != south == other
  root = folder(tmp_path / 'b', ['east/1.png', 'south/1.png'])
  _, truth = load_dataset('folder', root, pattern='{camid}/*')
  assert truth.train_camids.tolist()[1] == south


def test_numbers_too_long_and_odd_digits_are_words(tmp_path):
  root = folder(tmp_path, ['20240101123000_a.png', '\u00b2_a.png', '7_a.png'])
  _, truth = load_dataset('folder', root, pattern='{camid}_*')
  assert 7 in truth.train_camids
  assert (truth.train_camids >= 0).all()


def test_tracklets_are_of_one_folder_camera_and_number(tmp_path):
  names = [
    'a/1_c1_10.png',
    'a/1_c1_9.png',
    'a/1_c2_1.png',
    'a/2_c1_1.png',
    'b/1_c1_1.png',
  ]
  root = folder(tmp_path, names)
  dataset, truth = load_dataset(
    'folder', root, pattern='*/{tracklet}_c{camid}_{frame}'
  )
  samples = dataset.train
  frames = [
    [samples.frame_name(f) for f in range(start, end)]
    for start, end in zip(samples.starts, samples.starts[1:], strict=False)
  ]
  # By the frame's value; a number of another video is another tracklet.
  assert frames == [
    ['a/1_c1_9.png', 'a/1_c1_10.png'],
    ['a/1_c2_1.png'],
    ['a/2_c1_1.png'],
    ['b/1_c1_1.png'],
  ]
  assert truth.train_camids.tolist() == [1, 2, 1, 1]
  assert len(set(samples.names)) == 4


@pytest.mark.parametrize(
  ('pattern', 'message'),
  [
    ('{pid}_*', r'got \{pid\} in .* expected \{camid\}'),
    ('{camid}_{camid}', 'stands twice'),
    ('*', r'expected \{camid\} or \{tracklet\} in it'),
    ('cam{camid}_*', r'does not match 2 of 3 images: x1\.png, x2\.png'),
  ],
)
def test_bad_patterns_are_named(pattern, message, tmp_path):
  root = folder(tmp_path, ['cam1_1.png', 'x1.png', 'x2.png'])
  with pytest.raises(ValueError, match=message):
    load_dataset('folder', root, pattern=pattern)


def test_five_that_do_not_match_are_shown(tmp_path):
  root = folder(tmp_path, [f'x{i}.png' for i in range(7)])
  with pytest.raises(ValueError, match=r'7 of 7 images: x0.*x4\.png, \.\.\.; '):
    load_dataset('folder', root, pattern='c{camid}')


@pytest.mark.parametrize('other', [{'csv': 'l.csv'}, {'tracklets': True}])
def test_one_way_at_a_time(other, tmp_path):
  root = folder(tmp_path, ['cam1.png'])
  with pytest.raises(ValueError, match='expected one of them'):
    load_dataset('folder', root, pattern='cam{camid}', **other)


def test_check_data_shows_examples(tmp_path, capsys):
  root = folder(tmp_path, [f'cam{i % 3}/{i:02d}.png' for i in range(9)])
  status = check_data.main(
    [
      '--dataset=folder',
      f'--root={root}',
      '--pattern=cam{camid}/*',
      f'--out={tmp_path}',
    ]
  )
  assert status == 0
  text = capsys.readouterr().out
  assert 'by the pattern' in text
  lines = [line.split() for line in text.splitlines()]
  assert ['by', 'the', 'pattern', 'camid'] in lines
  assert ['cam0/00.png', '0'] in lines
  assert ['cam2/08.png', '2'] in lines


def test_check_data_shows_each_field_and_cameras_that_are_words(
  tmp_path, capsys
):
  root = folder(tmp_path, ['north/1_5.png', 'north/1_06.png', 'south/2_7.png'])
  pattern = '{camid}/{tracklet}_{frame}'
  check_data.main(
    [
      '--dataset=folder',
      f'--root={root}',
      f'--pattern={pattern}',
      f'--out={tmp_path}',
    ]
  )
  camids = load_dataset('folder', root, pattern=pattern)[1].train_camids
  lines = [line.split() for line in capsys.readouterr().out.splitlines()]
  first = lines.index(
    ['by', 'the', 'pattern', 'camid', 'tracklet', 'frame', 'camera', 'frames']
  )
  assert lines[first + 1 : first + 4] == [
    ['north/1_5.png', 'north', '1', '5', str(camids[0]), '2'],
    ['south/2_7.png', 'south', '2', '7', str(camids[1]), '1'],
    [],
  ]


def test_no_track_is_no_tracklet(tmp_path):
  names = ['1_0.png', '1_1.png', '-1_0.png', '-1_1.png', 'None_1.png']
  root = folder(tmp_path, names)
  with pytest.warns(UserWarning, match='3 images are in no tracklet'):
    dataset, _ = load_dataset('folder', root, pattern='{tracklet}_{frame}')
  assert sorted(np.diff(dataset.train.starts)) == [1, 1, 1, 2]


def test_a_frame_twice_is_of_another_video(tmp_path):
  root = folder(tmp_path, [f'{v}_1_{f}.png' for v in 'ab' for f in range(3)])
  with pytest.warns(UserWarning, match='a frame twice in 1 tracklets: 1 in'):
    load_dataset('folder', root, pattern='*_{tracklet}_{frame}')


def test_frames_and_times(tmp_path):
  names = [f'c{c}_t{t}_f{f:03d}.png' for c, t, f in ((1, 2.5, 7), (2, 10, 6))]
  _, truth = load_dataset(
    'folder', folder(tmp_path, names), pattern='c{camid}_t{time}_f{frame}'
  )
  assert truth.train_frames.tolist() == [[7, 7], [6, 6]]
  assert truth.train_times.tolist() == [[10, 10], [2.5, 2.5]][::-1]


def test_tracklets_last_from_first_to_last_and_times_order_frames(tmp_path):
  names = ['a_10.5.png', 'a_9.25.png', 'a_9.5.png', 'b_3.png']
  dataset, truth = load_dataset(
    'folder', folder(tmp_path, names), pattern='{tracklet}_{time}'
  )
  assert dataset.train.frame_names[:3] == ('a_9.25.png', names[2], names[0])
  assert truth.train_times.tolist() == [[9.25, 10.5], [3, 3]]
  assert truth.train_frames is None


def test_frames_that_are_no_numbers_only_order(tmp_path):
  names = ['a_f2.png', 'a_x1.png']
  dataset, truth = load_dataset(
    'folder', folder(tmp_path, names), pattern='{tracklet}_{frame}'
  )
  assert truth.train_frames is None
  assert dataset.train.frame_names == tuple(names)


def test_times_that_are_no_seconds_are_refused(tmp_path):
  root = folder(tmp_path, ['a_5.png', 'a_noon.png'])
  with pytest.raises(ValueError, match=r"pattern: .*'noon' .*a_noon.*seconds"):
    load_dataset('folder', root, pattern='{tracklet}_{time}')
