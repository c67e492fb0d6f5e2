"""Reader of a folder of unlabelled images, with or without sub-folders.

Called by `load_dataset`.
"""

import collections
import os
import warnings
from collections.abc import Iterator
from pathlib import Path

from dbc_jax.data.decode import IMAGE_SUFFIXES, image_files
from dbc_jax.data.manifest import EMPTY, Dataset, GroundTruth


def load(root: Path) -> tuple[Dataset, GroundTruth]:
  """Takes every image below a folder as a training sample.

  Files are told by their suffix, in either case. Hidden files and folders are
  ignored. A link to a folder is not entered, and a link to a file is read only
  if the file lies below `root`.

  Args:
    root: the folder.

  Returns:
    A data set of training samples sorted by name, without query and gallery,
    and an empty ground truth.

  Raises:
    ValueError: there are no images.
  """
  home = root.resolve()
  names, links, others = [], [], collections.Counter()
  for path in _visible_files(root):
    if path.suffix.lower() not in IMAGE_SUFFIXES:
      others[path.suffix.lower() or 'no suffix'] += 1
    elif path.is_symlink() and home not in path.resolve().parents:
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
  return Dataset(image_files(root, sorted(names)), EMPTY, EMPTY), GroundTruth()


def _visible_files(root: Path) -> Iterator[Path]:
  for folder, subfolders, files in os.walk(root):
    subfolders[:] = [name for name in subfolders if not name.startswith('.')]
    for name in files:
      if not name.startswith('.'):
        yield Path(folder, name)
