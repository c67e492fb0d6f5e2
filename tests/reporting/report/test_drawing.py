"""Tests of the charts: where things stand, and round numbers beside them."""

import re

import numpy as np
import pytest

from dbc_jax.reporting.report import course, drawing


@pytest.mark.parametrize(
  ('low', 'high', 'expected'),
  [
    (0, 106, [0, 25, 50, 75, 100]),
    (0, 1.06, [0, 0.25, 0.5, 0.75, 1]),
    (-0.3, 0.9, [-0.25, 0, 0.25, 0.5, 0.75]),
    (0, 13_000, [0, 5000, 10000]),
    (0, 2e-3, [0, 0.0005, 0.001, 0.0015, 0.002]),
  ],
)
def test_ticks_are_round(low, high, expected):
  assert drawing._ticks(low, high) == pytest.approx(expected)


@pytest.mark.parametrize(
  ('low', 'high', 'expected'),
  [
    (0, 0, [0]),
    (-1, 2, [-1, 0, 1, 2]),
    (0, 19, [0, 5, 10, 15]),
    (0, 1.06, [0, 1]),
    (0.3, 0.7, []),
  ],
)
def test_whole_ticks_are_whole(low, high, expected):
  assert drawing._whole_ticks(low, high) == expected


def numbers(pattern: str, text: str) -> list[list[float]]:
  return [[*map(float, m.groups())] for m in re.finditer(pattern, text)]


def test_points_stand_where_their_values_are():
  points = [(0, 0.0), (1, 5.0), (4, 10.0)]
  text = drawing.lines('says', {'a': points}, mark=1, name=str)
  places = np.array(numbers(r'cx="([^"]*)" cy="([^"]*)"', text))
  scale = (places[2] - places[0]) / [4, 10]
  np.testing.assert_allclose(places, places[0] + points * scale, atol=0.1)
  # Up is more.
  assert scale[0] > 0 > scale[1]
  (mark,) = numbers(r'class="mark" x1="([^"]*)" x2="([^"]*)"', text)
  assert mark == [places[1][0]] * 2
  # The line at 10, and the point there.
  grid = numbers(r'class="grid"[^>]*y1="([^"]*)"', text)
  assert min(grid) == [pytest.approx(places[2][1], abs=0.1)]


@pytest.mark.parametrize('value', [0.0, -2.0, 3.0])
def test_one_point_is_a_chart(value):
  text = drawing.lines('s', {'a': [(0, value)]}, mark=0, name=str)
  ((x, y),) = numbers(r'cx="([^"]*)" cy="([^"]*)"', text)
  assert 52 < x < 440
  assert 0 < y < 230


def test_bars_are_as_high_as_their_counts():
  text = drawing.bars('s', [0, 1, 2, 3], [2, 0, 4], x_label='x', name=str)
  heights = numbers(r'<rect[^>]*height="([^"]*)"', text)
  assert len(heights) == 2
  assert heights[1][0] == pytest.approx(2 * heights[0][0], abs=0.2)


def test_parts_of_a_stage_stand_on_each_other():
  text = drawing.stacks('s', {'a': [1, 3], 'b': [2, 0]}, ['0', '1'])
  (one, two, other) = numbers(
    r'<rect[^>]*y="([^"]*)"[^>]*height="([^"]*)"', text
  )
  # a of stage 0, a of stage 1, b of stage 0.
  assert other[0] + other[1] == pytest.approx(one[0], abs=0.2)
  assert two[1] == pytest.approx(3 * one[1], abs=0.2)
  assert two[0] == pytest.approx(other[0], abs=0.2)


def test_words_become_text():
  text = drawing.lines('<s>"', {'<b>': [(0, 1.0)]}, mark=0, name=str)
  assert '<b>' not in text
  assert 'aria-label="&lt;s&gt;&quot;"' in text


def test_sizes_share_a_bar_where_there_are_many_kinds():
  labels = np.repeat([0, 1, 2], [150, 1, 149])
  text = course.sizes(labels)
  assert 'Images per cluster, 3 to a bar' in text
  assert 'clusters of 148 to 150 images: 2' in text
  assert course.sizes(np.array([-1, -1])) == '<p>No image is in a cluster.</p>'
