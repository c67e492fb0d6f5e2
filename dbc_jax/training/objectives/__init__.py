"""What a network is trained on: one file an objective, found by its name.

A file of this folder, or a module of another package, has a function
`create(**options)` that returns an `Objective`.
"""

import importlib
import inspect
import pkgutil
from typing import Any

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
  files = [module.name for module in pkgutil.iter_modules(__path__)]
  return [name for name in files if name != 'objective']


def create_objective(name: str, **options: Any) -> Objective:
  """The objective of a name.

  Args:
    name: of a file of this folder, such as 'memory', or of a module of another
      package, such as 'package.module'.
    **options: for the module's `create`, which gets those that it takes.

  Raises:
    ValueError: there is no such module, or it creates no objective.
  """
  path = name if '.' in name else f'{__name__}.{name}'
  try:
    create = importlib.import_module(path).create
    taken = inspect.signature(create).parameters
  except Exception as error:  # Whatever a module may do when it is imported.
    raise ValueError(
      f'objective: got {name!r}, expected one of {objective_names()}, or a '
      f'package.module with a function create ({error})'
    ) from error
  return create(**{key: options[key] for key in options if key in taken})
