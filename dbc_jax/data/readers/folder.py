"""Reader of one's own images: a folder, its sub-folders, or a list in a CSV."""

import collections
import os
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from dbc_jax.data.decode import IMAGE_SUFFIXES, image_files
from dbc_jax.data.readers.checks import (
  is_no_track,
  listed,
  warn_of_no_tracks,
)
from dbc_jax.data.readers.left_out import (
  LeftOut,
  is_image,
  is_system_folder,
)
from dbc_jax.data.readers.pattern import load_pattern
from dbc_jax.data.readers.release import Release
from dbc_jax.data.readers.table import load_table
from dbc_jax.data.samples import (
  EMPTY,
  Dataset,
  GroundTruth,
  Loaded,
  printable,
)

RELEASE = Release(
  title='a folder of images',
  description='A folder of images, without identities and cameras.',
)


def load(
  root: Path, *, csv: str = '', tracklets: bool = False, pattern: str = ''
) -> Loaded:
  """Takes every image below a folder as a training sample, or those of a list.

  Files are told by their suffix, in either case. Left out are hidden files and
  folders, the thumbnails and bins of file servers and systems (`@eaDir`,
  `#recycle`, `__MACOSX`), links to folders, links to files that do not lie
  below `root`, and pictures of kinds that are not read. A warning counts them.

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
  names, others = [], collections.Counter()
  left_out = LeftOut(root)
  for path in _files(root, left_out):
    if path.suffix.lower() not in IMAGE_SUFFIXES:
      others[path.suffix.lower() or 'no suffix'] += 1
      left_out.of_another_kind(path)
    elif path.is_symlink() and not _lies_in(home, path):
      left_out.add('links that lead out of it', path)
    else:
      names.append(path.relative_to(root).as_posix())
  if not names:
    found = ', '.join(f'{n} {s}' for s, n in others.most_common(10))
    raise ValueError(
      f'{root} holds no images, at any depth: expected files in '
      f'{" ".join(IMAGE_SUFFIXES)}; found '
      f'{printable(found) or "no other files"}. {left_out}'
    )
  if left_out:
    warnings.warn(str(left_out), stacklevel=2)
  return sorted(names)


def _files(root: Path, left_out: LeftOut) -> Iterator[Path]:
  """All files but those that nobody means; what these are is noted."""
  for folder, subfolders, files in os.walk(root, onerror=_refuse):
    subfolders.sort()
    for name in [*subfolders]:
      path = Path(folder, name)
      if path.is_symlink():
        left_out.add('links to folders', path)
      elif name.startswith('.') or is_system_folder(name):
        left_out.folder(path)
        subfolders.remove(name)
    for name in sorted(files):
      if not name.startswith('.'):
        yield Path(folder, name)
      elif not name.startswith('._') and is_image(name):  # Those are macOS's.
        left_out.add('hidden images', Path(folder, name))


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
  alone = []
  for name in sorted(names, key=_numbers_by_value):
    folder = os.path.dirname(name)
    if folder and is_no_track(os.path.basename(folder)):
      alone.append(name)
      folder = name
    frames[folder].append(name)
  warn_of_no_tracks(str(root), alone)
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
