"""What readers share: facts of a release, its folders, lists and sizes."""

import dataclasses
import hashlib
import operator
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from dbc_jax.data.decode import IMAGE_SUFFIXES, image_files
from dbc_jax.data.readers import checks
from dbc_jax.data.samples import (
  EMPTY,
  JUNK_PID,
  SPLITS,
  Loaded,
  Samples,
  assemble,
)

# Market-1501's folders, which DukeMTMC-reID took over.
_FOLDERS = ('bounding_box_train', 'query', 'bounding_box_test')
# How the official sizes spell the splits.
WORDS: dict[str, str] = dict(
  zip(SPLITS, ('training', 'query', 'gallery'), strict=True)
)


@dataclasses.dataclass(frozen=True)
class Release:
  """Facts of a data set that are known before its files are.

  Attributes:
    title: as its authors spell it.
    description: one line for the programs that `prepare_data` writes it for.
    prefix: how the name of a folder with a copy begins, in lower case.
    sizes: official numbers of images or tracklets, identities and junk, by what
      is counted, such as 'training images'; empty where none are published.
    image_size: (height, width) of all images; None where they differ.
    is_video: whether samples are tracklets.
    not_persons: pids that name nobody.
  """

  title: str
  description: str = ''
  prefix: str = ''
  sizes: Mapping[str, int] = dataclasses.field(default_factory=dict)
  image_size: tuple[int, int] | None = None
  is_video: bool = False
  not_persons: tuple[int, ...] = (JUNK_PID,)


@dataclasses.dataclass(frozen=True)
class Listing:
  """N images or tracklets of one split."""

  names: Sequence[str]  # N paths, from the home of the copy.
  pids: np.ndarray  # Int32 [N].
  camids: np.ndarray  # Int32 [N].
  # N sequences of paths, each tracklet's frames in order of time; None: images.
  frames: Sequence[Sequence[str]] | None = None

  def take(self, samples: np.ndarray) -> 'Listing':
    """The samples of these indices, in the order of the indices."""
    kept: list[int] = samples.tolist()
    return Listing(
      [self.names[i] for i in kept],
      self.pids[samples],
      self.camids[samples],
      None if self.frames is None else [self.frames[i] for i in kept],
    )

  def only(self, persons: Sequence[int]) -> 'Listing':
    """The samples of these persons, in the order they have."""
    return self.take(np.flatnonzero(np.isin(self.pids, persons)))


NO_SAMPLES = Listing((), np.zeros(0, np.int32), np.zeros(0, np.int32))


def find_home(
  root: Path, release: Release, layouts: Sequence[Sequence[str]]
) -> Path:
  """The folder of a copy: `root`, or a child of it with the right name.

  Args:
    root: an existing folder.
    release: what is looked for.
    layouts: sets of folders, one a version; a home has all of some set.

  Raises:
    ValueError: there is no home, or there are several below `root`.
  """
  children = sorted(
    child
    for child in root.iterdir()
    if child.name.lower().startswith(release.prefix) and child.is_dir()
  )
  homes = [
    folder
    for folder in (root, *children)
    if any(has_folders(folder, layout) for layout in layouts)
  ]
  if len(homes) > 1 and homes[0] != root:
    raise ValueError(
      f'{root} holds several copies of {release.title}: '
      f'{checks.listed(home.name for home in homes)}. Name one as the root.'
    )
  if homes:
    return homes[0]
  hint = ''
  if any(root.name in layout for layout in layouts):
    hint = f' Perhaps the folder above it is meant: {root.parent}.'
  raise ValueError(
    f'{root} is not laid out like {release.title}: expected the folders '
    f'{" or ".join(map(", ".join, layouts))}, in it or in one folder '
    f'{release.title}*; found {checks.listed(sorted(os.listdir(root)))}.{hint}'
  )


def has_folders(home: Path, names: Sequence[str]) -> bool:
  """Whether all these folders are in `home`."""
  return all((home / name).is_dir() for name in names)


def image_names(folder: Path) -> list[str]:
  """Names of the images in a folder that are not hidden, sorted."""
  return sorted(
    name
    for name in os.listdir(folder)
    if name.lower().endswith(IMAGE_SUFFIXES) and not name.startswith('.')
  )


