"""The papers' cut: so many merges a stage, and every sample in."""

import dataclasses
from typing import ClassVar

import numpy as np

from dbc_jax.cluster.cuts.cut import Placed, Task, floor_share


@dataclasses.dataclass(frozen=True)
class Papers:
  """Leaves int(N merge_percent) clusters fewer after each stage.

  Where merging starts from single samples each time, the merges of all stages
  so far are done at once. Fewer are done where a single cluster is left before.

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
    merges *= task.number + 1 if self.anew else 1
    merges = min(merges, int(task.labels.max()))
    if merges < 1:
      return Placed(task.labels, np.zeros(0, np.float32))
    result = task.merge(merges)
    return Placed(result.labels, np.asarray(result.scores))


create = Papers
