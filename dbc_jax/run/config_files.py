"""Config files: where they are, by path or by name, and what they hold."""

import difflib
import functools
import inspect
import operator
import pathlib
import runpy
from collections.abc import Iterable, Mapping
from typing import Any

from dbc_jax import values
from dbc_jax.run.config import Config, flat

# That come with the package; `configs` of a checkout is a link to it.
_FOLDER = pathlib.Path(__file__).parents[1] / 'configs'
_PATHS = (
  *('data.root', 'data.csv', 'data.corrections', 'data.walks'),
  *('train.init', 'train.continue_from'),
)
_NO_CONFIGS = ('__init__', 'common')
_KINDS = {
  bool: 'True or False',
  int: 'a whole number',
  float: 'a number',
  str: 'a text',
  tuple: 'numbers in brackets, such as (64, 32)',
}


def names() -> list[str]:
  """Those that come with the package."""
  stems = sorted(path.stem for path in _FOLDER.glob('*.py'))
  return [stem for stem in stems if stem not in _NO_CONFIGS]


def find_config(text: str) -> str:
  """The path of a config file, with what stands behind a colon.

  Args:
    text: a path, or the name of one that comes with the package, from any
      folder: 'best', 'best.py' or 'configs/best.py'. A data set may follow, as
      in 'best:folder,small'.

  Raises:
    ValueError: there is none; names the nearest.
  """
  file, colon, dataset = text.partition(':')
  path = values.path(file or '.', '--config')
  if not path.is_file():
    given = path
    path = _FOLDER / f'{given.stem}.py'
    is_name = str(given.parent) in ('.', 'configs')
    if not is_name or given.suffix not in ('', '.py') or not path.is_file():
      near = difflib.get_close_matches(given.stem, names(), 1)
      hint = f'did you mean {near[0]}? There' if near else 'there'
      raise ValueError(
        f'--config: there is no file {file}, and no config of that name; {hint}'
        f' are {", ".join(names())}'
      )
  return f'{path}{colon}{dataset}'


def load_config(text: str) -> Config:
  """What `get_config` of a config file returns.

  Args:
    text: as of `find_config`; what stands behind the colon is its argument.

  Raises:
    ValueError: no config file, or a data set that it does not know.
  """
  file, colon, dataset = find_config(text).partition(':')
  try:
    module = runpy.run_path(file)
  except Exception as error:  # Whatever a module may do when it is run.
    raise ValueError(
      f'--config: {file} cannot be run ({type(error).__name__}: {error}); '
      'expected a file such as configs/ecluster.py'
    ) from error
  if 'get_config' not in module:
    raise ValueError(
      f'--config: {file} has no get_config; expected a file such as '
      'configs/ecluster.py'
    )
  get_config = module['get_config']
  if colon and not inspect.signature(get_config).parameters:
    raise ValueError(
      f'--config: get_config of {file} takes no data set; leave out :{dataset}'
    )
  return get_config(*[dataset] if colon else [])


def check_fields(config: Config, keys: Iterable[str]) -> None:
  """Raises ValueError for a field that a config has not; names the nearest.

  Args:
    config: with all its fields.
    keys: dotted names.
  """
  fields = flat(config.to_dict())
  for key in keys:
    if key not in fields:
      near = difflib.get_close_matches(key, fields, 1)
      hint = f'did you mean {near[0]}?' if near else 'see configs/common.py'
      raise ValueError(f'--config.{key}: there is no such field; {hint}')


def kind(value: Any) -> str:
  """What a field takes that has some value."""
  return _KINDS.get(type(value), type(value).__name__)


def with_changes(config: Config, changes: Mapping[str, Any]) -> Config:
  """A config with other values in some fields.

  Args:
    config: left alone.
    changes: dotted names of fields, and their values.

  Raises:
    ValueError: no such field, a value of another type, or a path in a home
      that is not there.
  """
  changed = config.copy_and_resolve_references()
  check_fields(config, changes)
  for key, value in changes.items():
    old = functools.reduce(operator.getitem, key.split('.'), changed)
    if isinstance(old, str):
      value = str(value)  # 'False' is a text of data.use_cameras.
    try:
      changed.update_from_flattened_dict({key: value})
    except (TypeError, ValueError) as error:
      raise ValueError(
        f'--config.{key}: got {value!r}, expected {kind(old)}'
      ) from error
  check_paths(changed)
  return changed


def check_paths(config: Config) -> None:
  """Raises ValueError, naming the field, for ~ of a user that is not known."""
  fields = flat(config.to_dict())
  for key in _PATHS:
    if fields.get(key):
      values.path(fields[key], key)
