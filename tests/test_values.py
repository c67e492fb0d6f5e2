"""Each check takes what means its value, and tells of what does not."""

import re
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from dbc_jax import values


@pytest.mark.parametrize('value', [3, np.int64(3), np.uint8(3)])
def test_whole_numbers(value):
  found = values.whole(value, 'k', 1, 3)
  assert (found, type(found)) == (3, int)


@pytest.mark.parametrize('value', [0, 4, 3.0, True, '3', None, [3], 10**30])
def test_no_whole_number(value):
  told = re.escape(f'k: got {value!r}, expected a whole number in 1..3.')
  with pytest.raises(ValueError, match=f'^{told}$'):
    values.whole(value, 'k', 1, 3)


@pytest.mark.parametrize('value', [1, 1.0, np.float32(1), np.int8(1)])
def test_numbers(value):
  assert values.number(value, 'x', 0, 1) == 1.0


@pytest.mark.parametrize(
  'value', [-0.1, 1.1, float('nan'), float('inf'), '1', True, None, 1j, 10**400]
)
def test_no_number(value):
  with pytest.raises(ValueError, match=r'^x: got .*, expected a number in \[0'):
    values.number(value, 'x', 0, 1)
  with pytest.raises(ValueError, match=r'^x: got inf, expected a number of at'):
    values.number(float('inf'), 'x', 0, float('inf'))


def test_flags():
  for value in (True, np.bool_(True), 1):
    assert values.flag(value, 'f') is True
  for value in ('False', '', None, 2, 1.0, float('nan'), []):
    with pytest.raises(ValueError, match=r'^f: got .*, expected True or False'):
      values.flag(value, 'f')


def test_real_arrays():
  for value in ([[1, 2]], np.array([[1, 2]], object), jnp.array([[1, 2]])):
    np.testing.assert_array_equal(values.reals(value, 'x'), [[1, 2]])
  short = jnp.ones((2, 3), jnp.bfloat16)
  assert values.reals(short, 'x').astype(np.float32).sum() == 6


@pytest.mark.parametrize(
  'value',
  [
    None,
    'text',
    ['1', '2'],
    [1j],
    [[1, 2], [3]],
    {'x': 1},
    np.zeros(2, 'datetime64[D]'),
    np.zeros(2, [('a', 'f4')]),
    np.array([None, 1]),
  ],
)
def test_no_real_array(value):
  with pytest.raises(
    ValueError, match=r'^x: got .*, expected .*; .*\.$'
  ) as told:
    values.reals(value, 'x')
  assert len(str(told.value).splitlines()) == 1


def test_integer_arrays_are_signed():
  for dtype in (np.uint8, np.int16, np.uint64):
    found = values.integers(np.array([0, 3], dtype), 'labels', 2, 'one')
    assert found.dtype.kind == 'i'
    np.testing.assert_array_equal(found - 4, [-4, -1])


@pytest.mark.parametrize(
  'value', [None, 3, [1, 2, 3], [[1, 2]], [1.0, 2.0], ['a', 'b'], [[1], 2]]
)
def test_no_integer_array(value):
  with pytest.raises(ValueError, match=r'^camids: got .*, expected'):
    values.integers(value, 'camids', 2, 'one camera')


def test_paths():
  assert values.path('a/b', 'path') == Path('a/b')
  assert values.path(Path('~'), 'path') == Path.home()
  for value in (None, 5, '', [], 'a\0b', '~nobody-there/x'):
    with pytest.raises(ValueError, match=r'^path: got '):
      values.path(value, 'path')


def test_choices():
  assert values.choice('a', 'c', ('a', 'b')) == 'a'
  for value in ('', 'A', None, 5, ['a']):
    with pytest.raises(ValueError, match=r'^c: got .*, expected one of a, b'):
      values.choice(value, 'c', ('a', 'b'))
