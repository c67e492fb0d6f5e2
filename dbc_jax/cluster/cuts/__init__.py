"""How far a stage merges, and whom it places: one file a cut, found by name.

A file of this folder, or a module of another package, has a function
`create(**options)` that returns a `Cut`.
"""

from typing import Any

from dbc_jax import plugins
from dbc_jax.cluster.cuts.cut import Cut, Placed, Task, drop_small
from dbc_jax.labels import NOT_PLACED

__all__ = [
  'NOT_PLACED',
  'Cut',
  'Placed',
  'Task',
  'create_cut',
  'cut_names',
  'drop_small',
]


def cut_names() -> list[str]:
  """Names of the cuts of this folder, without importing them."""
  return plugins.names_in(__path__, besides='cut')


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
  return plugins.create('cut', __name__, cut_names(), name, **options)
