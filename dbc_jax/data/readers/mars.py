"""Reader of MARS, the video data set, in its official layout."""

import dataclasses
import re
import zlib
from pathlib import Path

import numpy as np

from dbc_jax.data.readers.checks import listed
from dbc_jax.data.readers.release import (
  Listing,
  Release,
  find_home,
  load_listings,
)
from dbc_jax.data.samples import DISTRACTOR_PID, JUNK_PID, Loaded

RELEASE = Release(
  title='MARS',
  description='MARS: tracklets of persons, six cameras.',
  prefix='mars',
  sizes={
    'training tracklets': 8298,
    'training identities': 625,
    'query tracklets': 1980,
    'query identities': 626,
    'gallery tracklets': 12180,
    'junk tracklets in the gallery': 870,
  },
  is_video=True,
  not_persons=(JUNK_PID, DISTRACTOR_PID),
)
_WITHOUT_QUERIES = {
  'gallery tracklets': 9330,
  'junk tracklets in the gallery': 0,
}

_FOLDERS = ('bbox_train', 'bbox_test')
_QUERIES = 'info/query_IDX.mat'
_FILES = (
  'info/train_name.txt',
  'info/test_name.txt',
  'info/tracks_train_info.mat',
  'info/tracks_test_info.mat',
  _QUERIES,
)
# Identity, camera, tracklet, frame. The first four characters name the folder.
_NAME = re.compile(r'(00-1|[0-9]{4})C[1-6]T[0-9]{4}F[0-9]{3}\.jpg')


def load(root: Path, *, drop_queries: bool = False) -> Loaded:
  """Reads the manifest of MARS: its tracklets, and who is on them.

  All test tracklets are the gallery, queries among them, as in the papers. A
  query meets itself there, but under its own person and camera, which the
  camera rule drops; without that rule every query would find itself first.

  Args:
    root: the folder with bbox_train, bbox_test and info, or the folder around
      it (`MARS`).
    drop_queries: takes queries and junk out of the gallery, as torchreid
      does: 9,330 tracklets are left of 12,180. Scores differ from those of
      the papers.

  Returns:
    The data set, whose samples are tracklets in the order of the lists, and,
    apart, its identities and cameras (1 to 6). In the gallery, pid -1 is junk
    and 0 marks distractors.

  Raises:
    ValueError: another layout, missing or damaged lists, or lists that do not
      agree with each other or with the images.

  Source: Zheng et al., MARS: A Video Benchmark for Large-Scale Person
    Re-Identification (ECCV 2016).
  """
  home = find_home(root, RELEASE, [_FOLDERS])
  missing = [name for name in _FILES if not (home / name).is_file()]
  if missing:
    raise ValueError(
      f'{home} lacks {listed(missing)}. These files come apart from the '
      'images, with the evaluation code of MARS: put all five into info.'
    )
  train = _read_split(home, 'train')
  gallery = _read_split(home, 'test')
  chosen = _read_queries(home, len(gallery.pids))
  query = gallery.take(chosen)
  release = RELEASE
  if drop_queries:
    kept = gallery.pids != JUNK_PID
    kept[chosen] = False
    gallery = gallery.take(np.flatnonzero(kept))
    sizes = {**RELEASE.sizes, **_WITHOUT_QUERIES}
    release = dataclasses.replace(RELEASE, sizes=sizes)
  return load_listings(root, home, release, [train, query, gallery])


