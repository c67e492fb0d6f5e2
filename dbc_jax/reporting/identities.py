"""The figure of images per identity."""

import pathlib
from collections.abc import Mapping

import matplotlib
import matplotlib.axes
import matplotlib.figure
import matplotlib.ticker
import numpy as np

_HUE = '#3b82c4'
_MAX_BARS = 100


def draw_counts(
  axes: matplotlib.axes.Axes, counts: np.ndarray, most: int, max_bars: int
) -> int:
  """A histogram of numbers [K] from 1 to `most`; returns how many share a bar.

  One bar for each number while that fits, else for equal ranges of numbers.
  """
  width = -(-most // max_bars)
  edges = np.arange(1, most + width + 1, width) - 0.5
  axes.hist(counts, edges.tolist(), color=_HUE, rwidth=0.9)
  for axis, bins in ((axes.xaxis, 20), (axes.yaxis, 5)):
    axis.set_major_locator(
      matplotlib.ticker.MaxNLocator(bins, integer=True, min_n_ticks=1)
    )
  return width


def write_identities(
  path: pathlib.Path,
  title: str,
  unit: str,
  per_person: Mapping[str, np.ndarray],
) -> None:
  """Writes how many identities have how many samples, as a PNG.

  Args:
    path: of the file; replaced if it is there.
    title: of the whole figure: the name of the data set.
    unit: 'images' or 'tracklets'.
    per_person: name of each panel to the number of samples, at least 1, of
      each of its identities, int [K]; neither may be empty.

  Source: the papers' Fig. 1, which is of training sets.
  """
  # One scale for all panels, so that they can be compared.
  most = max(int(counts.max()) for counts in per_person.values())
  with matplotlib.rc_context(
    {'axes.spines.top': False, 'axes.spines.right': False}
  ):
    figure = matplotlib.figure.Figure(
      (8, 0.5 + 2.8 * len(per_person)), layout='constrained'
    )
    figure.suptitle(title)
    panels = figure.subplots(len(per_person), sharex=True, squeeze=False)
    for axes, (name, counts) in zip(
      panels[:, 0], per_person.items(), strict=True
    ):
      width = draw_counts(axes, counts, most, _MAX_BARS)
      axes.axvline(np.median(counts), color='black', linestyle=':', linewidth=1)
      axes.set_title(
        f'{name}: {len(counts):,} identities, {counts.sum():,} {unit}; '
        f'median {np.median(counts):g} (dotted)',
        fontsize='medium',
      )
      axes.set_ylabel('identities')
    axes.set_xlabel(
      f'{unit} per identity' + (f', {width} to a bar' if width > 1 else '')
    )
    figure.savefig(path, dpi=120)
