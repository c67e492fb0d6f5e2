"""Euclidean distances between samples; the base distance of every criterion."""

import jax
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from dbc_jax import values
from dbc_jax.cluster import checks
from dbc_jax.cluster.distances import panels, sources
from dbc_jax.cluster.linkages import MIN


def pairwise_distances(
  features: ArrayLike, *, squared: bool = False, block_size: int | None = None
) -> Array:
  """Euclidean distance between every two samples.

      dist[i, j] = ||x_i - x_j||      or its square, if `squared`

  Within 1e-6 of exact arithmetic for features of unit length, also for
  near-duplicates. Equal rows are at exactly 0.

  Args:
    features: [N, D] floating point. Taken as they are: callers who want the
      distance between directions pass L2-normalised rows.
    squared: squared distances, as the public code of BUC and DBC has them.
    block_size: rows worked on at a time, default 512. It bounds the working
      memory beside the result and does not change the result beyond rounding.

  Returns:
    [N, N] float32, exactly symmetric, zero diagonal.

  Raises:
    ValueError: features are not [N, D] or not finite; block_size < 1.

  Source: the `dist` of Ding et al., DBC, Eq. 3-4, and Zeng et al., E-cluster,
    Eq. 6.
  """
  features = checks.check_features(features)
  squared = values.flag(squared, 'squared')
  if block_size is None:
    block_size = panels.TILE
  block_size = values.whole(block_size, 'block_size', 1)
  num_samples = len(features)
  with jax.enable_x64(True):
    return panels.linkage_matrix(
      sources.feature_source(features, squared),
      np.arange(num_samples, dtype=np.int32),
      num_samples,
      MIN,
      tile=min(block_size, num_samples),
    )
