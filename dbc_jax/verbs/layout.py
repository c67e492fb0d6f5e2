"""The images of a run in folders by cluster."""

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

_NOT_PLACED = 'not_placed'


def check_layout(folder: Path) -> None:
  """Raises ValueError unless the folder is new or empty."""
  if folder.exists() and any(folder.iterdir()):
    raise ValueError(
      f'--sort_into: {folder} is not empty; name a new folder, or empty it'
    )


def check_images(
  root: Path,
  names: Sequence[str],
  frames: Mapping[str, Sequence[str]],
) -> None:
  """Raises ValueError unless all images are there; arguments of `lay_out`."""
  root = root.expanduser()
  paths = [path for name in names for path in frames.get(name, [name])]
  if missing := [path for path in paths if not (root / path).is_file()]:
    raise ValueError(
      f'--sort_into: {len(missing)} of {len(paths)} images are not below '
      f'{root}, the first: {missing[0]}. If they have moved, name their folder '
      'by --root'
    )


def lay_out(
  folder: Path,
  root: Path,
  names: Sequence[str],
  labels: np.ndarray,
  frames: Mapping[str, Sequence[str]] | None = None,
  *,
  copy: bool = False,
) -> int:
  """Makes one folder for each cluster, and one for images in none.

  A tracklet becomes a folder of its frames there.

  Args:
    folder: where to; new or empty.
    root: the folder that names start from.
    names: N paths, or names of tracklets.
    labels: [N] int, their clusters; -1 for one in none.
    frames: paths of each tracklet's frames, by its name.
    copy: copies in place of links.

  Returns:
    How many folders there are now.

  Raises:
    ValueError: the folder is not empty, or an image is not where it was.
  """
  check_layout(folder)
  root = root.expanduser().absolute()
  frames = frames or {}
  check_images(root, names, frames)
  width = len(str(labels.max(initial=0)))
  homes = set()
  for name, label in zip(names, labels, strict=True):
    home = folder / (
      _NOT_PLACED if label < 0 else f'cluster_{int(label):0{width}}'
    )
    home.mkdir(parents=True, exist_ok=True)
    homes.add(home)
    to = _free(home / name.replace('/', '__'))
    if name not in frames:
      _place(root / name, to, copy)
      continue
    to.mkdir()
    for path in frames[name]:
      _place(root / path, _free(to / Path(path).name), copy)
  return len(homes)


def _place(image: Path, to: Path, copy: bool) -> None:
  if copy:
    shutil.copy2(image, to)
  else:
    os.symlink(image, to)


def _free(path: Path) -> Path:
  """The path, or one beside it: 'a/b' and 'a__b' become the same name."""
  count, free = 1, path
  while free.exists() or free.is_symlink():
    count += 1
    free = path.with_name(f'{path.stem}__{count}{path.suffix}')
  return free
