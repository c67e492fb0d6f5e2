"""identities.csv: numbers and names that clusters keep, whatever comes later.

Labels are contiguous, and another clustering numbers its own anew. A person
who wrote down "cluster 12" wants the same images under it tomorrow: that is an
id. The first clustering of a workdir gives ids, later ones take them over.
"""

import collections
import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dbc_jax.labels import NOT_PLACED
from dbc_jax.reporting import write_table

NAME, CLUSTERS, MOVED = 'identities.csv', 'clusters.csv', 'moved.csv'


class Identity(NamedTuple):
  """One row of the file.

  Attributes:
    cluster: the label of its images; None where it has none any more.
    id: its number, which never changes and is never given again.
    name: as its user wrote it; '' for none.
    merged_into: the id that its images have now, where another took them in.
  """

  cluster: int | None
  id: int
  name: str = ''
  merged_into: int | None = None


def first(num_clusters: int) -> list[Identity]:
  """Of a first clustering: ids are its labels."""
  return [Identity(label, label) for label in range(num_clusters)]


def follow(
  before: Sequence[Identity], old: np.ndarray, labels: np.ndarray
) -> list[Identity]:
  """The identities of a new clustering, taken over from the one before.

  An old cluster goes to the new one that holds most of its images. Of several
  that go to the same one, that with the most images there keeps its id. The
  others, where more than half of their images are there, are merged into it.
  A new cluster to which none goes gets a new id.

  Args:
    before: of the clustering before.
    old: [N] int, the ids of images there; -1 for one in none, or not there.
    labels: [N] int32, those of the new clustering.

  Returns:
    One a cluster in the order of labels, then those without a cluster of
    their own.
  """
  count = int(labels.max(initial=-1)) + 1
  listed = [x.id for x in before]
  # A kill between the two files leaves ids that are in one alone.
  before = [
    *before,
    *(Identity(None, int(i)) for i in np.setdiff1d(old, [NOT_PLACED, *listed])),
  ]
  living = [x for x in before if x.merged_into is None]
  # Of each old cluster, how many of its images each new one has.
  holds: dict[int, collections.Counter[int]]
  holds = collections.defaultdict(collections.Counter)
  for was, label in zip(old.tolist(), labels.tolist(), strict=True):
    holds[was][label] += 1
  keeper: dict[int, tuple[int, Identity]] = {}
  goes: list[tuple[Identity, int | None]] = []
  for identity in living:
    own = holds[identity.id]
    there = [(-n, label) for label, n in own.items() if label != NOT_PLACED]
    most, target = min(there, default=(0, NOT_PLACED))
    if -most > keeper.get(target, (0, None))[0]:
      keeper[target] = -most, identity
    goes.append((identity, target if -2 * most > own.total() else None))
  fresh = 1 + max((x.id for x in before), default=-1)
  found = []
  for label in range(count):
    if label in keeper:
      identity = keeper[label][1]
      found.append(identity._replace(cluster=label))
    else:
      found.append(Identity(label, fresh))
      fresh += 1
  kept = {x.id for x in found}
  now: dict[int, int] = {}  # From an id that ended to the one it is in.
  for identity, target in goes:
    if identity.id in kept:
      continue
    if target is None:
      found.append(identity._replace(cluster=None))
    else:
      now[identity.id] = found[target].id
      found.append(
        identity._replace(cluster=target, merged_into=found[target].id)
      )
  place = {x.id: x for x in found}
  for identity in before:
    if identity.merged_into is not None:
      into = now.get(identity.merged_into, identity.merged_into)
      cluster = place[into].cluster if into in place else None
      found.append(identity._replace(cluster=cluster, merged_into=into))
  return found


