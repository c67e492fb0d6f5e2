"""Who may import whom inside dbc_jax, checked on the syntax of every file."""

import ast
import pathlib
from collections.abc import Iterator

import pytest

ROOT = pathlib.Path(__file__).parents[1]
FILES = sorted((ROOT / 'dbc_jax').rglob('*.py'))
MAX_LINES = 300

# A room is a module or package directly under dbc_jax. It may import itself
# and the rooms named here; a room that is not a key of this table may not
# exist. docs/design.md shows the same table.
MAY_IMPORT: dict[str, set[str]] = {
  'main': {'driver', 'processes'},
  'settings': set(),
  'train': {'models', 'memory', 'optim', 'data', 'parallel', 'processes'},
  'epoch': {'train', 'data', 'parallel'},
  'warmup': {
    'models',
    'optim',
    'data',
    'parallel',
    'processes',
    'train',
    'epoch',
  },
  'extract': {'models', 'data', 'parallel'},
  'reporting': set(),
  'models': set(),
  'memory': set(),
  'optim': set(),
  'cluster': {'parallel'},
  'evaluation': {'cluster'},
  'data': {'parallel', 'processes'},
  'checkpoint': set(),
  'parallel': {'processes'},
  'processes': set(),
  'outputs': {'data', 'processes', 'reporting', 'selection', 'settings'},
  'selection': {'cluster', 'evaluation'},
  'scoring': {'data', 'evaluation', 'extract'},
  'preflight': {
    'checkpoint',
    'data',
    'evaluation',
    'merging',
    'models',
    'settings',
    'train',
  },
  'profiling': set(),
  'merging': {'cluster', 'parallel', 'processes'},
}
MAY_IMPORT['stage'] = set(MAY_IMPORT) - {
  'main',
  'settings',
  'checkpoint',
  'outputs',
  'preflight',
}
MAY_IMPORT['driver'] = set(MAY_IMPORT) - {'main'}
MAY_IMPORT['commands'] = set(MAY_IMPORT) | {'commands'}

# Arrays and plain values in, arrays out: no flags, configs, logs or files.
PURE_ROOMS = {'memory', 'cluster', 'evaluation', 'models'}
# It reads and writes files of weights, and does nothing else.
FILES_ALLOWED = {'dbc_jax/models/weight_files.py'}
IMPURE_MODULES = {'absl', 'logging', 'ml_collections', 'pathlib'}
IMPURE_NAMES = {'open', 'Path'}
# Top-level packages of the checkout that use the library, not the reverse.
OUTSIDE = {'benchmarks', 'configs', 'tests'}


def room_of(path: str) -> str:
  """'cluster' of 'dbc_jax/cluster/merge.py'; '' of the package's __init__."""
  parts = pathlib.PurePosixPath(path).with_suffix('').parts[1:]
  return '' if parts == ('__init__',) else parts[0]


def imported_modules(path: str, tree: ast.Module) -> Iterator[str]:
  """Dotted names of everything that a file imports, relative ones resolved.

  `from a import b` yields 'a.b', whether b is a module of a or a name in it.
  """
  package = pathlib.PurePosixPath(path).parent.parts
  for node in ast.walk(tree):
    if isinstance(node, ast.Import):
      yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
      base = package[: len(package) - node.level + 1] if node.level else ()
      base = '.'.join([*base, *filter(None, [node.module])])
      yield from (f'{base}.{alias.name}' for alias in node.names)


def edge_faults(path: str, tree: ast.Module) -> Iterator[str]:
  """Imports of rooms that the file's own room may not import."""
  room = room_of(path)
  if room and room not in MAY_IMPORT:
    yield f'{path}: room {room!r} is not in the table of rooms'
    return
  for name in imported_modules(path, tree):
    top, *inner = name.split('.')
    if top in OUTSIDE:
      yield f'{path}: the library imports {top}, which uses the library'
    if top != 'dbc_jax':
      continue
    target = inner[0] if inner else ''
    if target == '*' or not target:
      yield f'{path}: imports {name}, which hides what it uses; name a room'
    elif target.startswith('__') or target == room:
      continue
    elif target not in MAY_IMPORT.get(room, set()):
      yield f'{path}: {room or "__init__"} may not import {target} ({name})'


def keeper_faults(path: str, tree: ast.Module) -> Iterator[str]:
  """Uses of orbax, pmap and processes outside the file that keeps each."""
  modules = list(imported_modules(path, tree))
  if path != 'dbc_jax/checkpoint.py':
    for name in modules:
      if name.split('.')[0] == 'orbax':
        yield f'{path}: imports {name}; only checkpoint.py knows orbax'
  used = {n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute)}
  used |= {m.split('.')[-1] for m in modules if m.startswith('jax.')}
  if path != 'dbc_jax/parallel.py' and 'pmap' in used:
    yield f'{path}: uses pmap; only parallel.py knows it'
  if path != 'dbc_jax/processes.py':
    for name in used & {'distributed', 'multihost_utils'}:
      yield f'{path}: uses {name}; only processes.py knows it'


