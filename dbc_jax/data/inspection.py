"""Facts about a data set, from its lists and from its pixels."""

import collections
import dataclasses
import hashlib
import itertools
from collections.abc import Iterator, Mapping

import numpy as np

from dbc_jax.data import loading, oddities
from dbc_jax.data.readers.release import WORDS
from dbc_jax.data.samples import (
  DISTRACTOR_PID,
  JUNK_PID,
  SPLITS,
  Dataset,
  GroundTruth,
  Samples,
)


@dataclasses.dataclass(frozen=True)
class SplitFacts:
  """What the lists say of one split; numbers are of images or tracklets."""

  samples: int
  lengths: np.ndarray | None  # [samples] frames of tracklets; None for images.
  persons: (
    list[int] | None
  )  # Pids of somebody, in order; None if none is known.
  unknown: int  # In training, of pid -1.
  junk: int  # In query and gallery, of pid -1.
  distractors: int  # Of pid 0, where only the gallery has that pid.
  unqueried: int  # In the gallery, of persons who are no query's.
  cameras: dict[int, int] | None  # Of each camera, by camid; None without.


@dataclasses.dataclass(frozen=True)
class QueryFacts:
  """Which queries can be scored."""

  queries: int
  absent: int  # Those whose person is not in the gallery.
  # Those whose person is there from their own camera alone; the camera rule
  # leaves nothing of them. 0 without cameras.
  same_camera: int
  has_cameras: bool  # Whether the camera rule can be applied at all.

  @property
  def matched(self) -> int:
    return self.queries - self.absent - self.same_camera


@dataclasses.dataclass(frozen=True)
class ListFacts:
  """What is known before anything is decoded."""

  splits: dict[str, SplitFacts]  # 'train' first; empty ones are left out.
  shared: list[int]  # Pids both in training and in query or gallery.
  # 'training' and 'test' (query and gallery) to the number of samples of each
  # of their persons, in order of pid; only where there are identities. Junk
  # and distractors are no persons, and a sample that is both a query and in the
  # gallery counts once.
  per_person: dict[str, np.ndarray]
  queries: QueryFacts | None  # None where there is nothing to score.

  @property
  def unit(self) -> str:
    is_video = any(facts.lengths is not None for facts in self.splits.values())
    return 'tracklets' if is_video else 'images'


@dataclasses.dataclass(frozen=True)
class PixelFacts:
  """What is known after everything is decoded."""

  files: int  # Decoded; one that is in two splits counts once.
  unreadable: list[str]  # What is wrong with each file that cannot be read.
  sizes: dict[tuple[int, int], int]  # Files by (height, width), most first.
  duplicates: list[list[str]]  # Names with equal pixels, group by group.
  repaired: list[str]  # Each damaged JPEG that was repaired, and how.
  blank: list[str]  # Names of images of a single colour.
  copies: list[tuple[str, str]]  # A query and its equal in the gallery.


def inspect_lists(dataset: Dataset, truth: GroundTruth) -> ListFacts:
  """Counts samples, persons and cameras; decodes nothing."""
  given = {name: samples for name in SPLITS if len(samples := dataset.of(name))}
  pids = {name: truth.of(name)[0] for name in given}
  known = {name: set(p.tolist()) for name, p in pids.items() if p is not None}
  not_persons = {JUNK_PID}
  if not any(DISTRACTOR_PID in known.get(s, ()) for s in ('train', 'query')):
    not_persons.add(DISTRACTOR_PID)
  splits = {}
  for name, samples in given.items():
    column, camids = truth.of(name)
    persons, strangers = None, set()
    if name in known:
      persons = sorted(known[name] - not_persons)
      if name == 'gallery':
        strangers = set(persons) - known['query']
    splits[name] = SplitFacts(
      samples=len(samples),
      lengths=None if samples.starts is None else np.diff(samples.starts),
      persons=persons,
      unknown=_count(column, {JUNK_PID}) if name == 'train' else 0,
      junk=_count(column, {JUNK_PID}) if name != 'train' else 0,
      distractors=_count(column, not_persons - {JUNK_PID}),
      unqueried=_count(column, strangers),
      cameras=None
      if camids is None
      else dict(collections.Counter(camids.tolist())),
    )
  persons = {name: set(facts.persons or ()) for name, facts in splits.items()}
  train = persons.pop('train', set())
  return ListFacts(
    splits=splits,
    shared=sorted(train & set().union(*persons.values())),
    per_person=_per_person(given, pids, not_persons),
    queries=_inspect_queries(truth) if truth.can_evaluate else None,
  )


