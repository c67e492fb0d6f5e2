"""The report of a run: one HTML file that needs nothing beside it."""

import html
import io
import pathlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import matplotlib
import matplotlib.figure
import matplotlib.ticker
import numpy as np
from matplotlib.layout_engine import ConstrainedLayoutEngine

from dbc_jax.reporting import clusters, identities, metrics, record

# Stands for the colour of the page's text, which the reader's theme decides.
_INK = '#010203'
_HUES = ('#3b82c4', '#d9822b', '#3f9c5a', '#9a6cc9')
_PANELS = {
  'Retrieval': ('rank1', 'rank5', 'map', 'map_trapz'),
  'Cluster quality': ('pair_f', 'ari', 'nmi', 'silhouette'),
  'Training loss': ('loss',),
  'Clusters': ('num_clusters',),
  'Images in clusters': ('placed',),
}

_CSS = """
:root { color-scheme: light dark; --soft: #8884; --flag: #d9822b; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem;
  margin: 2rem auto; padding: 0 1rem; background: Canvas; color: CanvasText; }
h1 { line-height: 1.2; margin-bottom: .5rem; }
h2 { margin: 2.5rem 0 .5rem; font-size: 1.3rem; }
h3 { margin: 1.5rem 0 .25rem; font-size: 1rem; }
.lead { font-size: 1.1rem; }
.wide { overflow-x: auto; }
svg { width: 100%; height: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .8rem; text-align: right; white-space: nowrap;
  border-bottom: 1px solid var(--soft); }
tr.kept { background: var(--soft); font-weight: 600; }
table.config th, table.config td { text-align: left; white-space: normal;
  overflow-wrap: anywhere; font-weight: 400; }
figure { margin: 0 0 1.2rem; }
figcaption { font-size: .9rem; margin-bottom: .25rem; }
.sheet { display: flex; flex-wrap: wrap; gap: 4px; }
.sheet img { display: block; border-radius: 3px;
  border: 2px solid transparent; }
.sheet img.other { border-color: var(--flag); }
.flag { color: var(--flag); font-weight: 600; }
"""


def write_report(
  path: pathlib.Path,
  history: Sequence[record.Record],
  kept_stage: record.Stage,
  reason: str,
  stages: Mapping[str, record.Stage],
  config: Mapping[str, Any],
  names: Sequence[str],
  labels: np.ndarray,
  read_image: Callable[[int], np.ndarray],
  *,
  pids: np.ndarray | None = None,
  silhouettes: np.ndarray | None = None,
  titles: Sequence[str] | None = None,
) -> None:
  """Writes what the run found, as curves, pictures and tables.

  Args:
    path: of the HTML file; replaced as a whole.
    history: one record per stage.
    kept_stage: the stage whose network is the result of the run.
    reason: why that one, in a few words.
    stages: to compare, from a heading to a stage.
    config: settings of the run, nested; `data.name` and `cluster.criterion`
      stand in the title.
    names: N paths of the training images.
    labels: [N] int, clusters in the kept stage; -1 for an image in none.
    read_image: from i to image i, [H, W, 3] uint8; called for those on show.
    pids: [N] int, true identities, -1 where not known; None without any.
    silhouettes: [N], as of `cluster.simplified_silhouettes`; None: the report
      does not say how sure clusters are.
    titles: K, what each cluster is called; None: by its label.

  Raises:
    ValueError: no record of the kept stage, or lengths that differ.
  """
  labels = np.asarray(labels)
  if len(labels) != len(names):
    raise ValueError(
      f'labels: got {len(labels)} values for {len(names)} images. Pass one'
      ' label per image.'
    )
  sizes = np.bincount(labels[labels >= 0])
  title = html.escape(
    f'{config["data"]["name"]} clustered by {config["cluster"]["criterion"]}'
  )
  page = [
    '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">',
    '<meta name="viewport" content="width=device-width, initial-scale=1">',
    f'<title>{title}</title><style>{_CSS}</style></head><body>',
    f'<h1>{title}</h1>',
    f'<p class="lead">{_verdict(history, kept_stage, reason, labels)}</p>',
    f'<h2>Which stage</h2>{_table(*record.compare_stages(history, stages))}',
    '<h2>Course of the run</h2>',
    f'<p>One point per stage; the dotted line is stage {kept_stage}, the one'
    f' kept.</p>{_curves(history, kept_stage)}',
    f'<h2>Cluster sizes in stage {kept_stage}</h2>',
    f'<p>Median {np.median(sizes):g}, largest {sizes.max()};'
    f' {int((sizes == 1).sum())} of {len(sizes)} hold a single image.</p>',
    _histogram(sizes),
    *_sureness(labels, silhouettes),
    f'<h2>What is in the clusters of stage {kept_stage}</h2>',
    *clusters.contact_sheets(
      names, labels, read_image, pids, silhouettes, titles
    ),
    '<h2>All stages</h2>',
    _table(*record.stage_table(history, kept_stage)),
    '<h2>Settings</h2><details><summary>Show</summary><div class="wide">',
    '<table class="config">',
    *(
      f'<tr><th>{html.escape(key)}</th><td>{html.escape(value)}</td></tr>'
      for key, value in _flatten(config)
    ),
    '</table></div></details></body></html>\n',
  ]
  metrics.write_atomically(path, '\n'.join(page))


