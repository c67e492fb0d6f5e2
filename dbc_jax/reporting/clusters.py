"""The clusters of a run as a CSV file."""

import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from dbc_jax.reporting import metrics


def write_clusters(
  path: pathlib.Path,
  names: Sequence[str],
  labels: np.ndarray,
  *,
  pids: np.ndarray | None = None,
  camids: np.ndarray | None = None,
  silhouettes: np.ndarray | None = None,
  tracklets: Sequence[str] | None = None,
) -> None:
  """Writes which cluster each image is in, one cluster after another.

  Args:
    path: of the CSV file; replaced as a whole.
    names: N paths of images; of a tracklet that of one of its frames.
    labels: [N] int, number of the cluster of each image; -1 where it is in
      none. Those come last.
    pids: [N] int, true identities, for a column `pid`; -1 where not known.
    camids: [N] int, cameras, for a column `camid`.
    silhouettes: [N], how much nearer to its own cluster than to the next one,
      for a column `silhouette`; NaN, an empty cell, where in none.
    tracklets: N names of tracklets, for a column `tracklet`.

  Raises:
    ValueError: the arrays differ in length.
  """
  given = {
    'path': names,
    'tracklet': tracklets,
    'cluster': labels,
    'silhouette': silhouettes,
    'camid': camids,
    'pid': pids,
  }
  columns = {key: got for key, got in given.items() if got is not None}
  for key, column in columns.items():
    if len(column) != len(names):
      raise ValueError(
        f'{key}: got {len(column)} values for {len(names)} images.'
        ' Pass one value per image, in the same order.'
      )
  order = sorted(
    range(len(names)),
    key=lambda i: (labels[i] < 0, int(labels[i]), names[i]),
  )
  rows = (
    [_cell(key, column[i]) for key, column in columns.items()] for i in order
  )
  metrics.write_table(path, [[*columns], *rows])


def _cell(key: str, value: Any) -> Any:
  if key == 'silhouette':
    return '' if np.isnan(value) else f'{value:.3f}'
  return value if key in ('path', 'tracklet') else int(value)
