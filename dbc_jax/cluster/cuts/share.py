"""Merges until a share of the samples is in clusters; the others wait."""

import dataclasses
import math
from typing import ClassVar

import numpy as np

from dbc_jax.cluster.cuts.cut import (
  Placed,
  Task,
  check_min_size,
  drop_small,
)
from dbc_jax.cluster.hierarchy import labels_after


def merges_to_place(
  pairs: np.ndarray, sizes: np.ndarray, wanted: int, min_size: int
) -> int:
  """The fewest merges after which so many samples are in large clusters.

  Args:
    pairs: [m, 2] int, merges in SciPy's numbering, in their order.
    sizes: [K] int, samples of each starting cluster.
    wanted: samples.
    min_size: of a cluster that counts.

  Returns:
    In 0..m; m where not even all of them suffice.
  """
  counts = [*sizes.tolist()]
  placed = sum(size for size in counts if size >= min_size)
  for t, (a, b) in enumerate(pairs.tolist()):
    if placed >= wanted:
      return t
    together = counts[a] + counts[b]
    if together >= min_size:
      placed += sum(size for size in (counts[a], counts[b]) if size < min_size)
    counts.append(together)
  return len(pairs)


def labels_of_share(task: Task, share: float, min_size: int) -> np.ndarray:
  """The lowest cut at which a share of the samples is in large clusters.

  Args:
    task: whose samples are merged.
    share: of all samples, in (0, 1].
    min_size: of a cluster that counts.

  Returns:
    [N] int32; -1 for the samples of smaller clusters.
  """
  sizes = np.bincount(task.labels)
  pairs = task.merge(len(sizes) - 1).pairs
  # Rounded first: 0.3 of 10 samples are 3, not 4.
  wanted = math.ceil(round(share * len(task.labels), 6))
  merges = merges_to_place(pairs, sizes, wanted, min_size)
  return drop_small(labels_after(pairs, task.labels, merges), min_size)


def check_shares(share: tuple[float, float]) -> None:
  """Raises ValueError unless both are in (0, 1]."""
  shares = tuple(share)
  if len(shares) != 2 or not all(0.0 < each <= 1.0 for each in shares):
    raise ValueError(
      f'share: got {share}, expected (first, last), both in (0, 1]'
    )


def share_now(share: tuple[float, float], task: Task) -> float:
  """Between the first and the last, by how far the run has come."""
  first, last = share
  return first + (last - first) * task.progress


@dataclasses.dataclass(frozen=True)
class Share:
  """The lowest cut of the tree at which a share of the samples is placed.

  Placed are the samples in clusters of at least `min_size`. The share grows
  evenly over the clusterings of the run.

  Attributes:
    share: of the samples, in the first clustering and in the last; in (0, 1].
    min_size: in samples.
  """

  reads_distances: ClassVar[bool] = False

  share: tuple[float, float]
  min_size: int

  def __post_init__(self) -> None:
    check_shares(self.share)
    check_min_size(self.min_size)

  def __call__(self, task: Task) -> Placed:
    labels = labels_of_share(task, share_now(self.share, task), self.min_size)
    return Placed(labels, np.zeros(0, np.float32))


create = Share
