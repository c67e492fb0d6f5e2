"""What a person said on the page, and how it is taken back.

A wrong "same" unites whole clusters, a wrong "different" keeps two images
apart. So a merge links clusters by one image of each, and what is taken out or
split is told apart image by image. Of answers that exclude each other the
latest holds, and the page says so.
"""

import collections
import threading
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from dbc_jax.run import corrections as files
from dbc_jax.run.corrections import Correction


class Step(NamedTuple):
  """What an undo takes back.

  Attributes:
    title: what it was.
    back: takes it back.
  """

  title: str
  back: Callable[[], None]


class Said:
  """Corrections as a graph: who is one with whom, and who is not."""

  def __init__(self, corrections: Sequence[Correction]):
    """Follows the chains of `same`."""
    self._parents: dict[str, str] = {}
    self.sizes = collections.Counter[str]()
    for each in corrections:
      if each.same:
        self._parents[self.root(each.a)] = self.root(each.b)
    linked = {x for each in corrections if each.same for x in (each.a, each.b)}
    for name in linked:
      self.sizes[self.root(name)] += 1
    self._apart = {
      frozenset(map(self.root, (each.a, each.b)))
      for each in corrections
      if not each.same
    }

  def root(self, name: str) -> str:
    """One image that stands for all that are one with this."""
    parents = self._parents
    while (parent := parents.get(name, name)) != name:
      parents[name] = name = parents.get(parent, parent)
    return name

  def size(self, name: str) -> int:
    """How many are one with an image, itself included."""
    return max(1, self.sizes[self.root(name)])

  def same(self, a: str, b: str) -> bool:
    """Whether it was said, or follows, that two are one."""
    return self.root(a) == self.root(b)

  def known(self, a: str, b: str) -> bool:
    """Whether it was said, or follows, what two are."""
    roots = frozenset((self.root(a), self.root(b)))
    return len(roots) == 1 or roots in self._apart


