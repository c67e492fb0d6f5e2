"""Tests of the records: JSON lines, TensorBoard events and plain text."""

import json
import pathlib
import struct

import numpy as np
import pytest
from histories import make_history
from tensorboardX.proto import event_pb2

from dbc_jax.reporting import metrics


def test_metrics_file_holds_exactly_the_history(tmp_path):
  history = make_history(3)
  metrics.write_metrics(tmp_path / 'new', history)
  metrics.write_metrics(tmp_path / 'new', history[:2])
  lines = (tmp_path / 'new' / 'metrics.jsonl').read_text().splitlines()
  assert [json.loads(line) for line in lines] == history[:2]
  assert list(json.loads(lines[0])) == list(history[0])
  assert [p.name for p in (tmp_path / 'new').iterdir()] == ['metrics.jsonl']


def test_metrics_file_takes_numpy_scalars(tmp_path):
  record = {'stage': np.int64(1), 'loss': np.float32(0.5)}
  metrics.write_metrics(tmp_path, [record])
  text = (tmp_path / 'metrics.jsonl').read_text()
  assert text == '{"stage": 1, "loss": 0.5}\n'


def test_a_failed_write_leaves_the_old_metrics(tmp_path):
  metrics.write_metrics(tmp_path, make_history(1))
  before = (tmp_path / 'metrics.jsonl').read_text()
  with pytest.raises(ValueError, match='JSON'):
    metrics.write_metrics(tmp_path, [{'stage': 0, 'loss': float('nan')}])
  assert (tmp_path / 'metrics.jsonl').read_text() == before


def test_a_crash_before_the_rename_leaves_the_old_file(tmp_path, monkeypatch):
  path = tmp_path / 'file.txt'
  metrics.write_atomically(path, 'old')

  def crash(*args):
    raise OSError('disk gone')

  monkeypatch.setattr(metrics.os, 'replace', crash)
  with pytest.raises(OSError, match='disk gone'):
    metrics.write_atomically(path, 'new')
  assert path.read_text() == 'old'


def read_events(path: pathlib.Path) -> list[event_pb2.Event]:
  """Events of a TFRecord file: length, checksum, bytes, checksum."""
  data, events = path.read_bytes(), []
  while data:
    (length,) = struct.unpack('<Q', data[:8])
    events.append(event_pb2.Event.FromString(data[12 : 12 + length]))
    data = data[16 + length :]
  return events


def test_events_hold_every_value_under_a_grouped_tag(tmp_path):
  writer = metrics.EventWriter(tmp_path, None)
  for record in make_history(2):
    writer.write_stage(record)
  writer.close()
  (path,) = (tmp_path / 'tensorboard').iterdir()
  scalars = {
    (value.tag, event.step): value.simple_value
    for event in read_events(path)
    for value in event.summary.value
  }
  tags = {tag for tag, _ in scalars}
  assert tags == {
    'loss',
    'clusters/count',
    'clusters/pair_f',
    'retrieval/rank1',
    'retrieval/map',
    'seconds/train',
    'seconds/embed',
  }
  assert len(scalars) == 2 * len(tags)
  assert scalars['clusters/count', 1] == 95
  assert scalars['retrieval/rank1', 1] == pytest.approx(0.41)


def test_a_resumed_run_purges_the_stages_after_its_checkpoint(tmp_path):
  for last_stage, stages in ((None, (0, 1, 2, 3)), (1, (2, 3))):
    writer = metrics.EventWriter(tmp_path, last_stage)
    for stage in stages:
      writer.write_stage(make_history(4)[stage])
    writer.close()
  files = list((tmp_path / 'tensorboard').iterdir())
  assert len(files) == 2
  starts = [
    event.step
    for path in files
    for event in read_events(path)
    if event.session_log.status == event_pb2.SessionLog.START
  ]
  # TensorBoard drops what it read at steps >= that of a session start.
  assert sorted(starts) == [0, 2]


def test_log_line_has_headlines_and_seconds():
  record = {
    'stage': 3,
    'num_clusters': 850,
    'loss': 2.314,
    'rank1': 0.412,
    'map': 0.225,
    'pair_f': 0.308,
    'seconds_train': 5.06,
    'seconds_cluster': 0.2,
  }
  assert metrics.format_record(record) == (
    'stage 3: 850 clusters, loss 2.31, rank-1 41.2 %, mAP 22.5 %,'
    ' pair F 0.31 (train 5.1 s, cluster 0.2 s)'
  )


def test_log_line_leaves_out_what_is_absent():
  record = {'stage': 0, 'num_clusters': 9, 'loss': 1.0}
  assert metrics.format_record(record) == 'stage 0: 9 clusters, loss 1.00'


def test_a_value_that_one_stage_lacks_is_a_dash():
  history = make_history(2)
  del history[0]['map']
  headings, rows = metrics.stage_table(history, 1)
  column = headings.index('mAP')
  assert [row[column] for row in rows] == ['-', '21.0 %']


def test_stages_are_compared_by_what_all_of_them_have():
  history = make_history(3)
  del history[0]['pair_f']
  headings, rows = metrics.compare_stages(history, {'first': 0, 'last': 2})
  assert headings == ['', 'first', 'last']
  assert rows == [
    ['stage', '0', '2'],
    ['clusters', '100', '90'],
    ['rank-1', '40.0 %', '42.0 %'],
    ['mAP', '20.0 %', '22.0 %'],
  ]
  with pytest.raises(ValueError, match='got 7, but the history has'):
    metrics.compare_stages(history, {'last': 7})
