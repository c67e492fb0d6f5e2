"""Ranked lists: what a search for a query finds, right or wrong."""

import html
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dbc_jax.reporting.report import pictures


class Found(NamedTuple):
  """One place of a list.

  Attributes:
    name: path of the image.
    pixels: [H, W, 3] uint8.
    distance: of features, 0 to 2.
    is_right: whether it shows the query's identity.
  """

  name: str
  pixels: np.ndarray
  distance: float
  is_right: bool


class RankedList(NamedTuple):
  """A query and what it finds, the nearest first.

  Attributes:
    name: path of the query.
    pixels: [H, W, 3] uint8.
    found: as many as are shown.
    num_right: how many right ones the gallery has.
  """

  name: str
  pixels: np.ndarray
  found: Sequence[Found]
  num_right: int


def ranked_lists(lists: Sequence[RankedList]) -> str:
  """All lists, as HTML."""
  text = (
    '<p>Queries at random, and what each finds first in the gallery, without'
    ' what the scores leave out. <span class="right">A solid frame</span>: the'
    ' same identity. <span class="flag">A dashed one</span>: another. Below'
    ' stands the distance, 0 to 2.</p>'
  )
  for each in lists:
    right = sum(found.is_right for found in each.found)
    caption = (
      f'<b>{html.escape(each.name)}</b>: {right} of the first'
      f' {len(each.found)} are right, of {each.num_right} there are'
    )
    images = _item(pictures.tag(each.pixels, each.name, 'query'), 'query')
    for place, found in enumerate(each.found, 1):
      word = 'right' if found.is_right else 'wrong'
      kind = 'same' if found.is_right else 'other'
      tag = pictures.tag(found.pixels, f'{place}, {word}: {found.name}', kind)
      mark = '&#10003;' if found.is_right else '&#10007;'
      images += _item(tag, f'{mark} {found.distance:.2f}')
    text += (
      f'<figure><figcaption>{caption}</figcaption><div class="ranks">{images}'
      '</div></figure>'
    )
  return text


def _item(tag: str, caption: str) -> str:
  return f'<div>{tag}<small>{caption}</small></div>'
