"""Tests of what a record of a stage holds, and of how people read it."""

import pytest
from histories import make_history

from dbc_jax.reporting import record


def test_log_line_has_headlines_and_seconds():
  values = {
    'stage': 3,
    'num_clusters': 850,
    'loss': 2.314,
    'rank1': 0.412,
    'map': 0.225,
    'pair_f': 0.308,
    'seconds_train': 5.06,
    'seconds_cluster': 0.2,
  }
  assert record.format_record(values) == (
    'stage 3: 850 clusters, loss 2.31, rank-1 41.2 %, mAP 22.5 %,'
    ' pair F 0.31 (train 5.1 s, cluster 0.2 s)'
  )


def test_log_line_leaves_out_what_is_absent():
  values = {'stage': 0, 'num_clusters': 9, 'loss': 1.0}
  assert record.format_record(values) == 'stage 0: 9 clusters, loss 1.00'


def test_a_value_that_one_stage_lacks_is_a_dash():
  history = make_history(2)
  del history[0]['map']
  headings, rows = record.stage_table(history, 1)
  column = headings.index('mAP')
  assert [row[column] for row in rows] == ['-', '21.0 %']


def test_stages_are_compared_by_what_all_of_them_have():
  history = make_history(3)
  del history[0]['pair_f']
  headings, rows = record.compare_stages(history, {'first': 0, 'last': 2})
  assert headings == ['', 'first', 'last']
  assert rows == [
    ['stage', '0', '2'],
    ['clusters', '100', '90'],
    ['rank-1', '40.0 %', '42.0 %'],
    ['mAP', '20.0 %', '22.0 %'],
  ]
  with pytest.raises(ValueError, match='got 7, but the history has'):
    record.compare_stages(history, {'last': 7})
