"""What the report shows of a run's stages: curves, times and tables."""

import html
from collections.abc import Mapping, Sequence

import numpy as np

from dbc_jax.reporting import record
from dbc_jax.reporting.report import drawing

_PANELS = {
  'Retrieval': ('rank1', 'rank5', 'map', 'map_trapz'),
  'Cluster quality': ('pair_f', 'ari', 'nmi', 'silhouette'),
  'Training loss': ('loss',),
  'Clusters': ('num_clusters',),
  'Images in clusters': ('placed',),
}
_MAX_BARS = 60


def curves(history: Sequence[record.Record], kept_stage: record.Stage) -> str:
  """One panel for each group that has values, a point per stage.

  Source: DBC Fig. 5, E-cluster Fig. 5.
  """
  panels = ''
  for title, keys in _PANELS.items():
    is_share = record.FIELDS[keys[0]].unit == '%'
    scale = 100 if is_share else 1
    series = {
      record.FIELDS[key].heading: [
        (_place(each['stage']), scale * float(each[key]))
        for each in history
        if key in each
      ]
      for key in keys
      if record.has_any(history, [key])
    }
    if not series:
      continue
    title = f'{title} (%)' if is_share else title
    ends = ', '.join(
      f'{heading} from {points[0][1]:.4g} to {points[-1][1]:.4g}'
      for heading, points in series.items()
    )
    chart = drawing.lines(
      f'{title} over stages: {ends}. The table of all stages has the values.',
      series,
      mark=_place(kept_stage),
      name=_name,
    )
    keyed = drawing.legend(list(series)) if len(series) > 1 else ''
    panels += f'<figure><figcaption>{title}</figcaption>{keyed}{chart}</figure>'
  return f'<div class="panels">{panels}</div>'


def times(history: Sequence[record.Record]) -> str:
  """Where the seconds of each stage went; '' where none were taken."""
  known = [each for each in history if 'seconds_train' in each]
  keys = [
    key
    for key, field in record.FIELDS.items()
    if field.group == 'seconds' and record.has_any(known, [key])
  ]
  if not keys:
    return ''
  parts = {
    record.FIELDS[key].heading: [float(r.get(key, 0.0)) for r in known]
    for key in keys
  }
  totals = {heading: sum(values) for heading, values in parts.items()}
  whole = sum(totals.values()) or 1.0
  rows = [
    [heading, f'{total:.1f} s', f'{100 * total / whole:.0f} %']
    for heading, total in totals.items()
  ]
  chart = drawing.stacks(
    'Seconds of each stage by part; the table has the sums.',
    parts,
    [str(each['stage']) for each in known],
  )
  return (
    f'<div class="panels"><figure><figcaption>Seconds of each stage'
    f'</figcaption>{drawing.legend(list(parts))}{chart}</figure>'
    f'{table(["part", "all stages", "share"], rows, "Times by part")}</div>'
  )


def sizes(labels: np.ndarray, pids: np.ndarray | None = None) -> str:
  """How many clusters, and identities where known, have how many images.

  Source: DBC Fig. 1.
  """
  counts = np.bincount(labels[labels >= 0])
  if not len(counts):
    return '<p>No image is in a cluster.</p>'
  text = (
    f'<p>Median {np.median(counts):g}, largest {counts.max()};'
    f' {int((counts == 1).sum())} of {len(counts)} hold a single image.</p>'
  )
  panels = [_histogram('cluster', 'clusters', counts)]
  if pids is not None and (pids >= 0).any():
    per_person = np.unique(pids[pids >= 0], return_counts=True)[1]
    panels.append(_histogram('identity', 'identities', per_person))
  return f'{text}<div class="panels">{"".join(panels)}</div>'


def _histogram(one: str, many: str, counts: np.ndarray) -> str:
  most = int(counts.max())
  width = -(-most // _MAX_BARS)
  edges = np.arange(1, most + width + 1, width)
  heights = np.histogram(counts, edges - 0.5)[0].tolist()

  def name(i: int) -> str:
    first, last = edges[i], edges[i + 1] - 1
    span = f'{first}' if first == last else f'{first} to {last}'
    return f'{many} of {span} images'

  says = (
    f'{len(counts)} {many} by their images: median {np.median(counts):g}, '
    f'largest {most}.'
  )
  chart = drawing.bars(
    says, (edges - 0.5).tolist(), heights, x_label='images', name=name
  )
  title = f'Images per {one}' + (f', {width} to a bar' if width > 1 else '')
  return f'<figure><figcaption>{title}</figcaption>{chart}</figure>'


def table(headings: Sequence[str], rows: Sequence[Sequence[str]], says: str):
  """Headings and cells; a row whose first cell ends in '*' stands out."""
  head = ''.join(
    f'<th scope="col">{html.escape(h)}</th>' if h else '<td></td>'
    for h in headings
  )
  body = ''
  for first, *others in rows:
    kind = ' class="kept"' if first.endswith('*') else ''
    cells = ''.join(f'<td>{html.escape(cell)}</td>' for cell in others)
    body += f'<tr{kind}><th scope="row">{html.escape(first)}</th>{cells}</tr>\n'
  return (
    f'<div class="wide" role="region" tabindex="0" aria-label="{says}">'
    f'<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
  )


def compared(
  history: Sequence[record.Record], stages: Mapping[str, record.Stage]
) -> str:
  """The stages that one compares, side by side."""
  return table(*record.compare_stages(history, stages), 'Stages compared')


def all_stages(
  history: Sequence[record.Record], kept_stage: record.Stage
) -> str:
  """All stages; the kept one stands out."""
  return table(*record.stage_table(history, kept_stage), 'All stages')


def _place(stage: record.Stage) -> int:
  """Where a stage stands on the axis."""
  return -1 if isinstance(stage, str) else int(stage)


def _name(place: float) -> str:
  return 'warm-up' if place == _place(record.WARMUP) else f'{place:g}'
