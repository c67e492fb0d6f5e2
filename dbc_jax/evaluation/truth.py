"""The checked inputs of an evaluation: identities, cameras and settings."""

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import ArrayLike

from dbc_jax import values
from dbc_jax.data.samples import JUNK_PID

PROTOCOLS = ('market1501', 'cuhk03', 'allshots')
DEFAULT_RANKS = (1, 5, 10, 20)


@dataclasses.dataclass(frozen=True)
class Truth:
  """Checked identities and cameras; junk is already out of the gallery."""

  query_pids: np.ndarray
  gallery_pids: np.ndarray
  # Of queries and gallery; None: the camera rule is off.
  camids: tuple[np.ndarray, np.ndarray] | None
  kept: np.ndarray  # Positions in the gallery as given that are not junk.
  by_pid: np.ndarray  # The gallery sorted by pid, ties by index,
  starts: np.ndarray  # and where in it the pid of each query begins
  ends: np.ndarray  # and ends.
  # (query, entry), by query, that are not ranked; None: all are.
  left_out: np.ndarray | None = None

  def own(self, query: int) -> tuple[np.ndarray, np.ndarray]:
    """Entries of the query's identity, and which of them its camera rules out.

    Returns [M] indices, ascending, and [M] bool.
    """
    entries = self.by_pid[self.starts[query] : self.ends[query]]
    out = self.not_ranked(query)
    if len(out):
      entries = entries[~np.isin(entries, out)]
    if self.camids is None:
      return entries, np.zeros(len(entries), bool)
    of_queries, of_gallery = self.camids
    return entries, of_gallery[entries] == of_queries[query]

  def not_ranked(self, query: int) -> np.ndarray:
    """Entries that are as if the gallery did not hold them, for one query."""
    if self.left_out is None:
      return np.zeros(0, np.int64)
    queries, entries = self.left_out.T
    first, end = np.searchsorted(queries, [query, query + 1])
    return entries[first:end]


def checked_ranks(
  ranks: Sequence[int] | None, protocol: str, truth: Truth
) -> list[int]:
  """The ranks asked for; the default ones may lie beyond the gallery."""
  if ranks is None:
    return list(DEFAULT_RANKS)
  if isinstance(ranks, str) or not isinstance(ranks, Iterable):
    raise ValueError(f'ranks: got {ranks!r}, expected such as [1, 5, 10].')
  ranks = [values.whole(rank, 'ranks', 1) for rank in ranks]
  if not ranks:
    raise ValueError('ranks: got none, expected some, counted from 1.')
  size, what = len(truth.gallery_pids), 'entries'
  if protocol == 'cuhk03':
    size, what = len(np.unique(truth.gallery_pids)), 'identities'
  if max(ranks) > size:
    raise ValueError(
      f'ranks: got {max(ranks)}, but the gallery has {size} {what}, junk left '
      f'out; ask for ranks up to {size}.'
    )
  return ranks


def check_settings(
  protocol: str, camera_rule: bool, seed: int, per_query: bool
) -> None:
  """Raises a ValueError for one that `evaluate_ranking` does not take."""
  values.flag(camera_rule, 'camera_rule')
  values.flag(per_query, 'per_query')
  values.whole(seed, 'seed', 0)
  values.choice(protocol, 'protocol', PROTOCOLS)


def checked_truth(
  shape: tuple[int, int],
  pids: tuple[ArrayLike, ArrayLike],
  camids: tuple[ArrayLike | None, ArrayLike | None] | None,
  left_out: ArrayLike | None = None,
) -> Truth:
  """Identities, and cameras unless None, of (queries, gallery) as `shape`.

  Raises:
    ValueError: nothing on one side, nothing but junk in the gallery, ids of
      another length or no integers, or pairs that are none of these.
  """
  if 0 in shape:
    raise ValueError(f'There are {shape[0]} queries and {shape[1]} in gallery.')
  query_pids = checked_ids(pids[0], shape[0], 'query_pids')
  gallery_pids = checked_ids(pids[1], shape[1], 'gallery_pids')
  kept = np.flatnonzero(gallery_pids != JUNK_PID)
  if not len(kept):
    raise ValueError('gallery_pids: every entry is junk (pid -1).')
  if camids is not None:
    of_queries = checked_ids(camids[0], shape[0], 'query_camids')
    of_gallery = checked_ids(camids[1], shape[1], 'gallery_camids')
    camids = of_queries, of_gallery[kept]
  gallery_pids = gallery_pids[kept]
  by_pid = np.argsort(gallery_pids, kind='stable')
  starts, ends = (
    np.searchsorted(gallery_pids[by_pid], query_pids, side)
    for side in ('left', 'right')
  )
  pairs = None
  if left_out is not None:
    pairs = _checked_pairs(left_out, shape)
    # By their places among what is no junk.
    pairs = pairs[np.isin(pairs[:, 1], kept)]
    pairs[:, 1] = np.searchsorted(kept, pairs[:, 1])
  return Truth(
    query_pids, gallery_pids, camids, kept, by_pid, starts, ends, pairs
  )


def _checked_pairs(pairs: ArrayLike, shape: tuple[int, int]) -> np.ndarray:
  """By query; raises a ValueError unless they are [P, 2] places."""
  pairs = np.asarray(pairs)
  if pairs.ndim != 2 or pairs.shape[1] != 2:
    raise ValueError(
      f'left_out: expected [P, 2], queries and entries, got {pairs.shape}.'
    )
  if not np.issubdtype(pairs.dtype, np.integer):
    raise ValueError(f'left_out: expected integers, got {pairs.dtype}.')
  if ((pairs < 0) | (pairs >= shape)).any():
    raise ValueError(
      f'left_out: expected pairs of {shape[0]} queries and {shape[1]} in the '
      'gallery, counted from 0.'
    )
  return np.unique(pairs.astype(np.int64), axis=0)


def checked_ids(ids: ArrayLike | None, size: int, name: str) -> np.ndarray:
  """Raises a ValueError unless they are [size] integers."""
  if ids is None:
    raise ValueError(
      f'{name}: got None; without cameras, pass camera_rule=False.'
      if name.endswith('camids')
      else f'{name}: got None, identities are needed.'
    )
  return values.integers(ids, name, size, 'one')


def why_no_match(truth: Truth) -> str:
  """What to tell where no query counts."""
  shared = truth.ends > truth.starts
  queries = len(truth.query_pids)
  if not shared.any():
    return (
      f'None of the identities of the {queries} queries is in the gallery '
      '(junk, pid -1, left out), so nothing can be found; check the pids.'
    )
  if truth.left_out is not None and len(truth.left_out):
    rule = '' if truth.camids is None else ', or by the camera rule'
    return (
      f'None of the {queries} queries has a match: what the gallery has of '
      f'their identities is left out as the same image{rule}; it needs other '
      'images of them.'
    )
  return (
    f'None of the {queries} queries has a match: {shared.sum()} have their '
    'identity in the gallery, but only from their own camera, and the camera '
    'rule leaves those out. If all images come from one camera, pass '
    'camera_rule=False; or if the queries are in the gallery themselves, give '
    'each image a camera of its own, the same on both sides, as with '
    'camera_rule=False each query would find itself.'
  )
