"""The report of a run: one HTML file that needs nothing beside it."""

import html
import importlib.resources
import json
import pathlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from dbc_jax.reporting import metrics, record
from dbc_jax.reporting.report import (
  course,
  drawing,
  ranks,
  scatter,
  sheets,
  trees,
)
from dbc_jax.reporting.report.pictures import Album

# That pictures of training images may take: with 12,936 paths, 15 MB in all.
_PICTURE_BYTES = 12_000_000
# The page itself may ask for nothing, wherever it is opened.
_POLICY = (
  "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
  "script-src 'unsafe-inline'"
)

_HEADING = re.compile(r'<h2 id="([^"]*)">([^<]*)</h2>')


def write_progress(
  path: pathlib.Path,
  history: Sequence[record.Record],
  kept_stage: record.Stage,
  stages: Mapping[str, record.Stage],
  config: Mapping[str, Any],
  labels: np.ndarray,
) -> None:
  """Writes what is known of a run before its end: curves, sizes and tables.

  Args:
    path, history, kept_stage, stages, config: as in `write_report`.
    labels: [N] int, clusters that the last stage trained on.
  """
  last = history[-1]['stage']
  body = [
    f'<p class="lead">The run is not finished: it has got to stage {last}.'
    f' Stage {kept_stage} would be kept now. Load this page again for the'
    ' next stage. Pictures of the clusters come at the end.</p>',
    *_curves_and_tables(history, kept_stage, stages),
    _section('sizes', f'Cluster sizes in stage {last}', course.sizes(labels)),
    _section('stages', 'All stages', course.all_stages(history, kept_stage)),
    _section('settings', 'Settings', _settings(config)),
  ]
  _write(path, config, body)


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
  features: np.ndarray | None = None,
  places: np.ndarray | None = None,
  pids: np.ndarray | None = None,
  camids: np.ndarray | None = None,
  silhouettes: np.ndarray | None = None,
  titles: Sequence[str] | None = None,
  ranked: Sequence[ranks.RankedList] = (),
  root: pathlib.Path | None = None,
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
    features: [N, D] of the images, for trees; None: without.
    places: [n, 2], as of `places_of_map`; None: without a map.
    pids: [N] int, true identities, -1 where not known; None without any.
    camids: [N] int, cameras; None without any.
    silhouettes: [N], as of `cluster.simplified_silhouettes`; None: the report
      does not say how sure clusters are.
    titles: K, what each cluster is called; None: by its label.
    ranked: lists of what queries find.
    root: the folder that names start from, where they are files; a path in the
      page opens its file then.

  Raises:
    ValueError: no record of the kept stage, or lengths that differ.
  """
  labels = np.asarray(labels)
  if len(labels) != len(names):
    raise ValueError(
      f'labels: got {len(labels)} values for {len(names)} images. Pass one'
      ' label per image.'
    )
  count = int(labels.max(initial=-1)) + 1
  given = sheets.Clustering(
    names,
    labels,
    titles or [f'Cluster {label}' for label in range(count)],
    None if silhouettes is None else sheets.by_cluster(silhouettes, labels),
    {} if features is None else trees.last_merges(features, labels),
    pids,
    camids,
  )
  album = Album(read_image, _PICTURE_BYTES)
  shown = ''.join(sheets.contact_sheets(given, album))
  placed = _placed(places, len(names))
  for row, _, _ in placed:
    album.add(row)
  # The first of each cluster by name, as the list of all clusters has it.
  order = sorted(range(len(names)), key=lambda i: names[i])
  seen: set[int] = set()
  for row in order:
    if int(labels[row]) not in seen:
      seen.add(int(labels[row]))
      album.add(row)
  data = _data(given, placed, album, root)
  body = [
    f'<p class="lead">{_verdict(history, kept_stage, reason, labels)}</p>',
    *_curves_and_tables(history, kept_stage, stages),
    _section(
      'sizes',
      f'Cluster sizes in stage {kept_stage}',
      course.sizes(labels, pids),
    ),
    *_sureness(given.labels, silhouettes),
    *_map(len(placed), len(names)),
    _section('sheets', 'Clusters to look at first', shown),
    _section(
      'clusters',
      'All clusters',
      _LIST.format(
        count=f'{count:,}', images=f'{len(names):,}', pictured=f'{len(album):,}'
      ),
    ),
  ]
  if ranked:
    body.append(
      _section('ranks', 'What queries find', ranks.ranked_lists(ranked))
    )
  body += [
    _section('stages', 'All stages', course.all_stages(history, kept_stage)),
    _section('settings', 'Settings', _settings(config)),
    f'<script type="application/json" id="data">{data}</script>',
    f'<script>{_file("page.js")}</script>',
  ]
  _write(path, config, body)


_LIST = """<p>{count} clusters of {images} images; {pictured} of the images are
pictured in this page, all are listed.</p>
<p class="plain">The list takes JavaScript; clusters.csv has it, too.</p>
<div id="list" hidden>
<form role="search" class="tools"><label>Find a path or a cluster
<input type="search" id="find" autocomplete="off" spellcheck="false"></label>
<label>Order <select id="order"><option value="size">largest first</option>
<option value="doubt">most doubtful first</option>
<option value="joined">latest merges first</option>
<option value="number">by number</option></select></label></form>
<p id="found" role="status"></p><div id="rows"></div>
<nav class="tools" aria-label="Pages of clusters">
<button id="before" type="button">Previous</button>
<span id="page"></span><button id="after" type="button">Next</button></nav>
<p class="hint">Keys in this list: Page Down and Page Up turn pages, Home and
End go to the first and last, Enter opens a cluster.</p></div>"""

_MAP = """<p>{shown} images by t-SNE of their features: those that look alike to
the network lie close together. Distances between far groups mean little.</p>
<p class="plain">The map takes JavaScript.</p>
<div id="map" hidden><div class="tools"><label>Colour by
<select id="colour"></select></label><span id="key"></span></div>
<div class="canvas"><canvas id="canvas" tabindex="0" role="application"
aria-label="Map of images; arrow keys go from image to image"
aria-describedby="map-keys"></canvas><div id="tip" hidden></div></div>
<p id="told" role="status"></p><p class="hint" id="map-keys">Point at a dot, or
use the arrow keys: it shows the picture and rings its cluster. A click or Enter
opens the cluster below.</p></div>"""


def _curves_and_tables(
  history: Sequence[record.Record],
  kept_stage: record.Stage,
  stages: Mapping[str, record.Stage],
) -> Iterator[str]:
  yield _section('which', 'Which stage', course.compared(history, stages))
  yield _section(
    'course',
    'Course of the run',
    f'<p>One point per stage; the dotted line is stage {kept_stage}, the one'
    f' kept.</p>{course.curves(history, kept_stage)}',
  )
  times = course.times(history)
  if times:
    yield _section('times', 'Where the time went', times)


def _section(name: str, heading: str, body: str) -> str:
  return (
    f'<section id="{name}" aria-labelledby="{name}-h"><h2 id="{name}-h">'
    f'{heading}</h2>{body}</section>'
  )


def _write(
  path: pathlib.Path, config: Mapping[str, Any], body: Sequence[str]
) -> None:
  """The page of a first paragraph and of sections, which it links to."""
  title = html.escape(
    f'{config["data"]["name"]} clustered by {config["cluster"]["criterion"]}'
  )
  found = (_HEADING.search(each) for each in body)
  links = ''.join(
    f'<a href="#{each[1]}">{each[2]}</a>' for each in found if each
  )
  page = [
    '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">',
    f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
    '<meta name="viewport" content="width=device-width, initial-scale=1">',
    f'<title>{title}</title><style>{_file("page.css")}</style></head><body>',
    f'<main><h1>{title}</h1>',
    body[0],
    f'<nav class="sections" aria-label="Sections">{links}</nav>',
    *body[1:],
    '</main></body></html>\n',
  ]
  metrics.write_atomically(path, '\n'.join(page))


def _file(name: str) -> str:
  folder = importlib.resources.files('dbc_jax.reporting.report')
  return folder.joinpath(name).read_text(encoding='utf-8')


def _placed(
  places: np.ndarray | None, count: int
) -> list[tuple[int, int, int]]:
  """Row and place of each image on the map; none where it would say nothing."""
  if places is None or not places.any():
    return []
  return [
    (int(row), int(x), int(y))
    for row, (x, y) in zip(
      scatter.chosen(count), scatter.to_map(places), strict=True
    )
  ]


def _map(shown: int, count: int) -> Iterator[str]:
  if shown:
    text = f'All {count:,}' if shown == count else f'{shown:,} of {count:,}'
    yield _section('tsne', 'Map of the images', _MAP.format(shown=text))


def _data(
  given: sheets.Clustering,
  placed: list[tuple[int, int, int]],
  album: Album,
  root: pathlib.Path | None,
) -> str:
  """What the page's script reads: JSON that ends no <script>."""
  means = given.means
  data = {
    'names': list(given.names),
    'labels': given.labels.tolist(),
    'titles': list(given.titles),
    'doubts': None if means is None else np.round(means, 3).tolist(),
    'joined': [
      round(given.merges[label].distance, 3) if label in given.merges else 0
      for label in range(len(given.titles))
    ]
    if given.merges
    else None,
    'cameras': None if given.camids is None else given.camids.tolist(),
    'persons': None if given.pids is None else given.pids.tolist(),
    'places': placed,
    'pictures': album.sources,
    'root': None if root is None else root.absolute().as_uri(),
  }
  text = json.dumps(data, separators=(',', ':'), allow_nan=False)
  return text.replace('<', '\\u003c')


