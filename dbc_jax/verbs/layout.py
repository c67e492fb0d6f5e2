"""The images of a run in folders by cluster."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

_NOT_PLACED = 'not_placed'


def check_layout(folder: Path) -> None:
  """Raises ValueError unless the folder is new or empty."""
  if folder.exists() and any(folder.iterdir()):
    raise ValueError(
      f'--sort_into: {folder} is not empty; name a new folder, or empty it'
    )


def check_images(root: Path, names: Sequence[str]) -> None:
  """Raises ValueError unless all images, or folders of tracklets, are there."""
  root = root.expanduser()
  if missing := [name for name in names if not (root / name).exists()]:
    raise ValueError(
      f'--sort_into: {len(missing)} of {len(names)} names are neither files '
      f'nor folders below {root}, the first: {missing[0]}. If the images have '
      'moved, name their folder by --root; tracklets of a pattern or CSV have '
      'no folder to link to'
    )


def lay_out(
  folder: Path,
  root: Path,
  names: Sequence[str],
  labels: np.ndarray,
  *,
  copy: bool = False,
) -> int:
  """Makes one folder for each cluster, and one for images in none.

  A tracklet that is a folder becomes a folder there.

  Args:
    folder: where to; new or empty.
    root: the folder that names start from.
    names: N paths.
    labels: [N] int, their clusters; -1 for one in none.
    copy: copies in place of links.

  Returns:
    How many folders there are now.

  Raises:
    ValueError: the folder is not empty, or an image is not where it was.
  """
  check_layout(folder)
  root = root.expanduser().absolute()
  check_images(root, names)
  width = len(str(labels.max(initial=0)))
  homes = set()
  for name, label in zip(names, labels, strict=True):
    home = folder / (
      _NOT_PLACED if label < 0 else f'cluster_{int(label):0{width}}'
    )
    home.mkdir(parents=True, exist_ok=True)
    homes.add(home)
    to = _free(home / name.replace('/', '__'))
    if not copy:
      os.symlink(root / name, to)
    elif (root / name).is_dir():
      shutil.copytree(root / name, to)
    else:
      shutil.copy2(root / name, to)
  return len(homes)


def _free(path: Path) -> Path:
  """The path, or one beside it: 'a/b' and 'a__b' become the same name."""
  count, free = 1, path
  while free.exists() or free.is_symlink():
    count += 1
    free = path.with_name(f'{path.stem}__{count}{path.suffix}')
  return free
