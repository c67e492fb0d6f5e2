"""Odd arguments for the library's public functions; see benchmarks.bad_values.

Each function has arguments that are fine. One of them is replaced: by the same
in another form (a list, float64, a view), for which the result must be equal or
an error be told; or by what means nothing, for which an error must be told.
"""

import dataclasses
import inspect
import math
import os
import random
import resource
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks.public_calls import Call, calls
from dbc_jax.cluster import Criterion

_SAME = 'same'  # Means what the fine argument means.
_BAD = 'bad'  # Means nothing.
_OTHER = 'other'  # May mean something else: the result must be finite.
_MEMORY = 16 << 30
# That mean something all the same.
_FINE = {
  ('evaluation.evaluate_ranking', 'distances', 'one inf'),
  ('evaluation.evaluate_ranking', 'distances', 'one -inf'),
  ('evaluation.PairCalibration.probability', 'distances', 'an axis more'),
  ('evaluation.PairCalibration.probability', 'distances', 'a single number'),
  ('evaluation.PairCalibration.probability', 'distances', 'empty'),
  ('evaluation.expand_queries', 'gallery_features', 'a row less'),
  ('evaluation.expand_queries', 'query_features', 'a row less'),
  ('evaluation.rerank_distances', 'gallery_features', 'a row less'),
  ('evaluation.rerank_distances', 'query_features', 'a row less'),
  ('data.load_dataset', 'pattern', 'None'),
  ('data.load_dataset', 'pattern', "''"),
  ('verbs.find_sources', 'pattern', "''"),
  ('verbs.search', 'queries', 'empty'),
  ('verbs.search', 'queries', 'a row less'),
  ('verbs.search', 'gallery', 'a row less'),
  ('cluster.to_scipy_linkage', 'heights', 'scor'),
}


def _odd_arrays(fine: np.ndarray) -> Iterator[tuple[str, str, Any]]:
  """Expectation, description and value, of what may replace an array."""
  wide = np.zeros((2 * len(fine), *fine.shape[1:]), fine.dtype)
  wide[::2] = fine
  yield _SAME, 'a list', fine.tolist()
  yield _SAME, 'a view of every second row', wide[::2]
  yield _SAME, 'of objects', fine.astype(object)
  yield _SAME, 'of JAX', jax.numpy.asarray(fine)
  yield _BAD, 'None', None
  yield _BAD, 'a text', 'features'
  yield _BAD, 'texts', fine.astype(str)
  yield _BAD, 'complex', fine + 1j
  yield _BAD, 'empty', fine[:0]
  yield _BAD, 'an axis more', fine[None]
  yield _BAD, 'a single number', fine.reshape(-1)[0]
  yield _BAD, 'a row less', fine[:-1]
  yield _BAD, 'lists of several lengths', [[1, 2], [3]]
  yield _BAD, 'a dict', {'features': fine}
  yield _BAD, 'dates', np.full(fine.shape, '2020-01-01', 'datetime64[D]')
  if fine.dtype.kind == 'f':
    yield _SAME, 'float64', fine.astype(np.float64)
    yield _SAME, 'the order of Fortran', np.asfortranarray(fine)
    for name, number in (('NaN', np.nan), ('inf', np.inf), ('-inf', -np.inf)):
      changed = fine.copy()
      changed.reshape(-1)[1] = number
      yield _BAD, f'one {name}', changed
    yield _OTHER, 'of 1e30', (fine * 1e30).astype(np.float32)
    yield _OTHER, 'of 1e-30', (fine * 1e-30).astype(np.float32)
    yield _OTHER, 'all equal', np.ones_like(fine)
    yield _OTHER, 'zeros', np.zeros_like(fine)
    yield _OTHER, 'float16', fine.astype(np.float16)
  elif fine.dtype.kind in 'iu':
    yield _SAME, 'int64', fine.astype(np.int64)
    yield _SAME, 'uint8', fine.astype(np.uint8)
    yield _BAD, 'halves', fine + 0.5
    yield _BAD, 'NaN', np.full(fine.shape, np.nan)
    yield _BAD, 'bools', fine.astype(bool)
    yield (
      _OTHER,
      'one of -7',
      np.where(np.arange(fine.size) == 1, -7, fine.reshape(-1)).reshape(
        fine.shape
      ),
    )
    yield (
      _OTHER,
      'one of 2**40',
      np.where(np.arange(fine.size) == 1, 2**40, fine.reshape(-1)).reshape(
        fine.shape
      ),
    )
    yield _OTHER, 'all equal', np.zeros_like(fine)


