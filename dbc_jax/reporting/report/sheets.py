"""Contact sheets: images of the clusters that one looks at first."""

import html
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from dbc_jax.reporting.report import trees
from dbc_jax.reporting.report.pictures import Album

_NUM_CLUSTERS, _NUM_IMAGES = 6, 12
_UNKNOWN = -1  # pid of an image whose identity is not known


class Clustering(NamedTuple):
  """The training images, their clusters and what is known of both.

  Attributes:
    names: N paths.
    labels: [N] int, -1 for an image in no cluster.
    titles: K, what each cluster is called.
    means: [K] mean silhouettes; None where not known.
    merges: of each cluster of two or more its last merge; empty where not
      known.
    pids: [N] int, true identities, -1 where not known; None without any.
    camids: [N] int, or None.
  """

  names: Sequence[str]
  labels: np.ndarray
  titles: Sequence[str]
  means: np.ndarray | None = None
  merges: Mapping[int, trees.LastMerge] = {}
  pids: np.ndarray | None = None
  camids: np.ndarray | None = None


def by_cluster(silhouettes: np.ndarray, labels: np.ndarray) -> np.ndarray:
  """The mean silhouette [K] of each cluster's images."""
  placed = labels >= 0
  sums = np.bincount(labels[placed], silhouettes[placed])
  return sums / np.bincount(labels[placed])


def spread(length: int, count: int) -> list[int]:
  """At most `count` of the positions 0..length-1, evenly spaced, rising."""
  count = min(length, count)
  return [(2 * i + 1) * length // (2 * count) for i in range(count)]


def contact_sheets(given: Clustering, album: Album) -> Iterator[str]:
  """Images of the largest, most doubtful and latest clusters, as HTML."""
  sizes = np.bincount(given.labels[given.labels >= 0])
  several = np.flatnonzero(sizes > 1)
  if not len(several):
    yield '<p>Every cluster holds a single image.</p>'
  elif given.pids is not None:
    yield (
      '<p>An image with a <span class="flag">dashed frame</span> is not of the'
      ' identity that is most frequent in its cluster.</p>'
    )
  groups = {
    'Largest': ('', several[np.argsort(-sizes[several], kind='stable')])
  }
  if given.means is not None:
    order = several[np.argsort(given.means[several], kind='stable')]
    groups['Most doubtful'] = (
      'Their images lie, on the mean, nearest to another cluster.',
      order,
    )
  for heading, (says, order) in groups.items():
    if len(order):
      yield f'<h3>{heading}</h3>'
    if says:
      yield f'<p>{says}</p>'
    for label in order[:_NUM_CLUSTERS].tolist():
      yield _cluster_sheet(given, label, album)
  if given.merges:
    yield (
      '<h3>Latest merges</h3><p>A tree of each cluster joins what is nearest,'
      ' by the mean distance of features (0 to 2). These clusters were joined'
      ' last: do both parts, on either side of the bar, show one person?</p>'
    )
    merges = given.merges
    latest = sorted(merges, key=lambda label: (-merges[label].distance, label))
    for label in latest[:_NUM_CLUSTERS]:
      yield _merge_sheet(given, label, merges[label], album)
  waiting = np.flatnonzero(given.labels < 0)
  if len(waiting):
    members, shown = _shown(given.names, waiting, _NUM_IMAGES)
    yield '<h3>Not placed</h3>'
    yield _figure(
      f'{len(members)} images are in no cluster, {len(shown)} shown',
      -1,
      [_tags(given, shown, set(), album)],
    )


def _cluster_sheet(given: Clustering, label: int, album: Album) -> str:
  members, shown = _shown(
    given.names, np.flatnonzero(given.labels == label), _NUM_IMAGES
  )
  caption = _caption(given, label, len(members))
  if len(shown) < len(members):
    caption += f', {len(shown)} shown'
  said, others = _identities(given.pids, members)
  return _figure(caption + said, label, [_tags(given, shown, others, album)])


def _merge_sheet(
  given: Clustering, label: int, merge: trees.LastMerge, album: Album
) -> str:
  members = np.flatnonzero(given.labels == label).tolist()
  sizes = ' + '.join(str(len(part)) for part in merge.parts)
  caption = _caption(given, label, len(members))
  caption += f'; {sizes} joined last at {merge.distance:.2f}'
  first, second = merge.within
  if second:
    caption += f' (inside them {first:.2f} and {second:.2f})'
  elif first:
    caption += f' (inside the first {first:.2f})'
  if merge.seen < len(members):
    caption += f', of {merge.seen} of its images'
  said, others = _identities(given.pids, members)
  sides = []
  for part in merge.parts:
    _, shown = _shown(given.names, part, _NUM_IMAGES // 2)
    sides.append(_tags(given, shown, others, album))
  return _figure(caption + said, label, sides)


def _caption(given: Clustering, label: int, count: int) -> str:
  text = f'{html.escape(given.titles[label])}: {count} images'
  if given.means is not None:
    text += f', silhouette {given.means[label]:.2f}'
  return text


def _identities(
  pids: np.ndarray | None, members: list[int]
) -> tuple[str, set[int]]:
  """What is known of the images' identities, and who is not of the main one."""
  if pids is None:
    return '', set()
  known = [i for i in members if pids[i] != _UNKNOWN]
  values, counts = np.unique(pids[known], return_counts=True)
  text = ''
  if len(known) < len(members):
    text += f'; {len(known)} with an identity'
  if len(values) == 1:
    text += '; one identity'
  if len(values) < 2:
    return text, set()
  text += f'; {len(values)} identities, the most frequent has {counts.max()}'
  main = values[counts.argmax()]
  return text, {i for i in known if pids[i] != main}


def _shown(
  names: Sequence[str], rows: np.ndarray, most: int
) -> tuple[list[int], list[int]]:
  """The images by name, and those of them on show."""
  members: list[int] = rows.tolist()
  members.sort(key=lambda i: names[i])
  return members, [members[i] for i in spread(len(members), most)]


def _tags(
  given: Clustering, shown: list[int], others: set[int], album: Album
) -> str:
  return ''.join(
    album.tag(i, given.names[i], 'other' if i in others else '') for i in shown
  )


def _figure(caption: str, label: int, sides: Sequence[str]) -> str:
  parts = ''.join(f'<div class="sheet">{side}</div>' for side in sides)
  return (
    f'<figure><figcaption>{caption} <button class="see" data-cluster="{label}"'
    f' hidden>see all</button></figcaption><div class="sides">{parts}</div>'
    '</figure>'
  )
