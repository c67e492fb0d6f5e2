"""features.npz: the training images by the network of the chosen stage."""

import os
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dbc_jax.run import selection

NAME = 'features.npz'
# What NumPy raises for what is no such file.
UNREADABLE = (
  *(OSError, KeyError, ValueError, EOFError, IndexError, TypeError),
  *(NotImplementedError, zipfile.BadZipFile),
)


def write(
  workdir: Path,
  features: np.ndarray,
  paths: Sequence[str],
  stage: selection.Stage,
  digest: str | None,
) -> None:
  """Replaces the file as a whole.

  Args:
    workdir: of the run.
    features: [N, D] of the training images.
    paths: N, of those images.
    stage: whose network made them.
    digest: of those images.
  """
  partial = workdir / f'{NAME}.{os.getpid()}.tmp'
  with partial.open('wb') as file:
    np.savez(
      file,
      features=np.asarray(features, np.float16),
      paths=np.array(paths, str),
      stage=np.array(str(stage)),
      digest=np.array(digest),
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
  try:
    # Opened here: np.load leaves a broken file open.
    with (workdir / NAME).open('rb') as file:
      saved = np.load(file, allow_pickle=False)
      if str(saved['stage']) == str(stage) and str(saved['digest']) == digest:
        return saved['features'], saved['paths'].tolist()
  except UNREADABLE:
    pass
  return None
