"""Processes that help the first one with what it alone decides.

The first process runs a program that branches as it goes, such as merging.
Where that comes to work that can be shared, it sends the others a function and
its arguments, and all call it. So only the first has to know what comes next,
and processes cannot come to differ.
"""

import dataclasses
import pickle
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from dbc_jax.devices import processes

T = TypeVar('T')

# Smaller arrays are sent anew each time; the others' copies are not kept.
_WORTH_KEEPING = 2**16  # bytes


@dataclasses.dataclass(frozen=True)
class _Kept:
  """Stands for an array that was sent before, or comes behind the message."""

  number: int


@dataclasses.dataclass(frozen=True)
class _Constant:
  """Stands for an array of one number, as much that passes fill begins as."""

  shape: tuple[int, ...]
  number: np.ndarray


class _Call(NamedTuple):
  function: Callable[..., Any]
  kept: Any
  given: Any
  coming: list[tuple[tuple[int, ...], str]]


_leading: list[Any] | None = None  # Arrays that the helpers have.


def lead(compute: Callable[[], T], like: T) -> T:
  """What `compute` returns in the first process, in all of them.

  The others help with what it passes to `everywhere`. To be called by all.

  Args:
    compute: not called in the others.
    like: a tree of arrays, of the shapes and dtypes of the result.
  """
  global _leading
  if processes.count() == 1:
    return compute()
  if not processes.is_first():
    _follow()
    return processes.from_first(like)
  _leading = []
  try:
    result = compute()
  finally:
    # After an error the others wait for a call, until they are told to end.
    _leading = None
  _send(None)
  return processes.from_first(result)


def are_there() -> bool:
  """Whether other processes wait for a call."""
  return _leading is not None


def everywhere(function: Callable[..., T], kept: Any, given: Any) -> T:
  """Calls `function(kept, given)` in all processes; what it returns here.

  To be called in float64 mode, as the others call it.

  Args:
    function: of a module, so that the others find it by its name.
    kept: tree of arrays. Large ones are sent once, and known again by being
      the same object.
    given: anything that can be pickled; arrays in it are sent each time.
  """
  assert _leading is not None
  new: list[np.ndarray] = []

  def stand_in(array: Any) -> Any:
    assert _leading is not None
    for number, known in enumerate(_leading):
      if known is array:
        return _Kept(number)
    host = np.asarray(array)
    if host.nbytes < _WORTH_KEEPING:
      return host
    _leading.append(array)
    new.append(host)
    return _Kept(len(_leading) - 1)

  numbers = jax.tree.map(stand_in, kept)
  coming = [(array.shape, array.dtype.str) for array in new]
  sent = jax.tree.map(_packed, given)
  _send(_Call(function, numbers, sent, coming))
  for array in new:
    processes.bytes_of_first(np.ascontiguousarray(array).reshape(-1))
  return function(kept, given)


def _packed(leaf: Any) -> Any:
  if not isinstance(leaf, jax.Array):
    return leaf
  array = np.asarray(leaf)
  if array.nbytes >= _WORTH_KEEPING and (array == array.flat[0]).all():
    return _Constant(array.shape, array.flat[0])
  return array


def _unpacked(leaf: Any) -> Any:
  if isinstance(leaf, _Constant):
    return jnp.full(leaf.shape, leaf.number)
  return leaf


def _send(call: _Call | None) -> None:
  processes.bytes_of_first(np.frombuffer(pickle.dumps(call), np.uint8))


def _follow() -> None:
  """Calls what the first process sends, until it has done."""
  none = np.zeros(0, np.uint8)
  known: list[jax.Array] = []
  while (call := _received(processes.bytes_of_first(none))) is not None:
    with jax.enable_x64(True):
      for shape, dtype in call.coming:
        array = processes.bytes_of_first(none).view(dtype).reshape(shape)
        known.append(jnp.asarray(array))
      kept = jax.tree.map(
        lambda x: known[x.number] if isinstance(x, _Kept) else x,
        call.kept,
      )
      call.function(kept, jax.tree.map(_unpacked, call.given))


def _received(message: np.ndarray) -> _Call | None:
  return pickle.loads(message.tobytes())
