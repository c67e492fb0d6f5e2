"""Reader of one's own images: a folder, its sub-folders, or a list in a CSV."""

import collections
import os
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from dbc_jax.data.decode import IMAGE_SUFFIXES, image_files
from dbc_jax.data.readers.checks import listed
from dbc_jax.data.readers.pattern import load_pattern
from dbc_jax.data.readers.release import Release
from dbc_jax.data.readers.table import load_table
from dbc_jax.data.samples import EMPTY, Dataset, GroundTruth, Loaded

RELEASE = Release(
  title='a folder of images',
  description='A folder of images, without identities and cameras.',
)


def load(
  root: Path, *, csv: str = '', tracklets: bool = False, pattern: str = ''
) -> Loaded:
  """Takes every image below a folder as a training sample, or those of a list.

  Files are told by their suffix, in either case. Hidden files and folders are
  ignored. A link to a folder is not entered, and a link to a file is read only
  if the file lies below `root`.

  Args:
    root: the folder.
    csv: path, from `root` or absolute, of a list of the images, which may tell
      cameras, tracklets, identities and splits too; see `table.load_table`.
      '' takes all images.
    tracklets: whether each folder that holds images, at any depth, is one
      tracklet. Its frames are sorted by name, with numbers by their value:
      frame2 comes before frame10.
    pattern: of paths, that tells cameras, tracklets and frames, such as
      'cam{camid}/{tracklet}_{frame}'; see `pattern.compile_pattern`.

  Returns:
    Without `csv`, a data set of training samples sorted by name, without query
    and gallery, and an empty ground truth.

  Raises:
    ValueError: there are no images, a folder cannot be read, images lie
      outside of any tracklet, two options are set, a fault in the list, or a
      pattern that does not match all images.
  """
  if csv and tracklets:
    raise ValueError(
      f'tracklets: got True together with csv={csv!r}, expected one of the '
      'two; in a CSV file the column tracklet says which rows are one.'
    )
  if pattern and (csv or tracklets):
    other = f'csv={csv!r}' if csv else 'tracklets=True'
    raise ValueError(
      f'pattern: got {pattern!r} together with {other}, expected one of them'
    )
  if csv:
    return load_table(root, csv)
  names = _image_names(root)
  if pattern:
    return load_pattern(root, names, pattern)
  train = image_files(root, names)
  if tracklets:
    frames = _frames_by_folder(root, names)
    train = image_files(root, frames, list(frames.values()))
  return Dataset(train, EMPTY, EMPTY), GroundTruth()


def _image_names(root: Path) -> list[str]:
  """Sorted paths, from `root`, of its images."""
  home = root.resolve()
  names, links, others = [], [], collections.Counter()
  for path in _visible_files(root):
    if path.suffix.lower() not in IMAGE_SUFFIXES:
      others[path.suffix.lower() or 'no suffix'] += 1
    elif path.is_symlink() and not _lies_in(home, path):
      links.append(path)
    else:
      names.append(path.relative_to(root).as_posix())
  skipped = ''
  if links:
    skipped = (
      f'{len(links)} links that lead out of {root} were left out, the first '
      f'is {links[0]}; to use them, put the files themselves there.'
    )
  if not names:
    found = ', '.join(f'{n} {s}' for s, n in others.most_common(10))
    raise ValueError(
      f'{root} holds no images, at any depth: expected files in '
      f'{" ".join(IMAGE_SUFFIXES)}; found {found or "no other files"}. '
      f'{skipped}'
    )
  if skipped:
    warnings.warn(skipped, stacklevel=2)
  return sorted(names)


def _visible_files(root: Path) -> Iterator[Path]:
  for folder, subfolders, files in os.walk(root, onerror=_refuse):
    subfolders[:] = [name for name in subfolders if not name.startswith('.')]
    for name in files:
      if not name.startswith('.'):
        yield Path(folder, name)


def _lies_in(home: Path, path: Path) -> bool:
  # Path.resolve raises a RuntimeError where links go round in circles.
  return Path(os.path.realpath(path)).is_relative_to(home)


def _refuse(error: OSError) -> NoReturn:
  raise ValueError(
    f'The folder {error.filename} cannot be read: {error.strerror}. Change its '
    'permissions, or take it out of the root.'
  ) from error


def _frames_by_folder(root: Path, names: list[str]) -> dict[str, list[str]]:
  frames = collections.defaultdict(list)
  for name in sorted(names, key=_numbers_by_value):
    frames[os.path.dirname(name)].append(name)
  if '' in frames:
    raise ValueError(
      f'{root}: {len(frames[""])} images lie directly in it: '
      f'{listed(frames[""])}. With tracklets=True each sub-folder is one '
      'tracklet; put them into sub-folders, or leave tracklets out.'
    )
  return {folder: frames[folder] for folder in sorted(frames)}


def _numbers_by_value(name: str) -> tuple[list[str | int], str]:
  # Text and numbers alternate, so that like is compared with like.
  parts = re.split(r'(\d+)', name)
  return [int(x) if i % 2 else x for i, x in enumerate(parts)], name
