"""corrections.csv: what a person says of pairs of images.

A line names two images and says `same` or `different`: of one person, or of
two. The file may be written by hand. Beside the answer it can hold a digest of
each image, so that one is found again under another name.
"""

import collections
import csv
import dataclasses
import hashlib
import io
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dbc_jax.reporting import table_text, write_table

if TYPE_CHECKING:
  from dbc_jax.cluster.linked import Links

NAME = 'corrections.csv'
# Pairs of which a person said that nobody can tell.
UNSURE = 'cannot_tell.csv'
HEADER = ('a', 'b', 'answer', 'a_digest', 'b_digest')
_ANSWERS = {'same': True, 'different': False}
_MOST_LISTED = 3


@dataclasses.dataclass(frozen=True)
class Correction:
  """One answer.

  Attributes:
    a, b: paths of two images, as in clusters.csv; of tracklets their names.
    same: whether both show one person.
    a_digest, b_digest: `digest_of` the images; '' where not known.
  """

  a: str
  b: str
  same: bool
  a_digest: str = ''
  b_digest: str = ''

  def __str__(self) -> str:
    return f'{self.a} {"=" if self.same else "!="} {self.b}'


def digest_of(image: np.ndarray) -> str:
  """Of the pixels uint8 [H, W, 3] of an image, whatever its name."""
  digest = hashlib.blake2b(repr(image.shape).encode(), digest_size=16)
  digest.update(image.tobytes())
  return digest.hexdigest()


def read_corrections(path: Path) -> list[Correction]:
  """The answers of a file, in their order; none where there is no file.

  Lines are `a,b,same` or `a,b,different`, below a header or none; digests may
  follow. A line that says the same as an earlier one stays.

  Raises:
    ValueError: a line that is none of these, by its number, or answers that
      contradict each other.
  """
  try:
    text = path.read_bytes().decode('utf-8-sig', 'surrogateescape')
  except FileNotFoundError:
    return []
  except OSError as error:
    raise ValueError(f'{path}: cannot be read ({error.strerror})') from error
  found: list[Correction] = []
  lines = csv.reader(io.StringIO(text, newline=''), strict=True)
  try:
    for row in lines:
      if not any(cell.strip() for cell in row):
        continue
      if not found and _is_header(row):
        continue
      found.append(_parsed(row, path, lines.line_num))
  except csv.Error as error:
    raise ValueError(f'{path}, line {lines.line_num}: {error}') from error
  check(found, path)
  return found


def _is_header(row: Sequence[str]) -> bool:
  cells = [cell.strip().lower() for cell in row]
  return cells[:2] == ['a', 'b'] and cells[2:3] not in (['same'], ['different'])


def _parsed(row: Sequence[str], path: Path, line: int) -> Correction:
  where = f'{path}, line {line}'
  if not 3 <= len(row) <= len(HEADER):
    raise ValueError(
      f'{where}: expected a,b,same or a,b,different, got {len(row)} columns '
      f'({",".join(row)!r}); put a path with a comma into "quotes"'
    )
  a, b, answer = row[:3]
  if answer.strip().lower() not in _ANSWERS:
    raise ValueError(
      f'{where}: expected same or different, got {answer.strip()!r}'
    )
  if not a.strip() or not b.strip():
    raise ValueError(f'{where}: expected two paths, got {a!r} and {b!r}')
  if a == b:
    raise ValueError(f'{where}: names {a!r} twice, expected two images')
  digests = (cell.strip() for cell in row[3:])
  return Correction(a, b, _ANSWERS[answer.strip().lower()], *digests)


def check(corrections: Sequence[Correction], where: object = NAME) -> None:
  """Raises ValueError where answers contradict each other, by their names.

  Args:
    corrections: all of them.
    where: what an error begins with.
  """
  parents: dict[str, str] = {}

  def root(name: str) -> str:
    while (parent := parents.setdefault(name, name)) != name:
      parents[name] = name = parents[parent]
    return name

  for each in corrections:
    if each.same:
      parents[root(each.a)] = root(each.b)
  faults = [
    each
    for each in corrections
    if not each.same and root(each.a) == root(each.b)
  ]
  if not faults:
    return
  told = [
    f'{" = ".join(_chain(corrections, each.a, each.b))}, and {each}'
    for each in faults[:_MOST_LISTED]
  ]
  more = len(faults) - len(told)
  raise ValueError(
    f'{where}: answers contradict each other: {"; ".join(told)}'
    + (f'; and {more} more' if more else '')
    + '; take one of each out'
  )


def _chain(
  corrections: Sequence[Correction], start: str, end: str
) -> list[str]:
  """The images by which two are one, the fewest."""
  near: dict[str, list[str]] = collections.defaultdict(list)
  for each in corrections:
    if each.same:
      near[each.a].append(each.b)
      near[each.b].append(each.a)
  before = {start: start}
  queue = collections.deque([start])
  while end not in before:
    name = queue.popleft()
    for other in near[name]:
      if other not in before:
        before[other] = name
        queue.append(other)
  chain = [end]
  while chain[-1] != start:
    chain.append(before[chain[-1]])
  return chain[::-1]


