"""The record of each stage as JSON lines and TensorBoard events."""

import csv
import functools
import json
import os
import pathlib
import time
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from dbc_jax.reporting.record import Record, tag

SIZES = 'clusters/sizes'


def check_new(option: str, path: pathlib.Path, *, overwrite: bool) -> None:
  """Raises ValueError unless a file can be written, naming the option."""
  if path.is_dir():
    raise ValueError(f'{option}: {path} is a folder; name a file')
  if path.exists() and not overwrite:
    raise ValueError(f'{option}: {path} exists; --overwrite replaces it')
  if not path.absolute().parent.is_dir():
    raise ValueError(f'{option}: there is no folder {path.absolute().parent}')


class _Lines(list[str]):
  def write(self, line: str) -> None:
    self.append(line.removesuffix('\r\n'))


def table_text(rows: Iterable[Iterable[Any]]) -> str:
  """Rows as CSV, whose lines end in a newline alone."""
  lines = _Lines()
  # csv may put a carriage return into quotes only where its lines have one.
  csv.writer(lines, lineterminator='\r\n').writerows(rows)
  return ''.join(f'{line}\n' for line in lines)


def write_table(path: pathlib.Path, rows: Iterable[Iterable[Any]]) -> None:
  """Replaces a CSV file as a whole."""
  write_atomically(path, table_text(rows))


def write_atomically(path: pathlib.Path, text: str) -> None:
  """Replaces a file as a whole: a reader sees the old or the new one."""
  path.parent.mkdir(parents=True, exist_ok=True)
  partial = path.with_name(f'{path.name}.tmp')
  # A file name that is not UTF-8 goes out as the bytes it came in.
  partial.write_text(
    text, encoding='utf-8', errors='surrogateescape', newline=''
  )
  os.replace(partial, path)


def write_metrics(workdir: pathlib.Path, history: Sequence[Record]) -> None:
  """Writes metrics.jsonl anew, one JSON object per stage.

  Writing all of it each time drops, on resume, the stages that are done again.

  Args:
    workdir: created if missing.
    history: one record per stage; NumPy and JAX scalars are welcome.

  Raises:
    ValueError: a value is NaN or infinite, which JSON cannot hold.
  """
  lines = [
    json.dumps(record, allow_nan=False, default=lambda scalar: scalar.item())
    for record in history
  ]
  text = ''.join(f'{line}\n' for line in lines)
  write_atomically(workdir / 'metrics.jsonl', text)


class EventWriter:
  """TensorBoard scalars and sizes of clusters of a run, a point per stage."""

  def __init__(self, workdir: pathlib.Path, last_stage: int | None) -> None:
    """Opens nothing yet: the first point opens a file in `workdir`/tensorboard.

    Args:
      workdir: of the run.
      last_stage: of the checkpoint that the run resumes from, else None.
        TensorBoard then hides what an earlier process wrote of later stages.
    """
    self._folder = workdir / 'tensorboard'
    self._first = 0 if last_stage is None else last_stage + 1

  @functools.cached_property
  def _writer(self) -> Any:
    # Takes a second or two, as it loads PyTorch where it can. Its usual writer
    # has a thread, which meets a full disk with a traceback.
    from tensorboardX.event_file_writer import EventsWriter
    from tensorboardX.proto import event_pb2

    self._folder.mkdir(parents=True, exist_ok=True)
    writer = EventsWriter(
      str(self._folder / 'events'),
      # Two files opened within one second would otherwise share a name.
      f'.stage{self._first}.{os.getpid()}',
    )
    proto: Any = event_pb2
    start = proto.SessionLog(status=proto.SessionLog.START)
    for content in {'file_version': 'brain.Event:2'}, {'session_log': start}:
      writer.write_event(_event(self._first, **content))
    return writer

  def write_stage(
    self, record: Record, labels: np.ndarray | None = None
  ) -> None:
    """Writes all values of one stage, at step = stage, through to disk.

    A step has a number, which the warm-up has not: nothing is written of it.

    Args:
      record: of the stage.
      labels: [N] int, its clusters, for a histogram of their sizes; -1 for an
        image in none. None writes none.
    """
    if isinstance(record['stage'], str):
      return
    from tensorboardX import summary

    stage = int(record['stage'])
    for key, value in record.items():
      if key != 'stage':
        point = summary.scalar(tag(key), float(value))
        self._writer.write_event(_event(stage, summary=point))
    if labels is not None and (labels >= 0).any():
      sizes = np.bincount(labels[labels >= 0])
      # A bar for each size while that fits, as the report has it.
      edges = np.linspace(0.5, sizes.max() + 0.5, min(sizes.max(), 60) + 1)
      bars = summary.histogram(SIZES, sizes, edges.tolist())
      self._writer.write_event(_event(stage, summary=bars))
    self._writer.flush()

  def close(self) -> None:
    """Closes the file, if any. Nothing may be written after."""
    if '_writer' in vars(self):
      self._writer.close()


def _event(step: int, **content: Any) -> Any:
  from tensorboardX.proto import event_pb2

  proto: Any = event_pb2
  return proto.Event(wall_time=time.time(), step=step, **content)
