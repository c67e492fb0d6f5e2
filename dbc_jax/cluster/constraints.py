"""Links between samples, and what they say about clusters.

A must-link holds two samples in one cluster, a cannot-link in two.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse
from scipy.sparse import csgraph


class Constraints(NamedTuple):
  """What links between samples say about the starting clusters.

  Attributes:
    slots: [u, 2] int32. The unions: the lowest of the clusters that must-links
      join, and each other one.
    labels: [N] int32, contiguous: the clusters after them. One keeps the place,
      among the others, of the lowest it contains.
    forbidden: [P, 2] int32, pairs a < b of those that never merge, each once;
      or None where there are none.
  """

  slots: np.ndarray
  labels: np.ndarray
  forbidden: np.ndarray | None


def _check_links(
  links: ArrayLike | None, num_samples: int, field: str
) -> np.ndarray:
  """Links as [P, 2] int64; none for None or what is empty."""
  try:
    pairs = np.zeros((0, 2), int) if links is None else np.asarray(links)
  except ValueError:  # Rows of several lengths.
    raise ValueError(
      f'{field}: got rows of several lengths, expected [P, 2]; pass two '
      'samples a row.'
    ) from None
  if not pairs.size:
    return np.zeros((0, 2), np.int64)
  if pairs.ndim != 2 or pairs.shape[1] != 2:
    raise ValueError(
      f'{field}: got shape {pairs.shape}, expected [P, 2]; pass two samples a '
      'row.'
    )
  if not np.issubdtype(pairs.dtype, np.integer):
    raise ValueError(
      f'{field}: got dtype {pairs.dtype}, expected integers; pass the rows of '
      'features that the samples are.'
    )
  outside = ((pairs < 0) | (pairs >= num_samples)).any(axis=1)
  if outside.any():
    row = int(np.argmax(outside))
    raise ValueError(
      f'{field}: row {row} has samples {_pair(pairs[row])}, expected those of '
      f'0..{num_samples - 1}; pass the rows of features that the samples are.'
    )
  return pairs.astype(np.int64)


def _pair(samples: np.ndarray) -> str:
  return f'{samples[0]} and {samples[1]}'


def _chain(
  graph: sparse.csr_array, must: np.ndarray, start: int, end: int
) -> list[int]:
  """Rows of `must` [P, 2], clusters, that lead from one cluster to another."""
  _, before = csgraph.breadth_first_order(graph, start, directed=False)
  rows = []
  while end != start:
    step = {end, int(before[end])}
    rows.append(next(i for i, pair in enumerate(must) if step == {*pair}))
    end = int(before[end])
  return rows[::-1]


def _check_cannot(cannot: np.ndarray, labels: np.ndarray) -> None:
  """Raises ValueError where samples are one, or labels put them together."""
  same = cannot[:, 0] == cannot[:, 1]
  if same.any():
    row = int(np.argmax(same))
    raise ValueError(
      f'cannot_link: row {row} links sample {cannot[row, 0]} with itself, '
      'expected two samples; leave it out.'
    )
  inside = labels[cannot[:, 0]] == labels[cannot[:, 1]]
  if inside.any():
    row = int(np.argmax(inside))
    raise ValueError(
      f'cannot_link: row {row} has samples {_pair(cannot[row])}, which labels '
      f'put into one cluster, {labels[cannot[row, 0]]}; leave it out, or take '
      'them apart in labels.'
    )


def resolve(
  labels: np.ndarray,
  must_link: ArrayLike | None,
  cannot_link: ArrayLike | None,
) -> Constraints:
  """Unions of starting clusters, and pairs of the united that never merge.

  Args:
    labels: [N] int32, contiguous 0..K-1: the starting clusters.
    must_link: [P, 2] integer, samples that have to be in one cluster; None or
      empty for none.
    cannot_link: [P, 2] integer, samples that may not.

  Raises:
    ValueError: no such arrays, samples that do not exist, a sample that may not
      be with itself, and links that contradict labels or each other.
  """
  must = _check_links(must_link, len(labels), 'must_link')
  cannot = _check_links(cannot_link, len(labels), 'cannot_link')
  _check_cannot(cannot, labels)
  num_clusters = int(labels.max()) + 1
  must = labels[must]
  graph = sparse.csr_array(
    (np.ones(len(must)), (must[:, 0], must[:, 1])), (num_clusters,) * 2
  )
  _, parts = csgraph.connected_components(graph, directed=False)
  _, first, places = np.unique(parts, return_index=True, return_inverse=True)
  # Places in the order of the lowest cluster of each part.
  lowest = first[places]
  _, places = np.unique(lowest, return_inverse=True)
  united = places.astype(np.int32)[labels]
  forbidden = united[cannot]
  inside = forbidden[:, 0] == forbidden[:, 1]
  if inside.any():
    row = int(np.argmax(inside))
    a, b = (int(labels[sample]) for sample in cannot[row])
    chain = _chain(graph, must, a, b)
    raise ValueError(
      f'cannot_link: row {row} has samples {_pair(cannot[row])}, which '
      f'must_link puts into one cluster by its rows {chain}; leave it out, or '
      'one of those.'
    )
  absorbed = np.flatnonzero(lowest != np.arange(num_clusters))
  return Constraints(
    slots=np.column_stack([lowest[absorbed], absorbed]).astype(np.int32),
    labels=united,
    forbidden=_distinct(forbidden) if len(forbidden) else None,
  )


def _distinct(pairs: np.ndarray) -> np.ndarray:
  """Pairs [P, 2] int32, each ascending and once."""
  return np.unique(np.sort(pairs, axis=1), axis=0)


def all_forbidden(forbidden: np.ndarray, homes: np.ndarray) -> bool:
  """Whether no two clusters may merge any more.

  Args:
    forbidden: [P, 2] of `Constraints`.
    homes: [K] int, contiguous: the cluster in which each of those now lives.
  """
  count = int(homes.max()) + 1
  return len(_distinct(homes[forbidden])) == count * (count - 1) // 2
