"""Figures of criteria_study.py, from its results."""

import pathlib

import matplotlib.pyplot as plt
import numpy as np

JACCARD = 'jaccard-30-6'  # Zhong et al.'s k1 and k2.
DEFAULTS = (
  *('average:0.002', 'dbc:0.1', 'buc:0.003', 'ecluster:0.9', 'estat:0.1'),
)

# By (base, centred, method): scores at each cluster count.
Results = dict[tuple[str, bool, str], list[dict[str, float]]]


def draw(results: Results, folder: pathlib.Path):
  """criteria_counts.svg and criteria_peers.svg, of the rows there are."""
  style = {'svg.hashsalt': 'x', 'font.size': 9}
  with plt.rc_context(style):
    for name, plot in (('counts', draw_counts), ('peers', draw_peers)):
      figure = plot(results)
      figure.savefig(folder / f'criteria_{name}.svg', metadata={'Date': None})
      plt.close(figure)


def draw_counts(results: Results) -> plt.Figure:
  """Pair F by cluster count, sequential and ranked, without cameras."""
  figure, panels = plt.subplots(
    1, 2, figsize=(8, 3.4), sharey=True, layout='constrained'
  )
  for panel, base in zip(panels, ('euclidean', JACCARD), strict=True):
    for i, method in enumerate(DEFAULTS):
      for suffix, line in (('', '-'), (':merge=ranked', ':')):
        scores = results.get((base, False, method + suffix), [])
        panel.plot(
          [s['clusters'] for s in scores],
          [s['pair_f'] for s in scores],
          line,
          color=f'C{i}',
          label=method.replace(':', ', ') if not suffix else None,
        )
    panel.invert_xaxis()
    panel.grid(alpha=0.3)
    kind = 'Euclidean' if base == 'euclidean' else 'Jaccard'
    panel.set_xlabel(f'clusters left ({kind} distance)')
  panels[0].plot([], [], 'k:', label='dotted: ranked')
  panels[0].set_ylabel('pair F')
  panels[0].legend(frameon=False)
  return figure


def draw_peers(results: Results) -> plt.Figure:
  """Precision by recall: curves of merging, points of density methods."""
  figure, panel = plt.subplots(figsize=(6, 4.4), layout='constrained')
  recall = np.linspace(0.01, 1, 200)
  for f in (0.2, 0.3, 0.4, 0.5, 0.6):
    with np.errstate(divide='ignore'):
      precision = f * recall / (2 * recall - f)
    seen = (precision > 0) & (precision <= 1)
    panel.plot(recall[seen], precision[seen], color='0.85', linewidth=0.8)
    panel.text(0.84, 0.9 * f / (1.8 - f) + 0.015, f'F {f}', color='0.5')
  curves = {
    'average 0.002, Jaccard, centred': (JACCARD, True, 'average:0.002'),
    'average 0.002, Jaccard': (JACCARD, False, 'average:0.002'),
    'Ward, Euclidean': ('squared', False, 'estat:0'),
    'average linkage, Euclidean': ('euclidean', False, 'average:0'),
  }
  for i, (label, row) in enumerate(curves.items()):
    scores = results.get(row, [])[1:]
    panel.plot(
      [s['pair_recall'] for s in scores],
      [s['pair_precision'] for s in scores],
      '.-',
      color=f'C{i}',
      label=label,
    )
  for name, marker in (('dbscan', 'o'), ('hdbscan', '^')):
    for centred, color in ((True, 'C0'), (False, 'C1')):
      points = [
        scores[0]
        for row, scores in results.items()
        if row[:2] == (JACCARD, centred) and row.method.startswith(f'{name}:')
      ]
      panel.plot(
        [s['pair_recall'] for s in points],
        [s['pair_precision'] for s in points],
        marker,
        color=color,
        fillstyle='none',
        label=f'{name.upper()}, Jaccard{", centred" * centred}',
      )
  panel.set(xlabel='pair recall', ylabel='pair precision')
  panel.set(xlim=(0, 0.9), ylim=(0, 1.02))
  panel.legend(frameon=False, fontsize=8)
  return figure
