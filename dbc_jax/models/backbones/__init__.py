"""Backbones: one file a family, found by the name of a member.

A file of this folder, or a module of another package, has

    MEMBERS         names of its networks; a mapping from each to its shape
    create(name, *, last_stride, frozen_stages, axis_name, dtype)
                    a linen module, images [B, H, W, 3] to maps [B, h, w, C],
                    called with train=True or False
    groups(name)    how many block groups can be frozen
    frozen(count)   how the names of the parts begin that freezing so many keeps
    torch_name(key) a leaf's name in torch's files, of its path in the backbone
"""

import functools
import importlib
import pkgutil
from types import ModuleType

_PARTS = ('MEMBERS', 'create', 'groups', 'frozen', 'torch_name')


@functools.cache
def _families() -> list[ModuleType]:
  """The files of this folder."""
  files = [module.name for module in pkgutil.iter_modules(__path__)]
  return [importlib.import_module(f'{__name__}.{name}') for name in files]


def find_family(name: str) -> tuple[ModuleType, str]:
  """The module of a network, and the network's name there.

  Args:
    name: of a member of a family here, such as 'resnet50', or
      'package.module:NAME' of one elsewhere.

  Raises:
    ValueError: there is none.
  """
  if not isinstance(name, str):
    raise ValueError(f'model.name: got {name!r}, expected a text.')
  for family in _families():
    if name in family.MEMBERS:
      return family, name
  names = [name for family in _families() for name in family.MEMBERS]
  expected = (
    f'model.name: got {name!r}, expected one of {names}, a ResNet by its '
    "blocks, as 'basic-2-2-2-3', or package.module:NAME"
  )
  path, colon, member = name.partition(':')
  if not colon:
    raise ValueError(expected)
  try:
    module = importlib.import_module(path)
  except Exception as error:  # Whatever a module may do when it is imported.
    raise ValueError(f'{expected} ({error})') from error
  lacking = [part for part in _PARTS if not hasattr(module, part)]
  if lacking:
    raise ValueError(f'{expected}; {path} lacks {", ".join(lacking)}')
  if member not in module.MEMBERS:
    raise ValueError(f'{expected}; {path} has {[*module.MEMBERS]}')
  return module, member
