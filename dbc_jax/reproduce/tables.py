"""Tables of an experiment, in the papers' form, as text, CSV and HTML."""

import csv
import html
import io
import statistics
from collections.abc import Mapping, Sequence

from dbc_jax.reporting.summary import aligned
from dbc_jax.reproduce import cost
from dbc_jax.reproduce.jobs import Job
from dbc_jax.reproduce.published import printed
from dbc_jax.run import selection

HEADINGS = (
  'row',
  'seeds',
  'printed, rank-1 / mAP',
  'chosen, rank-1 / mAP',
  'last',
  'best by labels',
  'chosen stage',
  'pair F',
  'clusters',
  'minutes',
)

Stage = Mapping[str, float]


def by_row(jobs: Sequence[Job]) -> dict[str, list[Job]]:
  """The jobs that are done, of each row, by its heading."""
  rows: dict[str, list[Job]] = {}
  for job in jobs:
    if job.is_done():
      rows.setdefault(job.row.heading, []).append(job)
  return rows


def stages_of(job: Job) -> dict[str, Stage]:
  """The records of a run that its table shows: chosen, last, oracle."""
  history = job.history()
  selected = selection.select(history).stages()
  records = {record['stage']: record for record in history}
  return {
    which: records[stage]
    for which, stage in selected.items()
    if stage is not None
  }


def rows_of_table(jobs: Sequence[Job]) -> list[list[str]]:
  """Cells of each row, under HEADINGS."""
  rows = []
  for heading, runs in by_row(jobs).items():
    shown = [stages_of(job) for job in runs]
    dataset, first = runs[0].dataset.partition(',')[0], runs[0]
    rows.append(
      [
        heading,
        ', '.join(str(job.seed) for job in runs),
        printed(dataset, first.row.name),
        *(
          _scores([each[which] for each in shown if which in each])
          for which in ('chosen', 'last', 'oracle')
        ),
        ', '.join(str(each['chosen']['stage']) for each in shown),
        _mean([each['chosen'].get('pair_f') for each in shown], '.2f'),
        _mean([each['chosen']['num_clusters'] for each in shown], '.0f'),
        _mean([cost.seconds_of(job) / 60 for job in runs], '.1f'),
      ]
    )
  return rows


def _whole(jobs: Sequence[Job]) -> list[list[str]]:
  """Headings and rows, without columns that have nothing."""
  lines = [list(HEADINGS), *rows_of_table(jobs)]
  columns = [column for column in zip(*lines, strict=True) if any(column[1:])]
  return [list(line) for line in zip(*columns, strict=True)]


def text_table(jobs: Sequence[Job]) -> str:
  """Lines for a terminal."""
  return '\n'.join(aligned(_whole(jobs), num_left=1))


def html_table(jobs: Sequence[Job]) -> str:
  """A <table>."""

  def line(cells: Sequence[str], tag: str) -> str:
    inner = ''.join(f'<{tag}>{html.escape(cell)}</{tag}>' for cell in cells)
    return f'<tr>{inner}</tr>\n'

  headings, *rows = _whole(jobs)
  body = ''.join(line(cells, 'td') for cells in rows)
  return f'<table>{line(headings, "th")}{body}</table>'


def csv_of_stages(jobs: Sequence[Job]) -> str:
  """Every stage of every run that is done: one line a stage."""
  chosen = (
    'num_clusters',
    'loss',
    'rank1',
    'rank5',
    'map',
    'map_trapz',
    'pair_precision',
    'pair_recall',
    'pair_f',
    'silhouette',
  )
  text = io.StringIO()
  writer = csv.writer(text, lineterminator='\n')
  writer.writerow(['row', 'seed', 'stage', 'is_chosen', *chosen])
  for runs in by_row(jobs).values():
    for job in runs:
      kept = stages_of(job)['chosen']['stage']
      for record in job.history():
        writer.writerow(
          [
            job.row.name,
            job.seed,
            record['stage'],
            int(record['stage'] == kept),
            *(_rounded(record.get(key)) for key in chosen),
          ]
        )
  return text.getvalue()


def _rounded(value: float | None) -> str:
  return '' if value is None else f'{value:.4f}'.rstrip('0').rstrip('.')


def _scores(records: Sequence[Stage]) -> str:
  """'59.6 +- 1.2 / 48.2 +- 0.9', rank-1 and mAP in %."""
  keys = ('rank1', 'map')
  if not records or any(key not in r for key in keys for r in records):
    return ''
  cells = []
  for key in keys:
    values = [100 * record[key] for record in records]
    cell = f'{statistics.mean(values):.1f}'
    if len(values) > 1:
      cell += f' ± {statistics.stdev(values):.1f}'
    cells.append(cell)
  return ' / '.join(cells)


def _mean(values: Sequence[float | None], form: str) -> str:
  known = [value for value in values if value is not None]
  return format(statistics.mean(known), form) if known else ''