def _sureness(
  labels: np.ndarray, silhouettes: np.ndarray | None
) -> Iterator[str]:
  """How sure the clusters are: words, and how many are how sure."""
  if silhouettes is None or labels.max() < 1:
    return
  known = silhouettes[labels >= 0]
  nearer = np.count_nonzero(known < 0)
  thirds = np.quantile(known, (1 / 3, 2 / 3))
  counts, edges = np.histogram(sheets.by_cluster(silhouettes, labels), bins=40)
  chart = drawing.bars(
    'Clusters by the mean silhouette of their images, from'
    f' {edges[0]:.2f} to {edges[-1]:.2f}.',
    edges.tolist(),
    counts.tolist(),
    x_label="mean silhouette of a cluster's images",
    name=lambda i: f'clusters from {edges[i]:.2f} to {edges[i + 1]:.2f}',
  )
  yield _section(
    'sure',
    'How sure the clusters are',
    '<p>The silhouette of an image is near 1'
    ' inside its cluster, near 0 between two, and below 0 where another is'
    f' nearer: {nearer} of {len(known)} images. A third of the images is above'
    f' {thirds[1]:.2f}; these are right most often. A third is below'
    f' {thirds[0]:.2f}; look at these first. clusters.csv has it for each'
    f' image.</p><div class="panels"><figure><figcaption>Clusters by their'
    f' silhouette</figcaption>{chart}</figure></div>',
  )


def _settings(config: Mapping[str, Any]) -> str:
  rows = ''.join(
    f'<tr><th scope="row">{html.escape(key)}</th>'
    f'<td>{html.escape(value)}</td></tr>'
    for key, value in _flatten(config)
  )
  return (
    '<details><summary>Show</summary><div class="wide"><table class="config">'
    f'{rows}</table></div></details>'
  )


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
