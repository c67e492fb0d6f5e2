"""What pages name is there: files, headings, fields, flags, commands, names.

Every command of a page is parsed here. `test_docs_run` runs those that are
quick.
"""

import ast
import contextlib
import importlib
import io
import pkgutil
import re
import shlex
from pathlib import Path

import pytest

import dbc_jax
from dbc_jax import main
from dbc_jax.configs import common
from dbc_jax.run import config as config_lib

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob('*.md'), *ROOT.glob('docs/**/*.md')])
NAMES = [str(path.relative_to(ROOT)) for path in PAGES]
# The changelog tells of what was, too.
PRESENT = [name for name in NAMES if name != 'CHANGELOG.md']
DOCS = [name for name in NAMES if name.startswith('docs/')]

# What a reader replaces, by something that is there. Trainings of mine.campus
# are those of test_extend.
_STAND_INS = {'NAME': 'market1501', 'mine.campus': 'market1501', 'ARGS': 'best'}
# Of other programs.
_FOREIGN = {'signal', 'logdir', 'local-dir', 'help', 'strict'}
_TRAIN_FLAGS = {
  *('config', 'workdir', 'distributed', 'coordinator', 'num_processes'),
  *('process_id', 'compilation_cache', 'root', 'continue_from'),
}
_FIELD = re.compile(
  r'(?:cluster|data|memory|model|train)\.(?!py$|safetensors$)[a-z][\w.]*'
)


def _text(name):
  return (ROOT / name).read_text(encoding='utf-8')


def _prose(name):
  return re.sub(r'^```.*?^```', '', _text(name), flags=re.S | re.M)


def _quoted(name):
  """What stands in backticks in sentences and tables."""
  return [' '.join(x.split()) for x in re.findall(r'`([^`]+)`', _prose(name))]


def commands(name):
  """Commands of this project that a page shows in blocks, as lists of words."""
  blocks = re.findall(r'^```sh\n(.*?)^```', _text(name), re.S | re.M)
  blocks += re.findall(r'(?:^    .*\n)+', _prose(name), re.M)
  found = []
  for line in re.sub(r'\\\n', ' ', '\n'.join(blocks)).splitlines():
    for part in line.split(' && '):
      start = re.search(
        r'(?:^\s*dbc|-m dbc_jax\.commands\.|-m dbc_jax\.main|-m benchmarks\.)'
        r'(?:\s|\w).*',
        part,
      )
      if start:
        found.append(shlex.split(start[0], comments=True))
  return found


def module_of(words):
  """Which module a command hands over to, and its arguments."""
  if words[0] == 'dbc':
    module = words[1].replace('-', '_')
    return f'dbc_jax.commands.{module}', words[2:]
  return words[1], words[2:]


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


@pytest.mark.parametrize('name', PRESENT)
def test_files_exist(name):
  """Those of the checkout; `run/job.py` is short for one in dbc_jax/."""
  places = (ROOT, ROOT / 'dbc_jax')
  for quoted in _quoted(name):
    if re.fullmatch(r'[a-z_.]+/[\w./-]+\.(py|md|sh|sbatch|txt)', quoted):
      top = quoted.partition('/')[0]
      if any((place / top).is_dir() for place in places):
        is_there = any((place / quoted).exists() for place in places)
        assert is_there or re.search('[A-Z]{3}', quoted), quoted


@pytest.mark.parametrize('name', NAMES)
def test_fields_exist(name):
  known = {*config_lib.flat(common.base('demo').to_dict())}
  known |= {'cluster.criterion', 'cluster.reg_weight', 'KEY'}
  named = {*re.findall(r'--config\.([\w.]+)', _text(name))}
  if name != 'CHANGELOG.md':
    named |= {x for x in _quoted(name) if _FIELD.fullmatch(x)}
    # Or it is a function or a module of that name.
    named = {x for x in named if x in known or not _is_there(f'dbc_jax.{x}')}
  if name == 'docs/bad_input.md':
    named.remove('train.batch_sice')  # What is said of it is shown there.
  assert named <= known


def _is_there(dotted):
  """A module, or what is in one."""
  try:
    pkgutil.resolve_name(dotted)
  except (ImportError, AttributeError):
    return False
  return True


@pytest.fixture(scope='module')
def sources():
  """All that is not prose, for names that have to be somewhere in it."""
  kinds = ('*.py', '*.html', '*.js', '*.toml', '*.sh', '*.sbatch', '*.txt')
  return '\n'.join(
    path.read_text('utf-8')
    for folder in ('dbc_jax', 'benchmarks', 'tests', 'launch', '.ci', '.')
    for kind in kinds
    for path in (
      (ROOT / folder).glob(kind)
      if folder == '.'
      else (ROOT / folder).rglob(kind)
    )
    if '.ci/venv' not in str(path)
  )


@pytest.fixture(scope='module')
def flags(sources):
  """Of commands and benchmarks, and of the few other programs."""
  known = {*re.findall(r"'--([a-z][\w-]*)'", sources)}
  known |= {*re.findall(r"DEFINE_\w+\(\s*'(\w+)'", sources)}
  known |= _TRAIN_FLAGS | _FOREIGN | {'nocompilation_cache'}
  return known | {'json', 'csv', 'html'}  # A loop makes those of `dbc search`.