def purity_faults(path: str, tree: ast.Module) -> Iterator[str]:
  """Flags, configs, logs and files in the rooms that are pure functions."""
  if room_of(path) not in PURE_ROOMS or path in FILES_ALLOWED:
    return
  for name in imported_modules(path, tree):
    if name.split('.')[0] in IMPURE_MODULES:
      yield f'{path}: imports {name} in a room of pure functions'
  for node in ast.walk(tree):
    name = getattr(node, 'id', None) or getattr(node, 'attr', None)
    if isinstance(node, ast.Name | ast.Attribute) and name in IMPURE_NAMES:
      yield f'{path}:{node.lineno}: uses {name} in a room of pure functions'


def faults(path: str, source: str) -> list[str]:
  """Everything that is wrong with one file, given its path from the root."""
  tree = ast.parse(source, path)
  found = [
    *edge_faults(path, tree),
    *keeper_faults(path, tree),
    *purity_faults(path, tree),
  ]
  num_lines = len(source.splitlines())
  if num_lines > MAX_LINES:
    found.append(f'{path}: {num_lines} lines, more than {MAX_LINES}; split it')
  return found


@pytest.mark.parametrize(
  'path', [file.relative_to(ROOT).as_posix() for file in FILES]
)
def test_file_keeps_to_its_room(path: str):
  assert faults(path, (ROOT / path).read_text(encoding='utf-8')) == []


def test_every_room_of_the_table_exists():
  rooms = {room_of(file.relative_to(ROOT).as_posix()) for file in FILES}
  assert rooms - {''} == set(MAY_IMPORT)


@pytest.mark.parametrize(
  ('path', 'source', 'expected'),
  [
    ('memory.py', 'from dbc_jax import train', 'may not import train'),
    ('memory.py', 'import dbc_jax.train as t', 'may not import train'),
    ('main.py', 'from dbc_jax import driver, data', 'may not import data'),
    ('driver.py', 'from dbc_jax import main', 'may not import main'),
    ('train.py', 'from dbc_jax.cluster import merge', 'import cluster'),
    ('train.py', 'def f():\n  from . import cluster', 'import cluster'),
    ('data/x.py', 'from .. import models', 'may not import models'),
    ('data/x.py', 'from ..models import resnet', 'may not import models'),
    ('data/a/x.py', 'from ...models import resnet', 'import models'),
    ('__init__.py', 'from dbc_jax import driver', 'may not import driver'),
    ('optim.py', 'import dbc_jax', 'name a room'),
    ('optim.py', 'from dbc_jax import *', 'name a room'),
    ('attic.py', '', 'not in the table'),
    ('driver.py', 'from configs import common', 'imports configs'),
    ('driver.py', 'import orbax.checkpoint as ocp', 'knows orbax'),
    ('driver.py', 'from orbax import checkpoint', 'knows orbax'),
    ('train.py', 'import jax\nf = jax.pmap(g)', 'uses pmap'),
    ('train.py', 'from jax import pmap', 'uses pmap'),
    ('main.py', 'import jax\njax.distributed.initialize()', 'distributed'),
    ('data/x.py', 'from jax.experimental import multihost_utils', 'multihost'),
    ('cluster/x.py', 'import logging', 'imports logging'),
    ('cluster/x.py', 'from absl import flags', 'imports absl'),
    ('models/x.py', 'import ml_collections as c', 'imports ml_collections'),
    ('evaluation/x.py', "f = open('x')", 'uses open'),
    ('evaluation/x.py', "import io\nf = io.open('x')", 'uses open'),
    ('memory.py', 'from pathlib import Path\nPath()', 'uses Path'),
    ('memory.py', '\n' * (MAX_LINES + 1), '301 lines'),
  ],
)
def test_checker_finds_the_fault(path: str, source: str, expected: str):
  assert expected in '\n'.join(faults(f'dbc_jax/{path}', source))


@pytest.mark.parametrize(
  ('path', 'source'),
  [
    ('main.py', 'from dbc_jax import driver\nimport pathlib'),
    ('driver.py', 'from dbc_jax import train, data as data_lib'),
    ('data/x.py', 'from dbc_jax.data import y\nfrom . import z'),
    ('data/a/x.py', 'from ..decode import image_files\nimport pathlib'),
    ('checkpoint.py', 'import orbax.checkpoint as ocp'),
    ('parallel.py', 'import jax\nf = jax.pmap(g)'),
    ('models/x.py', "'A pmap axis; Path and open in words only.'"),
    ('reporting/x.py', 'from dbc_jax import __version__'),
    ('memory.py', '\n' * MAX_LINES),
  ],
)
def test_checker_accepts_what_is_allowed(path: str, source: str):
  assert faults(f'dbc_jax/{path}', source) == []
