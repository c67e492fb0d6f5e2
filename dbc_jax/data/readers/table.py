"""Reader of a list of images in a CSV file, with what is known of each."""

import codecs
import collections
import csv
import dataclasses
import io
import math
import os
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from dbc_jax.data.decode import image_files
from dbc_jax.data.readers.checks import (
  is_no_track,
  listed,
  warn_of_no_tracks,
  warn_of_shared_identities,
)
from dbc_jax.data.samples import (
  EMPTY,
  JUNK_PID,
  SPLITS,
  Loaded,
  Samples,
  assemble,
  spans,
)

_COLUMNS = ('path', 'camid', 'tracklet', 'pid', 'split', 'frame', 'time')
_LARGEST = 2**31 - 1
_FAULTS_SHOWN = 10


@dataclasses.dataclass(frozen=True)
class _Row:
  path: str
  camid: int | None
  tracklet: str
  pid: int
  split: str
  frame: int | None
  time: float | None


def load_table(root: Path, table: str) -> Loaded:
  """Reads the images that a CSV file lists.

  The file is UTF-8 or UTF-16 text, with commas, semicolons or tabs between
  cells and, around a cell that holds one, a quote or a line break, double
  quotes. Its first row names the columns, in any order; columns without a name
  and empty rows are passed over. All but `path` may be missing or left empty:

      path      of the image, from `root`
      camid     camera, an integer of 0 or more; on all rows or on none
      tracklet  any text; rows of the same tracklet and split are one sample,
                its frames in the order of the rows. What trackers write for
                none (-1, nan, None, nothing) is a sample of its own, where
                other rows have one
      pid       identity, an integer of 0 or more, or -1 for nobody known;
                needed in query and gallery, and not -1 in the query
      split     'train' (also where empty), 'query' or 'gallery'
      frame     number of the frame in the video of its camera, an integer of 0
                or more; on all rows of training or on none
      time      seconds of a clock that all cameras share; likewise

  Args:
    root: the folder that paths start from.
    table: path of the CSV file, from `root` or absolute.

  Returns:
    The data set, in the order of the rows, and what is known of it: a pid of
    -1 is a training sample without one. Without cameras the scores need the
    camera rule switched off. Without training rows it is a test set.

  Raises:
    ValueError: the file cannot be read, or what it says is not as above. Up
      to ten faults are named with row and path; the header is row 1.

  Source: RFC 4180 for the quotes.
  """
  path = Path(root, Path(table).expanduser())
  rows = _read_rows(root, path)
  splits = {
    split: [row for row in rows if row.split == split] for split in SPLITS
  }
  if bool(splits['query']) != bool(splits['gallery']):
    present, absent = 'query', 'gallery'
    if splits['gallery']:
      present, absent = absent, present
    raise ValueError(
      f'{path}: {len(splits[present])} rows are for the {present}, none is for '
      f'the {absent}. Scores need both; add the other, or leave both out.'
    )
  pids = {
    split: np.array([row.pid for row in splits[split]]) for split in SPLITS
  }
  if splits['query']:
    test_pids = np.concatenate([pids['query'], pids['gallery']])
    warn_of_shared_identities(str(path), pids['train'], test_pids)
  train = splits['train']
  owners = [*_tracklets(train).values()] or [[i] for i in range(len(train))]
  known = {
    name: spans(np.array([getattr(row, column) for row in train], kind), owners)
    for name, column, kind in (
      ('frames', 'frame', np.int64),
      ('times', 'time', np.float64),
    )
    if train and getattr(train[0], column) is not None
  }
  return assemble(*(_split(root, splits[split]) for split in SPLITS), **known)


def _tracklets(rows: Sequence[_Row]) -> dict[str, list[int]]:
  """Places of the rows of each tracklet; empty where there are none."""
  found = collections.defaultdict(list)
  if any(row.tracklet for row in rows):
    for i, row in enumerate(rows):
      found[row.tracklet or row.path].append(i)
  return found


def _split(
  root: Path, rows: Sequence[_Row]
) -> tuple[Samples, np.ndarray | None, np.ndarray | None]:
  """Samples, pids and camids of one split."""
  if not rows:
    return EMPTY, None, None
  if tracklets := _tracklets(rows):
    frames = [[rows[i].path for i in group] for group in tracklets.values()]
    samples = image_files(root, tracklets, frames)
    rows = [rows[group[0]] for group in tracklets.values()]
  else:
    samples = image_files(root, [row.path for row in rows])
  pids = camids = None
  if any(row.pid != JUNK_PID for row in rows):
    pids = np.array([row.pid for row in rows], np.int32)
  if rows[0].camid is not None:
    camids = np.array([row.camid for row in rows], np.int32)
  return samples, pids, camids


