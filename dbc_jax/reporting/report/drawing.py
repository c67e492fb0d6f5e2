"""Small charts as SVG that take on the colours of the page's style sheet."""

import html
import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

_WIDTH, _HEIGHT = 440, 230
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 12, 10, 40
_NUM_TICKS = 5
# What the style sheet has a colour for, as `.c0` and so on.
NUM_COLOURS = 6

Points = Sequence[tuple[float, float]]


class _Frame(NamedTuple):
  """Where the values of a chart stand in it."""

  left: float
  right: float
  bottom: float
  top: float

  def x(self, value: float) -> float:
    """Pixels from the left."""
    share = (value - self.left) / (self.right - self.left)
    return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)

  def y(self, value: float) -> float:
    """Pixels from the top."""
    share = (value - self.bottom) / (self.top - self.bottom)
    return _HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM)


def lines(
  says: str,
  series: Mapping[str, Points],
  *,
  mark: float,
  name: Callable[[float], str],
) -> str:
  """Curves over stages.

  Args:
    says: the chart in words, for who does not see it.
    series: from a heading to its points (stage, value), of which there are
      some.
    mark: the stage at which a dotted line stands.
    name: what a stage is called on the axis.
  """
  everything = [point for points in series.values() for point in points]
  stages = [x for x, _ in everything] + [mark]
  values = [y for _, y in everything]
  low, high = min(0.0, *values), max(values)
  frame = _Frame(
    min(stages) - 0.3,
    max(stages) + 0.3,
    low,
    high + 0.06 * (high - low) if high > low else low + 1.0,
  )
  body = _y_axis(frame)
  first, last = min(stages), max(stages)
  # The first has a name that takes room.
  ticks = [first] + [
    x
    for x in _whole_ticks(first, last)
    if x - first > max(0.14 * (last - first), 0.5)
  ]
  body += _x_axis([(x, name(x)) for x in ticks], frame, 'stage')
  x = frame.x(mark)
  body += (
    f'<line class="mark" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}"'
    f' y2="{_HEIGHT - _BOTTOM}"/>'
  )
  for i, (heading, points) in enumerate(series.items()):
    places = [(frame.x(x), frame.y(y)) for x, y in points]
    path = ' '.join(f'{x:.1f},{y:.1f}' for x, y in places)
    body += f'<polyline class="c{i}" points="{path}"/>'
    for (x, y), (stage, value) in zip(places, points, strict=True):
      body += (
        f'<circle class="c{i}" cx="{x:.1f}" cy="{y:.1f}" r="2.6"><title>'
        f'{html.escape(heading)}, {name(stage)}: {value:.4g}</title></circle>'
      )
  return _svg(says, body)


def bars(
  says: str,
  edges: Sequence[float],
  counts: Sequence[int],
  *,
  x_label: str,
  name: Callable[[int], str],
) -> str:
  """A histogram.

  Args:
    says: the chart in words.
    edges: of the bars, one more than there are.
    counts: how high each is.
    x_label: what is counted by.
    name: from a bar to its values in words.
  """
  frame = _Frame(edges[0], edges[-1], 0.0, 1.06 * max(*counts, 1))
  body = _y_axis(frame, whole=True)
  ticks = _ticks(edges[0], edges[-1])
  body += _x_axis([(x, _number(x)) for x in ticks], frame, x_label)
  for i, count in enumerate(counts):
    if count:
      x, end, y = frame.x(edges[i]), frame.x(edges[i + 1]), frame.y(count)
      body += _bar(x, y, end - x, frame.y(0.0) - y, 0, f'{name(i)}: {count}')
  return _svg(says, body)


def stacks(
  says: str,
  parts: Mapping[str, Sequence[float]],
  names: Sequence[str],
) -> str:
  """Bars of parts that stand on each other, one bar a stage.

  Args:
    says: the chart in words.
    parts: from a heading to one value a stage.
    names: of the stages.
  """
  totals = [sum(values) for values in zip(*parts.values(), strict=True)]
  frame = _Frame(-0.5, len(names) - 0.5, 0.0, 1.06 * max(totals) or 1.0)
  body = _y_axis(frame)
  ticks = [int(i) for i in _whole_ticks(0, len(names) - 1)]
  body += _x_axis([(i, names[i]) for i in ticks], frame, 'stage')
  heights = [0.0] * len(names)
  for k, (heading, values) in enumerate(parts.items()):
    for i, value in enumerate(values):
      if not value:
        continue
      heights[i] += value
      x, y = frame.x(i - 0.4), frame.y(heights[i])
      says_bar = f'{heading}, stage {names[i]}: {value:.1f} s'
      height = frame.y(heights[i] - value) - y
      body += _bar(x, y, frame.x(i + 0.4) - x, height, k, says_bar)
  return _svg(says, body)


def legend(headings: Sequence[str]) -> str:
  """Which colour is which."""
  keys = ''.join(
    f'<span><i class="c{i}"></i>{html.escape(heading)}</span>'
    for i, heading in enumerate(headings)
  )
  return f'<div class="legend">{keys}</div>'


def _bar(
  x: float, y: float, width: float, height: float, colour: int, says: str
) -> str:
  gap = 0.08 * width
  return (
    f'<rect class="c{colour}" x="{x + gap:.1f}" y="{y:.1f}"'
    f' width="{width - 2 * gap:.1f}" height="{height:.1f}"><title>'
    f'{html.escape(says)}</title></rect>'
  )


def _svg(says: str, body: str) -> str:
  return (
    f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img"'
    f' aria-label="{html.escape(says)}">{body}</svg>'
  )


def _y_axis(frame: _Frame, *, whole: bool = False) -> str:
  make = _whole_ticks if whole else _ticks
  text = ''
  for value in make(frame.bottom, frame.top):
    y = frame.y(value)
    text += (
      f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}"'
      f' y2="{y:.1f}"/><text class="end" x="{_LEFT - 6}" y="{y + 4:.1f}">'
      f'{_number(value)}</text>'
    )
  return text


def _x_axis(
  ticks: Sequence[tuple[float, str]], frame: _Frame, label: str
) -> str:
  text = f'<text x="{(_LEFT + _WIDTH) / 2}" y="{_HEIGHT - 6}">{label}</text>'
  for value, name in ticks:
    text += (
      f'<text x="{frame.x(value):.1f}" y="{_HEIGHT - _BOTTOM + 16}">'
      f'{html.escape(name)}</text>'
    )
  return text


def _ticks(low: float, high: float) -> list[float]:
  """Round values in a range, about as many as fit."""
  return _multiples(low, high, (1, 2, 2.5, 5, 10))


def _whole_ticks(low: float, high: float) -> list[float]:
  """The same, of whole numbers alone."""
  if high - low < _NUM_TICKS:
    return [float(x) for x in range(math.ceil(low), math.floor(high) + 1)]
  return _multiples(low, high, (1, 2, 5, 10))


def _multiples(
  low: float, high: float, factors: Sequence[float]
) -> list[float]:
  step = (high - low) / _NUM_TICKS
  power = 10.0 ** math.floor(math.log10(step))
  step = next(f * power for f in factors if f * power >= step * (1 - 1e-9))
  first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
  return [round(i * step, 12) for i in range(first, last + 1)]


def _number(value: float) -> str:
  return f'{value:,.10g}'
