"""Pictures inside a page: small ones, as many as there is room for."""

import base64
import html
import io
from collections.abc import Callable

import numpy as np
from PIL import Image

_MAX_WIDTH, _MAX_HEIGHT = 192, 96
_PREFIX = 'data:image/jpeg;base64,'


def encode(pixels: np.ndarray) -> tuple[str, int, int]:
  """The address of a small picture that holds its bytes; width and height.

  Args:
    pixels: [H, W, 3] uint8.
  """
  image = Image.fromarray(np.asarray(pixels))
  image.thumbnail((_MAX_WIDTH, _MAX_HEIGHT))
  data = io.BytesIO()
  image.save(data, 'JPEG', quality=85)
  source = _PREFIX + base64.b64encode(data.getvalue()).decode()
  return source, image.width, image.height


def tag(
  pixels: np.ndarray, name: str, kind: str = '', row: int | None = None
) -> str:
  """One image as an <img> that carries its own bytes.

  Args:
    pixels: [H, W, 3] uint8.
    name: that it is told by.
    kind: a class of the style sheet.
    row: of the image in the page's list.
  """
  source, width, height = encode(pixels)
  text = html.escape(name)
  more = f' class="{kind}"' if kind else ''
  more += '' if row is None else f' data-row="{row}"'
  return (
    f'<img{more} src="{source}" alt="{text}" title="{text}" width="{width}"'
    f' height="{height}">'
  )


class Album:
  """The training images that a page holds, within a number of bytes."""

  def __init__(self, read_image: Callable[[int], np.ndarray], most_bytes: int):
    """Holds none yet.

    Args:
      read_image: from i to image i, [H, W, 3] uint8.
      most_bytes: that pictures may take in the page.
    """
    self._read = read_image
    self._left = most_bytes
    self._on_sheets: set[int] = set()
    # Those that stand nowhere else in the page, by row.
    self.sources: dict[int, str] = {}

  def __len__(self) -> int:
    return len(self._on_sheets) + len(self.sources)

  def tag(self, row: int, name: str, kind: str = '') -> str:
    """An image on show, whether there is room or not."""
    text = tag(self._read(row), name, kind, row)
    self._left -= len(text)
    self._on_sheets.add(row)
    return text

  def add(self, row: int) -> None:
    """An image for later, as far as there is room."""
    if self._left <= 0 or row in self._on_sheets or row in self.sources:
      return
    source, _, _ = encode(self._read(row))
    if len(source) > self._left:
      self._left = 0  # To look for one that is small enough takes too long.
      return
    self._left -= len(source)
    self.sources[row] = source.removeprefix(_PREFIX)
