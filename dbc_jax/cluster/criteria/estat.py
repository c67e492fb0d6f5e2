"""The energy statistic: E-cluster's criterion, weighted by the sizes.

    n_a n_b / (n_a + n_b) E_ab + reg_weight (SSD_a + SSD_b)

Source: Szekely & Rizzo, Journal of Classification 22 (2005).
"""

import dataclasses

from jax import Array

from dbc_jax.cluster.criteria import ecluster
from dbc_jax.cluster.criteria.rule import Terms


@dataclasses.dataclass(frozen=True)
class Rule(ecluster.Rule):
  """E-cluster's rule, with the factor that Ward's method has too."""

  def distance(self, inter: Array, a: Terms, b: Terms) -> Array:
    energy = super().distance(inter, a, b)
    return a.sizes * b.sizes / (a.sizes + b.sizes) * energy
