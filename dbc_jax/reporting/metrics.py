"""The record of each stage as JSON lines, TensorBoard events and plain text.

Called by the driver after each stage, and by the report for its table.
"""

import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import tensorboardX

Record = Mapping[str, Any]

# Key of a record and its heading, in the order of the tables; all but the last
# fit a table of stages into 80 columns.
COLUMNS = {
  'num_clusters': 'clusters',
  'loss': 'loss',
  'rank1': 'rank-1',
  'rank5': 'rank-5',
  'map': 'mAP',
  'map_trapz': 'mAP trapz',
  'pair_f': 'pair F',
  'ari': 'ARI',
  'nmi': 'NMI',
  'silhouette': 'silhouette',
}
RETRIEVAL_KEYS = (
  'rank1',
  'rank5',
  'rank10',
  'rank20',
  'map',
  'map_trapz',
  'minp',
)
QUALITY_KEYS = (
  'pair_f',
  'pair_precision',
  'pair_recall',
  'ari',
  'nmi',
  'v_measure',
  'homogeneity',
  'completeness',
  'purity',
  'identities_split',
  'clusters_merged',
)
# Without identities.
LABEL_FREE_KEYS = (
  'silhouette',
  'dispersion_validity',
  'neighbour_f',
  'view_agreement',
  'stage_agreement',
  'last_merge_score',
  'merge_gap',
  'singletons',
  'median_size',
  'largest_share',
)
_STAGE_KEYS = tuple(COLUMNS)[:-1]
# What stages are compared by.
_COMPARED = ('num_clusters', 'silhouette', 'rank1', 'rank5', 'map', 'pair_f')
_PHASES = ('train', 'embed', 'evaluate', 'measure', 'cluster')


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
  """TensorBoard scalars of a run, one point per stage."""

  def __init__(self, workdir: pathlib.Path, last_stage: int | None) -> None:
    """Opens a new event file in `workdir`/tensorboard.

    Args:
      workdir: of the run.
      last_stage: of the checkpoint that the run resumes from, else None.
        TensorBoard then hides what an earlier process wrote of later stages.
    """
    first = 0 if last_stage is None else last_stage + 1
    self._writer = tensorboardX.SummaryWriter(
      str(workdir / 'tensorboard'),
      purge_step=first,
      # Two files opened within one second would otherwise share a name.
      filename_suffix=f'.stage{first}.{os.getpid()}',
    )

  def write_stage(self, record: Record) -> None:
    """Writes all values of one stage, at step = stage, through to disk."""
    for key, value in record.items():
      if key != 'stage':
        self._writer.add_scalar(_tag(key), float(value), int(record['stage']))
    self._writer.flush()

  def close(self) -> None:
    """Closes the file. Nothing may be written after."""
    self._writer.close()


def _tag(key: str) -> str:
  """Where TensorBoard shows a key: tags are grouped by what precedes '/'."""
  if key == 'num_clusters':
    return 'clusters/count'
  if key in RETRIEVAL_KEYS:
    return f'retrieval/{key}'
  if key in QUALITY_KEYS + LABEL_FREE_KEYS:
    return f'clusters/{key}'
  return key.replace('seconds_', 'seconds/', 1)


def format_value(key: str, value: Any) -> str:
  """One value as people read it: percent for retrieval, else 2 decimals."""
  if key == 'num_clusters':
    return str(int(value))
  if key in RETRIEVAL_KEYS:
    return f'{100 * float(value):.1f} %'
  return f'{float(value):.2f}'


def describe(record: Record) -> str:
  """The headline numbers that a record has, separated by commas."""
  parts = []
  if 'num_clusters' in record:
    parts.append(f'{int(record["num_clusters"])} clusters')
  parts += [
    f'{COLUMNS[key]} {format_value(key, record[key])}'
    for key in ('loss', 'rank1', 'map', 'pair_f')
    if key in record
  ]
  return ', '.join(parts)


def format_record(record: Record) -> str:
  """One log line of a stage: its headline numbers and where the time went."""
  seconds = [
    f'{name} {float(record[f"seconds_{name}"]):.1f} s'
    for name in _PHASES
    if f'seconds_{name}' in record
  ]
  timing = f' ({", ".join(seconds)})' if seconds else ''
  return f'stage {record["stage"]}: {describe(record)}{timing}'


def kept_record(history: Sequence[Record], kept_stage: int) -> Record:
  """The record of the kept stage.

  Raises:
    ValueError: there is none.
  """
  for record in history:
    if record['stage'] == kept_stage:
      return record
  stages = [record['stage'] for record in history]
  raise ValueError(
    f'kept_stage: got {kept_stage}, but the history has the stages {stages}.'
    ' Pass the stage of one of its records.'
  )


def has_any(history: Sequence[Record], keys: Sequence[str]) -> bool:
  """Whether any record has any of the keys."""
  return any(key in record for record in history for key in keys)


def compare_stages(
  history: Sequence[Record], stages: Mapping[str, int]
) -> tuple[list[str], list[list[str]]]:
  """Headings and cells of a table with one column for each stage named.

  Args:
    history: one record per stage.
    stages: from a heading to a stage.

  Returns:
    The headings, the first of them empty, and a row for the stage's number and
    for each headline number that all of them have, its name first.

  Raises:
    ValueError: the history lacks one of the stages.
  """
  records = [kept_record(history, stage) for stage in stages.values()]
  rows = [['stage', *(str(record['stage']) for record in records)]]
  for key in _COMPARED:
    if all(key in record for record in records):
      cells = [format_value(key, record[key]) for record in records]
      rows.append([COLUMNS[key], *cells])
  return ['', *stages], rows


def stage_table(
  history: Sequence[Record], kept_stage: int
) -> tuple[list[str], list[list[str]]]:
  """Headings and cells of the table over stages.

  Args:
    history: one record per stage.
    kept_stage: marked by '*' after its number.

  Returns:
    The headings, and per stage as many cells. A column that no record has is
    left out; a value that one record lacks is '-'.
  """
  keys = [key for key in _STAGE_KEYS if has_any(history, [key])]
  rows = []
  for record in history:
    mark = '*' if record['stage'] == kept_stage else ''
    cells = [
      format_value(key, record[key]) if key in record else '-' for key in keys
    ]
    rows.append([f'{record["stage"]}{mark}', *cells])
  return ['stage', *(COLUMNS[key] for key in keys)], rows
