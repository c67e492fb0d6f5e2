"""The checked inputs of an evaluation: identities, cameras and settings."""

import dataclasses
import operator
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

PROTOCOLS = ('market1501', 'cuhk03', 'allshots')
DEFAULT_RANKS = (1, 5, 10, 20)
JUNK_PID = -1


@dataclasses.dataclass(frozen=True)
class Truth:
  """Checked identities and cameras; junk is already out of the gallery."""

  query_pids: np.ndarray
  gallery_pids: np.ndarray
  query_camids: np.ndarray | None  # None: the camera rule is off.
  gallery_camids: np.ndarray | None
  kept: np.ndarray  # Positions in the gallery as given that are not junk.
  by_pid: np.ndarray  # The gallery sorted by pid, ties by index,
  starts: np.ndarray  # and where in it the pid of each query begins
  ends: np.ndarray  # and ends.

  def own(self, query: int) -> tuple[np.ndarray, np.ndarray]:
    """Entries of the query's identity, and which of them its camera rules out.

    Returns [M] indices, ascending, and [M] bool.
    """
    entries = self.by_pid[self.starts[query] : self.ends[query]]
    if self.query_camids is None:
      return entries, np.zeros(len(entries), bool)
    return entries, self.gallery_camids[entries] == self.query_camids[query]


def checked_ranks(
  ranks: Sequence[int] | None, protocol: str, truth: Truth
) -> list[int]:
  """The ranks asked for; the default ones may lie beyond the gallery."""
  if ranks is None:
    return list(DEFAULT_RANKS)
  ranks = [operator.index(rank) for rank in ranks]
  if not ranks or min(ranks) < 1:
    raise ValueError(f'ranks: expected some, counted from 1, got {ranks}.')
  size, what = len(truth.gallery_pids), 'entries'
  if protocol == 'cuhk03':
    size, what = len(np.unique(truth.gallery_pids)), 'identities'
  if max(ranks) > size:
    raise ValueError(
      f'ranks: got {max(ranks)}, but the gallery has {size} {what}, junk left '
      f'out; ask for ranks up to {size}.'
    )
  return ranks


def check_protocol(protocol: str) -> None:
  if protocol not in PROTOCOLS:
    raise ValueError(
      f'protocol: got {protocol!r}, known are: {", ".join(PROTOCOLS)}.'
    )


def checked_truth(
  shape: tuple[int, int],
  pids: tuple[ArrayLike, ArrayLike],
  camids: tuple[ArrayLike | None, ArrayLike | None] | None,
) -> Truth:
  if 0 in shape:
    raise ValueError(f'There are {shape[0]} queries and {shape[1]} in gallery.')
  sides = tuple(zip(('query', 'gallery'), shape, strict=True))
  query_pids, gallery_pids = (
    checked_ids(ids, size, f'{side}_pids')
    for ids, (side, size) in zip(pids, sides, strict=True)
  )
  kept = np.flatnonzero(gallery_pids != JUNK_PID)
  if not len(kept):
    raise ValueError('gallery_pids: every entry is junk (pid -1).')
  query_camids = gallery_camids = None
  if camids is not None:
    query_camids, gallery_camids = (
      checked_ids(ids, size, f'{side}_camids')
      for ids, (side, size) in zip(camids, sides, strict=True)
    )
    gallery_camids = gallery_camids[kept]
  gallery_pids = gallery_pids[kept]
  by_pid = np.argsort(gallery_pids, kind='stable')
  starts, ends = (
    np.searchsorted(gallery_pids[by_pid], query_pids, side)
    for side in ('left', 'right')
  )
  return Truth(
    query_pids,
    gallery_pids,
    query_camids,
    gallery_camids,
    kept,
    by_pid,
    starts,
    ends,
  )


def checked_ids(ids: ArrayLike | None, size: int, name: str) -> np.ndarray:
  if ids is None:
    raise ValueError(
      f'{name}: got None; without cameras, pass camera_rule=False.'
      if name.endswith('camids')
      else f'{name}: got None, identities are needed.'
    )
  ids = np.asarray(ids)
  if ids.shape != (size,) or not np.issubdtype(ids.dtype, np.integer):
    raise ValueError(
      f'{name}: expected [{size}] integers, got {ids.shape} {ids.dtype}.'
    )
  return ids


def why_no_match(truth: Truth) -> str:
  shared = truth.ends > truth.starts
  queries = len(truth.query_pids)
  if not shared.any():
    return (
      f'None of the identities of the {queries} queries is in the gallery '
      '(junk, pid -1, left out), so nothing can be found; check the pids.'
    )
  return (
    f'None of the {queries} queries has a match: {shared.sum()} have their '
    'identity in the gallery, but only from their own camera, and the camera '
    'rule leaves those out. If all images come from one camera, pass '
    'camera_rule=False.'
  )
