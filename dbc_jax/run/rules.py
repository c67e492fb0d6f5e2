"""Pairs of training images that cannot be one person, by where and when.

Two in one frame of a camera are two persons; so are two before cameras between
which nobody can walk in that time. No identities are needed.
"""

import contextlib
import csv
import logging
import math
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph

from dbc_jax.cluster.linked import Links
from dbc_jax.data import GroundTruth
from dbc_jax.data.readers.pattern import camera_number
from dbc_jax.data.samples import printable
from dbc_jax.evaluation import calibrate_pairs
from dbc_jax.run.config import Config

# Pairs that the rules keep apart and the features call one person.
VIOLATIONS = 'violations.csv'
# Share of the pairs of two persons that are so near.
_RATE = 1e-3
_EQUAL = 1e-3  # Distance of features that differ by their rounding alone.
_SHOWN = 3
# Pairs of two persons for each sample, for them to tell of clusters.
_FEWEST = 5
# Share of them that may look like one, for the others to be believed.
_DOUBLED = 0.05
_DRAWN = 100_000  # Pairs that tell how far apart two usually are.
_VALUES = 2**24  # Of features that are held at once, for either side of pairs.

log = logging.getLogger('dbc_jax')


def check(config: Config, truth: GroundTruth) -> None:
  """Raises ValueError where a rule is asked for and cannot be followed.

  Args:
    config: of the run.
    truth: of its data set, before images are read.
  """
  frames, camids = truth.train_frames, truth.train_camids
  if config.cluster.frame_rule != 'off':
    field = f'cluster.frame_rule: got {config.cluster.frame_rule!r}, but'
    if frames is None:
      raise ValueError(
        f'{field} {config.data.name} has no frame numbers of the training '
        "images; give them by a column frame or {frame}, or set it to 'off'"
      )
    if camids is None:
      raise ValueError(
        f'{field} {config.data.name} has no cameras, whose frames would be '
        "compared; give a single camera the camid 0, or set it to 'off'"
      )
    if _counts_inside(frames):
      raise ValueError(
        f'{field} all {len(frames)} samples begin with frame {frames[0, 0]}: '
        'these count inside each tracklet, and not in the video of a camera; '
        "set it to 'off'"
      )
  if config.data.walks:
    if truth.train_times is None or camids is None:
      what = 'cameras' if camids is None else 'times'
      raise ValueError(
        f'data.walks: got {config.data.walks!r}, but {config.data.name} has no '
        f'{what} of the training images; give them in its CSV or its pattern, '
        'or leave the field out'
      )
    walks = read_walks(Path(config.data.walks))
    known = {*camids.tolist()}
    if not any({a, b} <= known for a, b, _ in walks):
      raise ValueError(
        f'data.walks: no line of {config.data.walks} is of two cameras of the '
        f'training images, which are {", ".join(map(str, sorted(known)))}'
      )


def pairs(config: Config, truth: GroundTruth) -> np.ndarray:
  """Pairs [P, 2] int64 of training samples that the config keeps apart.

  None where the rules are off, or the data set has nothing to follow them by.

  Args:
    config: of a run.
    truth: with the training samples in the order that rows are counted in.

  Raises:
    ValueError: a bad file of walks.
  """
  found = [np.zeros((0, 2), np.int64)]
  times, camids = truth.train_times, truth.train_camids
  if camids is None:
    return found[0]
  of = {camid: np.flatnonzero(camids == camid) for camid in np.unique(camids)}
  if config.cluster.frame_rule != 'off':
    found.append(overlapping(truth))
  if config.data.walks and times is not None:
    for a, b, seconds in read_walks(Path(config.data.walks)):
      if a in of and b in of:
        found.append(np.sort(_near(times, of[a], of[b], seconds), axis=1))
  return np.concatenate(found)


def overlapping(truth: GroundTruth) -> np.ndarray:
  """Pairs [P, 2] int64 of training samples in one frame of one camera.

  None where frames or cameras are not known, or frames count inside each
  tracklet.
  """
  found = [np.zeros((0, 2), np.int64)]
  frames, camids = truth.train_frames, truth.train_camids
  if frames is None or camids is None or _counts_inside(frames):
    return found[0]
  for camid in np.unique(camids):
    rows = np.flatnonzero(camids == camid)
    # Whole numbers that lie less than 1 apart are one.
    near = _near(frames, rows, rows, 1)
    found.append(near[near[:, 0] < near[:, 1]])
  return np.concatenate(found)


