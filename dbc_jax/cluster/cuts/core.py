"""The dense core of each cluster; the samples around the cores wait."""

import dataclasses

import numpy as np

from dbc_jax.cluster.cuts.cut import NOT_PLACED, Placed, Task, drop_small
from dbc_jax.cluster.cuts.share import labels_of_share

# Of the samples that are in the clusters whose cores are sought: nearly all.
# A lower cut splits identities into clusters that the loss then drives apart.
_SHARE = 0.95


def split_by_otsu(values: np.ndarray) -> float:
  """The value up to which the lower of two groups reaches.

  It is the threshold of the largest variance between the groups, n_1 n_2
  (mean_1 - mean_2)^2; the largest value, if all are equal.

  Args:
    values: [M] finite.

  Source: Otsu, A threshold selection method from gray-level histograms (1979).
  """
  values = np.sort(values.astype(np.float64))
  sums = np.cumsum(values)
  lower = np.arange(1, len(values))
  upper = len(values) - lower
  gap = sums[:-1] / lower - (sums[-1] - sums[:-1]) / upper
  between = lower * upper * gap**2
  if not len(between) or between.max() <= 1e-12 * sums[-1] ** 2:
    return float(values[-1])
  return float(values[between.argmax()])


def mean_distances(distances: np.ndarray, labels: np.ndarray) -> np.ndarray:
  """Of each sample, the mean distance to the others of its cluster.

  Args:
    distances: [N, N].
    labels: [N] int; -1 for a sample in no cluster.

  Returns:
    [N] float64; NaN for a sample that is in none or alone in its cluster.
    Time grows with the sum of the squares of the clusters' sizes.
  """
  means = np.full(len(labels), np.nan)
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
  """Places the samples that are near to the others of their cluster.

  The clusters are those of the lowest cut at which 95 % of the samples are in
  clusters of at least `min_size`. Otsu's threshold splits the samples by their
  mean distance to the others of their cluster: the nearer ones are placed. So
  the share that is placed follows from the distances alone.

  Attributes:
    min_size: of a cluster, before and after, in samples.
  """

  min_size: int

  def __post_init__(self) -> None:
    if self.min_size < 2:
      raise ValueError(
        f'min_size: got {self.min_size}, expected at least 2 images'
      )

  def __call__(self, task: Task) -> Placed:
    labels = labels_of_share(task, _SHARE, self.min_size)
    means = mean_distances(np.asarray(task.distances()), labels)
    known = means[~np.isnan(means)]
    if len(known):
      # Comparisons with NaN are false.
      near = means <= split_by_otsu(known)
      labels = drop_small(np.where(near, labels, NOT_PLACED), self.min_size)
    return Placed(labels, np.zeros(0, np.float32))


create = Core
