"""Reader of a list of images in a CSV file, with what is known of each."""

import collections
import csv
import dataclasses
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from dbc_jax.data.decode import image_files
from dbc_jax.data.readers.checks import listed, warn_of_shared_identities
from dbc_jax.data.samples import (
  EMPTY,
  JUNK_PID,
  SPLITS,
  Loaded,
  Samples,
  assemble,
)

_COLUMNS = ('path', 'camid', 'tracklet', 'pid', 'split')
_LARGEST = 2**31 - 1
_FAULTS_SHOWN = 10


@dataclasses.dataclass(frozen=True)
class _Row:
  path: str
  camid: int | None
  tracklet: str
  pid: int
  split: str


def load_table(root: Path, table: str) -> Loaded:
  """Reads the images that a CSV file lists.

  The file is UTF-8 text, with commas between cells and, around a cell that
  holds a comma, a quote or a line break, double quotes. Its first row names
  the columns, in any order. All but `path` may be missing or left empty:

      path      of the image, from `root`
      camid     camera, an integer of 0 or more; on all rows or on none
      tracklet  any text; rows of the same tracklet and split are one sample,
                its frames in the order of the rows; on all rows or on none
      pid       identity, an integer of 0 or more; needed in query and gallery
      split     'train' (also where empty), 'query' or 'gallery'

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
  return assemble(*(_split(root, splits[split]) for split in SPLITS))


def _split(
  root: Path, rows: Sequence[_Row]
) -> tuple[Samples, np.ndarray | None, np.ndarray | None]:
  """Samples, pids and camids of one split."""
  if not rows:
    return EMPTY, None, None
  if rows[0].tracklet:
    tracklets = collections.defaultdict(list)
    for row in rows:
      tracklets[row.tracklet].append(row)
    frames = [[row.path for row in group] for group in tracklets.values()]
    samples = image_files(root, tracklets, frames)
    rows = [group[0] for group in tracklets.values()]
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
    (number, len(record), empty | dict(zip(header, record, strict=False)))
    for number, record in enumerate(records, 2)
    if record
  ]
  if not numbered:
    raise ValueError(f'{path} lists no images: there is nothing below row 1.')
  check = _RowCheck(root, [cells for _, _, cells in numbered])
  rows, faults = [], []
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
  return rows


def _read_records(path: Path) -> list[list[str]]:
  """The cells of each row; the header is the first."""
  records: list[list[str]] = []
  data = b''
  try:
    data = path.read_bytes()
    text = io.StringIO(data.decode('utf-8-sig'), newline='')
    for record in csv.reader(text, strict=True):
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
  return records or [[]]


def _check_header(path: Path, header: list[str]) -> None:
  faults = []
  unknown = [repr(name) for name in header if name not in _COLUMNS]
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
    for column in ('camid', 'tracklet'):
      if column in self._filled and not cells[column]:
        raise ValueError(f'{column} is empty, but not on all rows')
    if split != 'train' and not cells['pid']:
      raise ValueError(f'pid is empty; in the {split} it is needed')
    row = _Row(
      cells['path'],
      _integer(cells, 'camid') if cells['camid'] else None,
      cells['tracklet'],
      _integer(cells, 'pid') if cells['pid'] else JUNK_PID,
      split,
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


def _integer(cells: Mapping[str, str], column: str) -> int:
  text = cells[column]
  # Not all that `int` takes: '+1', ' 1 ' and '1_000' are typing errors.
  if not (text.isascii() and text.isdigit() and int(text) <= _LARGEST):
    raise ValueError(
      f'{column}: got {text!r}, expected an integer from 0 to {_LARGEST}'
    )
  return int(text)