def inspect_pixels(dataset: Dataset) -> PixelFacts:
  """Decodes every file once, on several threads, with one progress bar."""
  places: dict[str, tuple[Samples, int]] = {}
  for name in SPLITS:
    samples = dataset.of(name)
    for frame in range(samples.num_frames):
      places.setdefault(samples.frame_name(frame), (samples, frame))
  where = list(places.values())

  def read(index: int) -> np.ndarray:
    samples, frame = where[index]
    return samples.read(frame)

  shapes: dict[int, tuple[int, int]] = {}
  digests: dict[int, bytes] = {}
  blank: list[int] = []

  def visit(index: int, image: np.ndarray) -> None:
    shapes[index] = image.shape[:2]
    digest = hashlib.blake2b(repr(image.shape).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(image).data)
    digests[index] = digest.digest()
    if oddities.is_blank(image):
      blank.append(index)

  files = Samples(tuple(places), read)
  repaired: list[str] = []
  unreadable = loading.for_each_frame(files, None, visit, repaired)
  sizes = collections.Counter(shapes[index] for index in sorted(shapes))
  groups = collections.defaultdict(list)
  for index in sorted(digests):
    groups[digests[index]].append(files.names[index])
  return PixelFacts(
    files=len(files),
    unreadable=[*unreadable.values()],
    sizes=dict(sizes.most_common()),
    duplicates=[group for group in groups.values() if len(group) > 1],
    repaired=repaired,
    blank=[files.names[index] for index in sorted(blank)],
    copies=_copies(dataset, groups),
  )


def _copies(
  dataset: Dataset, groups: Mapping[bytes, list[str]]
) -> list[tuple[str, str]]:
  """Queries whose pixels another file of the gallery has."""
  query, gallery = (
    {samples.frame_name(frame) for frame in range(samples.num_frames)}
    for samples in (dataset.query, dataset.gallery)
  )
  found = []
  for group in groups.values():
    others = [name for name in group if name in gallery]
    for name in group:
      twin = next((other for other in others if other != name), None)
      if name in query and twin is not None:
        found.append((name, twin))
  return found


def compare_sizes(
  facts: ListFacts, official: Mapping[str, int]
) -> dict[str, tuple[int, int]]:
  """Each key of a release's sizes to (found, official).

  0 were found of what is not counted here.
  """
  found = {}
  for name, split in facts.splits.items():
    found[f'{WORDS[name]} {facts.unit}'] = split.samples
    found[f'{WORDS[name]} identities'] = len(split.persons or ())
    found[f'junk {facts.unit} in the {name}'] = split.junk
  return {
    what: (found.get(what, 0), number) for what, number in official.items()
  }


def _count(column: np.ndarray | None, values: set[int]) -> int:
  """How many entries are one of the values."""
  return 0 if column is None else int(np.isin(column, [*values]).sum())


def _per_person(
  given: dict[str, Samples],
  pids: dict[str, np.ndarray | None],
  not_persons: set[int],
) -> dict[str, np.ndarray]:
  counts = {}
  for group, names in (('training', ['train']), ('test', ['query', 'gallery'])):
    of_sample = {
      given[name].frame_name(int(first)): pid
      for name in names
      if (column := pids.get(name)) is not None
      for first, pid in zip(given[name].bounds, column.tolist(), strict=False)
      if pid not in not_persons
    }
    if of_sample:
      counts[group] = np.unique([*of_sample.values()], return_counts=True)[1]
  return counts


def _inspect_queries(truth: GroundTruth) -> QueryFacts:
  has_cameras = (
    truth.query_camids is not None and truth.gallery_camids is not None
  )
  cameras_of = collections.defaultdict(set)
  for pid, camid in _pairs(*truth.of('gallery')):
    if pid != JUNK_PID:
      cameras_of[pid].add(camid)
  absent = same_camera = 0
  queries = list(_pairs(*truth.of('query')))
  for pid, camid in queries:
    absent += pid not in cameras_of
    same_camera += has_cameras and cameras_of.get(pid) == {camid}
  return QueryFacts(len(queries), absent, same_camera, has_cameras)


def _pairs(
  pids: np.ndarray | None, camids: np.ndarray | None
) -> Iterator[tuple[int, int | None]]:
  if pids is None:
    return iter(())
  if camids is None:
    return zip(pids.tolist(), itertools.repeat(None), strict=False)
  return zip(pids.tolist(), camids.tolist(), strict=True)
