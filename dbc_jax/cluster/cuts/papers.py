"""The papers' cut: so many merges a stage, and every sample in."""

import dataclasses
from typing import ClassVar

import numpy as np

from dbc_jax.cluster.cuts.cut import Placed, Task, floor_share


@dataclasses.dataclass(frozen=True)
class Papers:
  """Leaves int(N merge_percent) clusters fewer after each stage.

  Where merging starts from single samples each time, the merges of all stages
  so far are done at once.

  Attributes:
    merge_percent: share of the samples.
    anew: whether `Task.labels` are single samples each time.

  Source: Algorithm 1 of DBC and of E-cluster.
  """

  reads_distances: ClassVar[bool] = False

  merge_percent: float
  anew: bool = False

  def __call__(self, task: Task) -> Placed:
    merges = floor_share(self.merge_percent, len(task.labels))
    result = task.merge(merges * (task.number + 1) if self.anew else merges)
    return Placed(result.labels, np.asarray(result.scores))


create = Papers
