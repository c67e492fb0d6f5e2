"""What a network is trained on: one file an objective, found by its name.

A file of this folder, or a module of another package, has a function
`create(**options)` that returns an `Objective`.
"""

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
  """The objective of a name.

  Args:
    name: of a file of this folder, such as 'memory', or of a module of another
      package, such as 'package.module'.
    **options: for the module's `create`, which gets those that it takes.

  Raises:
    ValueError: there is no such module, or it creates no objective.
  """
  return plugins.create(
    'objective', __name__, objective_names(), name, **options
  )
