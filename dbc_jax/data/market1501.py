"""Reader of Market-1501 in its official folder layout.

Called by `load_dataset`. Only file names are read here; images are decoded
when a sample is.
"""

import hashlib
import operator
import os
import re
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dbc_jax.data.decode import IMAGE_SUFFIXES, image_files
from dbc_jax.data.manifest import Dataset, GroundTruth, Samples

SPLITS = ('bounding_box_train', 'query', 'bounding_box_test')
JUNK_PID = -1
DISTRACTOR_PID = 0

# Images and identities of each split as released; 3,819 of the test images
# are junk. The gallery has the 750 query identities and the distractors.
OFFICIAL_SIZES = {
  'training images': 12936,
  'training identities': 751,
  'query images': 3368,
  'query identities': 750,
  'gallery images': 19732,
  'junk images in the gallery': 3819,
}

# Identity, camera, sequence, frame, box. 24 files end in `.jpg.jpg`.
_NAME = re.compile(
  r'(?P<pid>-1|\d{4})_c(?P<camid>[1-6])s\d_\d{6}_\d{2}(\.jpg){1,2}'
)
_NAMES_SHOWN = 10


def load(
  root: Path, *, num_identities: int | None = None, seed: int = 0
) -> tuple[Dataset, GroundTruth]:
  """Reads the manifest of Market-1501, or of a reduced set.

  Args:
    root: the folder with bounding_box_train, query and bounding_box_test, or
      the folder around it (`Market-1501-v15.09.15` as unpacked).
    num_identities: None reads everything. A number reads that many training
      identities and as many test identities, and leaves distractors and junk
      out. They come in the order of a hash of (seed, pid), so a smaller set
      is part of a larger one of the same seed.
    seed: which identities a reduced set has.

  Returns:
    The data set and, apart, its identities and cameras (1 to 6). In the
    gallery, pid -1 is junk and 0 marks distractors.

  Raises:
    ValueError: another layout, foreign file names, or `num_identities` out of
      range.

  Source: Zheng et al., Scalable Person Re-identification (ICCV 2015).
  """
  home = _find_home(root)
  # Relative to the root as given, whichever of the two folders it is.
  prefix = '' if home == root else f'{home.name}/'
  names, pids, camids = zip(
    *(_read_split(home, split) for split in SPLITS), strict=True
  )
  _warn_of_other_sizes(root, pids)
  if num_identities is not None:
    train = _choose(np.unique(pids[0]), num_identities, seed)
    test = _choose(np.intersect1d(pids[1], pids[2]), num_identities, seed)
    kept = [
      np.flatnonzero(np.isin(split, chosen))
      for split, chosen in zip(pids, (train, test, test), strict=True)
    ]
    names = [
      [split[i] for i in keep] for split, keep in zip(names, kept, strict=True)
    ]
    pids = [split[keep] for split, keep in zip(pids, kept, strict=True)]
    camids = [split[keep] for split, keep in zip(camids, kept, strict=True)]

  def samples(split: int) -> Samples:
    return image_files(root, (prefix + name for name in names[split]))

  dataset = Dataset(train=samples(0), query=samples(1), gallery=samples(2))
  truth = GroundTruth(
    train_pids=pids[0],
    train_camids=camids[0],
    query_pids=pids[1],
    query_camids=camids[1],
    gallery_pids=pids[2],
    gallery_camids=camids[2],
  )
  return dataset, truth


def _find_home(root: Path) -> Path:
  """The folder that holds the three splits: `root` or a child of it."""
  children = sorted(
    child
    for child in root.iterdir()
    if child.name.lower().startswith('market') and child.is_dir()
  )
  homes = [
    folder
    for folder in (root, *children)
    if all((folder / split).is_dir() for split in SPLITS)
  ]
  if len(homes) > 1 and homes[0] != root:
    raise ValueError(
      f'{root} holds several copies of Market-1501: '
      f'{_listed(home.name for home in homes)}. Name one as the root.'
    )
  if homes:
    return homes[0]
  hint = ''
  if root.name in SPLITS:
    hint = f' Perhaps the folder above it is meant: {root.parent}.'
  raise ValueError(
    f'{root} is not laid out like Market-1501: expected the folders '
    f'{", ".join(SPLITS)}, in it or in one folder Market-1501*; found '
    f'{_listed(sorted(os.listdir(root)))}.{hint}'
  )


def _read_split(
  home: Path, split: str
) -> tuple[list[str], np.ndarray, np.ndarray]:
  """Names (from `home`), pids and camids of one split, sorted by name."""
  files = sorted(
    entry.name
    for entry in os.scandir(home / split)
    if entry.name.lower().endswith(IMAGE_SUFFIXES)
    and not entry.name.startswith('.')
  )
  if not files:
    raise ValueError(f'{home / split} holds no images.')
  matches = [_NAME.fullmatch(name) for name in files]
  foreign = [
    name for name, match in zip(files, matches, strict=True) if match is None
  ]
  if foreign:
    raise ValueError(
      f'{home / split}: {len(foreign)} of {len(files)} images are not named '
      'like those of Market-1501 (0002_c1s1_000451_03.jpg): '
      f'{_listed(foreign)}. Is this another data set?'
    )
  return (
    [f'{split}/{name}' for name in files],
    np.array([int(match['pid']) for match in matches], np.int32),
    np.array([int(match['camid']) for match in matches], np.int32),
  )


def _warn_of_other_sizes(root: Path, pids: Sequence[np.ndarray]) -> None:
  train, query, gallery = pids
  counts = (
    len(train),
    len(np.unique(train)),
    len(query),
    len(np.unique(query)),
    len(gallery),
    int((gallery == JUNK_PID).sum()),
  )
  others = [
    f'{found:,} {what} (official: {official:,})'
    for found, (what, official) in zip(
      counts, OFFICIAL_SIZES.items(), strict=True
    )
    if found != official
  ]
  if others:
    warnings.warn(
      f'{root} differs from the official Market-1501: {", ".join(others)}. '
      'Scores cannot be compared with published ones.',
      stacklevel=2,
    )


def _choose(pids: np.ndarray, number: int, seed: int) -> list[int]:
  """The first `number` persons among `pids` in a keyed order."""
  persons = [
    pid for pid in pids.tolist() if pid not in (JUNK_PID, DISTRACTOR_PID)
  ]
  if not 1 <= operator.index(number) <= len(persons):
    raise ValueError(
      f'num_identities: expected 1 to {len(persons)}, got {number}.'
    )

  # A hash stays the same for ever; NumPy's generators may change.
  def key(pid: int) -> bytes:
    return hashlib.sha256(f'{seed}:{pid}'.encode()).digest()

  return sorted(persons, key=key)[:number]


def _listed(names: Sequence[str]) -> str:
  names = list(names)
  shown = ', '.join(names[:_NAMES_SHOWN]) or 'nothing'
  more = len(names) - _NAMES_SHOWN
  return f'{shown} and {more:,} more' if more > 0 else shown
