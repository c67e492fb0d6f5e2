"""Which processes of a run are on one machine, and memory that these share."""

import mmap
import os
import socket
import tempfile
from pathlib import Path

import numpy as np

from dbc_jax.devices import processes


def groups() -> list[list[int]]:
  """The processes of each machine, by number; all of them call it together.

  Two are of one machine if one sees a file that the other has just written, and
  if both were started in one folder: so a path means the same to both.

  Raises:
    ValueError: in all of them, if one can write no temporary file.
  """
  if processes.count() == 1:
    return [[0]]
  here = os.stat('.')
  own = f'{socket.gethostname()} {here.st_dev} {here.st_ino}'.encode()
  paths = _written(1, True)
  first = next(
    number
    for number, other in enumerate(processes.gather_bytes(own))
    if other == own and paths[number].exists()
  )
  firsts = processes.gather(np.array([first])).tolist()
  paths[processes.own_number()].unlink()
  return [
    [number for number, each in enumerate(firsts) if each == first]
    for first in sorted({*firsts})
  ]


def shared_bytes(size: int, members: list[int]) -> np.ndarray:
  """Zeros [size] uint8, which the processes of one machine share.

  All processes call it together. The bytes are those of a temporary file, which
  has no name as soon as all have opened it, and so ends with them.

  Args:
    size: at least 1, the same in all of them.
    members: of the machine of this process, as in `groups`.

  Raises:
    ValueError: in all of them, if there is no room for the file.
  """
  is_first = processes.own_number() == members[0]
  path = _written(size, is_first)[members[0]]
  with path.open('r+b') as file:
    shared = mmap.mmap(file.fileno(), size)
  processes.wait_for_all()
  if is_first:
    path.unlink()
  return np.frombuffer(shared, np.uint8)


def _written(size: int, writes: bool) -> list[Path]:
  """The new files of zeros of all processes; of some there is none."""
  path, fault = '', ''
  try:
    if writes:
      descriptor, path = tempfile.mkstemp(prefix='dbc_jax-')
      with os.fdopen(descriptor, 'r+b') as file:
        file.truncate(size)
        # A page without room behind it would end who writes to it.
        if hasattr(os, 'posix_fallocate'):
          os.posix_fallocate(file.fileno(), 0, size)
  except OSError as error:
    fault = error.strerror or f'{error}'
  faults = processes.gather_bytes(fault.encode())
  if any(faults):
    if path:
      Path(path).unlink()
    number = next(number for number, each in enumerate(faults) if each)
    raise ValueError(
      f'TMPDIR: process {number} finds no room for {size / 1e9:.2f} GB in its '
      f'folder of temporary files ({faults[number].decode()}); name another by '
      'the environment variable TMPDIR'
    )
  return [Path(os.fsdecode(x)) for x in processes.gather_bytes(path.encode())]