def _sureness(
  labels: np.ndarray, silhouettes: np.ndarray | None
) -> Iterator[str]:
  """How sure the clusters are: words, and how many are how sure."""
  if silhouettes is None or labels.max() < 1:
    return
  known = silhouettes[labels >= 0]
  nearer = np.count_nonzero(known < 0)
  thirds = np.quantile(known, (1 / 3, 2 / 3))
  yield (
    '<h2>How sure the clusters are</h2><p>The silhouette of an image is near 1'
    ' inside its cluster, near 0 between two, and below 0 where another is'
    f' nearer: {nearer} of {len(known)} images. A third of the images is above'
    f' {thirds[1]:.2f}; these are right most often. A third is below'
    f' {thirds[0]:.2f}; look at these first. clusters.csv has it for each'
    ' image.</p>'
  )
  means = clusters.by_cluster(silhouettes, labels)
  with matplotlib.rc_context(_style('sureness')):
    figure = matplotlib.figure.Figure((9, 2.6), layout='constrained')
    axes = figure.add_subplot()
    axes.hist(means, bins=40, color=_HUES[0])
    axes.set_xlabel("mean silhouette of a cluster's images")
    axes.set_ylabel('clusters')
    yield _svg(figure, 'sureness')


def _flatten(config: Mapping[str, Any], prefix: str = '') -> Iterator:
  """Pairs of a dotted key and the value's text."""
  for key, value in config.items():
    if isinstance(value, Mapping):
      yield from _flatten(value, f'{prefix}{key}.')
    else:
      yield f'{prefix}{key}', str(value)


def _verdict(
  history: Sequence[record.Record],
  kept_stage: record.Stage,
  reason: str,
  labels: np.ndarray,
) -> str:
  """The run in three sentences, as HTML."""
  kept = record.kept_record(history, kept_stage)
  text = (
    f'{len(labels)} training images were grouped, without labels, into'
    f' {labels.max() + 1} clusters. Stage {kept_stage} is kept'
    f' ({html.escape(reason)}), out of {len(history)}.'
  )
  waiting = np.count_nonzero(labels < 0)
  if waiting:
    text += f' {waiting} images are in none of them: they are not placed.'
  if not record.was_evaluated(history):
    return (
      f'{text} Evaluation was skipped because the data set has no identities.'
    )
  scores = ', '.join(
    f'{record.FIELDS[key].heading} <b>{record.format_value(key, kept[key])}</b>'
    for key in ('rank1', 'rank5', 'map', 'pair_f', 'nmi')
    if key in kept
  )
  return f'{text} It scores {scores}.' if scores else text


def _table(headings: list[str], rows: list[list[str]]) -> str:
  """Headings and cells; a row whose first cell ends in '*' stands out."""
  head = ''.join(f'<th>{heading}</th>' for heading in headings)
  body = ''
  for row in rows:
    kind = ' class="kept"' if row[0].endswith('*') else ''
    body += f'<tr{kind}>{"".join(f"<td>{cell}</td>" for cell in row)}</tr>\n'
  return f'<div class="wide"><table><tr>{head}</tr>\n{body}</table></div>'


