"""SIGTERM, SIGINT and SIGHUP: a run ends where it can go on exactly.

A first signal ends the process at once, too, but for inside `held`: there it is
noted, and whoever works asks for it. A second one always ends the process, even
where Python waits for compiled code.
"""

import contextlib
import functools
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

from dbc_jax.devices import processes

_NAMES = ('SIGTERM', 'SIGINT', 'SIGHUP')
_SIGNALS = {
  int(getattr(signal, name)): name for name in _NAMES if hasattr(signal, name)
}


class Interrupted(KeyboardInterrupt):
  """The process is to end because of a signal.

  Attributes:
    number: of the signal.
    where: the place in the work from which the same command goes on.
  """

  def __init__(self, number: int, where: str = 'the last checkpoint'):
    """Takes both attributes."""
    name = _SIGNALS.get(number, f'signal {number}')
    super().__init__(f'Ended by {name}. The same command goes on from {where}.')
    self.number = number
    self.where = where


class _State:
  """Of the process: signals are sent to it, and not to a part of it."""

  is_held = False
  asked = 0
  comes_again = False


def install() -> None:
  """Takes over the three signals, but for those that are ignored by now.

  To be called in the main thread, once.
  """
  for number in _SIGNALS:
    # As nohup does, and shells for what they start in the background.
    if signal.getsignal(number) is not signal.SIG_IGN:
      signal.signal(number, _handle)
  sys.unraisablehook = functools.partial(_unraisable, sys.unraisablehook)
  reader, writer = os.pipe()
  os.set_blocking(writer, False)
  signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
  threading.Thread(target=_watch, args=(reader,), daemon=True).start()


def uninstall() -> None:
  """Gives the signals back: what comes now ends the process, without a word.

  All is on disk, and nobody is left who would take an exception.
  """
  for number in _SIGNALS:
    if signal.getsignal(number) is _handle:
      signal.signal(number, signal.SIG_DFL)


@contextlib.contextmanager
def held() -> Iterator[None]:
  """Where a first signal is only noted, for `asked`.

  Raises:
    Interrupted: at the end, in all processes, if one came to any of them.
  """
  _State.is_held, _State.asked = True, 0
  try:
    yield
  finally:
    _State.is_held = False
  if number := processes.largest(_State.asked):
    raise Interrupted(number)


def asked() -> int:
  """The number of the signal that came inside `held`, or 0."""
  return _State.asked


def _handle(number: int, frame: object) -> None:
  del frame
  if not _State.is_held:
    raise Interrupted(number)
  _State.asked = _State.asked or number


def _unraisable(otherwise: Callable[[Any], object], found: Any) -> None:
  """Lets a signal come again whose exception Python had to drop.

  That is so where it comes within a destructor, or a callback of the collector
  of garbage.
  """
  if not isinstance(found.exc_value, Interrupted):
    otherwise(found)
    return
  _State.comes_again = True
  given = threading.main_thread().ident, found.exc_value.number
  threading.Timer(0.02, signal.pthread_kill, given).start()


def _watch(reader: int) -> None:
  """Sees each signal as it comes; Python's own handlers may have to wait."""
  count = 0
  while True:
    for number in os.read(reader, 1):
      if number not in _SIGNALS:
        continue
      if _State.comes_again:
        _State.comes_again = False
        continue
      count += 1
      if count > 1:
        _end(number)
      if _State.is_held:
        # Logging could be in the middle of a line.
        _say(
          f'{_SIGNALS[number]}: ends after saving at the next step or, where '
          'devices do a whole epoch, epoch; a second signal ends at once'
        )


def _end(number: int) -> NoReturn:
  _say(f'{_SIGNALS[number]} again: ended at once')
  os._exit(128 + number)


def _say(line: str) -> None:
  with contextlib.suppress(OSError):
    os.write(2, f'\n{line}\n'.encode())
