"""Data sets written as TFDS records: once, whole, one process at a time."""

import contextlib
import fcntl
import hashlib
import io
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import tensorflow_datasets as tfds

from dbc_jax import values
from dbc_jax.data import load_dataset
from dbc_jax.data.export.stored_frames import digest_files
from dbc_jax.data.export.tfds_builders import BUILDERS

# What a killed process leaves; hidden, so that TFDS takes it for no version.
_UNFINISHED = '.unfinished-'

log = logging.getLogger(__name__)


def default_data_dir(name: str, root: Path) -> Path:
  """Where a data set is prepared if nobody says.

  The folder `tfds` in `root` if one can write there or it has the data set
  already; else one in the user's cache, for this root alone.
  """
  beside = root / 'tfds'
  writable = os.access(beside if beside.exists() else root, os.W_OK)
  if writable or (beside / name).exists():
    return beside
  # Roots may share a name, as the `DIR/images` of two projects do.
  code = hashlib.blake2b(os.fsencode(root), digest_size=4).hexdigest()
  return values.cache_folder() / 'tfds' / f'{root.name}-{code}'


def prepare(name: str, root: Path, data_dir: Path) -> tuple[Path, bool]:
  """Writes a data set as array records, unless that is done.

  The folder of the data set appears in one step, when all is written. A second
  process waits for the first. What a killed one left is removed.

  Args:
    name: of the data set, one of `BUILDERS`.
    root: where its files are.
    data_dir: folder of prepared data sets; is made if need be.

  Returns:
    The folder `data_dir`/`name`/VERSION, and whether it was written just now.

  Raises:
    ValueError: what the reader of the data set refuses, images that cannot be
      read, a `data_dir` that cannot be written, or one that has a data set of
      this name from another root.
  """
  dataset, truth = load_dataset(name, root)
  digest = digest_files(root, dataset, truth)
  home = data_dir / name
  folder = home / str(BUILDERS[name].VERSION)
  if _is_current(folder, root, digest):
    return folder, False
  with _alone(home):
    # Another process may have done it meanwhile.
    if _is_current(folder, root, digest):
      return folder, False
    for left in home.glob(f'{_UNFINISHED}*'):
      shutil.rmtree(left)
    with tempfile.TemporaryDirectory(prefix=_UNFINISHED, dir=home) as staging:
      builder = BUILDERS[name](data_dir=staging)
      # TFDS prints that it downloads, and a path that is soon none.
      with contextlib.redirect_stdout(io.StringIO()):
        builder.download_and_prepare(
          download_config=tfds.download.DownloadConfig(manual_dir=root)
        )
      if folder.exists():
        folder.rename(Path(staging) / 'before')
      Path(builder.data_dir).rename(folder)
  return folder, True


def _is_current(folder: Path, root: Path, digest: str) -> bool:
  if not folder.exists():
    return False
  info = tfds.builder_from_directory(folder).info
  made_of = dict(info.metadata or {})
  if made_of.get('digest') != digest:
    source = made_of.get('root')
    if source != str(root):
      raise ValueError(
        f'{folder} was prepared from {source or "something else"}, not from '
        f'{root}. Choose another data_dir, or remove that folder.'
      )
    return False
  return all(
    os.path.exists(path)
    for split in info.splits.values()
    for path in split.filepaths
  )


@contextlib.contextmanager
def _alone(home: Path) -> Iterator[None]:
  """Holds a lock, which the system takes back if the process is killed."""
  try:
    home.mkdir(parents=True, exist_ok=True)
    file = (home / '.lock').open('w')
  except OSError as error:
    raise ValueError(
      f'{home} cannot be written: {error.strerror}. Choose another data_dir.'
    ) from error
  with file:
    try:
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      log.warning('Waiting for another process that writes to %s.', home)
      fcntl.flock(file, fcntl.LOCK_EX)
    yield