def _curves(history: Sequence[record.Record], kept_stage: record.Stage) -> str:
  """Curves over stages, one panel for each group that has values."""
  panels = {
    title: [key for key in keys if record.has_any(history, [key])]
    for title, keys in _PANELS.items()
  }
  panels = {title: keys for title, keys in panels.items() if keys}
  num_rows = (len(panels) + 1) // 2
  with matplotlib.rc_context(_style('curves')):
    layout = ConstrainedLayoutEngine(h_pad=0.12)
    figure = matplotlib.figure.Figure((9, 2.9 * num_rows), layout=layout)
    for i, (title, keys) in enumerate(panels.items()):
      axes = figure.add_subplot(num_rows, 2, i + 1)
      is_share = record.FIELDS[keys[0]].unit == '%'
      for key, hue in zip(keys, _HUES, strict=False):
        scale = 100 if is_share else 1
        points = [
          (_place(each['stage']), scale * float(each[key]))
          for each in history
          if key in each
        ]
        axes.plot(
          *zip(*points, strict=True),
          'o-',
          color=hue,
          markersize=3,
          label=record.FIELDS[key].heading,
        )
      top = 0.85 if len(keys) > 1 else 1
      axes.axvline(
        _place(kept_stage), 0, top, color=_INK, linestyle=':', linewidth=1
      )
      axes.set_title(f'{title} (%)' if is_share else title)
      axes.set_xlabel('stage')
      axes.xaxis.set_major_locator(
        matplotlib.ticker.MaxNLocator(integer=True, min_n_ticks=1)
      )
      axes.xaxis.set_major_formatter(
        lambda x, _: 'warm-up' if x == _place(record.WARMUP) else f'{x:g}'
      )
      # Room on top for the legend, clear of the curves.
      bottom, top = axes.get_ylim()
      axes.set_ylim(min(0, bottom), top * (1.2 if len(keys) > 1 else 1))
      if len(keys) > 1:
        axes.legend(
          frameon=False,
          loc='upper center',
          ncols=len(keys),
          fontsize='small',
          handlelength=1.2,
          columnspacing=1.2,
        )
    return _svg(figure, 'curves')


def _place(stage: record.Stage) -> int:
  """Where a stage stands on the axis."""
  return -1 if isinstance(stage, str) else int(stage)


def _histogram(sizes: np.ndarray) -> str:
  """How many clusters have how many images."""
  with matplotlib.rc_context(_style('sizes')):
    figure = matplotlib.figure.Figure((9, 2.6), layout='constrained')
    axes = figure.add_subplot()
    identities.draw_counts(axes, sizes, int(sizes.max()), max_bars=60)
    axes.set_xlabel('images in the cluster')
    axes.set_ylabel('clusters')
    return _svg(figure, 'sizes')


def _style(salt: str) -> dict[Any, Any]:
  ink = ('text.color', 'axes.edgecolor', 'axes.labelcolor', 'grid.color')
  return dict.fromkeys((*ink, 'xtick.color', 'ytick.color'), _INK) | {
    'axes.grid': True,
    'axes.axisbelow': True,
    'grid.alpha': 0.15,
    'axes.spines.top': False,
    'axes.spines.right': False,
    'axes.titlesize': 'medium',
    'font.family': 'sans-serif',
    'svg.fonttype': 'none',
    'svg.hashsalt': salt,
  }


def _svg(figure: matplotlib.figure.Figure, prefix: str) -> str:
  """A figure as an <svg> element that takes on the page's text colour."""
  text = io.StringIO()
  nothing = dict.fromkeys(('Creator', 'Date', 'Format', 'Type'))
  figure.savefig(text, format='svg', transparent=True, metadata=nothing)
  svg = text.getvalue()
  svg = svg[svg.index('<svg') :].replace(_INK, 'currentColor')
  # HTML knows the namespaces; a size would defeat the style sheet's.
  svg = re.sub(r' xmlns(:\w+)?="[^"]*"', '', svg)
  svg = re.sub(r'<svg width="\S+" height="\S+"', '<svg', svg, count=1)
  # Names must be unique in the page, not only in the figure.
  return re.sub(r'( id="|href="#|url\(#)', rf'\g<1>{prefix}-', svg)
