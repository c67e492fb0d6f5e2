"""The criterion of BUC: the nearest two members, and the clusters' sizes.

    min_{i in a, j in b} dist(i, j) + reg_weight (n_a + n_b)

Source: Lin et al., BUC (AAAI 2019).
"""

import dataclasses
from typing import Literal

from dbc_jax.cluster.criteria import average
from dbc_jax.cluster.linkages import MIN


@dataclasses.dataclass(frozen=True)
class Rule(average.Rule):
  """Average's rule with the minimum linkage.

  Attributes:
    squared: squared Euclidean distances, as the public code has them.
  """

  linkage = MIN
  follows = True
  squared: Literal[False, True] = False