def _odd_values(fine: Any) -> Iterator[tuple[str, str, Any]]:
  """As `_odd_arrays`, for other arguments."""
  if isinstance(fine, bool):
    yield _SAME, 'of NumPy', np.bool_(fine)
    for value in ('False', '', None, 2, math.nan, []):
      yield _BAD, repr(value), value
  elif isinstance(fine, int):
    yield _SAME, 'of NumPy', np.int64(fine)
    for value in (-1, 1.5, math.nan, '3', None, [3], math.inf, -(10**30)):
      yield _BAD, repr(value), value
    for value in (0, True, 10**30):
      yield _OTHER, repr(value), value
  elif isinstance(fine, float):
    yield _SAME, 'of NumPy', np.float64(fine)
    for value in (math.nan, '0.1', None, [0.1], -1.0, -math.inf, 1j):
      yield _BAD, repr(value), value
    for value in (0, 0.0, 1, 1e300, 1e-300, math.inf, True):
      yield _OTHER, repr(value), value
  elif isinstance(fine, str):
    for value in (fine[:-1], '', None, 5, fine.upper(), ' ', [fine], '\0'):
      yield _BAD, repr(value), value
  elif isinstance(fine, Path):
    yield _SAME, 'a text', str(fine)
    for value in ('', None, 5, Path('/nowhere/at/all'), Path('/'), 'a\0b', []):
      yield _BAD, repr(value), value
  elif isinstance(fine, tuple) and not hasattr(fine, '_fields'):
    yield _SAME, 'a list', list(fine)
    for value in (
      (),
      (1,),
      (0, 0),
      (-1, 2),
      (1.5, 2),
      None,
      5,
      'ab',
      (1, 2, 3),
      (math.nan, 1),
    ):
      yield _BAD, repr(value), value
  elif isinstance(fine, list):
    yield _SAME, 'a tuple', tuple(fine)
    for value in (None, 5, 'ab', [None], [{}], [1.5], [[]]):
      yield _BAD, repr(value), value
  elif isinstance(fine, Criterion):
    for value in (None, 'average', 5, {}):
      yield _BAD, repr(value), value
  # Other objects are the package's own: no slip makes another out of them.


def odd(fine: Any) -> Iterator[tuple[str, str, Any]]:
  """Expectation, description and value, of what may replace an argument."""
  yield from (_odd_arrays if isinstance(fine, np.ndarray) else _odd_values)(
    fine
  )


def _leaves(result: Any) -> list[np.ndarray]:
  """The arrays of numbers in a result."""
  if dataclasses.is_dataclass(result):
    result = vars(result)
  found = []
  for leaf in jax.tree.leaves(result):
    try:
      array = np.asarray(leaf)
    except (TypeError, ValueError):
      continue
    if array.dtype.kind in 'fiub':
      found.append(array)
  return found


def _is_equal(here: Any, there: Any) -> bool:
  here, there = _leaves(here), _leaves(there)
  return len(here) == len(there) and all(
    a.shape == b.shape and np.allclose(a, b, 1e-4, 1e-6, equal_nan=True)
    for a, b in zip(here, there, strict=True)
  )


def is_finite(result: Any) -> bool:
  """Whether all numbers of a result are; of an exception, too."""
  return all(np.isfinite(leaf).all() for leaf in _leaves(result))


def judge_call(
  call: Call, key: str, expected: str, value: Any, fine: Any
) -> tuple[str, str]:
  """One of `bad_values.OUTCOMES`, and what was said or returned.

  Args:
    call: the function.
    key: the argument that is replaced.
    expected: of `odd`.
    value: that replaces it.
    fine: the result of fine arguments, or the exception.
  """
  try:
    result = call.function(**call.arguments | {key: value})
  except (ValueError, TypeError, OSError) as error:
    text = str(error)
    told = f'{type(error).__name__}: {text}'
    # That of two arguments which do not fit is the one or the other.
    names = {name.replace('_', ' ') for name in call.arguments}
    is_named = any(name in text.replace('_', ' ') for name in names)
    is_named |= isinstance(value, str | Path) and str(value) in text
    is_ours = len(text.splitlines()) == 1 and is_named
    return 'told' if is_ours else 'traceback', told
  except Exception as error:  # noqa: BLE001 - Whatever there is.
    return 'traceback', f'{type(error).__name__}: {error}'
  told = repr(result)[:200].replace('\n', ' ')
  if is_finite(fine) and not is_finite(result):
    return 'silent', told
  if expected == _BAD:
    return 'silent', told
  if expected == _SAME and not _is_equal(result, fine):
    return 'silent', f'{told}, not {fine!r}'
  return 'right', told


def _trials(call: Call) -> Iterator[tuple[str, str, str, Any]]:
  """Argument, expectation, description and value of what can be replaced."""
  arrays = sum(isinstance(x, np.ndarray) for x in call.arguments.values())
  defaults = inspect.signature(call.function).parameters
  for key, fine in call.arguments.items():
    for expected, what, value in odd(fine):
      if what == 'a row less' and arrays == 1:
        expected = _OTHER  # Of nothing else that has rows.
      takes_none = key in defaults and defaults[key].default is None
      if (value is None and takes_none) or (call.name, key, what) in _FINE:
        continue
      yield key, expected, what, value


def try_calls(count: int, seed: int) -> Counter:
  """Outcomes of calls; prints the faults."""
  counts: Counter = Counter()
  # What would take all memory ends in an error, and not in a kill.
  resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
  with tempfile.TemporaryDirectory() as name:
    os.chdir(name)
    trials = [
      (call, *trial) for call in calls(Path(name)) for trial in _trials(call)
    ]
    print(f'{len(trials):,} calls can be made', flush=True)
    fine: dict[int, Any] = {}
    chosen = random.Random(seed).sample(trials, min(count, len(trials)))
    for call, key, expected, what, value in chosen:
      if id(call) not in fine:
        try:
          fine[id(call)] = call.function(**call.arguments)
        except ValueError as error:  # No file that it reads is there.
          fine[id(call)] = error
      outcome, told = judge_call(call, key, expected, value, fine[id(call)])
      counts[outcome] += 1
      if outcome not in ('right', 'told'):
        print(f'{outcome}: {call.name}({key}={what})\n    {told[:300]}')
      elif os.environ.get('VERBOSE'):
        print(f'{outcome}: {call.name}({key}={what}) {told[:160]}')
    os.chdir('/')
  return counts