def after(
  workdir: Path, names: Sequence[str], labels: np.ndarray
) -> tuple[list[Identity], list[tuple[str, int, int]]]:
  """The identities of new clusters, by what a workdir holds of earlier ones.

  Args:
    workdir: whose identities.csv and clusters.csv are of the clusters before,
      if they are there.
    names: N, of the images.
    labels: [N] int32, their new clusters.

  Returns:
    What is to be written; and of each image that was in a cluster and has
    another id now its name, that id and the new one, -1 for none.

  Raises:
    ValueError: as `read`; or identities.csv is there and clusters.csv is not.
  """
  before = read(workdir)
  if before is None:
    return first(int(labels.max(initial=-1)) + 1), []
  path = workdir / CLUSTERS
  try:
    with path.open(newline='', errors='surrogateescape') as file:
      rows = {
        row.get('tracklet') or row['path']: int(row['cluster'])
        for row in csv.DictReader(file)
      }
  except (OSError, KeyError, TypeError, ValueError) as error:
    raise ValueError(
      f'{workdir / NAME}: its clusters are those of {path}, which cannot be '
      'read; bring that file back, or move this one away to begin its ids anew'
    ) from error
  was = np.array([rows.get(name, NOT_PLACED) for name in names])
  found = follow(before, was, labels)
  now = ids_of(found, labels)
  merged = {x.id: x.merged_into for x in found}
  return found, [
    (names[i], int(was[i]), int(now[i]))
    for i in np.flatnonzero((was >= 0) & (was != now)).tolist()
    if merged.get(int(was[i])) != now[i]
  ]


def numbers(
  workdir: Path, names: Sequence[str], labels: np.ndarray
) -> np.ndarray:
  """The numbers [N] of the kept stage's clusters, as people know them.

  Where the files are of other clusters, because the run has gone on since, they
  are those that its end would give.

  Args:
    workdir: of the run.
    names: N, of the images.
    labels: [N] int32, of that stage; -1 for an image in none.

  Raises:
    ValueError: as `after`.
  """
  return ids_of(after(workdir, names, labels)[0], labels)


def titles(identities: Sequence[Identity]) -> list[str]:
  """What people read of each cluster, in the order of labels."""
  own = {x.cluster: x for x in identities if x.merged_into is None}
  count = sum(1 for label in own if label is not None)
  living = [own[label] for label in range(count)]
  return [f'Cluster {x.id}{x.name and ", " + x.name}' for x in living]


def ids_of(identities: Sequence[Identity], labels: np.ndarray) -> np.ndarray:
  """The id [N] int of each image; -1 for one in no cluster."""
  own = {x.cluster: x.id for x in identities if x.merged_into is None}
  return np.array([own.get(int(label), -1) for label in labels], np.int32)


def write(workdir: Path, identities: Sequence[Identity]) -> None:
  """Replaces the file as a whole."""
  write_table(workdir / NAME, [Identity._fields, *identities])


def write_moved(workdir: Path, moved: Sequence[tuple[str, int, int]]) -> None:
  """Writes moved.csv: what `after` tells of images."""
  write_table(workdir / MOVED, [('path', 'before', 'now'), *moved])


def read(workdir: Path) -> list[Identity] | None:
  """What is in a workdir; None where there is no file.

  Raises:
    ValueError: a row is not as `write` writes it; names the line.
  """
  path = workdir / NAME
  try:
    text = path.read_text(encoding='utf-8-sig')
  except FileNotFoundError:
    return None
  except (OSError, UnicodeDecodeError) as error:
    raise ValueError(f'{path}: cannot be read, {error}') from error
  found = []
  rows = csv.DictReader(io.StringIO(text))
  missing = {'cluster', 'id'} - set(rows.fieldnames or ())
  if missing:
    raise ValueError(
      f'{path}: lacks the column {", ".join(sorted(missing))}; delete the file '
      'and `dbc report` writes it anew, without names'
    )
  for row in rows:
    try:
      found.append(
        Identity(
          _number(row['cluster']),
          int(row['id']),
          row.get('name') or '',
          _number(row.get('merged_into')),
        )
      )
    except (TypeError, ValueError) as error:
      raise ValueError(
        f'{path}, line {rows.line_num}: expected whole numbers for cluster '
        f'and id, got {row["cluster"]!r} and {row["id"]!r}'
      ) from error
  for column in ('id', 'cluster'):
    values = [
      getattr(x, column)
      for x in found
      if column == 'id' or (x.cluster is not None and x.merged_into is None)
    ]
    value, count = max(
      collections.Counter(values).items(), key=lambda x: x[1], default=(0, 0)
    )
    if count > 1:
      raise ValueError(
        f'{path}: {column} {value} stands in {count} rows, expected one'
      )
  return found


def _number(text: str | None) -> int | None:
  return int(text) if text else None
