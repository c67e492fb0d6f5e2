"""The clusters of a run, as a CSV file and as sheets of their images."""

import base64
import html
import io
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from PIL import Image

from dbc_jax.reporting import metrics

_NUM_LARGEST, _NUM_DOUBTFUL, _NUM_MIDDLE, _NUM_IMAGES = 6, 6, 6, 12
_MAX_WIDTH, _MAX_HEIGHT = 192, 96
_UNKNOWN = -1  # pid of an image whose identity is not known


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


def by_cluster(silhouettes: np.ndarray, labels: np.ndarray) -> np.ndarray:
  """The mean silhouette [K] of each cluster's images."""
  placed = labels >= 0
  sums = np.bincount(labels[placed], silhouettes[placed])
  return sums / np.bincount(labels[placed])


def choose_clusters(
  labels: np.ndarray, num_largest: int, num_middle: int
) -> tuple[list[int], list[int]]:
  """Clusters to show: at most so many of the largest, and of the others.

  The others have two members or more and are spread evenly over their ranks.
  Both lists are by falling size, equal sizes by number.
  """
  sizes = np.bincount(labels[labels >= 0])
  ranked = [int(k) for k in np.argsort(-sizes, kind='stable') if sizes[k] > 1]
  others = ranked[num_largest:]
  return ranked[:num_largest], [
    others[i] for i in spread(len(others), num_middle)
  ]


def spread(length: int, count: int) -> list[int]:
  """At most `count` of the positions 0..length-1, evenly spaced, rising."""
  count = min(length, count)
  return [(2 * i + 1) * length // (2 * count) for i in range(count)]


def contact_sheets(
  names: Sequence[str],
  labels: np.ndarray,
  read_image: Callable[[int], np.ndarray],
  pids: np.ndarray | None,
  silhouettes: np.ndarray | None = None,
  titles: Sequence[str] | None = None,
) -> Iterator[str]:
  """Images of the largest clusters and of a sample of the others, as HTML.

  Arguments as of `write_report`, whose style sheet has the classes.
  """
  largest, middle = choose_clusters(labels, _NUM_LARGEST, _NUM_MIDDLE)
  if not largest:
    yield '<p>Every cluster holds a single image.</p>'
  elif pids is not None:
    yield (
      '<p>An image with a <span class="flag">coloured frame</span> is not of'
      ' the identity that is most frequent in its cluster.</p>'
    )
  groups = {'Largest': largest, 'A sample of others': middle}
  means = None
  if silhouettes is not None:
    means = by_cluster(silhouettes, labels)
    sizes = np.bincount(labels[labels >= 0])
    doubtful = [
      int(k) for k in np.argsort(means, kind='stable') if sizes[k] > 1
    ]
    groups['Most doubtful'] = doubtful[:_NUM_DOUBTFUL]
  for heading, chosen in groups.items():
    if chosen:
      yield f'<h3>{heading}</h3>'
    for cluster in chosen:
      members, shown = _members(names, labels == cluster)
      title = f'Cluster {cluster}' if titles is None else titles[cluster]
      caption = f'{html.escape(title)}: {len(members)} images'
      if means is not None:
        caption += f', silhouette {means[cluster]:.2f}'
      if len(shown) < len(members):
        caption += f', {len(shown)} shown'
      others: set[int] = set()
      if pids is not None:
        known = [i for i in members if pids[i] != _UNKNOWN]
        values, counts = np.unique(pids[known], return_counts=True)
        if len(known) < len(members):
          caption += f'; {len(known)} with an identity'
        if len(values) > 1:
          caption += (
            f'; {len(values)} identities, the most frequent has {counts.max()}'
          )
          main = values[counts.argmax()]
          others = {i for i in known if pids[i] != main}
        elif len(values):
          caption += '; one identity'
      yield _sheet(
        caption,
        [picture_tag(read_image(i), names[i], i in others) for i in shown],
      )
  members, shown = _members(names, labels < 0)
  if members:
    yield '<h3>Not placed</h3>'
    yield _sheet(
      f'{len(members)} images are in no cluster, {len(shown)} shown',
      [picture_tag(read_image(i), names[i], False) for i in shown],
    )


def _members(
  names: Sequence[str], inside: np.ndarray
) -> tuple[list[int], list[int]]:
  """The images [N] bool by name, and those of them on show."""
  members: list[int] = np.flatnonzero(inside).tolist()
  members.sort(key=lambda i: names[i])
  return members, [members[i] for i in spread(len(members), _NUM_IMAGES)]


def _sheet(caption: str, images: Sequence[str]) -> str:
  return (
    f'<figure><figcaption>{caption}</figcaption>'
    f'<div class="sheet">{"".join(images)}</div></figure>'
  )


def picture_tag(pixels: np.ndarray, name: str, other: bool = False) -> str:
  """One image as an <img> that carries its own bytes."""
  image = Image.fromarray(np.asarray(pixels))
  image.thumbnail((_MAX_WIDTH, _MAX_HEIGHT))
  data = io.BytesIO()
  image.save(data, 'JPEG', quality=85)
  source = base64.b64encode(data.getvalue()).decode()
  text = html.escape(name)
  kind = ' class="other"' if other else ''
  return (
    f'<img{kind} src="data:image/jpeg;base64,{source}" alt="{text}"'
    f' title="{text}" width="{image.width}" height="{image.height}">'
  )
