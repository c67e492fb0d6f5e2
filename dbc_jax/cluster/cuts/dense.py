"""As `core`, but how many are dense enough follows from the distances."""

import dataclasses
from typing import ClassVar

import numpy as np

from dbc_jax.cluster.cuts.core import SHARE, mean_distances
from dbc_jax.cluster.cuts.cut import Placed, Task, check_min_size, drop_small
from dbc_jax.cluster.cuts.share import labels_of_share
from dbc_jax.labels import NOT_PLACED

# A sample so near to the others of its cluster is dense, whatever the rest are.
# Of Jaccard distances, 1 is that of samples which share no neighbour.
_NEAR = 0.6


def otsu_threshold(values: np.ndarray) -> float:
  """The value that splits others best into low and high ones.

      maximise  n_low n_high (mean_low - mean_high)^2

  Args:
    values: [n] finite, n >= 1.

  Returns:
    The largest of the low ones; of equally good splits the one of fewer low
    ones. Where all values are equal, that value.

  Source: Otsu, A threshold selection method from gray-level histograms (1979),
    on the values themselves in place of a histogram.
  """
  values = np.sort(values).astype(np.float64)
  n = len(values)
  if values[0] == values[-1]:
    return float(values[0])
  sums = np.cumsum(values)
  low = np.arange(1, n)
  gaps = sums[:-1] / low - (sums[-1] - sums[:-1]) / (n - low)
  between = low * (n - low) * gaps**2
  # Equal values are on one side.
  between[values[:-1] == values[1:]] = -1.0
  return float(values[np.argmax(between)])


@dataclasses.dataclass(frozen=True)
class Dense:
  """Places the samples that are near to the others of their cluster.

  The clusters are those of the lowest cut at which 90 % of the samples are in
  clusters of at least `min_size`. Their samples' mean distances to the others
  of their cluster are split into small and large ones by Otsu's threshold, but
  none below 0.6 is large. The samples of small ones are placed. A cluster of
  which fewer than `min_size` are left waits as well. So the share that is
  placed grows as the features get better, and no schedule says how.

  Attributes:
    min_size: of a cluster, before and after, in samples.
  """

  reads_similarities: ClassVar[bool] = True

  min_size: int

  def __post_init__(self) -> None:
    check_min_size(self.min_size)

  def __call__(self, task: Task) -> Placed:
    labels = labels_of_share(task, SHARE, self.min_size)
    means = mean_distances(task, labels)
    known = np.isfinite(means)
    if known.any():
      near = means <= max(otsu_threshold(means[known]), _NEAR)
      labels = np.where(near, labels, NOT_PLACED)
    return Placed(drop_small(labels, self.min_size), np.zeros(0, np.float32))


create = Dense
