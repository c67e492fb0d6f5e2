"""Who may import whom inside dbc_jax, checked on the syntax of every file."""

import ast
import pathlib
from collections.abc import Iterator

import pytest

ROOT = pathlib.Path(__file__).parents[1]
FILES = sorted((ROOT / 'dbc_jax').rglob('*.py'))
MAX_LINES = 400

# A room is a module or package directly under dbc_jax. It may import itself
# and the rooms of the floors below its own; docs/design.md shows the house.
FLOORS = (
  ('__main__',),
  ('main', 'commands'),
  ('review',),
  ('reproduce', 'verbs', 'export'),
  ('run', 'configs'),
  ('training', 'evaluation'),
  ('cluster', 'data'),
  ('devices', 'models', 'memory', 'reporting'),
  ('labels', 'plugins', 'values'),
)
# Inside `run/`, where a file may import those of the layers below its own.
LAYERS = (
  ('job', 'extractor'),
  ('continuation',),
  ('stage', 'restore', 'cost'),
  ('hub', 'fitting', 'result', 'forgetting'),
  ('build', 'same_data'),
  ('workdir', 'record', 'ranked', 'start_checks', 'linking'),
  (
    'features_file',
    'config_files',
    'identities',
    'within',
    'corrections',
    'rules',
  ),
  ('config', 'merger', 'selection', 'checkpoint', 'lock'),
  ('numbers',),
)

# Arrays and plain values in, arrays out: no flags, configs, logs or files.
PURE_ROOMS = {'memory', 'cluster', 'evaluation', 'models'}
# It reads and writes files of weights, and does nothing else.
FILES_ALLOWED = {'dbc_jax/models/weight_files.py'}
IMPURE_MODULES = {'absl', 'logging', 'ml_collections', 'pathlib'}
IMPURE_NAMES = {'open', 'Path'}
# Top-level packages of the checkout that use the library, not the reverse.
OUTSIDE = {'benchmarks', 'configs', 'tests'}
# What each of these files alone may use.
KEEPERS = {
  'orbax': 'dbc_jax/run/checkpoint.py',
  'pmap': 'dbc_jax/devices/mesh.py',
  'distributed': 'dbc_jax/devices/processes.py',
  'multihost_utils': 'dbc_jax/devices/processes.py',
}


def level_of(name: str, order: tuple[tuple[str, ...], ...]) -> int | None:
  """How far from the top a room or file stands; None where it stands not."""
  levels = [level for level, names in enumerate(order) if name in names]
  return levels[0] if levels else None


def parts_of(path: str) -> list[str]:
  """['cluster', 'merge'] of 'dbc_jax/cluster/merge.py'; [] of __init__."""
  parts = pathlib.PurePosixPath(path).with_suffix('').parts[1:]
  return [part for part in parts if part != '__init__']


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


def climbs(own: str, target: str, order: tuple[tuple[str, ...], ...]) -> bool:
  """Whether an import leads anywhere but to a lower floor, or to itself."""
  mine, other = level_of(own, order), level_of(target, order)
  return own != target and (mine is None or other is None or other <= mine)


def layer_faults(path: str, own: str, target: str) -> Iterator[str]:
  """An import inside `run/` that climbs."""
  if climbs(own, target, LAYERS):
    yield f'{path}: run/{own} may not import run/{target}'


def edge_faults(path: str, tree: ast.Module) -> Iterator[str]:
  """Imports that climb."""
  own = parts_of(path)
  if own and level_of(own[0], FLOORS) is None:
    yield f'{path}: room {own[0]!r} is on no floor'
    return
  for name in imported_modules(path, tree):
    top, *inner = name.split('.')
    if top in OUTSIDE:
      yield f'{path}: the library imports {top}, which uses the library'
    if top != 'dbc_jax' or (inner and inner[0].startswith('__')):
      continue
    if not own:  # The package itself opens what it shows, when asked.
      continue
    if not inner or inner[0] == '*':
      yield f'{path}: imports {name}, which hides what it uses; name a room'
    elif climbs(own[0], inner[0], FLOORS):
      yield f'{path}: {own[0]} may not import {inner[0]} ({name})'
    elif own[0] == inner[0] == 'run' and len(own) > 1 < len(inner):
      yield from layer_faults(path, own[1], inner[1])


def keeper_faults(path: str, tree: ast.Module) -> Iterator[str]:
  """Uses of what one file keeps, in any other."""
  modules = list(imported_modules(path, tree))
  used = {n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute)}
  used |= {m.split('.')[-1] for m in modules if m.startswith('jax.')}
  used |= {m.split('.')[0] for m in modules}
  for what, keeper in KEEPERS.items():
    if what in used and path != keeper:
      yield f'{path}: uses {what}; only {keeper} knows it'


