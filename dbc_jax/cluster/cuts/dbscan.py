"""DBSCAN on the base distances, for comparison: no tree, and an eps by hand."""

import dataclasses

import numpy as np
from sklearn import cluster

from dbc_jax.cluster.cuts.cut import Placed, Task, check_min_size


@dataclasses.dataclass(frozen=True)
class Dbscan:
  """scikit-learn's `DBSCAN`; its noise is not placed.

  Attributes:
    eps: the radius of a neighbourhood, in the unit of the distances.
    min_size: samples in the neighbourhood of a core sample, itself included.

  Source: Ester et al., A density-based algorithm for discovering clusters in
    large spatial databases with noise (1996).
  """

  eps: float
  min_size: int

  def __post_init__(self) -> None:
    if not self.eps > 0:
      raise ValueError(f'eps: got {self.eps}, expected more than 0')
    check_min_size(self.min_size)

  def __call__(self, task: Task) -> Placed:
    found = cluster.DBSCAN(
      eps=self.eps, min_samples=self.min_size, metric='precomputed'
    ).fit(np.asarray(task.distances()))
    return Placed(found.labels_.astype(np.int32), np.zeros(0, np.float32))


create = Dbscan
