"""Dispersion within and between clusters: the criterion of DBC."""

import functools

import jax
import jax.numpy as jnp


def intra_dispersion(
  within: jax.Array, sizes: jax.Array, intra: str = 'sum'
) -> jax.Array:
  """Dispersion d of clusters, from the mean distance `within` each (M_cc)."""
  # The paper's Eq. 3 divides the sum over all pairs by n ('sum'); its words
  # say average pairwise distance, and its public code divides by n^2 ('mean').
  return sizes * within if intra == 'sum' else within


def merged_intra_eq7(
  d_a: jax.Array,
  d_b: jax.Array,
  d_ab: jax.Array,
  n_a: jax.Array,
  n_b: jax.Array,
) -> jax.Array:
  """Dispersion of the union of a and b by DBC's Eq. 7 as printed.

  It agrees with no reading of Eq. 3: two singletons get d_ab / 3.
  """
  weighted = n_a * d_a + n_b * d_b + n_a * n_b * d_ab
  return weighted / (n_a + n_b + n_a * n_b)


def dispersion(
  inter: jax.Array, d_a: jax.Array, d_b: jax.Array, reg_weight: float
) -> jax.Array:
  """DBC Eq. 5, element by element: M_ab + reg_weight (d_a + d_b)."""
  return inter + reg_weight * (d_a + d_b)


@functools.partial(jax.jit, static_argnames='intra')
def _dispersion_matrix(
  linkage: jax.Array, sizes: jax.Array, reg_weight: jax.Array, intra: str
) -> jax.Array:
  d = intra_dispersion(jnp.diagonal(linkage), sizes, intra)
  return dispersion(linkage, d[:, None], d, reg_weight)


def dispersion_matrix(
  mean_linkage: jax.typing.ArrayLike,
  sizes: jax.typing.ArrayLike,
  *,
  reg_weight: float,
  intra: str = 'sum',
) -> jax.Array:
  """Dispersion criterion of every pair of clusters.

      P[a, b] = M[a, b] + reg_weight (d_a + d_b)
      d_c = n_c M[c, c]  ('sum', Eq. 3 as printed)   or   M[c, c]  ('mean')

  Args:
    mean_linkage: [K, K] float32, symmetric, as `mean_linkage` returns it.
    sizes: [K]. Number of samples in each cluster.
    reg_weight: weight of the intra-cluster term, the paper's lambda.
    intra: 'sum' or 'mean': which intra-cluster dispersion d is.

  Returns:
    [K, K] float32, symmetric. The diagonal follows the same formula and is no
    pair; `criterion_matrix` masks it.

  Raises:
    ValueError: intra is neither 'sum' nor 'mean'.

  Source: Ding et al., DBC, Eq. 3-5.
  """
  if intra not in ('sum', 'mean'):
    raise ValueError(
      f"intra: got {intra!r}, expected 'sum' (Eq. 3 as printed) or 'mean' "
      '(divided by the number of pairs); pass one of the two.'
    )
  linkage = jnp.asarray(mean_linkage, jnp.float32)
  sizes = jnp.asarray(sizes, jnp.float32)
  return _dispersion_matrix(linkage, sizes, reg_weight, intra)
