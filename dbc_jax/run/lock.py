"""One run, one workdir: a lock for the life of a run.

`run.lock` says whose the workdir is. Its holder touches it every ten seconds.
Where the file system can, the kernel locks the file too, and lets go of it with
the process, however that ends.
"""

import contextlib
import datetime
import hashlib
import json
import logging
import os
import pathlib
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any

import numpy as np

from dbc_jax.devices import processes

try:
  import fcntl
except ImportError:  # Not on Windows: whether the process lives decides there.
  fcntl = None

log = logging.getLogger('dbc_jax')

NAME = 'run.lock'
# Of another machine, whose processes cannot be asked for: without a sign of
# life for so long, a run is over.
TIMEOUT_SECONDS = 60.0
BEAT_SECONDS = 10.0
# For what one machine wrote to be seen by another.
_LAG_SECONDS = 10.0


@contextlib.contextmanager
def hold(workdir: pathlib.Path) -> Iterator['Lock']:
  """Holds a workdir for one run, which may have several processes.

  The first process holds it for all.

  Args:
    workdir: made if it is not there, and removed again if it stays empty.

  Raises:
    ValueError: it cannot be written, or another run holds it; says whose.
  """
  lock, refusal = Lock(workdir), ''
  if processes.is_first():
    try:
      lock.take()
    except ValueError as error:
      refusal = str(error)
  refusal = processes.text_of_first(refusal)
  if refusal:
    raise ValueError(refusal)
  try:
    _check_all_see_it(workdir)
    yield lock
  finally:
    lock.release()


def _check_all_see_it(workdir: pathlib.Path) -> None:
  """Raises ValueError in all processes unless all see the same folder.

  Each decides by what is there whether a run goes on. What the first one sees
  decides: the others wait for it a little, as shared folders may lag.
  """
  if processes.count() == 1:
    return
  first = processes.text_of_first(_look(workdir))
  deadline = time.monotonic() + _LAG_SECONDS
  while _look(workdir) != first and time.monotonic() < deadline:
    time.sleep(0.5)
  sees = processes.gather(np.array([_look(workdir) == first]))
  if not sees.all():
    raise ValueError(
      f'workdir: process {np.flatnonzero(~sees)[0]} does not see in its '
      '--workdir what process 0 sees in its own; give all processes one folder '
      f'that they share (here it is {workdir})'
    )


def _look(workdir: pathlib.Path) -> str:
  """Whose a folder is, and a digest of what is in it."""
  found = []
  for pattern in ('*', 'checkpoints/*', 'checkpoints/*/*'):
    found += [str(path.relative_to(workdir)) for path in workdir.glob(pattern)]
  listing = hashlib.blake2b(
    '\0'.join(sorted(found)).encode(errors='surrogateescape'), digest_size=16
  ).hexdigest()
  try:
    owner = json.loads((workdir / NAME).read_text())
  except (OSError, ValueError):
    return f'? {listing}'
  return f'{owner.get("token")} {listing}'


