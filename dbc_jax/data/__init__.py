"""Data sets by name: samples for training and, apart, the truth about them."""

import importlib
import inspect
import os
import pkgutil
from pathlib import Path
from types import ModuleType
from typing import Any

from dbc_jax import values
from dbc_jax.data import forgotten, readers
from dbc_jax.data.decode import samples_of
from dbc_jax.data.loading import load_images
from dbc_jax.data.readers.release import Release
from dbc_jax.data.samples import Dataset, GroundTruth, Samples

__all__ = [
  'Dataset',
  'GroundTruth',
  'Release',
  'Samples',
  'find_reader',
  'load_configured',
  'load_dataset',
  'load_images',
  'reader_names',
  'samples_of',
]

# Drawn, not read. Every other data set is a file of `readers/`.
_DEMOS = {'demo': 'synthetic.images', 'demo_video': 'synthetic.video'}
# Files of `readers/` that are no data sets; those share them.
_SHARED = ('checks', 'left_out', 'pattern', 'release', 'table')
# Fields of a config that are options of readers; what is False, 0 or empty is
# not passed on.
_OPTIONS = ('num_identities', 'csv', 'tracklets', 'pattern', 'drop_queries')


def reader_names() -> tuple[str, ...]:
  """Names of the data sets of this package, without importing their readers."""
  files = sorted(
    module.name for module in pkgutil.iter_modules(readers.__path__)
  )
  return *_DEMOS, *(name for name in files if name not in _SHARED)


def find_reader(name: str) -> ModuleType:
  """The module that reads a data set: imports it, and reads no data.

  It has a function `load`, whose first parameter is `root` if it reads files
  and whose other parameters are its options, and `RELEASE`, a `Release`.

  Args:
    name: one of `reader_names`, or 'package.module' for a reader of your own.

  Raises:
    ValueError: there is no such module, it cannot be imported, or it lacks one
      of the two.
  """
  names = reader_names()
  if not isinstance(name, str):
    raise ValueError(f'name: got {name!r}, expected one of {", ".join(names)}')
  if name in names:
    module = _DEMOS.get(name, f'readers.{name}')
    return importlib.import_module(f'{__name__}.{module}')
  if '.' not in name:
    raise ValueError(
      f'Unknown data set {name!r}; known are: {", ".join(names)}. A reader of '
      'your own is named package.module.'
    )
  try:
    reader = importlib.import_module(name)
  except Exception as error:  # Whatever a module may do when it is imported.
    raise ValueError(
      f'Data set {name!r}: this module cannot be imported '
      f'({type(error).__name__}: {error}). Run from the folder above it, or '
      f'choose one of {", ".join(names)}.'
    ) from error
  has_load = callable(getattr(reader, 'load', None))
  if not has_load or not isinstance(getattr(reader, 'RELEASE', None), Release):
    raise ValueError(
      f'Data set {name!r}: {reader.__file__} is no reader; expected a function '
      '`load(root, **options)` and `RELEASE = Release(title=...)`.'
    )
  return reader


def load_dataset(
  name: str, root: str | os.PathLike[str] | None = None, **options: Any
) -> tuple[Dataset, GroundTruth]:
  """Reads the list of samples of a data set; images are decoded later.

  Args:
    name: as in `find_reader`, such as 'market1501' or 'demo'.
    root: where its files are; None or '' for the demos, which have none.
    **options: of the reader, such as `num_identities` of 'market1501'; see
      `load` in the module of that name.

  Returns:
    The samples, which hold no identities, and the ground truth, which is for
    evaluation and reporting alone.

  Raises:
    ValueError: an unknown name or option, a missing root, or files that are
      not laid out as the reader expects.
  """
  load = find_reader(name).load
  known = dict(inspect.signature(load).parameters)
  takes_root = known.pop('root', None) is not None
  unknown = sorted(set(options) - set(known))
  if unknown:
    raise ValueError(
      f'Data set {name!r} has no option {", ".join(unknown)}; '
      f'known are: {", ".join(known) or "none"}.'
    )
  if takes_root:
    return load(_checked_root(name, root), **options)
  if root:
    raise ValueError(
      f'Data set {name!r} reads no files, but root is {os.fspath(root)!r}. '
      'Leave the root out, or name the data set that is there.'
    )
  return load(**options)


def load_configured(fields: Any) -> tuple[Dataset, GroundTruth]:
  """`load_dataset` by the `data` fields of a config; raises the same.

  `identities_seed` becomes the option `seed` of readers that draw
  `num_identities` by it. It is 0 where older configs lack it.

  Raises:
    ValueError: also where `identities_seed` is set and draws nothing.
  """
  options = {key: fields[key] for key in _OPTIONS if fields[key]}
  seed = getattr(fields, 'identities_seed', 0)
  if seed:
    known = inspect.signature(find_reader(fields.name).load).parameters
    if not {'num_identities', 'seed'} <= known.keys():
      raise ValueError(
        f'data.identities_seed: got {seed}, expected 0: data set '
        f'{fields.name!r} draws no identities'
      )
    if not fields.num_identities:
      raise ValueError(
        f'data.identities_seed: got {seed} with data.num_identities=0, which '
        'reads all identities; set data.num_identities, or leave the seed at 0'
      )
    options['seed'] = seed
  loaded = load_dataset(fields.name, fields.root, **options)
  if path := getattr(fields, 'forgotten', ''):
    return forgotten.without(*loaded, forgotten.read(Path(path)))
  return loaded


def _checked_root(name: str, root: str | os.PathLike[str] | None) -> Path:
  if not root:
    raise ValueError(
      f'Data set {name!r} needs the folder of its files: pass root, or '
      '--config.data.root=DIR to a training, --root=DIR to a command.'
    )
  path = values.path(root, 'root')
  if not path.exists():
    above = next(p for p in path.absolute().parents if p.exists())
    raise ValueError(
      f'Root of data set {name!r}: {path} does not exist ({above} does). '
      'Say by --root=DIR where its files are now.'
    )
  if not path.is_dir():
    raise ValueError(
      f'Root of data set {name!r}: {path} is a file; a folder is expected. '
      'If it is an archive, unpack it first.'
    )
  if next(path.iterdir(), None) is None:
    raise ValueError(
      f'Root of data set {name!r}: {path} is empty. Name the folder that has '
      'its files.'
    )
  return path
