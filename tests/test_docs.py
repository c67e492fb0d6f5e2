"""What pages name is there: files, headings, fields, commands, names."""

import importlib.util
import re
from pathlib import Path

import pytest

from dbc_jax.configs import common
from dbc_jax.run import config as config_lib

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob('*.md'), *ROOT.glob('docs/**/*.md')])
NAMES = [str(path.relative_to(ROOT)) for path in PAGES]


def _text(name):
  return (ROOT / name).read_text(encoding='utf-8')


def _anchors(path):
  """Of the headings of a page, as GitHub makes them."""
  prose = re.sub(r'^```.*?^```', '', path.read_text(), flags=re.S | re.M)
  found = set()
  for heading in re.findall(r'^#+ (.*)$', prose, re.M):
    plain = re.sub(r'[`*]', '', heading).lower()
    found.add(re.sub(r'[^\w\- ]', '', plain).replace(' ', '-'))
  return found


@pytest.mark.parametrize('name', NAMES)
def test_links_lead_somewhere(name):
  missing = []
  for target in re.findall(r'\]\(([^)\s]+)\)', _text(name)):
    if '://' in target or target.startswith('mailto:'):
      continue
    file, _, anchor = target.partition('#')
    path = (ROOT / name).parent / file if file else ROOT / name
    if not path.exists() or (anchor and anchor not in _anchors(path)):
      missing.append(target)
  assert not missing


@pytest.mark.parametrize('name', NAMES)
def test_fields_exist(name):
  known = {*config_lib.flat(common.base('demo').to_dict())}
  known |= {'cluster.criterion', 'cluster.reg_weight', 'KEY'}
  named = {*re.findall(r'--config\.([\w.]+)', _text(name))}
  if name == 'docs/bad_input.md':
    named.remove('train.batch_sice')  # What is said of it is shown there.
  assert named <= known


@pytest.mark.parametrize('name', NAMES)
def test_commands_exist(name):
  named = re.findall(r'^(?:\S+/)?dbc ([a-z][\w-]*)', _text(name), re.M)
  named += re.findall(r'-m dbc_jax\.commands\.(\w+)', _text(name))
  for command in {*named} - {'train', 'X'}:
    module = command.replace('-', '_')
    assert importlib.util.find_spec(f'dbc_jax.commands.{module}'), command


@pytest.mark.parametrize('name', NAMES)
def test_benchmarks_exist(name):
  for module in re.findall(r'-m benchmarks\.([a-z]\w+)', _text(name)):
    assert (ROOT / 'benchmarks' / f'{module}.py').exists(), module


def test_the_readme_is_short():
  assert len(_text('README.md').splitlines()) <= 150