def load_folders(
  root: Path,
  release: Release,
  pattern: re.Pattern,
  example: str,
  num_identities: int | None,
  seed: int,
) -> Loaded:
  """What a reader of three folders of images returns.

  Files that are no images and hidden files are ignored. Without the folder of
  training images it is a test set.

  Args:
    root: the folder around the three, or the one around that.
    release: whose copy it is.
    pattern: matches the name of an image, with groups `pid` and `camid`.
    example: a name that it matches, for the error.
    num_identities, seed: as in `load_listings`.

  Raises:
    ValueError: another layout, a folder without images, images of other
      names, or `num_identities` out of range.
  """
  home = find_home(root, release, [_FOLDERS, _FOLDERS[1:]])
  listings = [
    _read_folder(home, folder, release, pattern, example)
    if (home / folder).is_dir()
    else NO_SAMPLES
    for folder in _FOLDERS
  ]
  return load_listings(root, home, release, listings, num_identities, seed)


def load_listings(
  root: Path,
  home: Path,
  release: Release,
  listings: Sequence[Listing],
  num_identities: int | None = None,
  seed: int = 0,
) -> Loaded:
  """What a reader returns, from the files that it found.

  Warns of sizes that are not the official ones, and of persons who are both
  in training and in query or gallery.

  Args:
    root: the folder as given; the names of the samples start from it.
    home: `root` or a child of it; the names in `listings` start from it.
    release: whose copy it is.
    listings: training, query and gallery; the first may be `NO_SAMPLES`.
    num_identities: None for everything; else the number of persons in
      training, and of persons in both query and gallery, that are kept. They
      come in the order of a hash of (seed, pid), so a smaller set is part of a
      larger one of the same seed.
    seed: of that hash.

  Raises:
    ValueError: `num_identities` out of range.
  """
  train, query, gallery = listings
  official = {
    what: number
    for what, number in release.sizes.items()
    if train.names or not what.startswith(WORDS['train'])
  }
  checks.warn_of_other_sizes(
    root, release.title, _sizes(release, listings), official
  )
  checks.warn_of_shared_identities(
    f'{release.title} in {root}',
    train.pids,
    np.concatenate([query.pids, gallery.pids]),
    release.not_persons,
  )
  if num_identities is not None:
    if train.names:
      train = train.only(_choose(release, train.pids, num_identities, seed))
    in_both = np.intersect1d(query.pids, gallery.pids)
    chosen = _choose(release, in_both, num_identities, seed)
    query, gallery = query.only(chosen), gallery.only(chosen)
  # Relative to the root as given, whichever of the two folders it is.
  prefix = '' if home == root else f'{home.name}/'

  def samples(listing: Listing) -> Samples:
    names = [prefix + name for name in listing.names]
    frames = listing.frames
    if frames is not None:
      frames = [[prefix + name for name in own] for own in frames]
    return image_files(root, names, frames)

  return assemble(
    *(
      (samples(part), part.pids, part.camids)
      if part.names
      else (EMPTY, None, None)
      for part in (train, query, gallery)
    )
  )


def _read_folder(
  home: Path, folder: str, release: Release, pattern: re.Pattern, example: str
) -> Listing:
  """The images of one folder, sorted by name, by what their names say."""
  files = image_names(home / folder)
  if not files:
    raise ValueError(f'{home / folder} holds no images.')
  matches = [pattern.fullmatch(name) for name in files]
  foreign = [
    name for name, match in zip(files, matches, strict=True) if match is None
  ]
  if foreign:
    raise ValueError(
      f'{home / folder}: {len(foreign)} of {len(files)} images are not named '
      f'like those of {release.title} ({example}): '
      f'{checks.listed(foreign)}. Is this another data set?'
    )
  return Listing(
    [f'{folder}/{name}' for name in files],
    np.array([int(match['pid']) for match in matches], np.int32),
    np.array([int(match['camid']) for match in matches], np.int32),
  )


def _sizes(release: Release, listings: Sequence[Listing]) -> dict[str, int]:
  unit = 'tracklets' if release.is_video else 'images'
  sizes = {}
  for word, listing in zip(WORDS.values(), listings, strict=True):
    persons = np.setdiff1d(listing.pids, release.not_persons)
    sizes[f'{word} {unit}'] = len(listing.pids)
    sizes[f'{word} identities'] = len(persons)
  junk = listings[2].pids == JUNK_PID
  sizes[f'junk {unit} in the gallery'] = int(junk.sum())
  return sizes


def _choose(
  release: Release, pids: np.ndarray, number: int, seed: int
) -> list[int]:
  """The first `number` persons among `pids` in a keyed order."""
  persons = np.setdiff1d(pids, release.not_persons).tolist()
  if not 1 <= operator.index(number) <= len(persons):
    raise ValueError(
      f'num_identities: expected 1 to {len(persons)}, got {number}.'
    )

  # A hash stays the same for ever; NumPy's generators may change.
  def key(pid: int) -> bytes:
    return hashlib.sha256(f'{seed}:{pid}'.encode()).digest()

  return sorted(persons, key=key)[:number]
