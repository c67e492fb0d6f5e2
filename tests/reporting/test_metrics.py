"""Tests of the records: JSON lines, TensorBoard events and plain text."""

import csv
import json
import pathlib
import struct
import subprocess
import sys
from typing import Any

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


@pytest.mark.parametrize(
  'name', ['a\rb', 'a\nb', 'a\r\n', '\r', 'a,b', '"a"', ' a ', 'a\udcffb', '']
)
def test_a_table_reads_back_as_it_was_written(name, tmp_path):
  path = tmp_path / 'table.csv'
  rows = [['path', 'cluster'], [name, '1'], ['b', '2']]
  metrics.write_table(path, rows)
  with path.open(newline='', errors='surrogateescape') as file:
    assert [*csv.reader(file)] == rows
  assert path.read_bytes().endswith(b'b,2\n')


def read_events(path: pathlib.Path) -> list[event_pb2.Event]:
  """Events of a TFRecord file: length, checksum, bytes, checksum."""
  data, events = path.read_bytes(), []
  while data:
    (length,) = struct.unpack('<Q', data[:8])
    events.append(event_pb2.Event.FromString(data[12 : 12 + length]))
    data = data[16 + length :]
  return events


def read_by_tensorboard(workdir: pathlib.Path) -> Any:
  """What TensorBoard itself reads of a run."""
  reader = pytest.importorskip(
    'tensorboard.backend.event_processing.event_accumulator'
  )
  found = reader.EventAccumulator(
    str(workdir / 'tensorboard'), {'scalars': 0, 'histograms': 0}
  )
  return found.Reload()


def test_tensorboard_reads_scalars_and_the_histogram_of_sizes(tmp_path):
  writer = metrics.EventWriter(tmp_path, None)
  labels = np.repeat([0, 1, 2, 3, -1], [5, 2, 2, 1, 7])
  for record in make_history(2):
    writer.write_stage(record, labels)
  writer.close()
  found = read_by_tensorboard(tmp_path)
  ranks = found.Scalars('retrieval/rank1')
  assert [each.step for each in ranks] == [0, 1]
  assert ranks[1].value == pytest.approx(0.41)
  assert found.Tags()['histograms'] == ['clusters/sizes']
  first, second = found.Histograms('clusters/sizes')
  assert (first.step, second.step) == (0, 1)
  bars = second.histogram_value
  assert (bars.num, bars.sum) == (4, 10)
  # One cluster of one image, two of two, one of five.
  counts = dict(zip(bars.bucket_limit, bars.bucket, strict=True))
  assert {limit - 0.5: n for limit, n in counts.items() if n} == {
    1: 1,
    2: 2,
    5: 1,
  }


def test_events_that_find_no_room_are_an_error_at_once(tmp_path):
  code = f"""
import pathlib, resource
from dbc_jax.reporting import metrics
# A file that may not grow is as a disk that is full.
resource.setrlimit(resource.RLIMIT_FSIZE, (9, 9))
writer = metrics.EventWriter(pathlib.Path({str(tmp_path)!r}), None)
try:
  for stage in range(20):
    writer.write_stage({{'stage': stage, 'loss': 1.0, 'rank1': 0.5}})
except OSError as error:
  print(error.strerror)
"""
  result = subprocess.run(
    [sys.executable, '-c', code],
    capture_output=True,
    text=True,
    timeout=60,
    check=False,
  )
  assert result.stdout == 'File too large\n', result.stderr
  assert 'Traceback' not in result.stderr


def test_sizes_of_many_kinds_share_bars(tmp_path):
  writer = metrics.EventWriter(tmp_path, None)
  labels = np.repeat(np.arange(3), [1000, 1, 500])
  writer.write_stage(make_history(1)[0], labels)
  writer.write_stage(make_history(2)[1], np.full(4, -1))
  writer.close()
  (one,) = read_by_tensorboard(tmp_path).Histograms('clusters/sizes')
  assert sum(one.histogram_value.bucket) == 3
  assert 2 <= len(one.histogram_value.bucket) <= 62


def test_a_resumed_run_has_the_histogram_of_each_stage_once(tmp_path):
  labels = np.zeros(4, int)
  writer = metrics.EventWriter(tmp_path, None)
  for record in make_history(3):
    writer.write_stage(record, labels)
  writer.close()
  # Killed after stage 1 was saved: its point is written again.
  writer = metrics.EventWriter(tmp_path, 0)
  for record in make_history(3)[1:]:
    writer.write_stage(record, labels)
  writer.close()
  found = read_by_tensorboard(tmp_path)
  steps = [each.step for each in found.Histograms('clusters/sizes')]
  assert steps == [0, 1, 2]


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
