"""Average linkage with the size regulariser of BUC.

    M_ab + reg_weight (n_a + n_b)

Source: Sokal & Michener, University of Kansas Science Bulletin 38 (1958).
"""

from jax import Array

from dbc_jax.cluster.criteria import rule


class Rule(rule.Rule):
  """The linkage itself; large clusters cost more."""

  uses_within = False
  uses_deviations = False

  def distance(self, inter: Array, a: rule.Terms, b: rule.Terms) -> Array:
    return inter

  def price(self, a: rule.Terms, b: rule.Terms) -> Array:
    return a.sizes + b.sizes
