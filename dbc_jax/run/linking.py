"""The corrections and the rules that a run heeds, as rows of its images.

Corrections are those of its workdir. At its start those of another file are
copied there, and images that have another name since are found by their pixels.
The file is read again whenever clusters are made.
"""

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dbc_jax.cluster.linked import Links
from dbc_jax.data import Samples, loading
from dbc_jax.data.pipeline import LoadedDataset
from dbc_jax.devices import processes
from dbc_jax.run import corrections as corrections_lib
from dbc_jax.run import features_file, rules
from dbc_jax.run.config import Config
from dbc_jax.run.corrections import Correction

log = logging.getLogger('dbc_jax')

_SHOWN = 3


def with_corrections(
  config: Config, workdir: Path, samples: Samples, data: LoadedDataset
) -> LoadedDataset:
  """A data set whose `links` are the corrections of a workdir, and `ruled`.

  Args:
    config: of the run.
    workdir: of it; its file gets what `data.corrections` or the run before has,
      if it has none, and where images are now.
    samples: of the training images, with those that cannot be read.
    data: of the run.

  Raises:
    ValueError: in all processes; a file that cannot be read, answers that
      contradict each other, or one that names no image and never did.
  """
  path, refusal = workdir / corrections_lib.NAME, ''
  if processes.is_first():
    try:
      _prepare(config, path, samples, data)
    except ValueError as error:
      refusal = str(error)
  refusal = processes.text_of_first(refusal)
  if refusal:
    raise ValueError(refusal)
  if len(data.ruled):
    assert data.truth.train_camids is not None
    log.info(rules.describe(data.ruled, data.truth.train_camids))
  reader = _Reader(path, data)
  reader()
  return dataclasses.replace(data, links=reader)


class _Reader:
  """Reads the file of a workdir; what cannot be used leaves what was before."""

  def __init__(self, path: Path, data: LoadedDataset):
    self._path = path
    self._names = data.names['train']
    self._aliases = data.first_frames
    self._ruled = data.ruled
    self._kept = len(data.ruled)
    none = np.zeros((0, 2), np.int64)
    self._last = Links(none, none)

  def __call__(self) -> Links:
    if processes.is_first():
      try:
        found = corrections_lib.read_corrections(self._path)
        links = corrections_lib.links(found, self._names, self._aliases)
      except ValueError as error:
        log.warning('%s. Those that were read before count', error)
        links = self._last
      before, now = self._last.told, links.told
      if before != now:
        log.info(
          '%s: %d corrections, %d same and %d different%s',
          self._path,
          now,
          len(links.must),
          len(links.cannot),
          f'; there were {before}' if before else '',
        )
      self._last = links
    self._last = Links(_of_first(self._last.must), _of_first(self._last.cannot))
    links = rules.with_rules(self._last, self._ruled)
    if links.ruled < len(self._ruled) and links.ruled != self._kept:
      log.info(
        'corrections overrule %d of %d pairs that the rules keep apart',
        len(self._ruled) - links.ruled,
        len(self._ruled),
      )
    self._kept = links.ruled
    return links


def _of_first(pairs: np.ndarray) -> np.ndarray:
  """The pairs [P, 2] of the first process, in all of them."""
  count = int(processes.from_first(np.array(len(pairs))))
  # Nothing empty goes from one to another.
  sent = np.zeros((count + 1, 2), np.int32)
  if processes.is_first():
    sent[:count] = pairs
  return np.asarray(processes.from_first(sent))[:count].astype(np.int64)


def tell_of_later(
  workdir: Path, history: Sequence[Mapping[str, Any]], data: LoadedDataset
) -> None:
  """Says of a finished run what takes corrections in that came since."""
  now = data.links().told if data.links else 0
  if now <= history[-1].get('corrections', 0):
    return
  again = f'dbc review --workdir={workdir} clusters again with them, and '
  log.info(
    '%d corrections, and %d when this run ended: %sdbc train ... '
    '--continue_from=%s --workdir=ANOTHER trains on',
    now,
    history[-1].get('corrections', 0),
    '' if (workdir / features_file.LABELS).exists() else again,
    workdir,
  )


