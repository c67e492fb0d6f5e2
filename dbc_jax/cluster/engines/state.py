"""What merging by similarities works on, as arrays for compiled code."""

from typing import NamedTuple

import numpy as np


class Graph(NamedTuple):
  """Rows of the clusters in slots 0..K-1."""

  parents: np.ndarray  # [K] int32: itself, or a slot that it went to.
  starts: np.ndarray  # [K] int64
  lengths: np.ndarray  # [K] int64
  ids: np.ndarray  # [E] int32, with places to spare.
  values: np.ndarray  # [E] float64


class Bars(NamedTuple):
  """Chains of the clusters with which a cluster may not merge."""

  heads: np.ndarray  # [K] int64, or -1.
  tails: np.ndarray  # [K] int64
  following: np.ndarray  # [2 P] int64, or -1.
  targets: np.ndarray  # [2 P] int32


class Clusters(NamedTuple):
  """What scores need to know of single clusters, each [K] float64."""

  sizes: np.ndarray
  inner: np.ndarray  # Sum of similarities over ordered pairs of members.
  deviations: np.ndarray
  spreads: np.ndarray
  prices: np.ndarray
  means: np.ndarray  # [K, D]; D is 0 where deviations are not needed.


class Scratch(NamedTuple):
  """Marks and sums by slot, of the row that was read last."""

  marks: np.ndarray  # [K] int64
  sums: np.ndarray  # [K] float64
  seen: np.ndarray  # [K] int32
  barred: np.ndarray  # [K] int64
  stamp: np.ndarray  # [1] int64
