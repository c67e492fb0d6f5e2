"""Figures of an experiment, in the papers' form, as SVG."""

import contextlib
import csv
import pathlib
import statistics
from collections.abc import Iterator, Sequence

import matplotlib
import matplotlib.figure
import numpy as np
from matplotlib.ticker import MaxNLocator
from sklearn.manifold import TSNE

from dbc_jax.reproduce.jobs import Job
from dbc_jax.reproduce.tables import by_row, stages_of

_SCORES = {'rank1': 'rank-1, %', 'map': 'mAP, %'}
_NUM_IDENTITIES = 100
_SEED = 0


def draw_stages(path: pathlib.Path, jobs: Sequence[Job]) -> None:
  """Scores by stage: each run thin, the mean of a row's seeds thick.

  Source: DBC, Fig. 5; E-cluster, Fig. 5.
  """
  keys = [*_SCORES, 'pair_f']
  with _figure(path, len(keys)) as panels:
    for panel, key in zip(panels, keys, strict=True):
      for i, (heading, runs) in enumerate(by_row(jobs).items()):
        curves = [_curve(job, key) for job in runs]
        curves = [curve for curve in curves if len(curve)]
        if not curves:
          continue
        length = min(map(len, curves))
        if length == 1:  # A control of one stage.
          level = statistics.mean(curve[-1] for curve in curves)
          panel.axhline(level, color='0.5', linestyle=':', label=heading)
          continue
        for curve in curves:
          panel.plot(curve, color=f'C{i}', linewidth=0.6, alpha=0.5)
        mean = np.mean([curve[:length] for curve in curves], axis=0)
        panel.plot(mean, color=f'C{i}', label=heading)
      panel.set(xlabel='stage', ylabel=_SCORES.get(key, 'pair F, %'))
      panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    panels[0].legend(frameon=False, fontsize=7)


def draw_curves(path: pathlib.Path, jobs: Sequence[Job], label: str) -> None:
  """Scores of the chosen stage over a setting, with their deviation.

  Source: DBC, Fig. 4; E-cluster, Fig. 6.
  """
  curves: dict[str, dict[float, list[Job]]] = {}
  for job in jobs:
    if job.is_done() and job.row.curve:
      points = curves.setdefault(job.row.curve, {})
      points.setdefault(job.row.at, []).append(job)
  with _figure(path, len(_SCORES)) as panels:
    for panel, (key, name) in zip(panels, _SCORES.items(), strict=True):
      for curve, points in curves.items():
        found = {
          x: [
            100 * scores[key]
            for scores in (stages_of(job)['chosen'] for job in points[x])
            if key in scores
          ]
          for x in sorted(points)
        }
        at = [x for x, values in found.items() if values]
        values = [found[x] for x in at]
        panel.errorbar(
          at,
          [statistics.mean(v) for v in values],
          [statistics.stdev(v) if len(v) > 1 else 0.0 for v in values],
          marker='o',
          markersize=3,
          capsize=2,
          label=curve,
        )
      panel.set(xlabel=label, ylabel=name)
    panels[0].legend(frameon=False)


def draw_tsne(path: pathlib.Path, jobs: Sequence[Job]) -> bool:
  """Training images of 100 identities by the chosen stage of each row.

  One colour an identity; of each row its first run.

  Returns:
    Whether there was anything to draw: runs with identities and features.

  Source: DBC, Fig. 6; E-cluster, Fig. 4; van der Maaten and Hinton, Visualizing
    data using t-SNE (2008).
  """
  shown = {}
  for heading, runs in by_row(jobs).items():
    found = _features(runs[0])
    if found is not None:
      shown[heading] = found
  if not shown:
    return False
  with _figure(path, len(shown), 3.2) as panels:
    for panel, (heading, (features, pids)) in zip(
      panels, shown.items(), strict=True
    ):
      perplexity = min(30.0, (len(features) - 1) / 3)
      places = TSNE(
        perplexity=perplexity, init='pca', random_state=_SEED
      ).fit_transform(features)
      colours = np.unique(pids, return_inverse=True)[1]
      panel.scatter(
        *places.T, c=colours, cmap='nipy_spectral', s=4, rasterized=True
      )
      panel.set_title(heading, fontsize=8)
      panel.set(xticks=[], yticks=[])
      panel.grid(visible=False)
  return True


def _features(job: Job) -> tuple[np.ndarray, np.ndarray] | None:
  """Features and identities of some persons' training images."""
  path = job.workdir / 'features.npz'
  pids = read_pids(job)
  if pids is None or not path.exists():
    return None
  with path.open('rb') as file:
    features = np.load(file)['features'].astype(np.float32)
  known = np.unique(pids[pids >= 0])
  some = np.random.default_rng(_SEED).permutation(known)[:_NUM_IDENTITIES]
  rows = np.isin(pids, some)
  return (features[rows], pids[rows]) if rows.sum() > 3 else None


def read_pids(job: Job) -> np.ndarray | None:
  """Identities [N] of a run's training images, in its order, if it has them."""
  path = job.workdir / 'clusters.csv'
  if not path.exists():
    return None
  with path.open(newline='', errors='surrogateescape') as file:
    rows = [*csv.DictReader(file)]
  if not rows or 'pid' not in rows[0]:
    return None
  key = 'tracklet' if 'tracklet' in rows[0] else 'path'
  pids = {row[key]: int(row['pid']) for row in rows}
  with (job.workdir / 'features.npz').open('rb') as file:
    paths = np.load(file)['paths']
  return np.array([pids[str(path)] for path in paths])


def _curve(job: Job, key: str) -> np.ndarray:
  values = [
    100 * record[key]
    for record in job.history()
    if key in record and isinstance(record['stage'], int)
  ]
  return np.array(values)


@contextlib.contextmanager
def _figure(
  path: pathlib.Path, count: int, height: float = 2.8
) -> Iterator[np.ndarray]:
  """So many panels, saved at the end; the same bytes each time."""
  columns = min(count, 3)
  rows = -(-count // columns)
  with matplotlib.rc_context(
    {
      'svg.hashsalt': 'x',
      'font.size': 9,
      'axes.spines.top': False,
      'axes.spines.right': False,
      'axes.grid': True,
      'grid.alpha': 0.3,
    }
  ):
    figure = matplotlib.figure.Figure(
      (3.3 * columns, height * rows), layout='constrained'
    )
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for panel in panels[count:]:
      panel.set_axis_off()
    yield panels[:count]
    figure.savefig(path, format='svg', dpi=150, metadata={'Date': None})
