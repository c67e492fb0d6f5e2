"""Commands and Python of pages, run as they are printed, on a small run."""

import ast
import importlib
import os
import pathlib
import re
import shutil
import subprocess
import sys

import jax
import nbclient
import nbformat
import numpy as np
import pytest
import runs
import test_docs

pytestmark = pytest.mark.slow

_PAGES = ('README', *(f'docs/{x}' for x in ('first_hour', 'use', 'elsewhere')))
_PAGES = (*_PAGES, 'docs/library', 'docs/corrections')
# What is parsed alone, by `test_docs`, and where it is run.
_ELSEWHERE = {
  'dbc train': 'tests/run; that of the first hour is run here, made small',
  'dbc review': 'tests/review, in a process of its own',
  'dbc evaluate': 'tests/commands: it needs identities',
  'dbc check-data --dataset=market1501': 'tests/commands',
  'dbc reproduce': 'tests/reproduce',
  '-m dbc_jax.main': 'tests/test_main.py',
  'dbc export --workdir=W': 'tests/export: it needs a plain ResNet',
}
# Of the command of the first hour: a network and passes of seconds.
_SMALL = {
  'model.name': 'small_networks:one_block',
  'model.parts': '1',
  'data.image_size': '(24,12)',
  'data.stored_size': '(24,12)',
  'train.warmup_epochs': '1',
  'train.num_stages': '2',
  'train.stage_epochs': '1',
}


def _blocks(name):
  text = (runs.ROOT / name).read_text('utf-8')
  return re.findall(r'^```python\n(.*?)^```', text, re.S | re.M)


@pytest.fixture(scope='module')
def home(tmp_path_factory):
  """A folder in which the first hour was spent as far as its training."""
  folder = tmp_path_factory.mktemp('home')
  (script,) = _blocks('docs/first_hour.md')
  (train,) = (
    words
    for words in test_docs.commands('docs/first_hour.md')
    if words[1] == 'train'
  )
  small = [f'--config.{key}={value}' for key, value in _SMALL.items()]
  environment = {k: v for k, v in os.environ.items() if k != 'XLA_FLAGS'}
  places = (runs.ROOT, runs.ROOT / 'tests')
  environment['PYTHONPATH'] = os.pathsep.join(map(str, places))

  def run(*arguments):
    command = [sys.executable, *arguments]
    subprocess.run(command, cwd=folder, env=environment, check=True)

  run('-c', script)
  # Besides, what other pages say that a reader has.
  shutil.copy(folder / 'crops/cam0/003.png', folder / 'her.jpg')
  first = min((folder / 'crops/cam1').iterdir())
  first.rename(first.with_name('0003.jpg'))
  for name in ('NEW', 'new_crops'):
    (folder / name).symlink_to('crops')
  run('-m', 'dbc_jax', *train[1:], *small)
  workdir = folder / 'runs' / 'best-folder-small'
  shutil.copytree(workdir, folder / 'runs' / 'one')
  shutil.copy(workdir / 'features.npz', folder)
  (folder / 'said.csv').write_text('cam0/003.png,cam1/0003.jpg,same\n')
  return folder


@pytest.mark.parametrize('page', _PAGES)
def test_what_a_page_shows_runs(page, home, tmp_path, monkeypatch):
  here = tmp_path / 'here'
  shutil.copytree(home, here, symlinks=True)
  monkeypatch.chdir(here)
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
  told = test_docs.commands(f'{page}.md')
  assert told
  for words in told:
    if ' '.join(words).startswith(tuple(_ELSEWHERE)):
      continue
    module, arguments = test_docs.module_of(words)
    for argument in arguments:
      if argument.startswith('--out='):
        pathlib.Path(argument.removeprefix('--out=')).unlink(missing_ok=True)
    # A cluster that is there, for the one that a page takes as an example.
    arguments = ['0' if x in ('12', '17') else x for x in arguments]
    importlib.import_module(module).main(arguments)
  features = np.random.default_rng(0).normal(size=(200, 8)).astype(np.float32)
  given = {
    'features': features,
    'images': np.zeros((2, 24, 12, 3), np.uint8),
    'jax': jax,
    'num_merges': 20,
  }
  if page == 'docs/first_hour':
    return  # Its script has made these crops.
  for code in _blocks(f'{page}.md'):
    exec(compile(code, page, 'exec'), given)


def test_the_walkthrough_runs_and_corrections_help(monkeypatch):
  path = runs.ROOT / 'docs' / 'walkthrough.ipynb'
  notebook = nbformat.read(path, as_version=4)
  cells = [each for each in notebook.cells if each.cell_type == 'code']
  assert not any(each.outputs for each in cells)
  monkeypatch.delenv('XLA_FLAGS')
  monkeypatch.setenv('PYTHONPATH', str(runs.ROOT))
  nbclient.NotebookClient(notebook, timeout=120).execute()
  before, after = (
    ast.literal_eval(each.outputs[-1]['data']['text/plain'])
    for each in cells
    if 'in scores}' in each.source
  )
  assert before['pair_f'] > 0.3
  assert after['pair_f'] > before['pair_f']
  pictures = [
    x for each in cells for x in each.outputs if 'image/png' in str(x)
  ]
  assert len(pictures) == 3