def of_two(config: Config, truth: GroundTruth) -> np.ndarray:
  """Pairs [P, 2] that are surely of two persons, to judge clusters by.

  None where they are too few to tell anything, or where a rule keeps them out
  of all clusters anyway.
  """
  found = overlapping(truth)
  count = 0 if truth.train_camids is None else len(truth.train_camids)
  if config.cluster.frame_rule != 'off' or len(found) < _FEWEST * count:
    return found[:0]
  return found


def unlike(features: np.ndarray, pairs: np.ndarray) -> np.ndarray:
  """Pairs of two persons, without those that look like one.

  A tracker that sees a person twice at once makes pairs of one person, which
  would spoil what the others tell. They are nearer than one in a thousand of
  pairs drawn at random. Where there are many, no pair is left: more of them
  will have been missed.

  Args:
    features: [N, D].
    pairs: [P, 2].
  """
  if not len(pairs):
    return pairs
  drawn = np.random.default_rng(0).integers(len(features), size=(_DRAWN, 2))
  usual = _gaps(features, drawn[drawn[:, 0] != drawn[:, 1]])
  kept = pairs[_gaps(features, pairs) >= np.quantile(usual, _RATE)]
  return kept if len(kept) >= (1 - _DOUBLED) * len(pairs) else kept[:0]


def _counts_inside(frames: np.ndarray) -> bool:
  """Whether frames count inside each tracklet, and not in a camera's video."""
  return len(frames) > 1 and len(np.unique(frames[:, 0])) == 1


def _near(
  spans: np.ndarray, a: np.ndarray, b: np.ndarray, least: float
) -> np.ndarray:
  """Pairs [P, 2] of rows a and b whose spans lie less than `least` apart.

  Memory is that of the pairs, if all spans are of like length.
  """
  b = b[np.argsort(spans[b, 0], kind='stable')]
  first, last = spans[b].T
  longest = (last - first).max()
  low = np.searchsorted(first, spans[a, 0] - least - longest, 'left')
  high = np.searchsorted(first, spans[a, 1] + least, 'left')
  counts = high - low
  one = np.repeat(np.arange(len(a)), counts)
  starts = np.repeat(low - (np.cumsum(counts) - counts), counts)
  other = np.arange(counts.sum()) + starts
  near = spans[a[one], 0] - last[other] < least
  return np.stack([a[one[near]], b[other[near]]], axis=1)


def read_walks(path: Path) -> list[tuple[int, int, float]]:
  """Pairs of cameras, and the least seconds that a walk between them takes.

  Args:
    path: of lines `a,b,seconds`, below a header or none.

  Raises:
    ValueError: no such file, or a line that is none of these, by its number.
  """
  path, found = path.expanduser(), {}
  try:
    with path.open(encoding='utf-8-sig', newline='') as file:
      lines = csv.reader(file)
      for row in lines:
        cells = [cell.strip() for cell in row]
        is_header = not found and cells[:3] == ['a', 'b', 'seconds']
        if any(cells) and not is_header:
          try:
            a, b, seconds = _walk(cells)
            if (a, b) in found:
              raise ValueError('these two cameras stand twice')
          except ValueError as error:
            where = f'data.walks: {path}, line {lines.line_num}'
            raise ValueError(f'{where}: {error}') from error
          found[a, b] = seconds
  except (OSError, UnicodeDecodeError, csv.Error) as error:
    reason = getattr(error, 'strerror', None) or 'it is no text'
    raise ValueError(
      f'data.walks: {path} cannot be read ({reason}); expected lines such as '
      '1,2,30: nobody walks from camera 1 to camera 2 in less than 30 s'
    ) from error
  return [(*cameras, seconds) for cameras, seconds in found.items()]


def _walk(cells: Sequence[str]) -> tuple[int, int, float]:
  if len(cells) != 3 or not all(cells):
    raise ValueError(
      f'expected two cameras and seconds, such as 1,2,30, got {",".join(cells)}'
    )
  a, b = sorted(camera_number(cell) for cell in cells[:2])
  if a == b:
    raise ValueError(
      f'a walk from camera {cells[0]} to itself; for one camera there is '
      'cluster.frame_rule'
    )
  try:
    seconds = float(cells[2])
  except ValueError:
    seconds = math.nan
  if not 0 < seconds < math.inf:
    raise ValueError(f'got {cells[2]!r}, expected seconds, more than 0')
  return a, b, seconds


