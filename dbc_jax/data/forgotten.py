"""forgotten.csv: images that a run is not to see any more.

It names none: it has a digest of each name.
"""

import csv
import dataclasses
import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from dbc_jax.data.samples import SPLITS, Dataset, GroundTruth, Samples

NAME = 'forgotten.csv'
_COLUMN = 'name_digest'


def digest_of(name: str) -> str:
  """Of the path of an image, or the name of a tracklet."""
  text = name.encode('utf-8', 'surrogateescape')
  return hashlib.blake2b(text, digest_size=16).hexdigest()


def read(path: Path) -> set[str]:
  """The digests in a file; none where there is no file.

  Raises:
    ValueError: it is no such file.
  """
  try:
    with path.open(newline='', encoding='utf-8') as file:
      rows = csv.DictReader(file)
      if _COLUMN not in (rows.fieldnames or ()):
        raise KeyError(_COLUMN)
      return {row[_COLUMN] for row in rows}
  except FileNotFoundError:
    return set()
  except (OSError, KeyError, UnicodeDecodeError, csv.Error) as error:
    raise ValueError(
      f'{path}: cannot be read ({type(error).__name__}: {error}); bring it '
      'back as `dbc forget` wrote it'
    ) from error


def add(path: Path, names: Iterable[str]) -> None:
  """Adds images to a file; they are on the disk when it returns."""
  digests = sorted(read(path) | {digest_of(name) for name in names})
  partial = path.with_name(f'{path.name}.{os.getpid()}.tmp')
  with partial.open('w', newline='', encoding='utf-8') as file:
    writer = csv.writer(file, lineterminator='\n')
    writer.writerows([[_COLUMN], *([digest] for digest in digests)])
    file.flush()
    os.fsync(file.fileno())
  os.replace(partial, path)


def without(
  dataset: Dataset, truth: GroundTruth, digests: set[str]
) -> tuple[Dataset, GroundTruth]:
  """A data set without the images whose names have these digests."""
  if not digests:
    return dataset, truth
  splits, columns = {}, {}
  for split in SPLITS:
    samples = dataset.of(split)
    rows = np.array(
      [i for i, x in enumerate(samples.names) if digest_of(x) not in digests],
      np.int64,
    )
    splits[split] = _subset(samples, rows)
    for what, column in zip(('pids', 'camids'), truth.of(split), strict=True):
      columns[f'{split}_{what}'] = None if column is None else column[rows]
    if split == 'train':
      columns |= truth.moments(rows)
  return Dataset(**splits), GroundTruth(**columns)


def _subset(samples: Samples, rows: np.ndarray) -> Samples:
  """Some samples [n], by their places."""
  if len(rows) == len(samples):
    return samples
  bounds = samples.bounds
  frames = np.concatenate(
    [np.zeros(0, np.int64), *(np.arange(*bounds[i : i + 2]) for i in rows)]
  )
  lengths = (bounds[1:] - bounds[:-1])[rows]
  names = samples.frame_names
  return dataclasses.replace(
    samples,
    names=tuple(samples.names[i] for i in rows),
    read=lambda frame: samples.read(int(frames[frame])),
    starts=None if samples.starts is None else np.cumsum([0, *lengths]),
    frame_names=None if names is None else tuple(names[i] for i in frames),
  )
