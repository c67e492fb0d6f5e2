"""features.npz: the training images by the network of the chosen stage.

labels.npz, where they were clustered again since: their clusters.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dbc_jax.reporting.npz import UNREADABLE
from dbc_jax.run import selection

NAME = 'features.npz'
LABELS = 'labels.npz'
_PREFIX, _RULED = 'report_', 'ruled'


class Shown(NamedTuple):
  """What the report shows of features, and what takes long to compute.

  Attributes:
    places: [n, 2] float32, of images on its map.
    queries: [q] int32, rows of queries.
    found: [q, f] int32, rows of the gallery, the nearest first; -1 for none.
    distances: [q, f] float32, of these.
  """

  places: np.ndarray
  queries: np.ndarray
  found: np.ndarray
  distances: np.ndarray


def write(
  workdir: Path,
  features: np.ndarray,
  paths: Sequence[str],
  stage: selection.Stage,
  digest: str | None,
  shown: Shown | None = None,
  ruled: np.ndarray | None = None,
) -> None:
  """Replaces the file as a whole.

  Args:
    workdir: of the run.
    features: [N, D] of the training images.
    paths: N, of those images.
    stage: whose network made them.
    digest: of those images.
    shown: what else is kept, if known.
    ruled: [P, 2], rows that rules of the config keep apart, if known.
  """
  more: dict[str, Any] = {}
  if shown is not None:
    more = {f'{_PREFIX}{key}': x for key, x in shown._asdict().items()}
  if ruled is not None:
    more[_RULED] = ruled.astype(np.int32)
  partial = workdir / f'{NAME}.{os.getpid()}.tmp'
  with partial.open('wb') as file:
    np.savez(
      file,
      features=np.asarray(features, np.float16),
      paths=np.array(paths, str),
      stage=np.array(str(stage)),
      digest=np.array(digest),
      **more,
    )
  os.replace(partial, workdir / NAME)


def read(
  workdir: Path, stage: selection.Stage, digest: str | None
) -> tuple[np.ndarray, list[str]] | None:
  """The features [N, D] float16 in a workdir and their paths, if there are any.

  Args:
    workdir: of the run.
    stage: whose network they must be of.
    digest: of the training images that they must be of.
  """
  keys = ('features', 'paths')
  saved = _read(workdir, stage, digest, keys)
  if saved is None:
    return None
  return saved['features'], saved['paths'].tolist()


def read_shown(
  workdir: Path, stage: selection.Stage, digest: str | None
) -> Shown | None:
  """What else is kept there, if it is; arguments as of `read`."""
  keys = [f'{_PREFIX}{key}' for key in Shown._fields]
  saved = _read(workdir, stage, digest, keys)
  return None if saved is None else Shown(*(saved[key] for key in keys))


def read_ruled(
  workdir: Path, stage: selection.Stage, digest: str | None
) -> np.ndarray | None:
  """The pairs [P, 2] kept apart, if they are known; arguments as of `read`."""
  saved = _read(workdir, stage, digest, [_RULED])
  return None if saved is None else saved[_RULED].astype(np.int64)


def _read(
  workdir: Path,
  stage: selection.Stage,
  digest: str | None,
  keys: Sequence[str],
) -> dict[str, Any] | None:
  try:
    # Opened here: np.load leaves a broken file open.
    with (workdir / NAME).open('rb') as file:
      saved = np.load(file, allow_pickle=False)
      if str(saved['stage']) == str(stage) and str(saved['digest']) == digest:
        return {key: saved[key] for key in keys}
  except UNREADABLE:
    pass
  return None


def names(folder: Path) -> list[str]:
  """The paths in a workdir, of whatever stage; none where there is no file."""
  try:
    with (folder / NAME).open('rb') as file:
      return np.load(file, allow_pickle=False)['paths'].tolist()
  except UNREADABLE:
    return []


def drop_after(workdir: Path, stage: int | None) -> None:
  """Takes away what is of later stages, which are trained again.

  Args:
    workdir: of the run.
    stage: the last one that stays; None for none.
  """
  for name in (NAME, LABELS):
    path, of = workdir / name, ''
    try:
      with path.open('rb') as file:
        of = str(np.load(file, allow_pickle=False)['stage'])
    except UNREADABLE:
      pass
    if stage is None or (of.isdecimal() and int(of) > stage):
      path.unlink(missing_ok=True)


def write_labels(
  workdir: Path,
  labels: np.ndarray,
  stage: selection.Stage,
  digest: str | None,
) -> None:
  """Keeps clusters [N] of a later clustering of these features."""
  partial = workdir / f'{LABELS}.{os.getpid()}.tmp'
  with partial.open('wb') as file:
    np.savez(
      file, labels=labels, stage=np.array(str(stage)), digest=np.array(digest)
    )
  os.replace(partial, workdir / LABELS)


def labels(
  workdir: Path,
  stage: selection.Stage,
  digest: str | None,
  trained_on: np.ndarray,
) -> np.ndarray:
  """The clusters [N] int32 of a chosen stage, as they are now.

  Args:
    workdir: of the run.
    stage: the chosen one.
    digest: of its training images.
    trained_on: [N] int32, its clusters, if there are no later ones.
  """
  try:
    with (workdir / LABELS).open('rb') as file:
      saved = np.load(file, allow_pickle=False)
      if str(saved['stage']) == str(stage) and str(saved['digest']) == digest:
        found = saved['labels'].astype(np.int32)
        return found if found.shape == trained_on.shape else trained_on
  except UNREADABLE:
    pass
  return trained_on