def purity_faults(path: str, tree: ast.Module) -> Iterator[str]:
  """Flags, configs, logs and files in the rooms that are pure functions."""
  if parts_of(path)[:1] == [] or path in FILES_ALLOWED:
    return
  if parts_of(path)[0] not in PURE_ROOMS:
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
    found.append(
      f'{path}: {num_lines} lines, more than {MAX_LINES}: give it one job'
    )
  return found


@pytest.mark.parametrize(
  'path', [file.relative_to(ROOT).as_posix() for file in FILES]
)
def test_file_keeps_to_its_floor(path: str):
  assert faults(path, (ROOT / path).read_text(encoding='utf-8')) == []


def test_every_room_and_layer_of_the_lists_exists():
  parts = [parts_of(file.relative_to(ROOT).as_posix()) for file in FILES]
  assert {part[0] for part in parts if part} == {*sum(FLOORS, ())}
  files = {part[1] for part in parts if len(part) > 1 and part[0] == 'run'}
  assert files == {*sum(LAYERS, ())}


@pytest.mark.parametrize(
  ('path', 'source', 'expected'),
  [
    ('memory.py', 'from dbc_jax import run', 'may not import run'),
    ('memory.py', 'import dbc_jax.training.step as t', 'import training'),
    ('cluster/x.py', 'from dbc_jax import data', 'may not import data'),
    ('run/job.py', 'from dbc_jax import main', 'may not import main'),
    ('training/x.py', 'from dbc_jax.run import config', 'import run'),
    ('training/x.py', 'def f():\n  from dbc_jax import run', 'import run'),
    ('data/x.py', 'from .. import training', 'may not import training'),
    ('data/x.py', 'from ..training import step', 'may not import training'),
    ('data/a/x.py', 'from ...training import step', 'import training'),
    ('evaluation/x.py', 'from dbc_jax import training', 'import training'),
    ('run/build.py', 'from dbc_jax.run import stage', 'not import run/stage'),
    ('run/stage.py', 'from dbc_jax.run import restore', 'import run/restore'),
    ('run/config.py', 'from dbc_jax.run.job import run', 'import run/job'),
    ('training/x.py', 'import dbc_jax', 'name a room'),
    ('training/x.py', 'from dbc_jax import *', 'name a room'),
    ('attic.py', '', 'on no floor'),
    ('run/job.py', 'from configs import common', 'imports configs'),
    ('run/job.py', 'import orbax.checkpoint as ocp', 'uses orbax'),
    ('run/job.py', 'from orbax import checkpoint', 'uses orbax'),
    ('training/x.py', 'import jax\nf = jax.pmap(g)', 'uses pmap'),
    ('training/x.py', 'from jax import pmap', 'uses pmap'),
    ('main.py', 'import jax\njax.distributed.initialize()', 'distributed'),
    ('data/x.py', 'from jax.experimental import multihost_utils', 'multihost'),
    ('cluster/x.py', 'import logging', 'imports logging'),
    ('cluster/x.py', 'from absl import flags', 'imports absl'),
    ('models/x.py', 'import ml_collections as c', 'imports ml_collections'),
    ('evaluation/x.py', "f = open('x')", 'uses open'),
    ('evaluation/x.py', "import io\nf = io.open('x')", 'uses open'),
    ('memory.py', 'from pathlib import Path\nPath()', 'uses Path'),
    ('memory.py', '\n' * (MAX_LINES + 1), '401 lines'),
  ],
)
def test_checker_finds_the_fault(path: str, source: str, expected: str):
  assert expected in '\n'.join(faults(f'dbc_jax/{path}', source))


@pytest.mark.parametrize(
  ('path', 'source'),
  [
    ('main.py', 'from dbc_jax.run import job\nimport pathlib'),
    ('run/job.py', 'from dbc_jax.training import step, fit'),
    ('run/job.py', 'from dbc_jax.run import stage, build'),
    ('commands/x.py', 'from dbc_jax.commands import arguments'),
    ('data/x.py', 'from dbc_jax.data import y\nfrom . import z'),
    ('data/a/x.py', 'from ..decode import image_files\nimport pathlib'),
    ('run/checkpoint.py', 'import orbax.checkpoint as ocp'),
    ('devices/mesh.py', 'import jax\nf = jax.pmap(g)'),
    ('models/x.py', "'A pmap axis; Path and open in words only.'"),
    ('reporting/x.py', 'from dbc_jax import __version__'),
    ('__init__.py', 'def f():\n  from dbc_jax.run import restore'),
    ('memory.py', '\n' * MAX_LINES),
  ],
)
def test_checker_accepts_what_is_allowed(path: str, source: str):
  assert faults(f'dbc_jax/{path}', source) == []
