"""HDBSCAN on the base distances, for comparison: a tree of densities."""

import dataclasses
from typing import Any

import numpy as np
from sklearn import cluster

from dbc_jax.cluster.cuts.cut import Placed, Task, check_min_size
from dbc_jax.labels import NOT_PLACED


@dataclasses.dataclass(frozen=True)
class Hdbscan:
  """scikit-learn's `HDBSCAN`; its noise is not placed.

  Attributes:
    min_size: of a cluster, in samples.

  Source: Campello et al., Density-based clustering based on hierarchical
    density estimates (2013).
  """

  min_size: int

  def __post_init__(self) -> None:
    check_min_size(self.min_size)

  def __call__(self, task: Task) -> Placed:
    if self.min_size > len(task.labels):
      nobody = np.full(len(task.labels), NOT_PLACED, np.int32)
      return Placed(nobody, np.zeros(0, np.float32))
    # It takes a bool, whatever its annotation says.
    copies: Any = True
    found = cluster.HDBSCAN(
      min_cluster_size=self.min_size, metric='precomputed', copy=copies
    ).fit(np.asarray(task.distances(), np.float64))
    return Placed(found.labels_.astype(np.int32), np.zeros(0, np.float32))


create = Hdbscan
