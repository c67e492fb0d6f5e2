"""The criterion of E-cluster: energy distance, and squared deviations.

    E_ab + reg_weight (SSD_a + SSD_b),    E_ab = 2 M_ab - M_aa - M_bb

Source: Zeng et al., E-cluster, Eq. 6-8.
"""

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from dbc_jax.cluster import checks
from dbc_jax.cluster.criteria import rule


def energy_distance(inter: Array, within_a: Array, within_b: Array) -> Array:
  """E-cluster Eq. 6, element by element: 2 M_ab - (M_aa + M_bb)."""
  # The bracket makes (a, b) and (b, a) round alike, and the diagonal zero.
  return 2 * inter - (within_a + within_b)


@dataclasses.dataclass(frozen=True)
class Rule(rule.Rule):
  """Squared distances are refused: E_ab would be 2 ||mean_a - mean_b||^2.

  Attributes:
    ssd: 'sum': both clusters' SSD; 'printed': the paper's Eq. 8 has that of one
      side, and a pair scores the smaller of its two orderings, min(SSD_a,
      SSD_b).
  """

  ssd: Literal['sum', 'printed'] = 'sum'

  def distance(self, inter: Array, a: rule.Terms, b: rule.Terms) -> Array:
    return energy_distance(inter, a.within, b.within)

  def price(self, a: rule.Terms, b: rule.Terms) -> Array:
    # DEVIATION(ecluster Eq. 8): it prints one side's SSD, its Fig. 3 weighs
    # either partner's; the default takes both.
    combine = jnp.add if self.ssd == 'sum' else jnp.minimum
    return combine(a.ssd, b.ssd)


def energy_distance_matrix(mean_linkage: ArrayLike) -> Array:
  """Energy distance between every pair of clusters.

      E[a, b] = 2 M[a, b] - M[a, a] - M[b, b]

  Args:
    mean_linkage: [K, K] float32, symmetric. Mean Euclidean distance (plain
      norm) between the members of two clusters; the diagonal averages all
      n_a^2 ordered pairs, self-pairs included.

  Returns:
    [K, K] float32, symmetric, zero diagonal, >= 0 up to rounding.

  Raises:
    ValueError: no [K, K] finite numbers.

  Source: Zeng et al., E-cluster, Eq. 6.
  """
  return _energy_distance_matrix(checks.check_linkage(mean_linkage))


@jax.jit
def _energy_distance_matrix(linkage: Array) -> Array:
  within = jnp.diagonal(linkage)
  return energy_distance(linkage, within[:, None], within)