def append_corrections(path: Path, corrections: Iterable[Correction]) -> None:
  """Adds answers at the end; they are on the disk when it returns.

  Raises:
    ValueError: as `read_corrections`, or the new ones contradict others: then
      none is written.
  """
  new = [*corrections]
  for each in new:
    if each.a == each.b:
      raise ValueError(f'{path}: {each.a!r} twice, expected two images')
  both = [*read_corrections(path), *new]
  check(both, path)
  write_corrections(path, both)


def append_correction(path: Path, correction: Correction) -> None:
  """As `append_corrections`, of one."""
  append_corrections(path, [correction])


def remove_last(path: Path, count: int = 1) -> list[Correction]:
  """Takes the last answers back, and returns them in their order.

  Raises:
    ValueError: as `read_corrections`, or there are fewer.
  """
  found = read_corrections(path)
  if not 0 < count <= len(found):
    raise ValueError(
      f'{path}: {count} answers to take back, expected 1..{len(found)}, those '
      'that are there'
    )
  write_corrections(path, found[:-count])
  return found[-count:]


def write_corrections(path: Path, corrections: Iterable[Correction]) -> None:
  """Replaces the file as a whole; it is on the disk when it returns."""
  rows = [
    (each.a, each.b, 'same' if each.same else 'different')
    + ((each.a_digest, each.b_digest) if each.a_digest or each.b_digest else ())
    for each in corrections
  ]
  width = max(map(len, rows), default=3)
  text = table_text([HEADER[:width], *rows])
  partial = path.with_name(f'{path.name}.{os.getpid()}.tmp')
  with partial.open('wb') as file:
    file.write(text.encode('utf-8', 'surrogateescape'))
    file.flush()
    os.fsync(file.fileno())
  os.replace(partial, path)
  _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
  """So that the new name, too, outlives a loss of power."""
  if os.name == 'nt':  # Folders cannot be opened there.
    return
  handle = os.open(folder, os.O_RDONLY)
  try:
    os.fsync(handle)
  finally:
    os.close(handle)


def rows_of(
  names: Sequence[str], aliases: Mapping[str, str] | None = None
) -> dict[str, int]:
  """From what an answer may call an image to its row.

  Args:
    names: N, of the images of a run, in its order.
    aliases: other names: from a tracklet to the path of its first frame.
  """
  rows = {name: row for row, name in enumerate(names)}
  for name, other in (aliases or {}).items():
    if name in rows:
      rows.setdefault(other, rows[name])
  return rows


def links(
  corrections: Sequence[Correction],
  names: Sequence[str],
  aliases: Mapping[str, str] | None = None,
) -> 'Links':
  """Answers as rows of images; those that name another image are left out.

  Args:
    corrections: of `read_corrections`.
    names: N, of the images of a run, in its order.
    aliases: as in `rows_of`.

  Raises:
    ValueError: answers that contradict each other.
  """
  # Imported late: a page that shows answers opens a second sooner.
  from dbc_jax.cluster.linked import Links

  rows = rows_of(names, aliases)
  pairs: dict[bool, list[tuple[int, int]]] = {True: [], False: []}
  told = []
  for each in corrections:
    a, b = row_of(rows, each.a), row_of(rows, each.b)
    if a is None or b is None:
      continue
    # Two names may be of one image.
    told.append(Correction(names[a], names[b], each.same))
    if a != b:
      pairs[each.same].append((a, b))
  check(told)
  must, cannot = (
    np.array(pairs[x], np.int64).reshape(-1, 2) for x in (True, False)
  )
  return Links(must, cannot)


def row_of(rows: Mapping[str, int], name: str) -> int | None:
  """The row of an image; blanks around a name that is not there do not count.

  A line by hand often has some behind its commas.
  """
  row = rows.get(name)
  return rows.get(name.strip()) if row is None else row


def read_unsure(path: Path) -> list[tuple[str, str]]:
  """The pairs of a file named `UNSURE`; none where there is no file.

  Raises:
    ValueError: it is no such file.
  """
  try:
    with path.open(
      newline='', encoding='utf-8', errors='surrogateescape'
    ) as file:
      return [(row['a'], row['b']) for row in csv.DictReader(file)]
  except FileNotFoundError:
    return []
  except (OSError, KeyError, csv.Error) as error:
    raise ValueError(
      f'{path}: cannot be read ({type(error).__name__}: {error}); delete it, '
      'and these pairs are asked again'
    ) from error


def write_unsure(path: Path, pairs: Iterable[tuple[str, str]]) -> None:
  """Replaces the file as a whole."""
  write_table(path, [('a', 'b'), *pairs])