def _prepare(
  config: Config, path: Path, samples: Samples, data: LoadedDataset
) -> None:
  """Copies, finds images again, and keeps their digests."""
  # One without answers counts, too: they were taken back.
  is_there = path.exists()
  before = corrections_lib.read_corrections(path)
  found = before if is_there else _of_elsewhere(config, path)
  if config.data.corrections and is_there:
    _tell_of_others(config, path, before)
  if not found:
    return
  rows = corrections_lib.rows_of(data.names['train'], data.first_frames)
  found = _renamed(found, rows, samples)
  earlier = {*features_file.names(path.parent)}
  if other := config.train.continue_from:
    earlier.update(features_file.names(Path(other).expanduser()))
  unknown = [
    name
    for each in found
    for name, digest in ((each.a, each.a_digest), (each.b, each.b_digest))
    if corrections_lib.row_of(rows, name) is None
    and not digest
    and name not in earlier
  ]
  if unknown:
    listed = ', '.join(dict.fromkeys(unknown[:_SHOWN]))
    raise ValueError(
      f'{path}: {len(unknown)} of its names are of no training image, the '
      f'first: {listed}; write paths as in clusters.csv, or take these lines '
      'out'
    )
  corrections_lib.links(found, data.names['train'], data.first_frames)
  found = _with_digests(found, rows, samples, data)
  gone = sum(
    any(corrections_lib.row_of(rows, x) is None for x in (each.a, each.b))
    for each in found
  )
  if gone:
    log.info(
      '%s: %d of %d corrections are of images that are gone, and wait',
      path,
      gone,
      len(found),
    )
  if found != before:
    corrections_lib.write_corrections(path, found)


def _of_elsewhere(config: Config, path: Path) -> list[Correction]:
  """Those of the file that a config names, or of the run before."""
  given, other = config.data.corrections, config.train.continue_from
  if given:
    source = Path(given).expanduser()
    if not source.is_file():
      raise ValueError(
        f'data.corrections: {source} is no file; write a,b,same or '
        'a,b,different into it, or leave the field out'
      )
  elif other:
    source = Path(other).expanduser() / corrections_lib.NAME
  else:
    return []
  found = corrections_lib.read_corrections(source)
  if found:
    log.info('%s: copied from %s', path, source)
  return found


def _tell_of_others(
  config: Config, path: Path, before: Sequence[Correction]
) -> None:
  """Says what a given file has that the workdir has not."""
  source = Path(config.data.corrections).expanduser()
  if not source.is_file():
    return
  known = {(frozenset((each.a, each.b)), each.same) for each in before}
  others = [
    each
    for each in corrections_lib.read_corrections(source)
    if (frozenset((each.a, each.b)), each.same) not in known
  ]
  if others:
    log.warning(
      'data.corrections: %s counts, which was there before; it lacks %d of %s, '
      'the first: %s',
      path,
      len(others),
      source,
      others[0],
    )


def _renamed(
  found: list[Correction], rows: dict[str, int], samples: Samples
) -> list[Correction]:
  """Answers under the names that their images have now.

  One whose two images would be the same then, as where a copy is gone, waits.
  """
  lost = {
    digest
    for each in found
    for name, digest in ((each.a, each.a_digest), (each.b, each.b_digest))
    if digest and corrections_lib.row_of(rows, name) is None
  }
  if not lost:
    return found
  owners = {int(f): i for i, f in enumerate(samples.bounds[:-1])}
  now: dict[str, str] = {}

  def visit(frame: int, image: np.ndarray) -> None:
    if frame in owners:
      digest = corrections_lib.digest_of(image)
      if digest in lost:
        now[digest] = samples.names[owners[frame]]

  loading.for_each_frame(samples, None, visit, [])
  if now:
    log.info(
      '%s: %d images have another name since, the first: %s',
      corrections_lib.NAME,
      len(now),
      next(iter(now.values())),
    )

  def name(old: str, digest: str) -> str:
    is_lost = corrections_lib.row_of(rows, old) is None
    return now.get(digest, old) if is_lost else old

  ends = [
    (name(each.a, each.a_digest), name(each.b, each.b_digest)) for each in found
  ]
  return [
    each if a == b else dataclasses.replace(each, a=a, b=b)
    for each, (a, b) in zip(found, ends, strict=True)
  ]


def _with_digests(
  found: list[Correction],
  rows: dict[str, int],
  samples: Samples,
  data: LoadedDataset,
) -> list[Correction]:
  """Answers with the digests of all their images that are here."""
  places = {name: i for i, name in enumerate(samples.names)}
  known: dict[int, str] = {}

  def digest(name: str, before: str) -> str:
    row = corrections_lib.row_of(rows, name)
    if row is None:
      return before
    if row not in known:
      place = places[data.names['train'][row]]
      try:
        image = samples.read(int(samples.bounds[place]))
      except ValueError:  # A frame of a tracklet of which others can be read.
        return before
      known[row] = corrections_lib.digest_of(image)
    return known[row]

  return [
    dataclasses.replace(
      each,
      a_digest=digest(each.a, each.a_digest),
      b_digest=digest(each.b, each.b_digest),
    )
    for each in found
  ]