def _read_rows(root: Path, path: Path) -> list[_Row]:
  header, *records = _read_records(path)
  _check_header(path, header)
  empty = dict.fromkeys(_COLUMNS, '')
  # Blank lines count as rows, as a spreadsheet shows them, and say nothing.
  numbered = [
    (number, len(record), empty | _cells(header, record))
    for number, record in enumerate(records, 2)
    if any(record)
  ]
  if not numbered:
    raise ValueError(f'{path} lists no images: there is nothing below row 1.')
  check = _RowCheck(root, [cells for _, _, cells in numbered])
  rows: list[_Row] = []
  faults = []
  for number, length, cells in numbered:
    try:
      if length != len(header):
        raise ValueError(f'{length} cells, but row 1 has {len(header)}')
      rows.append(check(number, cells))
    except ValueError as error:
      where = f'row {number}'
      if cells['path'] and not str(error).startswith('path:'):
        where += f', {cells["path"]!r}'
      faults.append(f'\n  {where}: {error}')
  if faults:
    more = '\n  ...' if len(faults) > _FAULTS_SHOWN else ''
    raise ValueError(
      f'{path}: {len(faults)} of {len(numbered)} rows have a fault (row 1 is '
      f'the header):{"".join(faults[:_FAULTS_SHOWN])}{more}\nCorrect them or '
      'take them out.'
    )
  _warn_of_tracklets(path, rows)
  return rows


def _cells(header: list[str], record: list[str]) -> dict[str, str]:
  """Of one row. A path is taken as it is, the rest without spaces around."""
  cells = {
    column: cell if column == 'path' else cell.strip()
    for column, cell in zip(header, record, strict=False)
  }
  if is_no_track(cells.get('tracklet', '')):
    cells['tracklet'] = ''
  return cells


def _warn_of_tracklets(path: Path, rows: Sequence[_Row]) -> None:
  """Of rows without one, and of one number that several folders have."""
  folders = collections.defaultdict(set)
  for row in rows:
    if row.tracklet:
      folders[row.split, row.tracklet].add(os.path.dirname(row.path))
  if not folders:
    return
  warn_of_no_tracks(str(path), [row.path for row in rows if not row.tracklet])
  several = [
    f'{tracklet} in {" and ".join(sorted(found)[:2])}'
    for (_, tracklet), found in folders.items()
    if len(found) > 1
  ]
  if several:
    warnings.warn(
      f'{path}: {len(several):,} tracklets have images of several folders: '
      f'{listed(several)}. Where these are videos that each count from 1, they '
      "are several tracklets: write the video's name before the number",
      stacklevel=2,
    )


def _read_records(path: Path) -> list[list[str]]:
  """The cells of each row; the header is the first."""
  records: list[list[str]] = []
  data = b''
  try:
    data = path.read_bytes()
    wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    text = data.decode('utf-16' if wide else 'utf-8-sig')
    first = re.split(r'[\r\n]', text, maxsplit=1)[0]
    delimiter = max(',;\t', key=first.count)
    # What Excel writes before the header.
    if told := re.match(r'sep=(.)\r?\n', text):
      delimiter, text = told[1], text[told.end() :]
    for record in csv.reader(
      io.StringIO(text, newline=''),
      delimiter=delimiter,
      skipinitialspace=True,
      strict=True,
    ):
      records.append(record)
  except OSError as error:
    raise ValueError(
      f'csv: {path}: {error.strerror}. Expected a file; its path is absolute, '
      'or starts at the root.'
    ) from error
  except UnicodeDecodeError as error:
    line = data.count(b'\n', 0, error.start) + 1
    raise ValueError(
      f'{path}, line {line}: not UTF-8 text. Save it as CSV in UTF-8.'
    ) from error
  except csv.Error as error:
    raise ValueError(
      f'{path}, row {len(records) + 1}: {error}. A quote inside a quoted cell '
      'is written twice.'
    ) from error
  header, *rows = records or [[]]
  return [[name.strip().lower() for name in header], *rows]


def _check_header(path: Path, header: list[str]) -> None:
  faults = []
  unknown = [repr(name) for name in header if name not in (*_COLUMNS, '')]
  if unknown:
    faults.append(f'unknown columns {listed(unknown)}')
  repeated = [name for name in _COLUMNS if header.count(name) > 1]
  if repeated:
    faults.append(f'more than one column {listed(repeated)}')
  if 'path' not in header:
    faults.append('no column path')
  if faults:
    raise ValueError(
      f'{path}, row 1: {"; ".join(faults)}. It names the columns: path and any '
      f'of {listed(_COLUMNS[1:])}, with commas between.'
    )


