"""Warnings as one line, and no tracebacks, for who runs a command."""

import contextlib
import functools
import logging
import sys
import warnings
from collections.abc import Iterator
from typing import Any


@functools.cache
def use_plain_warnings() -> None:
  """From now on a UserWarning is its text, without a place in the code."""
  usual = warnings.formatwarning

  def plain(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    line: str | None = None,
  ) -> str:
    if category is UserWarning:
      return f'Warning: {message}\n'
    return usual(message, category, filename, lineno, line)

  warnings.formatwarning = plain


@contextlib.contextmanager
def without_tracebacks() -> Iterator[None]:
  """Hides what threads say of a failure that is raised as well.

  Orbax raises the first failure and closes its loop, to which writes that end
  later report in vain. So after a failure it stays hidden.
  """
  shown = sys.unraisablehook

  def show(fault: Any) -> None:
    if str(fault.exc_value) != 'Event loop is closed':
      shown(fault)

  def is_plain(line: logging.LogRecord) -> bool:
    return not line.exc_info

  sys.unraisablehook = show
  loggers = [*map(logging.getLogger, ('absl', 'asyncio'))]
  for each in loggers:
    each.addFilter(is_plain)
  yield
  sys.unraisablehook = shown
  for each in loggers:
    each.removeFilter(is_plain)
