"""Warnings of this package as one line, for who runs a command."""

import functools
import warnings


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
