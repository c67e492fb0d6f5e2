"""Tests of what a finished run prints."""

import pathlib

import pytest
from histories import make_history, without_identities

from dbc_jax.reporting import summary


def test_summary_has_an_aligned_table_that_marks_the_kept_stage():
  text = summary.format_summary(
    make_history(12),
    11,
    'best mAP',
    {'last': 11, 'best by labels': 9},
    pathlib.Path('runs/demo'),
  )
  table = text.split('\n\n')[0].splitlines()
  assert len(table) == 13
  assert len({len(line) for line in table}) == 1
  assert table[0].split() == [
    'stage',
    'clusters',
    'loss',
    'rank-1',
    'mAP',
    'pair',
    'F',
  ]
  assert [line for line in table if '*' in line] == [table[12]]
  assert table[12].split()[:3] == ['11*', '45', '0.25']
  assert table[1].index('0') == table[12].index('11*') + 1
  compared = text.split('\n\n')[1].splitlines()
  assert len({len(line) for line in compared}) == 1
  assert compared[0].split('  ')[-2:] == ['last', 'best by labels']
  assert compared[1].split() == ['stage', '11', '9']
  assert 'kept stage 11 (best mAP): 45 clusters' in text
  for name in ('config.json', 'metrics.jsonl', 'clusters.csv', 'report.html'):
    assert f'runs/demo/{name}' in text
  assert 'runs/demo/checkpoints/' in text
  assert 'runs/demo/tensorboard/' in text
  assert 'not evaluated' not in text


@pytest.mark.parametrize(
  ('called', 'command'),
  [('/usr/bin/dbc', 'dbc'), ('dbc_jax/main.py', 'python -m dbc_jax')],
)
def test_the_next_step_is_one_that_is_there(called, command, monkeypatch):
  monkeypatch.setattr('sys.argv', [called])
  text = summary.format_summary(
    make_history(3), 2, 'why', {'last': 2}, pathlib.Path('runs/demo')
  )
  steps = text.split('Next: ')[1].splitlines()
  assert 'runs/demo/report.html' in steps[0]
  verbs = ('review', 'search', 'assign')
  for step, verb in zip(steps[1:], verbs, strict=True):
    assert step.startswith(f'  {command} {verb} --workdir=runs/demo ')


def test_summary_drops_columns_that_no_stage_has():
  history = without_identities(make_history(2))
  text = summary.format_summary(
    history, 1, 'last', {'last': 1}, pathlib.Path('w')
  )
  assert text.splitlines()[0].split() == ['stage', 'clusters', 'loss']
  assert 'the data set has no identities' in text


@pytest.mark.parametrize(
  ('names', 'tables'), [('abc', 2), ('ab', 1)], ids=['oracle', 'no oracle']
)
def test_an_oracle_is_always_shown(names, tables):
  stages = dict.fromkeys(names, 1)
  text = summary.format_summary(
    make_history(2), 1, 'last', stages, pathlib.Path('w')
  )
  before = text.split('\n\nkept stage')[0].split('\n\n')
  assert len(before) == tables
  assert before[-1].split()[:3] == (
    [*names] if tables == 2 else ['stage', 'clusters', 'loss']
  )


def test_an_unknown_kept_stage_is_an_error():
  with pytest.raises(ValueError, match='kept_stage: got 7'):
    summary.format_summary(make_history(2), 7, 'best', {}, pathlib.Path('w'))
