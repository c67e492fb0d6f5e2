"""What a network is trained on: one file an objective, found by its name.

A file of this folder, or a module of another package, has a function
`create(**options)` that returns an `Objective`.
"""

import math
from typing import Any

from dbc_jax import plugins
from dbc_jax.training.objectives.objective import (
  Objective,
  Outputs,
  weighted_sum,
)

__all__ = [
  'Objective',
  'Outputs',
  'create_objective',
  'objective_names',
  'weighted_sum',
]


def objective_names() -> list[str]:
  """Names of the objectives of this folder, without importing them."""
  return plugins.names_in(__path__, besides='objective')


def create_objective(name: str, **options: Any) -> Objective:
  """The objective of a name, or the weighted sum of several.

  Args:
    name: of a file of this folder, such as 'memory', or of a module of another
      package, such as 'package.module'. A sum names each with its weight, as
      'memory + 0.5 contrastive'; the accuracy is that of the first.
    **options: for the modules' `create`, which get those that they take.

  Raises:
    ValueError: there is no such module, it creates no objective, a weight is
      no number above 0, or one of several tells cameras apart.
  """
  known, terms = objective_names(), []
  for term in name.split('+'):
    weight, _, own = term.strip().rpartition(' ')
    try:
      number = float(weight or 1)
    except ValueError:
      number = math.nan
    if not 0 < number < math.inf:
      raise ValueError(
        f'objective: got {name!r}, expected a weight above 0 before '
        f"{own!r}, as in 'memory + 0.5 contrastive'"
      )
    made = plugins.create('objective', __name__, known, own, **options)
    terms.append((number, made))
  if len(terms) > 1 and any(hasattr(x, 'start_proxies') for _, x in terms):
    raise ValueError(
      f'objective: got {name!r}, but one that tells cameras apart has labels '
      'of its own; it stands alone'
    )
  return weighted_sum(*terms) if len(terms) > 1 else terms[0][1]
