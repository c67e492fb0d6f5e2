"""Criteria whose score is a sum, where clusters share no similarity.

    scale M_ab - (spread_a + spread_b) + weight (price_a + price_b)

With M_ab = 1 the best of such pairs follows from one number a cluster.
"""

from typing import NamedTuple

from dbc_jax.cluster.criteria import average, buc, dbc, ecluster
from dbc_jax.cluster.criteria.criterion import Criterion

# Kept compiled code has these numbers in it: others need a change there, too.
# What the price of a cluster is: its size, its dispersion by one of three
# definitions, or its sum of squared deviations.
SIZES, SUM, MEAN, EQ7, DEVIATIONS = range(5)


class Form(NamedTuple):
  """A criterion for compiled code; spread is M_aa where scale is 2, else 0."""

  price: int
  weight: float
  scale: float
  nearest: bool  # The largest similarity counts, not their mean.


def form_of(criterion: Criterion) -> Form | None:
  """The form of a criterion; None where its score is no such sum."""
  rule, weight = criterion.rule, criterion.reg_weight
  if criterion.merge != 'sequential' or rule.squared:
    return None
  if type(rule) is average.Rule:
    return Form(SIZES, weight, 1.0, False)
  if type(rule) is buc.Rule:
    return Form(SIZES, weight, 1.0, True)
  if type(rule) is dbc.Rule:
    price = SUM if rule.intra == 'sum' else MEAN
    return Form(price if rule.update == 'exact' else EQ7, weight, 1.0, False)
  if type(rule) is ecluster.Rule and (rule.ssd == 'sum' or not weight):
    return Form(DEVIATIONS, weight, 2.0, False)
  return None