class Lock:
  """The lock of one workdir; in processes but the first it does nothing."""

  def __init__(self, workdir: pathlib.Path):
    """Takes nothing yet."""
    self._workdir = workdir
    self._path = workdir / NAME
    self._made: list[pathlib.Path] = []
    self._file: int | None = None
    self._ended = threading.Event()
    self._own: dict[str, Any] = {}

  def take(self) -> None:
    """Takes it, of a run that has ended as well.

    Raises:
      ValueError: as `hold`.
    """
    if self._workdir.exists() and not self._workdir.is_dir():
      raise ValueError(
        f'workdir: {self._workdir} is a file; choose another --workdir'
      )
    try:
      self._make_folder()
      self._file = self._open()
    except OSError as error:
      self._remove_made()
      raise ValueError(
        f'workdir: {self._workdir} cannot be written ({error.strerror}); '
        'choose another --workdir'
      ) from error
    except ValueError:
      self._remove_made()
      raise
    threading.Thread(target=self._beat, daemon=True).start()

  def check(self) -> None:
    """Raises ValueError if another run has taken the workdir over meanwhile.

    To be called before something is written there. It happens to a process that
    was stopped, or cut off from the folder, for more than a minute.
    """
    if self._file is None:
      return
    try:
      owner = json.loads(self._path.read_text())
    except (OSError, ValueError):
      owner = {}
    if owner.get('token') != self._own['token']:
      raise ValueError(
        f'workdir: {self._workdir} was taken over by another run, '
        f'{_describe(owner)}; this one ends'
      )

  def release(self) -> None:
    """Lets go of it."""
    if self._file is None:
      return
    self._ended.set()
    with contextlib.suppress(ValueError, OSError):
      self.check()
      self._path.unlink()
    os.close(self._file)
    self._file = None
    self._remove_made()

  def _make_folder(self) -> None:
    missing = [
      each
      for each in (self._workdir, *self._workdir.parents)
      if not each.exists()
    ]
    self._workdir.mkdir(parents=True, exist_ok=True)
    self._made = missing

  def _remove_made(self) -> None:
    """So that a run which ends at a bad value leaves no folder."""
    for each in self._made:
      with contextlib.suppress(OSError):  # Not empty.
        each.rmdir()

  def _open(self) -> int:
    deadline = time.monotonic() + _LAG_SECONDS
    while True:
      file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o666)
      try:
        locked = _lock(file)
        owner = _read(file)
        is_late = time.monotonic() >= deadline
        if locked is False and (owner or is_late):
          raise ValueError(self._in_use(owner))
        # Its holder has not yet said who it is, or has just removed it.
        if locked is False or not _is_same(file, self._path):
          os.close(file)
          time.sleep(0.02)
          continue
        self._take_over(file, owner, locked)
      except BaseException:
        os.close(file)
        raise
      return file

  def _take_over(
    self, file: int, owner: dict[str, Any], locked: bool | None
  ) -> None:
    elsewhere = bool(owner) and owner.get('machine') != _machine()
    if elsewhere:
      self._wait_for_silence(file, owner)
    elif owner and locked is None and _is_alive(owner):
      raise ValueError(self._in_use(owner))
    self._own = {
      'host': socket.gethostname(),
      'pid': os.getpid(),
      'since': f'{datetime.datetime.now():%Y-%m-%d %H:%M:%S}',
      'machine': _machine(),
      'started': _started(os.getpid()),
      'token': uuid.uuid4().hex,
    }
    os.ftruncate(file, 0)
    os.pwrite(file, json.dumps(self._own).encode(), 0)
    os.fsync(file)
    if elsewhere or locked is None:
      # Of two that came at once, the one that wrote last has it.
      time.sleep(1.0)
      self._file = file
      try:
        self.check()
      finally:
        self._file = None
    if owner:
      log.info(
        'workdir: the run %s has ended without a word; this one takes it over',
        _describe(owner),
      )

  def _wait_for_silence(self, file: int, owner: dict[str, Any]) -> None:
    """Raises ValueError at a sign of life; returns when there was none."""
    last, told = os.fstat(file).st_mtime, False
    while self._now() - last < TIMEOUT_SECONDS:
      if not told:
        log.info(
          'workdir: the run %s may be alive; it is taken over if it gives no '
          'sign of life for %.0f s',
          _describe(owner),
          TIMEOUT_SECONDS,
        )
      told = True
      time.sleep(min(1.0, TIMEOUT_SECONDS / 10))
      if os.stat(self._path).st_mtime != last:
        raise ValueError(self._in_use(owner))

  def _now(self) -> float:
    """By the clock of the folder's server, as the times of its files are."""
    probe = self._path.with_name(f'{NAME}.{uuid.uuid4().hex}')
    probe.touch()
    now = probe.stat().st_mtime
    probe.unlink()
    return now

  def _beat(self) -> None:
    while not self._ended.wait(BEAT_SECONDS):
      with contextlib.suppress(OSError, ValueError):
        self.check()
        os.utime(self._path)

  def _in_use(self, owner: dict[str, Any]) -> str:
    return (
      f'workdir: {self._workdir} is in use by the run {_describe(owner)}; wait '
      'for its end, or choose another --workdir'
    )


def _describe(owner: dict[str, Any]) -> str:
  if not owner:
    return 'of a process unknown'
  return (
    f'of process {owner.get("pid")} on {owner.get("host")} (since '
    f'{owner.get("since")})'
  )


def _lock(file: int) -> bool | None:
  """Whether the kernel gave it; None where the file system knows no locks."""
  if fcntl is None:
    return None
  try:
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except BlockingIOError:
    return False
  except OSError:
    return None
  return True


def _read(file: int) -> dict[str, Any]:
  """What it says; {} if it is new, or if its writer was killed."""
  try:
    owner = json.loads(os.pread(file, 4096, 0))
  except ValueError:
    return {}
  return owner if isinstance(owner, dict) else {}


def _is_same(file: int, path: pathlib.Path) -> bool:
  try:
    return os.path.samestat(os.fstat(file), path.stat())
  except FileNotFoundError:
    return False


def _machine() -> str:
  """Names what has its own process numbers: a start of a machine, a container.

  The name of a host alone is not enough: containers may share one.
  """
  found = [socket.gethostname()]
  with contextlib.suppress(OSError):
    boot = pathlib.Path('/proc/sys/kernel/random/boot_id').read_text()
    found += [boot.strip(), os.readlink('/proc/self/ns/pid')]
  return ' '.join(found)


def _started(pid: int) -> str:
  """When a process began, in ticks; '' where nobody says so."""
  try:
    # The name, in brackets, may hold blanks.
    stat = pathlib.Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2]
  except OSError:
    return ''
  return stat.split()[19]


def _is_alive(owner: dict[str, Any]) -> bool:
  """Whether the process of a lock runs; another may have its number by now."""
  pid = owner.get('pid')
  if not isinstance(pid, int) or _started(pid) != owner.get('started'):
    return False
  try:
    os.kill(pid, 0)
  except ProcessLookupError:
    return False
  except OSError:
    pass
  return True
