"""What the page asks for and says, as functions of JSON.

They are called by several threads. What changes something waits for its turn.
"""

import base64
import binascii
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from dbc_jax.data.samples import printable
from dbc_jax.labels import NOT_PLACED
from dbc_jax.review import collection as clusters
from dbc_jax.review.answers import Answers, Step
from dbc_jax.review.background import Background
from dbc_jax.review.collection import Collection, View
from dbc_jax.review.parameters import real, whole, whole_numbers
from dbc_jax.review.pending import Pending, pending_of
from dbc_jax.review.pictures import Pictures
from dbc_jax.review.server import Answer, Route
from dbc_jax.run import identities

_ICON = b"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16">
<circle cx="5" cy="6" r="4" fill="#2563c9"/>
<circle cx="11" cy="10" r="4" fill="#c9632b"/></svg>"""
_FOUND = 60  # Images that a search shows.
_MOST_SIGNS = 200  # Of a name.
_MOST_MOVED = 3  # Images that are named of those that moved together.


class Session:
  """One person's look at the clusters of one workdir."""

  def __init__(
    self,
    workdir: Path,
    pictures: Callable[[Collection], Pictures],
    background: Callable[[Collection], Background],
    *,
    check: Callable[[], None] = lambda: None,
  ):
    """Reads clusters and answers.

    Args:
      workdir: of a run, which the caller holds.
      pictures: of the images of a collection.
      background: what needs the network, or the features.
      check: raises ValueError if the workdir is another's by now.

    Raises:
      ValueError: the workdir has no clusters, or a file of it is damaged.
    """
    self.lock = threading.RLock()
    self._check = check
    self._workdir = workdir
    self.collection = clusters.read_collection(workdir)
    self.pictures = pictures(self.collection)
    self.answers = Answers(workdir, self.pictures.digest)
    threading.Thread(target=self.pictures.open, daemon=True).start()
    self.background = background(self.collection)
    self._seen: tuple[Any, ...] = (None, None, None)

  def gets(self) -> dict[str, Route]:
    """What may be asked for, by name."""
    return {
      'state': self.state,
      'clusters': self.clusters,
      'cluster': self.cluster,
      'small': lambda q: self._picture(self.pictures.small, q),
      'large': lambda q: self._picture(self.pictures.large, q),
      'like': self.like,
      'question': self.question,
      'parts': self.parts,
      'icon': lambda _: Answer(_ICON, 'image/svg+xml'),
    }

  def posts(self) -> dict[str, Route]:
    """What may be said, by name."""
    routes = ('pair', 'merge', 'take_out', 'split', 'name', 'undo', 'recluster')
    said = {name: self._in_turn(getattr(self, name)) for name in routes}
    # A picture is too much for an address.
    return said | {'find': self.find}

  def _in_turn(self, route: Route) -> Route:
    def call(given: dict[str, Any]) -> Any:
      with self.lock:
        self._check()
        return route(given)

    return call

  # What is looked at.

  def state(self, _: dict[str, Any]) -> dict[str, Any]:
    """What every view shows."""
    known = self.answers.all()
    steps = self.answers.steps
    return {
      'workdir': printable(str(self._workdir)),
      'images': len(self.collection.names),
      'clusters': int((self.collection.numbers != NOT_PLACED).sum()),
      'cameras': self.collection.cameras(),
      'same': sum(1 for x in known if x.same),
      'different': sum(1 for x in known if not x.same),
      'pending': self._pending().count,
      'undo': steps[-1].title if steps else None,
      'pictures': self.pictures.fault,
      'background': self.background.state,
      'newest': self.background.heights is not None,
    }

  def clusters(self, given: dict[str, Any]) -> dict[str, Any]:
    """A page of clusters."""
    view = View(
      order=str(given.get('order', 'largest')),
      page=whole(given, 'page', 0),
      camera=whole(given, 'camera', None),
      least=whole(given, 'least', None),
      most=whole(given, 'most', None),
      doubt=real(given, 'doubt'),
      name=str(given.get('name', '')),
      path=str(given.get('path', '')),
    )
    found = self.collection.page(view, self.background.heights)
    marks = self._pending().marks
    for card in found['clusters']:
      card['marks'] = marks.get(card['id'], [])
    return found

  def cluster(self, given: dict[str, Any]) -> dict[str, Any]:
    """A cluster with a page of its images."""
    shown = self.collection
    number = whole(given, 'id')
    members = shown.members(number)
    size = clusters.IMAGES_A_PAGE
    pages = -(-len(members) // size)
    page = min(max(whole(given, 'page', 0), 0), pages - 1)
    pending = self._pending()
    images = [
      shown.image(row) | {'apart': row in pending.apart}
      for row in members[page * size : (page + 1) * size].tolist()
    ]
    return shown.card(shown.place(number)) | {
      'page': page,
      'pages': pages,
      'images': images,
      'marks': pending.marks.get(number, []),
    }

  def _picture(
    self, make: Callable[[int], bytes], given: dict[str, Any]
  ) -> Answer:
    return Answer(make(self._row(given, 'row')), 'image/jpeg')

  def like(self, given: dict[str, Any]) -> dict[str, Any]:
    """The images that are most like one of the run."""
    row = self._row(given, 'row')
    found = self.background.like(row, _FOUND + 1)
    return self._matches([x for x in found if x[0] != row][:_FOUND]) | {
      'query': self.collection.image(row)
    }

  def find(self, given: dict[str, Any]) -> dict[str, Any]:
    """The images that are most like a picture that is sent."""
    try:
      data = base64.b64decode(str(given.get('picture', '')), validate=True)
    except (binascii.Error, ValueError) as error:
      raise ValueError('picture: expected a file of an image') from error
    return self._matches(self.background.find(data, _FOUND))

  def _matches(
    self, found: list[tuple[int, float, float | None]]
  ) -> dict[str, Any]:
    return {
      'images': [
        self.collection.image(row)
        | {
          'distance': round(distance, 3),
          'probability': None if known is None else round(known, 3),
        }
        for row, distance, known in found
      ]
    }

  def question(self, _: dict[str, Any]) -> dict[str, Any]:
    """The pair whose answer matters most, or none."""
    with self.lock:
      known, unsure = self.answers.all(), self.answers.unsure()
    places = self.collection.row_of
    unsure_rows = [
      (places[a], places[b])
      for a, b in map(sorted, unsure)
      if a in places and b in places
    ]
    asked = self.background.question(known, unsure_rows)
    if asked is None:
      return {'pair': None}
    a, b, probability = asked
    return {
      'pair': [self.collection.image(a), self.collection.image(b)],
      'probability': None if probability is None else round(probability, 3),
    }

  def parts(self, given: dict[str, Any]) -> dict[str, Any]:
    """A cluster cut into some parts along its own tree; none is changed."""
    parts = self._parts(given)
    return {
      'parts': [
        {
          'size': len(part),
          'images': [self.collection.image(row) for row in part[:12]],
        }
        for part in parts
      ]
    }

  def _parts(self, given: dict[str, Any]) -> list[list[int]]:
    number, count = whole(given, 'id'), whole(given, 'count')
    members = self.collection.members(number)
    if number == NOT_PLACED:
      raise ValueError('split: these images are in no cluster')
    if len(members) < 2:
      raise ValueError('split: a cluster of one image has no parts')
    if not 2 <= count <= len(members):
      raise ValueError(
        f'split: got {count} parts, expected 2..{len(members)}, its images'
      )
    return self.background.parts(members, count)

  def _row(self, given: dict[str, Any], key: str) -> int:
    return self.collection.check_row(whole(given, key))

  def _names(self, rows: Any) -> list[str]:
    return [self.collection.names[row] for row in rows]

  # What is said.

  def pair(self, given: dict[str, Any]) -> dict[str, Any]:
    """Two images are same, different, or nobody can tell."""
    rows = [self._row(given, 'a'), self._row(given, 'b')]
    if rows[0] == rows[1]:
      raise ValueError('pair: got one image twice, expected two')
    a, b = self._names(rows)
    answer = given.get('answer')
    if answer == 'unknown':
      self.answers.cannot_tell(a, b)
      return self._done('Kept: cannot tell')
    if answer not in ('same', 'different'):
      raise ValueError(
        f'answer: got {answer!r}, expected same, different or unknown'
      )
    count = self.answers.pair(a, b, same=answer == 'same')
    said = 'the same person' if answer == 'same' else 'not the same'
    return self._done(f'Kept: {said}', count)

  def merge(self, given: dict[str, Any]) -> dict[str, Any]:
    """Some clusters are one person."""
    ids = [*dict.fromkeys(whole_numbers(given, 'clusters'))]
    if len(ids) < 2:
      raise ValueError('merge: choose two clusters or more')
    if NOT_PLACED in ids:
      raise ValueError('merge: the images in no cluster are no one person')
    names = self._names(self.collection.typical(number) for number in ids)
    told = ', '.join(map(str, ids))
    count = self.answers.merge(names, title=f'clusters {told} are one')
    return self._done(f'Kept: clusters {told} are one person', count)

  def take_out(self, given: dict[str, Any]) -> dict[str, Any]:
    """Some images are not of the person of their cluster."""
    rows = [self.collection.check_row(x) for x in whole_numbers(given, 'rows')]
    rows = [*dict.fromkeys(rows)]
    owners = {int(self.collection.ids[row]) for row in rows}
    if len(owners) != 1 or NOT_PLACED in owners:
      raise ValueError('take out: choose images of one cluster')
    (number,) = owners
    gone = {*rows}
    stay = [
      x for x in self.collection.members(number).tolist() if x not in gone
    ]
    if not stay:
      raise ValueError(
        'take out: all images of the cluster are chosen; leave one or more'
      )
    what = f'{_count(len(rows), "image")} out of cluster {number}'
    count = self.answers.take_out(
      self._names(rows), self._names(stay), title=what
    )
    return self._done(f'Kept: {what}', count)

  def split(self, given: dict[str, Any]) -> dict[str, Any]:
    """The parts of a cluster, as `parts` shows them, are as many persons."""
    parts = [self._names(part) for part in self._parts(given)]
    what = f'cluster {given["id"]} in {len(parts)} parts'
    count = self.answers.split(parts, title=what)
    return self._done(f'Kept: {what}', count)

  def name(self, given: dict[str, Any]) -> dict[str, Any]:
    """Names a cluster, in identities.csv."""
    number = whole(given, 'id')
    self.collection.place(number)
    if number == NOT_PLACED:
      raise ValueError('name: these images are in no cluster')
    name = ' '.join(str(given.get('name', '')).split())
    if len(name) > _MOST_SIGNS:
      raise ValueError(
        f'name: got {len(name)} characters, expected at most {_MOST_SIGNS}'
      )
    if not name.isprintable():
      raise ValueError('name: holds a sign that cannot be shown')
    before = {x.id: x.name for x in self.collection.identities}.get(number, '')
    self._rename(number, name)
    self.answers.steps.append(
      Step(
        f'the name of cluster {number}', lambda: self._rename(number, before)
      )
    )
    return self._done(
      f'Cluster {number} is {name}' if name else f'Cluster {number}: no name'
    )

  def _rename(self, number: int, name: str) -> None:
    listed = identities.read(self._workdir)
    if listed is None:
      listed = [x._replace(cluster=x.id) for x in self.collection.identities]
    identities.write(
      self._workdir,
      [x._replace(name=name) if x.id == number else x for x in listed],
    )
    self._read_again()

  def undo(self, _: dict[str, Any]) -> dict[str, Any]:
    """Takes back what was said last."""
    return self._done(f'Taken back: {printable(self.answers.undo())}')

  def recluster(self, _: dict[str, Any]) -> dict[str, Any]:
    """Clusters again with all answers, and tells what moved."""
    before = self.collection
    unknown = self.background.recluster(self.answers.all(), self._read_again)
    now = self.collection
    moved = np.flatnonzero(before.ids != now.ids)
    text = f'{_count(len(moved), "image")} of {len(now.names):,} moved'
    if unknown:
      text += f'; {_count(unknown, "answer")} left out, of images not here'
    groups: dict[tuple[str, str], list[int]] = {}
    for row in moved.tolist():
      way = before.titles[before.places[row]], now.titles[now.places[row]]
      groups.setdefault(way, []).append(row)
    return self._done(text) | {
      'moved': [
        {
          'before': way[0],
          'now': way[1],
          'count': len(rows),
          'paths': [now.shown_names[row] for row in rows[:_MOST_MOVED]],
        }
        for way, rows in groups.items()
      ],
      'count': len(moved),
      'clusters': [len(np.unique(x.ids[x.ids >= 0])) for x in (before, now)],
    }

  def _read_again(self) -> Collection:
    rows = self.collection.names
    self.collection = clusters.read_collection(self._workdir, rows)
    return self.collection

  def _done(self, text: str, replaced: int = 0) -> dict[str, Any]:
    if replaced:
      text += f'; {_count(replaced, "earlier answer")} to the contrary went'
    return {'said': text, 'state': self.state({})}

  def _pending(self) -> Pending:
    self.answers.all()
    seen, key = self._seen, (self.answers.said, self.collection)
    if seen[1:] != key:
      # By what was there before: an answer meanwhile is looked for again.
      seen = self._seen = pending_of(self.answers, key[1]), *key
    return seen[0]


def _count(number: int, what: str) -> str:
  return f'{number:,} {what}' + ('' if number == 1 else 's')
