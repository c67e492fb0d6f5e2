"""What a finished run prints: its stages, the kept one, and its files."""

import pathlib
import sys
from collections.abc import Iterable, Mapping, Sequence

from dbc_jax.reporting import record

_OUTPUTS = {
  'config.json': 'every setting of this run',
  'metrics.jsonl': 'one line per stage, the numbers above in full',
  'clusters.csv': 'the cluster of each training image in the kept stage',
  'identities.csv': 'numbers of clusters that stay; write names there',
  'features.npz': 'their features by its network',
  'checkpoints/': 'network and labels, to resume, evaluate or embed',
  'tensorboard/': 'the same curves, for tensorboard --logdir',
  'report.html': 'curves, a map and all clusters, for any browser',
}


def format_summary(
  history: Sequence[record.Record],
  kept_stage: record.Stage,
  reason: str,
  stages: Mapping[str, record.Stage],
  workdir: pathlib.Path,
) -> str:
  """Tables of all stages and of those compared, the kept one, and the files.

  Args:
    history, kept_stage, reason, stages: as in `write_report`.
    workdir: of the run.

  Returns:
    Several lines of plain text, without a final newline.

  Raises:
    ValueError: the history has no such stage.
  """
  kept = record.kept_record(history, kept_stage)
  headings, rows = record.stage_table(history, kept_stage)
  # The mark hangs to the right of the number, so that digits stay aligned.
  rows = [
    [first if first.endswith('*') else f'{first} ', *rest]
    for first, *rest in rows
  ]
  lines = aligned([headings, *rows])
  # Without an oracle one stage is worth no table.
  if len(stages) > 2 or len(set(stages.values())) > 1:
    headings, rows = record.compare_stages(history, stages)
    lines += ['', *aligned([headings, *rows])]
  lines += ['', f'kept stage {kept_stage} ({reason}): {record.describe(kept)}']
  if not record.was_evaluated(history):
    lines.append('not evaluated: the data set has no identities')
  files = [(f'{workdir}/{name}', what) for name, what in _OUTPUTS.items()]
  lines += ['', *aligned(files, num_left=2)]
  page, where = f'{workdir}/report.html', f'--workdir={workdir}'
  # As it was called: `dbc` comes with an installed package alone.
  is_installed = pathlib.Path(sys.argv[0]).stem == 'dbc'
  dbc = 'dbc' if is_installed else 'python -m dbc_jax'
  lines += [
    '',
    f'Next: look at {page} in a browser, then',
    f'  {dbc} review {where}   (look and correct)',
    f'  {dbc} search {where} --query=IMAGE --html=found.html',
    f'  {dbc} assign {where} --images=DIR --out=who.csv',
  ]
  return '\n'.join(lines)


def aligned(rows: Iterable[Sequence[str]], num_left: int = 0) -> list[str]:
  """Lines of a table: cells end, the first `num_left` begin, in line."""
  columns = []
  for place, column in enumerate(zip(*rows, strict=True)):
    width = max(map(len, column))
    adjust = str.ljust if place < num_left else str.rjust
    columns.append([adjust(cell, width) for cell in column])
  return ['  '.join(cells).rstrip() for cells in zip(*columns, strict=True)]
