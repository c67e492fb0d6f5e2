"""What a config names: a file of a folder, or a module of another package.

Such a module has a function `create(**options)`, or something that is called
so.
"""

import importlib
import inspect
import pkgutil
from collections.abc import Iterable
from typing import Any


def names_in(path: Iterable[str], *, besides: str) -> list[str]:
  """Names of the modules of a package but one, without importing them."""
  files = [module.name for module in pkgutil.iter_modules(path)]
  return [name for name in files if name != besides]


def create(
  kind: str, package: str, known: list[str], name: str, **options: Any
) -> Any:
  """What the `create` of a module of that name makes.

  Args:
    kind: of thing, for an error.
    package: in whose folder the known names are.
    known: names, for an error.
    name: of a file of that folder, or a package.module.
    **options: for `create`, which gets those that it takes.

  Raises:
    ValueError: there is no such module, it has no `create`, or an option is
      out of its range.
  """
  path = name if '.' in name else f'{package}.{name}'
  try:
    make = importlib.import_module(path).create
    taken = inspect.signature(make).parameters
  except Exception as error:  # Whatever a module may do when it is imported.
    raise ValueError(
      f'{kind}: got {name!r}, expected one of {known}, or a package.module '
      f'with a function create ({error})'
    ) from error
  return make(**{key: options[key] for key in options if key in taken})
