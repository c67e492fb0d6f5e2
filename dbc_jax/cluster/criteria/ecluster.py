"""Energy distance and sums of squared deviations: the terms of E-cluster."""

import jax
import jax.numpy as jnp

from dbc_jax.cluster import checks
from dbc_jax.cluster.criteria import means


def energy_distance(
  inter: jax.Array, within_a: jax.Array, within_b: jax.Array
) -> jax.Array:
  """E-cluster Eq. 6, element by element: 2 M_ab - (M_aa + M_bb)."""
  # The bracket makes (a, b) and (b, a) round alike, and the diagonal zero.
  return 2 * inter - (within_a + within_b)


@jax.jit
def energy_distance_matrix(mean_linkage: jax.typing.ArrayLike) -> jax.Array:
  """Energy distance between every pair of clusters.

      E[a, b] = 2 M[a, b] - M[a, a] - M[b, b]

  Args:
    mean_linkage: [K, K] float32, symmetric. Mean Euclidean distance (plain
      norm) between the members of two clusters; the diagonal averages all
      n_a^2 ordered pairs, self-pairs included.

  Returns:
    [K, K] float32, symmetric, zero diagonal, >= 0 up to rounding.

  Source: Zeng et al., E-cluster, Eq. 6.
  """
  linkage = jnp.asarray(mean_linkage, jnp.float32)
  within = jnp.diagonal(linkage)
  return energy_distance(linkage, within[:, None], within)


def merged_deviations(
  ssd_a: jax.Array,
  ssd_b: jax.Array,
  n_a: jax.Array,
  n_b: jax.Array,
  squared_gap: jax.Array,
) -> jax.Array:
  """SSD of the union of a and b, `squared_gap` = ||mean_a - mean_b||^2."""
  return ssd_a + ssd_b + n_a * n_b / (n_a + n_b) * squared_gap


def sum_squared_deviations(
  features: jax.typing.ArrayLike,
  labels: jax.typing.ArrayLike,
  num_clusters: int,
) -> jax.Array:
  """Spread of each cluster about its mean.

      SSD[c] = sum_{i in c} ||x_i - mean_c||^2

  Args:
    features: [N, D] floating point.
    labels: [N] integer, contiguous 0..K-1. Cluster of each sample.
    num_clusters: K.

  Returns:
    [K] float32, >= 0; 0 for a cluster of one.

  Raises:
    ValueError: features are not [N, D] or not finite; labels are of another
      length or not contiguous, or do not name num_clusters clusters.

  Source: Zeng et al., E-cluster, Eq. 7.
  """
  features = checks.check_features(features)
  labels, _ = checks.check_labels(labels, len(features), num_clusters)
  with jax.enable_x64(True):
    _, ssd = means.start_means(
      jnp.asarray(features), labels, int(num_clusters), num_merges=0
    )
    return ssd.astype(jnp.float32)
