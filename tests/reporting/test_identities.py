"""The figure of images per identity: bars as high as there are identities."""

import matplotlib.figure
import numpy as np
import pytest

from dbc_jax.reporting import identities


@pytest.fixture
def drawn(monkeypatch) -> list[matplotlib.figure.Figure]:
  """Figures in place of files."""
  figures = []
  monkeypatch.setattr(
    matplotlib.figure.Figure,
    'savefig',
    lambda figure, *_, **__: figures.append(figure),
  )
  return figures


def test_one_bar_for_each_number(drawn, tmp_path) -> None:
  counts = {'training': np.array([2, 5, 2, 1, 2]), 'test': np.array([3])}
  identities.write_identities(tmp_path / 'a.png', 'mine', 'images', counts)
  (figure,) = drawn
  train, test = (
    [bar.get_height() for bar in axes.patches] for axes in figure.axes
  )
  assert train == [1, 3, 0, 0, 1]
  assert test == [0, 0, 1, 0, 0]
  first, last = figure.axes
  assert first.get_title() == (
    'training: 5 identities, 12 images; median 2 (dotted)'
  )
  assert last.get_xlabel() == 'images per identity'


def test_wide_ranges_share_bars(drawn, tmp_path) -> None:
  counts = {'training': np.array([1, 2, 3, 250])}
  identities.write_identities(tmp_path / 'a.png', 'mine', 'tracklets', counts)
  (axes,) = drawn[0].axes
  heights = [bar.get_height() for bar in axes.patches]
  assert len(heights) <= 100
  assert sum(heights) == 4
  assert heights[:2] == [3, 0]
  assert heights[-1] == 1
  assert axes.get_xlabel() == 'tracklets per identity, 3 to a bar'