class Answers:
  """corrections.csv and cannot_tell.csv of a workdir, and what came when."""

  def __init__(
    self, workdir: Path, digest: Callable[[str], str] = lambda name: ''
  ):
    """Reads both.

    Args:
      workdir: of the run.
      digest: of the image of a name, '' where it is not known.

    Raises:
      ValueError: as `read_corrections`.
    """
    self._path = workdir / files.NAME
    self._unsure_path = workdir / files.UNSURE
    self._digest = digest
    self._stamp: object = ()
    self._reading = threading.Lock()
    self._known: list[Correction] = []
    self._graph: tuple[list[Correction], Said] = ([], Said([]))
    self._unsure = files.read_unsure(self._unsure_path)
    self.steps: list[Step] = []
    self.all()

  def all(self) -> list[Correction]:
    """What the file holds, which a person may write in by hand."""
    with self._reading:
      try:
        status = self._path.stat()
        stamp = status.st_mtime_ns, status.st_size, status.st_ino
      except OSError:
        stamp = None
      if stamp != self._stamp:
        self._known = files.read_corrections(self._path)
        self._stamp = stamp
      return self._known

  @property
  def said(self) -> Said:
    """The graph of what `all` gave last."""
    # Other threads may read the file meanwhile: the two go together.
    known, graph = self._known, self._graph
    if graph[0] is not known:
      graph = self._graph = known, Said(known)
    return graph[1]

  def unsure(self) -> set[frozenset[str]]:
    """Pairs of which it was said that nobody can tell."""
    return {frozenset(pair) for pair in self._unsure}

  def cannot_tell(self, a: str, b: str) -> None:
    """Keeps that nobody can tell whether two are one."""
    self._write_unsure([*self._unsure, (a, b)])
    self.steps.append(
      Step(
        'cannot tell',
        lambda: self._write_unsure([x for x in self._unsure if x != (a, b)]),
      )
    )

  def _write_unsure(self, pairs: list[tuple[str, str]]) -> None:
    files.write_unsure(self._unsure_path, pairs)
    self._unsure = pairs

  def pair(self, a: str, b: str, *, same: bool) -> int:
    """Says what two images are; see `merge`."""
    if same:
      return self.merge([a, b], title='same')
    return self._say('not the same', [Correction(a, b, False)])

  def merge(self, names: Sequence[str], *, title: str) -> int:
    """Says that some images are one person.

    Args:
      names: of images, such as one of each cluster.
      title: what it was, for an undo.

    Returns:
      How many answers to the contrary it takes the place of.
    """
    self.all()
    said = self.said
    linked = {said.root(names[0])}
    new = []
    for name in names[1:]:
      if said.root(name) not in linked:
        linked.add(said.root(name))
        new.append(Correction(names[0], name, True))
    against = [
      x
      for x in self._known
      if not x.same and {said.root(x.a), said.root(x.b)} <= linked
    ]
    return self._say(title, new, against)

  def take_out(
    self, names: Sequence[str], stay: Sequence[str], *, title: str
  ) -> int:
    """Says that images are of none of those that stay; as `merge`.

    Args:
      names: of the images that go.
      stay: of those that stay.
      title: as there.
    """
    self.all()
    gone, held = {*names}, {self.said.root(name) for name in stay}
    against = [
      x
      for x in self._known
      if x.same and len({x.a, x.b} & gone) == 1 and self.said.root(x.a) in held
    ]
    new = self._kept_together(against, gone)
    out = {*against}
    left = [x for x in self._known if x not in out]
    said = Said([*left, *new])
    firsts = {said.root(name): name for name in reversed(stay)}
    new += [
      Correction(name, other, False)
      for name in names
      for other in firsts.values()
      if not said.known(name, other)
    ]
    return self._say(title, new, against)

  def split(self, parts: Sequence[Sequence[str]], *, title: str) -> int:
    """Says that the parts of a cluster are as many persons; as `merge`.

    Each image is told apart from the first of every other part.
    """
    self.all()
    part_of = {name: i for i, part in enumerate(parts) for name in part}
    spread: dict[str, set[int]] = collections.defaultdict(set)
    for name, i in part_of.items():
      spread[self.said.root(name)].add(i)

    def crosses(each: Correction) -> bool:
      ends = part_of.get(each.a), part_of.get(each.b)
      if None not in ends:
        return each.same and ends[0] != ends[1]
      # By way of an image elsewhere; the first part keeps those.
      is_other = any(end for end in ends)
      return each.same and is_other and len(spread[self.said.root(each.a)]) > 1

    against = [x for x in self._known if crosses(x)]
    ways = [x for x in against if not {x.a, x.b} <= part_of.keys()]
    new = self._kept_together(ways, part_of.keys())
    out = {*against}
    said = Said([*(x for x in self._known if x not in out), *new])
    told = {
      frozenset((name, other[0])): Correction(name, other[0], False)
      for i, part in enumerate(parts)
      for j, other in enumerate(parts)
      for name in part
      if i != j and not said.known(name, other[0])
    }
    return self._say(title, [*new, *told.values()], against)

  def _kept_together(
    self, gone: Sequence[Correction], names: Collection[str]
  ) -> list[Correction]:
    """Links anew what links to `names` held together, without these."""
    near: dict[str, list[str]] = collections.defaultdict(list)
    for each in gone:
      other = each.b if each.a in names else each.a
      near[self.said.root(other)].append(other)
    return [
      Correction(others[0], other, True)
      for others in near.values()
      for other in dict.fromkeys(others)
      if other != others[0]
    ]

  def _say(
    self,
    title: str,
    new: Iterable[Correction],
    against: Sequence[Correction] = (),
  ) -> int:
    """Writes new answers in place of others; how many these were."""
    added = [*map(self._with_digests, new)]
    self._write(added, against)
    self.steps.append(Step(title, lambda: self._write(against, added)))
    return len(against)

  def _write(
    self, new: Sequence[Correction], gone: Sequence[Correction]
  ) -> None:
    out = {*gone}
    both = [*(x for x in self.all() if x not in out), *new]
    files.check(both, self._path)
    files.write_corrections(self._path, both)
    self.all()

  def _with_digests(self, each: Correction) -> Correction:
    return Correction(
      each.a, each.b, each.same, self._digest(each.a), self._digest(each.b)
    )

  def undo(self) -> str:
    """Takes the last answer back, and says which it was.

    Raises:
      ValueError: there is none.
    """
    if self.steps:
      self.steps[-1].back()
      return self.steps.pop().title
    if not self.all():
      raise ValueError('undo: there is no answer to take back')
    # Of an earlier session: what belonged together is not known any more.
    last = self._known[-1]
    self._write([], [last])
    return str(last)
