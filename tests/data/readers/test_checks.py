"""Warnings about whole data sets: when they come, and what they name."""

import warnings

import numpy as np
import pytest

from dbc_jax.data.readers import checks


def test_shared_identities_are_named():
  with pytest.warns(UserWarning, match='both in training') as caught:
    checks.warn_of_shared_identities(
      'list.csv', np.array([7, 3, 3, 1]), np.array([5, 3, 7, 7])
    )
  assert len(caught) == 1
  message = str(caught[0].message)
  assert message.startswith('list.csv: 2 identities are both in training and')
  assert 'pid 3, 7. ' in message


@pytest.mark.parametrize(
  ('train', 'test'),
  [([1, 2], [3, 4]), ([-1, 1], [-1, 2]), ([], [1]), ([1], [])],
)
def test_no_person_on_both_sides_no_warning(train, test):
  with warnings.catch_warnings():
    warnings.simplefilter('error')
    checks.warn_of_shared_identities(
      'x', np.array(train, np.int32), np.array(test, np.int32)
    )


def test_pid_zero_is_a_person_unless_told_otherwise():
  pids = np.array([0, -1])
  with pytest.warns(UserWarning, match=r'1 identities are .* pid 0\.'):
    checks.warn_of_shared_identities('x', pids, pids)
  with warnings.catch_warnings():
    warnings.simplefilter('error')
    checks.warn_of_shared_identities('x', pids, pids, not_persons=(-1, 0))


def test_only_the_sizes_that_differ_are_named(tmp_path):
  found = {'queries': 1980, 'training tracklets': 8000, 'folders': 3}
  official = {'queries': 1980, 'training tracklets': 8298}
  with pytest.warns(UserWarning, match='differs from') as caught:
    checks.warn_of_other_sizes(tmp_path, 'MARS', found, official)
  assert [str(warning.message) for warning in caught] == [
    f'{tmp_path} differs from the official MARS: 8,000 training tracklets '
    '(official: 8,298). Scores cannot be compared with published ones.'
  ]


def test_official_sizes_give_no_warning(tmp_path):
  with warnings.catch_warnings():
    warnings.simplefilter('error')
    checks.warn_of_other_sizes(tmp_path, 'MARS', {'a': 1, 'b': 2}, {'a': 1})


@pytest.mark.parametrize(
  ('count', 'expected'),
  [
    (0, 'nothing'),
    (1, '0'),
    (10, '0, 1, 2, 3, 4, 5, 6, 7, 8, 9'),
    (11, '0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 1 more'),
    (1234, '0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 1,224 more'),
  ],
)
def test_ten_names_are_enough(count, expected):
  assert checks.listed(range(count)) == expected
  assert checks.listed(str(i) for i in range(count)) == expected