def _read_split(home: Path, split: str) -> Listing:
  """Tracklets of one split, in the order of its .mat file."""
  names = _read_names(home / f'info/{split}_name.txt')
  path = home / f'info/tracks_{split}_info.mat'
  rows = _read_matrix(path, f'track_{split}_info')
  if rows.shape[1] != 4 or not len(rows):
    raise ValueError(
      f'{path}: expected rows of 4 columns (first frame, last frame, pid, '
      f'camera), got {rows.shape[0]} x {rows.shape[1]}.'
    )
  paths = [f'bbox_{split}/{name[:4]}/{name}' for name in names]
  stems, frames = [], []
  for number, (first, last, pid, camid) in enumerate(rows.tolist(), 1):
    where = f'{path}, row {number}'
    if not 1 <= first <= last <= len(names):
      raise ValueError(
        f'{where}: frames {first} to {last}; expected 1 to {len(names):,}, '
        f'the lines of {split}_name.txt. Are both of the same release?'
      )
    person = '00-1' if pid == JUNK_PID else f'{pid:04}'
    start = f'{person}C{camid}T'
    others = [n for n in names[first - 1 : last] if not n.startswith(start)]
    if others:
      raise ValueError(
        f'{where}: a tracklet of pid {pid} and camera {camid}, but of its '
        f'frames {first} to {last} in {split}_name.txt {len(others)} are of '
        f'others: {listed(others)}. Are both of the same release, and the '
        'lines in their order?'
      )
    # Up to the frame's number.
    stems.append(paths[first - 1].rpartition('F')[0])
    frames.append(paths[first - 1 : last])
  # Of each tracklet only one: looking for all images would take minutes.
  missing = [own[0] for own in frames if not (home / own[0]).is_file()]
  if missing:
    raise ValueError(
      f'{home}: {len(missing):,} of {len(frames):,} tracklets of bbox_{split} '
      f'lack their first frame: {listed(missing)}. Unpack bbox_{split} again.'
    )
  pids, camids = rows[:, 2:].T.astype(np.int32)
  return Listing(stems, pids, camids, frames)


def _read_names(path: Path) -> list[str]:
  # Any bytes can be read; what is no name is told below.
  names = path.read_text('utf-8', 'replace').rstrip().splitlines()
  foreign = [
    f'line {number}: {name!r}'
    for number, name in enumerate(names, 1)
    if not _NAME.fullmatch(name)
  ]
  if foreign or not names:
    raise ValueError(
      f'{path}: {len(foreign)} of {len(names)} lines are no file name as in '
      f'MARS (0001C1T0001F001.jpg): {listed(foreign)}. Copy the file again.'
    )
  return names


def _read_matrix(path: Path, key: str) -> np.ndarray:
  """A matrix of whole numbers, as int64."""
  # Imported only here: it takes longer than all other readers.
  from scipy.io import loadmat
  from scipy.io.matlab import MatReadError

  try:
    found = loadmat(path)
  except (
    IndexError,
    MatReadError,
    NotImplementedError,  # HDF5, which newer versions of MATLAB write.
    OSError,
    TypeError,
    ValueError,
    zlib.error,
  ) as error:
    raise ValueError(
      f'{path} cannot be read: {error}. Copy the file again.'
    ) from error
  keys = sorted(name for name in found if not name.startswith('__'))
  if key not in keys:
    raise ValueError(
      f'{path}: expected a matrix {key!r}, found {listed(keys)}. '
      'Is this the file of that name of MARS?'
    )
  matrix = found[key]
  if matrix.dtype.kind not in 'iuf' or matrix.ndim != 2:
    raise ValueError(
      f'{path}: {key} should be a matrix of numbers, got '
      f'{matrix.dtype} of shape {matrix.shape}.'
    )
  if not (np.isfinite(matrix) & (matrix == np.floor(matrix))).all():
    raise ValueError(
      f'{path}: {key} should hold whole numbers only. Copy the file again.'
    )
  return matrix.astype(np.int64)


def _read_queries(home: Path, num_tracklets: int) -> np.ndarray:
  """Indices of the queries among the test tracklets, from 0."""
  path = home / _QUERIES
  matrix = _read_matrix(path, 'query_IDX')
  if 1 not in matrix.shape:
    raise ValueError(
      f'{path}: expected one row or one column of numbers, got '
      f'{matrix.shape[0]} x {matrix.shape[1]}.'
    )
  numbers = matrix.ravel()
  outside = numbers[(numbers < 1) | (numbers > num_tracklets)]
  if len(outside):
    raise ValueError(
      f'{path}: expected numbers from 1 to {num_tracklets:,}, the rows of '
      f'tracks_test_info.mat, got {listed(outside)}. Are both of the same '
      'release?'
    )
  return numbers - 1
