"""Reader of DukeMTMC-VideoReID in its official folder layout."""

import os
import re
import warnings
from pathlib import Path

import numpy as np

from dbc_jax.data.readers.checks import listed
from dbc_jax.data.readers.release import (
  NO_SAMPLES,
  Listing,
  Release,
  find_home,
  image_names,
  load_listings,
)
from dbc_jax.data.samples import SPLITS, Loaded

RELEASE = Release(
  title='DukeMTMC-VideoReID',
  description='DukeMTMC-VideoReID: tracklets of persons, eight cameras.',
  prefix='dukemtmc-v',
  sizes={
    'training tracklets': 2196,
    'training identities': 702,
    'query tracklets': 702,
    'query identities': 702,
    'gallery tracklets': 2636,
  },
  is_video=True,
)
# Identity, camera, frame in the tracklet, frame in the whole video. Copies are
# in use with `_` between them and without.
_NAME = re.compile(
  r'(?P<pid>[0-9]{4})(?P<_>_?)C(?P<camid>[1-8])'
  r'(?P=_)F[0-9]{4}(?P=_)X[0-9]+\.jpg'
)
_PID = re.compile('[0-9]{4}')


def load(root: Path) -> Loaded:
  """Reads the manifest of DukeMTMC-VideoReID.

  Its authors have withdrawn the data set. This reads a copy that is there
  already; there is nothing here to get one.

  A frame's folder tells its tracklet, and the folder around that its person.
  Tracklet folders without images are left out, with a warning. Without the
  folder train it is a test set.

  Args:
    root: the folder with train, query and gallery, or the folder around it
      (`DukeMTMC-VideoReID`).

  Returns:
    The data set, whose samples are tracklets sorted by name, and, apart, its
    identities and cameras (1 to 8). There is no junk; persons of the gallery
    without a query keep their pid.

  Raises:
    ValueError: another layout, foreign folders or files, or a tracklet of
      several persons or cameras.

  Source: Wu et al., Exploit the Unknown Gradually: One-Shot Video-Based Person
    Re-Identification by Stepwise Learning (CVPR 2018).
  """
  home = find_home(root, RELEASE, [SPLITS, SPLITS[1:]])
  empty = []
  listings = [
    _read_split(home, split, empty) if (home / split).is_dir() else NO_SAMPLES
    for split in SPLITS
  ]
  if empty:
    warnings.warn(
      f'{home}: {len(empty):,} tracklet folders without images were left out: '
      f'{listed(empty)}.',
      stacklevel=2,
    )
  return load_listings(root, home, RELEASE, listings)


def _read_split(home: Path, split: str, empty: list[str]) -> Listing:
  """Tracklets of one split; folders without images are added to `empty`."""
  names, frames, pids, camids = [], [], [], []
  foreign = []
  for person in _subfolders(home / split):
    if not _PID.fullmatch(person):
      raise ValueError(
        f'{home / split / person}: expected folders that are named by the '
        'identity, such as 0001. Is this another data set?'
      )
    for tracklet in _subfolders(home / split / person):
      name = f'{split}/{person}/{tracklet}'
      files = image_names(home / name)
      matches = [match for f in files if (match := _NAME.fullmatch(f))]
      if len(matches) < len(files):
        foreign += [f'{name}/{f}' for f in files if not _NAME.fullmatch(f)]
        continue
      if not files:
        empty.append(name)
        continue
      found = {match['pid'] for match in matches}
      cameras = {match['camid'] for match in matches}
      if len(cameras) > 1 or found != {person}:
        raise ValueError(
          f'{home / name}: expected frames of person {person} by one camera, '
          f'got persons {listed(sorted(found))} and cameras '
          f'{listed(sorted(cameras))}. Unpack this folder again.'
        )
      names.append(name)
      frames.append([f'{name}/{file}' for file in files])
      pids.append(int(person))
      camids.append(int(matches[0]['camid']))
  if foreign:
    raise ValueError(
      f'{home / split}: {len(foreign):,} images are not named like those of '
      f'DukeMTMC-VideoReID (0001_C6_F0099_X30823.jpg): {listed(foreign)}. '
      'Is this another data set?'
    )
  if not names:
    raise ValueError(
      f'{home / split} holds no tracklets: expected images in folders such '
      'as 0001/0001, named by the identity and by the tracklet.'
    )
  return Listing(
    names, np.array(pids, np.int32), np.array(camids, np.int32), frames
  )


def _subfolders(folder: Path) -> list[str]:
  """Names of the visible folders in a folder, sorted."""
  return sorted(
    entry.name
    for entry in os.scandir(folder)
    if entry.is_dir() and not entry.name.startswith('.')
  )
