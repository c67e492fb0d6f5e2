"""The clusters of a run as people look at them, out of clusters.csv."""

import csv
import dataclasses
import functools
from pathlib import Path
from typing import Any

import numpy as np

from dbc_jax.data.samples import printable
from dbc_jax.labels import NOT_PLACED
from dbc_jax.reporting.report.sheets import spread
from dbc_jax.run import identities

ORDERS = ('largest', 'doubtful', 'newest')
CLUSTERS_A_PAGE, IMAGES_A_PAGE, SHOWN = 24, 60, 6


@dataclasses.dataclass(frozen=True)
class View:
  """Which clusters are looked at, and in which order.

  Attributes:
    order: one of `ORDERS`.
    page: from 0.
    camera: that took an image of it; None for any.
    least, most: images that it has; None for any number.
    doubt: its mean silhouette is at most this; None for any.
    name: a text in its title, as 'cluster 12' or a name.
    path: a text in the path of an image of it.
  """

  order: str = 'largest'
  page: int = 0
  camera: int | None = None
  least: int | None = None
  most: int | None = None
  doubt: float | None = None
  name: str = ''
  path: str = ''


@dataclasses.dataclass(frozen=True, eq=False)
class Collection:
  """N images in clusters. Rows keep their numbers for as long as a page lives.

  Attributes:
    names: N, as in clusters.csv; of tracklets their names.
    ids: [N] int, the number of each image's cluster; -1 for one in none.
    silhouettes: [N] float; NaN where not known.
    camids: [N] int, or None.
    identities: names of clusters; as identities.csv has them.
  """

  names: tuple[str, ...]
  ids: np.ndarray
  silhouettes: np.ndarray
  camids: np.ndarray | None
  identities: tuple[identities.Identity, ...]

  @functools.cached_property
  def shown_names(self) -> tuple[str, ...]:
    """Names as they can be shown."""
    return tuple(map(printable, self.names))

  @functools.cached_property
  def row_of(self) -> dict[str, int]:
    """The row of each name."""
    return {name: row for row, name in enumerate(self.names)}

  @functools.cached_property
  def numbers(self) -> np.ndarray:
    """The number [K] of each cluster, rising; -1 first where some are in none.

    Places below are those of this list.
    """
    return np.unique(self.ids)

  @functools.cached_property
  def places(self) -> np.ndarray:
    """The place [N] of each image's cluster."""
    return np.searchsorted(self.numbers, self.ids)

  @functools.cached_property
  def sizes(self) -> np.ndarray:
    """Images [K] of each cluster."""
    return np.bincount(self.places, minlength=len(self.numbers))

  @functools.cached_property
  def means(self) -> np.ndarray:
    """The mean silhouette [K] of each cluster; NaN where not known."""
    sums = np.bincount(
      self.places, self.silhouettes, minlength=len(self.numbers)
    )
    return np.where(self.numbers == NOT_PLACED, np.nan, sums / self.sizes)

  @functools.cached_property
  def titles(self) -> list[str]:
    """What people read of each cluster."""
    return [
      'In no cluster' if i == NOT_PLACED else _title(i, self._own.get(i, ''))
      for i in self.numbers.tolist()
    ]

  @functools.cached_property
  def _own(self) -> dict[int, str]:
    return {x.id: x.name for x in self.identities}

  @functools.cached_property
  def _folded(self) -> list[str]:
    return [name.casefold() for name in self.shown_names]

  @functools.cached_property
  def _members(self) -> list[np.ndarray]:
    # The most doubtful first, those without a silhouette last.
    order = np.lexsort((self.silhouettes, self.places))
    return np.split(order, np.cumsum(self.sizes)[:-1])

  def place(self, number: int) -> int:
    """The place of a cluster.

    Raises:
      ValueError: there is none of this number.
    """
    place = int(np.searchsorted(self.numbers, number))
    if place == len(self.numbers) or self.numbers[place] != number:
      raise ValueError(
        f'cluster: there is no cluster {number} (any more); choose another'
      )
    return place

  def members(self, number: int) -> np.ndarray:
    """Rows of a cluster, the most doubtful first; as `place`."""
    return self._members[self.place(number)]

  def typical(self, number: int) -> int:
    """The row of a cluster with the highest silhouette; as `place`."""
    members = self.members(number)
    known = members[~np.isnan(self.silhouettes[members])]
    return int(known[-1] if len(known) else members[0])

  def check_row(self, row: int) -> int:
    """The row.

    Raises:
      ValueError: there is none of this number.
    """
    if not 0 <= row < len(self.names):
      raise ValueError(
        f'row: got {row}, expected 0..{len(self.names) - 1}; load the page anew'
      )
    return row

  def paths_with(self, text: str) -> np.ndarray:
    """Rows whose path has a text in it, whatever its case."""
    text = text.casefold()
    return np.flatnonzero([text in name for name in self._folded])

  def page(
    self, view: View, heights: dict[int, float] | None = None
  ) -> dict[str, Any]:
    """The clusters of one page, as JSON.

    Args:
      view: which.
      heights: of each cluster of several the score of its last merge, for the
        order 'newest'.

    Raises:
      ValueError: an order that is not known.
    """
    found = None
    keep = np.ones(len(self.numbers), bool)
    if view.path:
      found = self.paths_with(view.path)
      keep &= np.isin(np.arange(len(keep)), self.places[found])
    if view.camera is not None and self.camids is not None:
      keep &= np.isin(
        np.arange(len(keep)), self.places[self.camids == view.camera]
      )
    if view.least is not None:
      keep &= self.sizes >= view.least
    if view.most is not None:
      keep &= self.sizes <= view.most
    if view.doubt is not None:
      keep &= self.means <= view.doubt
    if view.name:
      text = view.name.casefold()
      keep &= np.array([text in title.casefold() for title in self.titles])
    chosen = self._order(view.order, heights)
    chosen = chosen[keep[chosen]]
    pages = max(1, -(-len(chosen) // CLUSTERS_A_PAGE))
    page = min(max(view.page, 0), pages - 1)
    some = chosen[page * CLUSTERS_A_PAGE : (page + 1) * CLUSTERS_A_PAGE]
    return {
      'page': page,
      'pages': pages,
      'total': int((self.numbers[chosen] != NOT_PLACED).sum()),
      'unplaced': bool((self.numbers[chosen] == NOT_PLACED).any()),
      'clusters': [self.card(int(place), found) for place in some],
    }

  def _order(self, order: str, heights: dict[int, float] | None) -> np.ndarray:
    if order == 'largest':
      key = -self.sizes.astype(float)
    elif order == 'doubtful':
      key = np.where(self.sizes > 1, self.means, np.inf)
    elif order == 'newest':
      known = heights or {}
      key = np.array([-known.get(i, -np.inf) for i in self.numbers.tolist()])
    else:
      raise ValueError(f'order: got {order!r}, expected one of {ORDERS}')
    # Those in no cluster come last; NaN before them.
    return np.lexsort((self.numbers, key, self.numbers == NOT_PLACED))

  def card(self, place: int, found: np.ndarray | None = None) -> dict[str, Any]:
    """A cluster in short; `found` are rows to show first."""
    members = self._members[place]
    shown = [int(members[i]) for i in spread(len(members), SHOWN)]
    if found is not None:
      first = found[self.places[found] == place].tolist()
      shown = [*dict.fromkeys([*first, *shown])][:SHOWN]
    mean = float(self.means[place])
    number = int(self.numbers[place])
    return {
      'id': number,
      'title': self.titles[place],
      'name': self._own.get(number, ''),
      'size': int(self.sizes[place]),
      'silhouette': None if np.isnan(mean) else round(mean, 3),
      'images': [self.image(row) for row in shown],
    }

  def image(self, row: int) -> dict[str, Any]:
    """What is known of an image, as JSON."""
    silhouette = float(self.silhouettes[row])
    return {
      'row': row,
      'path': self.shown_names[row],
      'cluster': int(self.ids[row]),
      'title': self.titles[self.places[row]],
      'camera': None if self.camids is None else int(self.camids[row]),
      'silhouette': None if np.isnan(silhouette) else round(silhouette, 3),
    }

  def cameras(self) -> list[int]:
    """All cameras, rising; none where they are not known."""
    return [] if self.camids is None else np.unique(self.camids).tolist()


def _title(number: int, name: str) -> str:
  return f'Cluster {number}' + (f', {printable(name)}' if name else '')


def read_collection(workdir: Path, rows: tuple[str, ...] = ()) -> Collection:
  """Reads the clusters of a run.

  Args:
    workdir: of the run.
    rows: names in the order that rows are to keep; by default that of the file.

  Raises:
    ValueError: clusters.csv is not there, or is no such file.
  """
  path = workdir / identities.CLUSTERS
  try:
    with path.open(
      newline='', encoding='utf-8', errors='surrogateescape'
    ) as file:
      reader = csv.DictReader(file)
      columns = reader.fieldnames or ()
      table = {r.get('tracklet') or r['path']: r for r in reader}
    known = [*table.values()]
    if rows:
      known = [table[name] for name in rows]
    ids = np.array([int(row['cluster']) for row in known], np.int64)
    silhouettes = np.full(len(known), np.nan)
    if 'silhouette' in columns:
      silhouettes[:] = [float(r['silhouette'] or 'nan') for r in known]
    camids = None
    if 'camid' in columns:
      camids = np.array([int(row['camid']) for row in known], np.int64)
  except FileNotFoundError as error:
    raise ValueError(
      f'workdir: {path} does not exist; a training writes it at its end, and '
      '`dbc report` at any time after a stage'
    ) from error
  except (OSError, KeyError, TypeError, ValueError, csv.Error) as error:
    raise ValueError(
      f'{path}: cannot be read as clusters ({type(error).__name__}: {error}); '
      '`dbc report` writes it anew'
    ) from error
  if not known:
    raise ValueError(f'{path}: lists no images; `dbc report` writes it anew')
  listed = identities.read(workdir)
  if listed is None:
    listed = [
      identities.Identity(None, int(i)) for i in np.unique(ids[ids >= 0])
    ]
  return Collection(
    rows or tuple(table), ids, silhouettes, camids, tuple(listed)
  )
