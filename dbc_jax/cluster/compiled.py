"""Functions compiled by Numba, kept on disk where a folder can be written."""

from collections.abc import Callable
from typing import Any

import numba


def compiled(function: Callable[..., Any]) -> Any:
  """A function that is compiled when it is first called.

  Where no folder can be written, as under a user without a home, nothing is
  kept: each process compiles anew.
  """
  try:
    return numba.njit(cache=True)(function)
  except RuntimeError:  # Numba finds no folder.
    return numba.njit(function)
