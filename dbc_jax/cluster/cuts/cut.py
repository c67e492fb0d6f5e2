"""What a cut is given, and what it returns."""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np
from jax import Array
from scipy import sparse

from dbc_jax.cluster.merge import MergeResult
from dbc_jax.labels import NOT_PLACED


class Placed(NamedTuple):
  """What a cut decides.

  Attributes:
    labels: [N] int32, clusters 0..K-1, or -1 for a sample that is not placed.
    scores: [m] float32, what each pair was merged by; empty where the cut
      does not stop at a number of merges.
  """

  labels: np.ndarray
  scores: np.ndarray


@dataclasses.dataclass(frozen=True)
class Task:
  """The samples between two stages.

  Attributes:
    labels: [N] int32, contiguous 0..K-1: the clusters that merging starts
      from. A sample that was not placed is one of its own.
    number: of this clustering in the run, from 0.
    count: of clusterings in the run.
    distances: returns the base distances [N, N] float32.
    merge: merges `labels` a number of times, by the criterion; a second
      argument replaces the base distances.
    similarities: [N, N] sparse, 1 minus the base distances, where there are
      too many samples for a matrix; else None.
  """

  labels: np.ndarray
  number: int
  count: int
  distances: Callable[[], Array]
  merge: Callable[..., MergeResult]
  similarities: sparse.csr_array | None = None

  @property
  def progress(self) -> float:
    """0 for the first clustering of the run, 1 for the last."""
    return self.number / (self.count - 1) if self.count > 1 else 1.0


class Cut(Protocol):
  """Decides which samples a stage trains on, and in which clusters.

  A cut is immutable and pure. It sees no identity: only distances, merges and
  how far the run has come. One that has `reads_distances = False` does without
  the distances of `Task`, and so without an array [N, N]. One that has
  `reads_similarities = True` takes similarities in their place, if there are.
  """

  def __call__(self, task: Task) -> Placed: ...


def floor_share(share: float, num_samples: int) -> int:
  """So many samples are a share of them, rounded down: 0.29 of 100 are 29."""
  # In binary 0.29 times 100 is a little less.
  return int(round(share * num_samples, 6))


def check_min_size(min_size: int) -> None:
  """Raises ValueError unless a cluster has at least two samples."""
  if min_size < 2:
    raise ValueError(f'min_size: got {min_size}, expected at least 2 images')


def drop_small(labels: np.ndarray, min_size: int) -> np.ndarray:
  """Labels [N] int32, contiguous, in which smaller clusters are not placed.

  The order of the other clusters stays.

  Args:
    labels: [N] int, >= 0, or -1.
    min_size: of a cluster that stays, in samples.
  """
  counts = np.bincount(labels[labels >= 0], minlength=1)
  stays = counts >= max(min_size, 1)
  names = np.where(stays, np.cumsum(stays) - 1, NOT_PLACED)
  return np.where(labels >= 0, names[labels], NOT_PLACED).astype(np.int32)
