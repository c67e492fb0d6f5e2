"""So many clusters as a share of the samples, which falls by equal factors."""

import dataclasses
from typing import ClassVar

import numpy as np

from dbc_jax.cluster.cuts.cut import Placed, Task
from dbc_jax.cluster.cuts.share import check_shares


@dataclasses.dataclass(frozen=True)
class Geometric:
  """Merges to a number of clusters, with every sample in one.

      K_t = N first (last / first)^t,    t from 0 to 1 over the run

  Few clusters are far fewer than many after a few stages, where the papers'
  cut takes the same number of merges each time.

  Attributes:
    share: clusters as a share of the samples, in the first clustering and in
      the last; in (0, 1]. Where fewer are left already, they stay.
  """

  share: tuple[float, float]
  reads_distances: ClassVar[bool] = False

  def __post_init__(self) -> None:
    check_shares(self.share)

  def __call__(self, task: Task) -> Placed:
    first, last = self.share
    share = first * (last / first) ** task.progress
    found = int(task.labels.max()) + 1
    merges = found - max(1, round(share * len(task.labels)))
    if merges < 1:
      return Placed(task.labels, np.zeros(0, np.float32))
    result = task.merge(merges)
    return Placed(result.labels, np.asarray(result.scores))


create = Geometric
