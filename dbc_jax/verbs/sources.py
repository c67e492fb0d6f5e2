"""The images that a command is given: a file, a folder, or a list in a CSV."""

import contextlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dbc_jax import values
from dbc_jax.data import Samples, load_dataset
from dbc_jax.data.decode import IMAGE_SUFFIXES
from dbc_jax.data.readers.pattern import load_pattern
from dbc_jax.data.samples import SPLITS


class Sources(NamedTuple):
  """N images or tracklets on disk.

  Attributes:
    root: the folder that names start from.
    names: N, of each.
    items: N, as `FeatureExtractor` takes them: a path, or those of frames.
    camids: int32 [N], or None where cameras are not known.
  """

  root: Path
  names: Sequence[str]
  items: Sequence[Path | Sequence[Path]]
  camids: np.ndarray | None

  def picture(self, i: int) -> Path:
    """A file that shows item i; of a tracklet the frame in the middle."""
    item = self.items[i]
    return item if isinstance(item, Path) else item[len(item) // 2]


def find_sources(
  where: Path, *, tracklets: bool = False, pattern: str = ''
) -> Sources:
  """Lists images, and reads none.

  Args:
    where: an image; a folder, sub-folders included; or a CSV file with the
      columns of docs/data.md, whose paths start from its own folder.
    tracklets: whether each sub-folder of a folder is one tracklet.
    pattern: of paths in a folder, that tells cameras, as for `data.pattern`; of
      an image, of so many last parts of its path as the pattern has.

  Raises:
    ValueError: there are none, or the list has a fault; names it.
  """
  where = values.path(where, 'where')
  tracklets = values.flag(tracklets, 'tracklets')
  if not where.exists():
    raise ValueError(f'{where} does not exist')
  if where.is_dir():
    given = {'tracklets': tracklets, 'pattern': pattern}
    options = {key: value for key, value in given.items() if value}
    dataset, truth = load_dataset('folder', where, **options)
    return _sources(where, [(dataset.train, truth.train_camids)])
  if tracklets:
    raise ValueError(
      f'tracklets: {where} is no folder; a .csv has a column tracklet'
    )
  if where.suffix.lower() == '.csv':
    if pattern:
      raise ValueError(f'pattern: {where}: a .csv tells cameras by its camid')
    root = where.absolute().parent
    dataset, truth = load_dataset('folder', root, csv=where.name)
    return _sources(
      root,
      [(dataset.of(split), truth.of(split)[1]) for split in SPLITS],
    )
  if where.suffix.lower() not in IMAGE_SUFFIXES:
    raise ValueError(
      f'{where}: expected an image ({" ".join(IMAGE_SUFFIXES)}), a folder of '
      'images, or a .csv that lists them'
    )
  if pattern:
    above = where.absolute().parents
    if len(above) <= pattern.count('/'):
      raise ValueError(f'pattern: {pattern!r} has more folders than {where}')
    root = above[pattern.count('/')]
    name = where.absolute().relative_to(root).as_posix()
    dataset, truth = load_pattern(root, [name], pattern)
    return _sources(root, [(dataset.train, truth.train_camids)])
  return Sources(where.parent, [where.name], [where], None)


def find_sources_like(
  pattern_of_run: str,
  where: Path,
  *,
  tracklets: bool = False,
  pattern: str = '',
) -> Sources:
  """As `find_sources`; cameras by the pattern of a run, where it matches all.

  Args:
    pattern_of_run: `data.pattern` of the run, or ''; of no effect where a
      pattern is given.
    where, tracklets, pattern: as there.
  """
  where = values.path(where, 'where')
  is_list = where.suffix.lower() == '.csv'
  if '{camid}' in pattern_of_run and not (pattern or tracklets or is_list):
    # Images stay images, and keep their paths.
    cameras = re.sub(r'\{(tracklet|frame)\}', '*', pattern_of_run)
    with contextlib.suppress(ValueError):  # Told below, if it is another fault.
      return find_sources(where, pattern=cameras)
  return find_sources(where, tracklets=tracklets, pattern=pattern)


def _sources(
  root: Path, splits: Sequence[tuple[Samples, np.ndarray | None]]
) -> Sources:
  names: list[str] = []
  items: list[Path | Sequence[Path]] = []
  camids = []
  for samples, own in splits:
    if not len(samples):
      continue
    names += samples.names
    for i in range(len(samples)):
      if samples.starts is None:
        items.append(root / samples.names[i])
      else:
        frames = range(samples.starts[i], samples.starts[i + 1])
        items.append([root / samples.frame_name(frame) for frame in frames])
    camids.append(own)
  known = None
  if camids and all(own is not None for own in camids):
    known = np.concatenate(camids)
  return Sources(root, names, items, known)
