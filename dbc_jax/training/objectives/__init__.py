"""What a network is trained on: one file an objective, found by its name.

A file of this folder, or a module of another package, has a function
`create(**options)` that returns an `Objective`.
"""

import importlib
import inspect
from typing import Any

from dbc_jax.training.objectives.objective import (
  Objective,
  Outputs,
  weighted_sum,
)

__all__ = ['Objective', 'Outputs', 'create_objective', 'weighted_sum']


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
  except (ImportError, AttributeError) as error:
    raise ValueError(
      f'objective: got {name!r}, expected memory, contrastive or a '
      f'package.module with a function create ({error})'
    ) from error
  taken = inspect.signature(create).parameters
  return create(**{key: options[key] for key in options if key in taken})
