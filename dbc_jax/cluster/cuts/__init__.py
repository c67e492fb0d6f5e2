"""How far a stage merges, and whom it places: one file a cut, found by name.

A file of this folder, or a module of another package, has a function
`create(**options)` that returns a `Cut`.
"""

import importlib
import inspect
import pkgutil
from typing import Any

from dbc_jax.cluster.cuts.cut import (
  NOT_PLACED,
  Cut,
  Placed,
  Task,
  drop_small,
  start_labels,
)

__all__ = [
  'NOT_PLACED',
  'Cut',
  'Placed',
  'Task',
  'create_cut',
  'cut_names',
  'drop_small',
  'start_labels',
]


def cut_names() -> list[str]:
  """Names of the cuts of this folder, without importing them."""
  files = [module.name for module in pkgutil.iter_modules(__path__)]
  return [name for name in files if name != 'cut']


def create_cut(name: str, **options: Any) -> Cut:
  """The cut of a name.

  Args:
    name: of a file of this folder, such as 'papers', or of a module of another
      package, such as 'package.module'.
    **options: for the module's `create`, which gets those that it takes.

  Raises:
    ValueError: there is no such module, it creates no cut, or an option is
      out of its range.
  """
  path = name if '.' in name else f'{__name__}.{name}'
  try:
    create = importlib.import_module(path).create
    taken = inspect.signature(create).parameters
  except Exception as error:  # Whatever a module may do when it is imported.
    raise ValueError(
      f'cut: got {name!r}, expected one of {cut_names()}, or a package.module '
      f'with a function create ({error})'
    ) from error
  return create(**{key: options[key] for key in options if key in taken})
