"""Functions compiled by Numba, kept on disk where a folder can be written."""

from collections.abc import Callable
from typing import Any, TypeVar

import numba

_Function = TypeVar('_Function', bound=Callable)


def compiled(function: _Function) -> _Function:
  """A function that is compiled when it is first called.

  Where no folder can be written, as under a user without a home, nothing is
  kept: each process compiles anew.
  """
  compile_by: Any = numba.njit
  try:
    return compile_by(cache=True)(function)
  except RuntimeError:  # Numba finds no folder.
    return compile_by(function)
