"""The dense core of each cluster; the samples around the cores wait."""

import dataclasses
from typing import ClassVar

import numpy as np

from dbc_jax.cluster.cuts.cut import Placed, Task, check_min_size, drop_small
from dbc_jax.cluster.cuts.share import (
  check_shares,
  labels_of_share,
  share_now,
)
from dbc_jax.labels import NOT_PLACED

# Of the samples that are in the clusters whose cores are sought: most.
# A lower cut splits identities into clusters that the loss then drives apart.
SHARE = 0.9


def mean_distances(task: Task, labels: np.ndarray) -> np.ndarray:
  """Of each sample, the mean distance to the others of its cluster.

  Args:
    task: whose distances, or similarities, they are.
    labels: [N] int; -1 for a sample in no cluster.

  Returns:
    [N] float64; infinite for a sample in no cluster, or alone in its own.
    Time grows with the sum of the squares of the clusters' sizes.
  """
  means = np.full(len(labels), np.inf)
  if task.similarities is not None:
    pairs = task.similarities.tocoo()
    inside = labels[pairs.row] == labels[pairs.col]
    inside &= pairs.row != pairs.col
    sums = np.bincount(pairs.row[inside], pairs.data[inside], len(labels))
    others = np.bincount(labels + 1)[labels + 1] - 1
    counts = (labels >= 0) & (others > 0)
    means[counts] = 1.0 - sums[counts] / others[counts]
    return means
  distances = np.asarray(task.distances())
  order = np.argsort(labels, kind='stable')
  sizes = np.bincount(labels[labels >= 0], minlength=1)
  ends = np.cumsum(sizes) + np.count_nonzero(labels < 0)
  for size, end in zip(sizes, ends, strict=True):
    members = order[end - size : end]
    if size > 1:
      inside = distances[np.ix_(members, members)].astype(np.float64)
      means[members] = inside.sum(axis=1) / (size - 1)
  return means


@dataclasses.dataclass(frozen=True)
class Core:
  """Places the samples that are nearest to the others of their cluster.

  The clusters are those of the lowest cut at which 90 % of the samples are in
  clusters of at least `min_size`. Of these, the samples with the smallest mean
  distance to the others of their cluster are placed, as many as a share says
  that grows evenly over the clusterings of the run. A cluster of which fewer
  than `min_size` are left waits as well.

  Attributes:
    share: of the samples, in the first clustering and in the last; in (0, 1].
    min_size: of a cluster, before and after, in samples.
  """

  reads_similarities: ClassVar[bool] = True

  share: tuple[float, float]
  min_size: int

  def __post_init__(self) -> None:
    check_shares(self.share)
    check_min_size(self.min_size)

  def __call__(self, task: Task) -> Placed:
    labels = labels_of_share(task, SHARE, self.min_size)
    means = mean_distances(task, labels)
    # Equal ones are placed together.
    last = max(1, round(share_now(self.share, task) * len(means))) - 1
    near = means <= np.partition(means, last)[last]
    near &= np.isfinite(means)
    labels = drop_small(np.where(near, labels, NOT_PLACED), self.min_size)
    return Placed(labels, np.zeros(0, np.float32))


create = Core