def with_rules(links: Links, ruled: np.ndarray) -> Links:
  """Answers, and what rules say where no answer says otherwise.

  Args:
    links: of corrections alone.
    ruled: [P, 2], of `pairs`.
  """
  if not len(ruled):
    return links
  must = links.must
  count = 1 + int(max(ruled.max(), must.max(initial=0)))
  graph = sparse.csr_array(
    (np.ones(len(must)), (must[:, 0], must[:, 1])), (count, count)
  )
  _, parts = csgraph.connected_components(graph, directed=False)
  kept = ruled[parts[ruled[:, 0]] != parts[ruled[:, 1]]]
  return Links(must, np.concatenate([links.cannot, kept]), len(kept))


def describe(ruled: np.ndarray, camids: np.ndarray) -> str:
  """How many pairs, by which rule.

  Args:
    ruled: [P, 2], of `pairs`.
    camids: [N].
  """
  together = ruled[camids[ruled[:, 0]] == camids[ruled[:, 1]]]
  most = np.bincount(together.ravel(), minlength=1).max()
  return (
    f'{len(ruled):,} pairs of images are kept apart: {len(together):,} of one '
    f'frame of a camera, where one has up to {most} others beside it, and '
    f'{len(ruled) - len(together):,} too far from each other to walk'
  )


def write_violations(
  workdir: Path,
  names: Sequence[str],
  features: np.ndarray,
  labels: np.ndarray,
  ruled: np.ndarray,
) -> None:
  """Lists and counts the pairs that look like one person, whatever the rules.

  They are mirrors, one crop twice, two tracks of one person, or a clock that is
  wrong; persons in like clothes, too.

  Args:
    workdir: of the run; `VIOLATIONS` there is written, or goes.
    names: N, of the images.
    features: [N, D].
    labels: [N] int32, their clusters; -1 for an image in none.
    ruled: [P, 2], the pairs that are kept apart.
  """
  path = workdir / VIOLATIONS
  near, gaps = _nearest(features, labels, ruled)
  if not len(near):
    path.unlink(missing_ok=True)
    return
  partial = path.with_name(f'{VIOLATIONS}.{os.getpid()}.tmp')
  listed = [[names[int(row)] for row in ruled[i]] for i in near]
  with partial.open(
    'w', encoding='utf-8', errors='surrogateescape', newline=''
  ) as file:
    table = csv.writer(file, lineterminator='\n')
    table.writerow(['a', 'b', 'distance'])
    for pair, gap in zip(listed, gaps, strict=True):
      table.writerow([*pair, f'{gap:.4f}'])
  os.replace(partial, path)
  log.warning(
    '%d of the %d pairs that are kept apart look like one person, where %g '
    'would by chance, the first: %s; %s lists them. Where two are one, as in a '
    'mirror, say same in corrections.csv',
    len(listed),
    len(ruled),
    round(_RATE * len(ruled), 1),
    '; '.join(' and '.join(map(printable, pair)) for pair in listed[:_SHOWN]),
    path,
  )


def _nearest(
  features: np.ndarray, labels: np.ndarray, ruled: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Places [V] of pairs that look like one, the nearest first; distances."""
  if not len(ruled):
    return np.zeros(0, int), np.zeros(0)
  gaps = _gaps(features, ruled)
  limit = _EQUAL
  # Clusters may be too few, or all of one image: then only equals are sure.
  with contextlib.suppress(ValueError):
    limit = max(limit, calibrate_pairs(features, labels).threshold(_RATE))
  order = np.argsort(gaps, kind='stable')
  near = order[gaps[order] < limit]
  return near, gaps[near]


def _gaps(features: np.ndarray, pairs: np.ndarray) -> np.ndarray:
  """Distances [P] of unit features."""
  x = features.astype(np.float32)
  x /= np.linalg.norm(x, axis=1, keepdims=True)
  parts = np.array_split(pairs, 1 + pairs.shape[0] * x.shape[1] // _VALUES)
  return np.concatenate(
    [np.linalg.norm(x[part[:, 0]] - x[part[:, 1]], axis=1) for part in parts]
  )
