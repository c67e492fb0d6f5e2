"""Checks of single arguments: one line that begins with the argument's name."""

import contextlib
import math
import os
from pathlib import Path
from typing import Any

import numpy as np


def is_whole(value: object) -> bool:
  """Whether it is an integer; True and False are none."""
  return isinstance(value, int | np.integer) and not isinstance(value, bool)


def whole(value: Any, name: str, least: int, most: int | None = None) -> int:
  """A whole number in a range, both ends included.

  Raises:
    ValueError: anything else, True and False among it.
  """
  if is_whole(value) and least <= value and (most is None or value <= most):
    return int(value)
  where = f'of {least} or more' if most is None else f'in {least}..{most}'
  raise ValueError(f'{name}: got {value!r}, expected a whole number {where}.')


def number(value: Any, name: str, least: float, most: float) -> float:
  """A finite number in a range, both ends included.

  Raises:
    ValueError: anything else, True and False among it.
  """
  is_number = isinstance(value, int | float | np.integer | np.floating)
  if is_number and not isinstance(value, bool):
    try:
      found = float(value)
    except OverflowError:  # A whole number beyond all floats.
      found = math.nan
    if least <= found <= most and math.isfinite(found):
      return found
  where = (
    f'of at least {least:g}'
    if math.isinf(most)
    else (f'in [{least:g}, {most:g}]')
  )
  raise ValueError(f'{name}: got {value!r}, expected a number {where}.')


def flag(value: Any, name: str) -> bool:
  """True or False; 1 and 0 count as these.

  Raises:
    ValueError: anything else, such as 'False', which is true in Python.
  """
  if isinstance(value, bool | np.bool_ | int) and value in (0, 1):
    return bool(value)
  raise ValueError(f'{name}: got {value!r}, expected True or False.')


def reals(value: Any, name: str) -> np.ndarray:
  """An array of real numbers, of any shape, in its own dtype.

  Raises:
    ValueError: rows of several lengths, or what holds no real numbers.
  """
  try:
    found = np.asarray(value)
  except ValueError:
    raise ValueError(
      f'{name}: got rows of several lengths, expected an array; make them '
      'equally long.'
    ) from None
  # None would become NaN.
  if found.dtype.kind == 'O' and not any(x is None for x in found.flat):
    with contextlib.suppress(TypeError, ValueError, OverflowError):
      return found.astype(np.float64)
  is_short = found.dtype.kind == 'V' and found.dtype.names is None  # bfloat16
  if found.dtype.kind in 'fiub' or (is_short and found.dtype.itemsize <= 2):
    return found
  what = 'None' if value is None else f'dtype {found.dtype}'
  raise ValueError(
    f'{name}: got {what}, expected real numbers; convert them with '
    'astype(np.float32).'
  )


def integers(value: Any, name: str, size: int | None, of: str) -> np.ndarray:
  """An array of integers, signed: [size], or where that is None [N].

  Args:
    value: what was given.
    name: of the argument.
    size: how many samples there are.
    of: what each integer is, as in 'one camera'.

  Raises:
    ValueError: another shape, or no integers.
  """
  try:
    found = np.asarray(value)
  except ValueError:
    found = np.empty((), object)
  if found.ndim != 1 or size not in (None, len(found)):
    expected = '[N]' if size is None else f'({size},)'
    got = 'None' if value is None else f'shape {found.shape}'
    raise ValueError(
      f'{name}: got {got}, expected {expected}, {of} for each sample; pass '
      'those that belong to these samples.'
    )
  if found.dtype.kind not in 'iu':
    raise ValueError(
      f'{name}: got dtype {found.dtype}, expected integers; number them with '
      f'np.unique({name}, return_inverse=True)[1].'
    )
  return found if found.dtype.kind == 'i' else found.astype(np.int64)


def choice(value: Any, name: str, known: tuple[str, ...]) -> str:
  """One of some texts.

  Raises:
    ValueError: anything else; names them.
  """
  if isinstance(value, str) and value in known:
    return value
  raise ValueError(
    f'{name}: got {value!r}, expected one of {", ".join(known)}.'
  )


def path(value: Any, name: str) -> Path:
  """A file or folder, which need not be there; ~ is the user's own.

  Raises:
    ValueError: no path, or an empty one.
  """
  text = os.fsdecode(value) if isinstance(value, str | os.PathLike) else ''
  if text and '\0' not in text:
    try:
      return Path(text).expanduser()
    except RuntimeError as error:  # Of no user that is known.
      raise ValueError(f'{name}: got {text!r}, {error}') from error
  raise ValueError(f'{name}: got {value!r}, expected a path.')


def cache_folder() -> Path:
  """What this package may keep in the user's cache.

  Raises:
    OSError: the user has no home.
  """
  given = os.environ.get('XDG_CACHE_HOME')
  try:
    return Path(given or Path.home() / '.cache') / 'dbc_jax'
  except RuntimeError as error:
    raise OSError(
      'there is no home folder; set HOME or XDG_CACHE_HOME'
    ) from error