@pytest.fixture(scope='module')
def words(sources):
  return {*re.findall(r'\w+', sources)}


@pytest.mark.parametrize('name', PRESENT)
def test_flags_exist(name, flags):
  named = {*re.findall(r'(?<![\w-])--([a-z][\w-]*)(?![\w.])', _text(name))}
  if name == 'docs/bad_input.md':
    named -= {'wrokdir', 'seed'}
  assert named <= flags


@pytest.mark.parametrize('name', PRESENT)
def test_names_exist(name, words):
  for quoted in _quoted(name):
    if re.fullmatch(r'dbc_jax(\.\w+)+(\(\))?', quoted):
      assert _is_there(quoted.removesuffix('()')), quoted
    elif re.fullmatch(r'[A-Za-z_][\w.]*(\(\))?', quoted):
      parts = {*re.findall(r'\w+', quoted)}
      is_name = '_' in quoted or re.search('[a-z][A-Z]', quoted)
      if is_name and not re.search('[A-Z]{3}', quoted):
        assert parts <= words, quoted


@pytest.mark.parametrize('name', PRESENT)
def test_python_imports_what_is_there(name):
  for code in re.findall(r'^```python\n(.*?)^```', _text(name), re.S | re.M):
    for node in ast.walk(ast.parse(code)):
      if isinstance(node, ast.ImportFrom) and node.module:
        for each in node.names:
          assert _is_there(f'{node.module}.{each.name}'), each.name


@pytest.mark.parametrize('name', NAMES)
def test_commands_are_understood(name):
  for words in commands(name):
    for key, value in _STAND_INS.items():
      words = [
        re.sub(rf'(?<=:){key}|(?<==){key}|^{key}', value, x) for x in words
      ]
    module, arguments = module_of(words)
    if module.startswith('benchmarks.'):
      # They parse where they compute. Their flags are in their text.
      text = (ROOT / f'{module.replace(".", "/")}.py').read_text('utf-8')
      for flag in re.findall(r'--(\w+)', ' '.join(arguments)):
        assert re.search(f"'(--)?{flag}'", text), (module, flag)
    elif module.endswith(('.train', '.main')):
      _check_training(arguments)
    else:
      importlib.import_module(module)._parse(arguments)


def _check_training(arguments):
  """The config is there, and each field and flag."""
  if arguments and not arguments[0].startswith('-'):
    arguments = [f'--config={arguments[0]}', *arguments[1:]]
  main._with_config_found(['main', *arguments])
  for flag in re.findall(r'(?<!\S)--([a-z_]+)(?![\w.])', ' '.join(arguments)):
    assert flag in _TRAIN_FLAGS, flag


@pytest.mark.parametrize('name', PRESENT)
def test_commands_in_sentences_exist(name):
  for quoted in _quoted(name):
    words = re.fullmatch(r'dbc ([a-z][\w-]*)(.*)', quoted)
    if words and words[1] != 'train':
      module, _ = module_of(['dbc', words[1]])
      told = io.StringIO()
      with contextlib.redirect_stdout(told), pytest.raises(SystemExit):
        importlib.import_module(module)._parse(['--help'])
      for flag in re.findall(r'--\w+', words[2]):
        assert flag in told.getvalue(), quoted


@pytest.mark.parametrize('name', PRESENT)
def test_extras_and_benchmarks_exist(name):
  extras = re.search(
    r'^\[project\.optional-dependencies\]\n(.*?)^\[project\.scripts\]',
    _text('pyproject.toml'),
    re.S | re.M,
  )
  assert extras
  known = {*re.findall(r'^(\w+) = ', extras[1], re.M)}
  for named in re.findall(r"install [^\n]*?'?[\w.]+\[([\w,]+)\]", _text(name)):
    assert {*named.split(',')} <= known
  for module in re.findall(r'-m benchmarks\.([a-z]\w+)', _text(name)):
    assert (ROOT / 'benchmarks' / f'{module}.py').exists(), module


@pytest.mark.parametrize('name', DOCS)
def test_a_page_begins_with_what_it_is_good_for(name):
  assert re.match(r'# [^\n]+\n\nAfter this page you ', _text(name))


def test_every_page_is_on_the_site():
  nav = _text('mkdocs.yml').partition('\nnav:\n')[2]
  listed = re.findall(r'[\w/-]+\.md', nav)
  assert sorted(listed) == sorted(
    {'index.md', 'SECURITY.md', 'CONTRIBUTING.md', 'CHANGELOG.md'}
    | {name.removeprefix('docs/') for name in DOCS}
  )


def test_the_readme_is_short():
  assert len(_text('README.md').splitlines()) <= 150


def test_a_release_has_one_version_everywhere():
  cited = re.search(r'^version: (\S+)$', _text('CITATION.cff'), re.M)
  dated = re.search(r'^date-released: "(\S+)"$', _text('CITATION.cff'), re.M)
  newest = re.search(r'^## \[(\d\S+)\] - (\S+)$', _text('CHANGELOG.md'), re.M)
  assert cited
  assert dated
  assert newest
  assert cited[1] == newest[1] == dbc_jax.__version__
  assert dated[1] == newest[2]
