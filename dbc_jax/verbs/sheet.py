"""A page of ranked pictures: each query, and what was found."""

import html
import pathlib
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image, ImageOps

from dbc_jax.reporting import write_atomically
from dbc_jax.reporting.report import pictures
from dbc_jax.verbs.embedding import Embedded
from dbc_jax.verbs.searching import Match

_CSS = """
:root { color-scheme: light dark; }
body { font: 16px/1.4 system-ui, sans-serif; max-width: 75rem;
  margin: 2rem auto; padding: 0 1rem; background: Canvas; color: CanvasText; }
h2 { font-size: 1rem; margin: 1.5rem 0 .3rem; }
.row { display: flex; flex-wrap: wrap; gap: 6px; }
figure { margin: 0; font-size: .75rem; font-variant-numeric: tabular-nums; }
figure:first-child { border-right: 2px solid #8888; padding-right: 8px;
  margin-right: 4px; }
img { display: block; border-radius: 3px; }
"""


def write_sheet(
  path: pathlib.Path,
  title: str,
  queries: Embedded,
  gallery: Embedded,
  found: Sequence[Sequence[Match]],
) -> int:
  """Writes the page; it needs nothing beside it.

  Args:
    path: of the HTML file; replaced as a whole.
    title: of the page.
    queries, gallery: with files that show them; without, their names stand.
    found: of each query its matches.

  Returns:
    How many of the matches stand as names.
  """
  lines = [
    '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">',
    '<meta name="viewport" content="width=device-width, initial-scale=1">',
    f'<title>{html.escape(title)}</title><style>{_CSS}</style></head><body>',
    f'<h1>{html.escape(title)}</h1><p>Left the query; then the nearest first, '
    'with the distance (0 to 2) and, where it can be told, the probability '
    'that both show one person. Hold the mouse over a picture for its file.'
    '</p>',
  ]
  missing = 0
  for i, matches in enumerate(found):
    lines.append(f'<h2>{html.escape(queries.names[i])}</h2><div class="row">')
    lines.append(_figure(queries, i, 'query'))
    for match in matches:
      caption = f'{match.distance:.3f}'
      if match.probability is not None:
        caption += f'<br>{100 * match.probability:.0f} %'
      if gallery.clusters is not None and gallery.clusters[match.index] >= 0:
        caption += f'<br>cluster {gallery.clusters[match.index]}'
      lines.append(_figure(gallery, match.index, caption))
      missing += '<img ' not in lines[-1]
    lines.append('</div>')
  lines.append('</body></html>\n')
  write_atomically(path, '\n'.join(lines))
  return missing


def _figure(embedded: Embedded, i: int, caption: str) -> str:
  name = embedded.names[i]
  return (
    f'<figure>{_picture(embedded.picture, i, name)}'
    f'<figcaption>{caption}</figcaption></figure>'
  )


def _picture(
  picture: Callable[[int], pathlib.Path] | None, i: int, name: str
) -> str:
  if picture is not None:
    try:
      with Image.open(picture(i)) as image:
        upright = ImageOps.exif_transpose(image).convert('RGB')
        return pictures.tag(np.asarray(upright), name)
    except OSError:
      pass  # Its name will do.
  return html.escape(name)
