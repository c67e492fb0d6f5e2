"""Reads .npz files of plain arrays, whatever bytes they hold."""

import struct
import tokenize
import zipfile
import zlib
from pathlib import Path

import numpy as np

# What NumPy and zipfile raise for what is no such file.
UNREADABLE = (
  *(OSError, KeyError, ValueError, EOFError, IndexError, TypeError),
  *(NotImplementedError, RuntimeError, MemoryError, OverflowError),
  *(SyntaxError, tokenize.TokenError, struct.error),
  *(zipfile.BadZipFile, zlib.error),
)


def read_npz(path: Path, alone: str = '') -> dict[str, np.ndarray]:
  """The arrays of a file.

  Args:
    path: of the file.
    alone: the name of the one array of an .npy; without a name, such a file is
      refused.

  Raises:
    ValueError: the file is not there, or no such file.
  """
  try:
    # Opened here: of a damaged file NumPy would leave it open.
    with path.open('rb') as file:
      loaded = np.load(file, allow_pickle=False)
      if isinstance(loaded, np.ndarray):
        if not alone:
          raise ValueError('a single array')
        return {alone: loaded}
      return {key: loaded[key] for key in loaded}
  except FileNotFoundError:
    raise ValueError(f'{path}: there is no such file') from None
  except UNREADABLE as error:
    raise ValueError(
      f'{path}: expected an .npz of plain arrays; write it by numpy.savez'
    ) from error