class _RowCheck:
  """Makes rows of cells, or says what is wrong with them."""

  def __init__(self, root: Path, table: Sequence[Mapping[str, str]]):
    self._home = root.resolve()
    self._filled = {
      column for column in _COLUMNS if any(cells[column] for cells in table)
    }
    self._timed = {
      column
      for column in ('frame', 'time')
      if any(x[column] for x in table if x['split'] in ('', 'train'))
    }
    # By the file and by (split, tracklet): where it first came up.
    self._files: dict[Path, int] = {}
    self._tracklets: dict[tuple[str, str], tuple[int, Mapping[str, str]]] = {}

  def __call__(self, number: int, cells: Mapping[str, str]) -> _Row:
    """Raises ValueError, without the number, for the first fault."""
    self._check_path(number, cells['path'])
    split = cells['split'] or 'train'
    if split not in SPLITS:
      raise ValueError(
        f'split: got {split!r}, expected {", ".join(SPLITS)} or nothing'
      )
    if 'camid' in self._filled and not cells['camid']:
      raise ValueError('camid is empty, but not on all rows')
    for column in ('frame', 'time') if split == 'train' else ():
      if column in self._timed and not cells[column]:
        raise ValueError(f'{column} is empty, but not on all rows of training')
    if split != 'train' and not cells['pid']:
      raise ValueError(f'pid is empty; in the {split} it is needed')
    pid = JUNK_PID
    if cells['pid'] and not re.fullmatch(r'-1(\.0)?', cells['pid']):
      pid = _integer(cells, 'pid')
    elif split == 'query':
      raise ValueError('pid: got -1, nobody known; a query needs a person')
    row = _Row(
      cells['path'],
      _integer(cells, 'camid') if cells['camid'] else None,
      cells['tracklet'],
      pid,
      split,
      _integer(cells, 'frame') if cells['frame'] else None,
      _seconds(cells['time']) if cells['time'] else None,
    )
    if row.tracklet:
      self._check_tracklet(number, row, cells)
    return row

  def _check_path(self, number: int, path: str) -> None:
    if not path:
      raise ValueError('path is empty')
    file = Path(os.path.realpath(self._home / path))
    if os.path.isabs(path) or not file.is_relative_to(self._home):
      raise ValueError(
        f'path: got {path!r}, expected one that starts at the root and does '
        'not lead out of it'
      )
    if not os.path.isfile(file):
      what = 'is a folder' if os.path.isdir(file) else 'does not exist'
      if os.path.isfile(self._home / path.replace('\\', '/')):
        what += '; write / in place of \\'
      elif os.path.exists(file) and not os.path.isdir(file):
        what = 'is a named pipe or a device, and no file'
      raise ValueError(f'path: {path!r} {what}')
    first = self._files.setdefault(file, number)
    if first != number:
      raise ValueError(f'path: {path!r} is the file of row {first} again')

  def _check_tracklet(
    self, number: int, row: _Row, cells: Mapping[str, str]
  ) -> None:
    first, other = self._tracklets.setdefault(
      (row.split, row.tracklet), (number, cells)
    )
    for column in ('camid', 'pid'):
      if cells[column] != other[column]:
        raise ValueError(
          f'{column}: got {cells[column]!r}, expected {other[column]!r} as in '
          f'row {first}, {other["path"]!r}, of the same tracklet '
          f'{row.tracklet!r}'
        )


def _seconds(text: str) -> float:
  number = r'[+-]?\d+(\.\d*)?(e[+-]?\d+)?'
  match = re.fullmatch(number, text, re.ASCII | re.IGNORECASE)
  if not match or not math.isfinite(float(text)):
    raise ValueError(
      f'time: got {text!r}, expected seconds such as 12 or 12.5, of a clock '
      'that all cameras share'
    )
  return float(text)


def _integer(cells: Mapping[str, str], column: str) -> int:
  # With a fraction of zero, as pandas writes a column that has gaps.
  text = re.sub(r'\.0+$', '', cells[column])
  # Not all that `int` takes: '+1', ' 1 ' and '1_000' are typing errors.
  if not (text.isascii() and text.isdigit() and int(text) <= _LARGEST):
    raise ValueError(
      f'{column}: got {text!r}, expected an integer from 0 to {_LARGEST}'
    )
  return int(text)
