"""Reader of MSMT17, both of its versions, in its official layout."""

import os
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from dbc_jax.data.readers.checks import listed
from dbc_jax.data.readers.release import (
  Listing,
  Release,
  find_home,
  has_folders,
  load_listings,
)
from dbc_jax.data.samples import Loaded

RELEASE = Release(
  title='MSMT17',
  description='MSMT17: images of persons, fifteen cameras.',
  prefix='msmt17',
  sizes={
    'training images': 32621,
    'training identities': 1041,
    'query images': 11659,
    'query identities': 3060,
    'gallery images': 82161,
    'gallery identities': 3060,
  },
)
# Training and test folder of V1, and of V2, where faces are masked.
_LAYOUTS = (('train', 'test'), ('mask_train_v2', 'mask_test_v2'))
_TRAIN_LISTS = ('list_train.txt', 'list_val.txt')
_LISTS = (*_TRAIN_LISTS, 'list_query.txt', 'list_gallery.txt')
# Identity, number of the image, camera, then date and frame, which vary.
_LINE = re.compile(
  r'(?P<path>(.*/)?\d+_\d+_(?P<camid>0[1-9]|1[0-5])_[^/]*\.jpg)'
  r'\s+(?P<pid>\d{1,6})\s*',
  re.ASCII,
)
_EXAMPLE = '0000/0000_000_01_0303morning_0015_0.jpg 0'
_LINE_SHOWN = 80  # Characters of a malformed line.


class _Row(NamedTuple):
  where: str
  path: str
  pid: int
  camid: int


def load(
  root: Path, *, num_identities: int | None = None, seed: int = 0
) -> Loaded:
  """Reads the manifest of MSMT17, or of a reduced set.

  Training images are those of list_train.txt and list_val.txt. Images that no
  list names are left out.

  Args:
    root: the folder with train and test (V1) or mask_train_v2 and mask_test_v2
      (V2) and the four lists, or the folder around it (`MSMT17_V1`,
      `MSMT17_V2` or `MSMT17`).
    num_identities, seed: as in `release.load_listings`.

  Returns:
    The data set and, apart, its identities and cameras (1 to 15). There is no
    junk: pid 0 is a person. The lists number the persons of training and of
    test from 0 each, though none is in both; so that they differ here too,
    test pids are those of the lists plus the number after the last of
    training, which is 1,041 in a whole copy.

  Raises:
    ValueError: another layout, lists that are not as expected, listed files
      that are missing, or `num_identities` out of range.

  Source: Wei et al., Person Transfer GAN to Bridge Domain Gap for Person
    Re-identification (CVPR 2018).
  """
  home = find_home(root, RELEASE, _LAYOUTS)
  train_folder, test_folder = _find_folders(home)
  train = _read_split(home, train_folder, _TRAIN_LISTS)
  test = [_read_split(home, test_folder, [name]) for name in _LISTS[2:]]
  offset = train.pids.max() + 1
  query, gallery = (
    Listing(part.names, part.pids + offset, part.camids) for part in test
  )
  return load_listings(
    root, home, RELEASE, (train, query, gallery), num_identities, seed
  )


def _find_folders(home: Path) -> tuple[str, str]:
  """Training and test folder, once the lists beside them are there."""
  versions = [layout for layout in _LAYOUTS if has_folders(home, layout)]
  if len(versions) > 1:
    raise ValueError(
      f'{home} holds two versions of MSMT17, '
      f'{" and ".join(map(", ".join, versions))}: move one of them, with a '
      'copy of the lists, into a folder of its own.'
    )
  missing = [name for name in _LISTS if not (home / name).is_file()]
  if missing:
    raise ValueError(
      f'{home}: {listed(missing)} is missing; MSMT17 has the lists '
      f'{", ".join(_LISTS)} beside its folders {", ".join(versions[0])}.'
    )
  return versions[0]


def _read_split(home: Path, folder: str, lists: Sequence[str]) -> Listing:
  rows = [row for name in lists for row in _read_list(home / name)]
  paths = [row.path for row in rows]
  first = {}
  repeated = [
    f'{row.path} ({row.where}, first in {earlier})'
    for row in rows
    if (earlier := first.setdefault(row.path, row.where)) != row.where
  ]
  if repeated:
    raise ValueError(
      f'{home}: {len(repeated):,} images of {folder} are listed again: '
      f'{listed(repeated)}. Keep one line for each.'
    )
  missing = _missing(home / folder, paths)
  if missing:
    raise ValueError(
      f'{home / folder}: {len(missing):,} of {len(paths):,} images in '
      f'{" and ".join(lists)} are missing: {listed(missing)}. Unpack or copy '
      'the data set again.'
    )
  return Listing(
    [f'{folder}/{path}' for path in paths],
    np.array([row.pid for row in rows], np.int32),
    np.array([row.camid for row in rows], np.int32),
  )


def _read_list(path: Path) -> list[_Row]:
  """The rows of one list; paths are below the folder that the list is of."""
  try:
    text = path.read_text(encoding='utf-8-sig').rstrip()
  except UnicodeDecodeError as error:
    raise ValueError(
      f'{path} is not a text file: {error}; expected lines like {_EXAMPLE!r}.'
    ) from error
  if not text:
    raise ValueError(f'{path} lists no images.')
  rows, malformed, leaving = [], [], []
  for number, line in enumerate(text.split('\n'), 1):
    if not line.strip():
      continue
    match = _LINE.fullmatch(line)
    if match is None:
      malformed.append(f'line {number}: {line[:_LINE_SHOWN]!r}')
      continue
    image = PurePosixPath(match['path'])
    if image.is_absolute() or '..' in image.parts:
      leaving.append(f'line {number}: {image}')
    where = f'{path.name}, line {number}'
    pid, camid = int(match['pid']), int(match['camid'])
    rows.append(_Row(where, image.as_posix(), pid, camid))
  if malformed:
    raise ValueError(
      f'{path}: {len(malformed):,} lines are not like {_EXAMPLE!r} (path, with '
      f'a camera of 01 to 15, and identity): {listed(malformed)}.'
    )
  if leaving:
    raise ValueError(
      f'{path}: {len(leaving):,} paths may lead out of the data set: '
      f'{listed(leaving)}. Write them relative to the folder of the images, '
      'without `..`.'
    )
  return rows


def _missing(folder: Path, paths: Sequence[str]) -> list[str]:
  """The paths without a file; folders are listed, since asking is slower."""
  parents = {os.path.dirname(path) for path in paths}
  found = {
    os.path.join(parent, name)
    for parent in parents
    if (folder / parent).is_dir()
    for name in os.listdir(folder / parent)
  }
  return [path for path in paths if path not in found]
