"""Commands and Python of pages, run as they are printed, on a small run."""

import ast
import importlib
import pathlib
import re
import shutil

import nbclient
import nbformat
import numpy as np
import pytest
import runs
import test_docs

from dbc_jax.run import job

pytestmark = pytest.mark.slow

_PAGES = (
  'README.md',
  'docs/first_hour.md',
  'docs/use.md',
  'docs/elsewhere.md',
  'docs/library.md',
  'docs/corrections.md',
)
# What is parsed alone, by `test_docs`, and what runs such commands.
_ELSEWHERE = {
  'dbc train': 'tests/run, and the run below',
  'dbc review': 'tests/review, in a process of its own',
  'dbc evaluate': 'tests/commands: it needs identities',
  'dbc check-data --dataset=market1501': 'tests/commands',
  'dbc reproduce': 'tests/reproduce',
  '-m dbc_jax.main': 'tests/test_main.py',
  'dbc export --workdir=W': 'tests/export: it needs a plain ResNet',
  'dbc forget --workdir=runs/best': 'the page corrections.md',
}


def _blocks(page):
  text = (runs.ROOT / page).read_text('utf-8')
  return re.findall(r'^```python\n(.*?)^```', text, re.S | re.M)


def _to_run(page):
  """Commands of a page that no page before it has."""
  before = _PAGES[: _PAGES.index(page)]
  told = [' '.join(x) for each in before for x in test_docs.commands(each)]
  return [
    words
    for words in test_docs.commands(page)
    if ' '.join(words) not in told
    and not ' '.join(words).startswith(tuple(_ELSEWHERE))
  ]


@pytest.fixture(scope='module')
def home(tmp_path_factory):
  """A folder that has what the pages say that a reader has."""
  folder = tmp_path_factory.mktemp('home')
  names = [f'cam{i % 3}/{i:03d}.png' for i in range(108)]
  names[1] = 'cam1/0003.jpg'
  runs.write_images(folder / 'crops', names, runs.make_images(108, 6))
  shutil.copy(folder / 'crops/cam0/003.png', folder / 'her.jpg')
  for name in ('NEW', 'new_crops'):
    (folder / name).symlink_to('crops')
  config = runs.small_config('folder', 'crops')
  config.data.pattern = 'cam{camid}/*'
  config.model.name = 'resnet_tiny'
  config.cluster.merge_percent = 0.45  # Two stages.
  workdir = folder / 'runs' / 'best-folder-small'
  with pytest.MonkeyPatch.context() as monkeypatch:
    monkeypatch.chdir(folder)
    runs.one_device(monkeypatch)
    job.run(config, workdir)
  shutil.copytree(workdir, folder / 'runs' / 'one')
  features = np.random.default_rng(0).normal(size=(200, 8)).astype(np.float32)
  paths = [f'{i:03d}.png' for i in range(200)]
  np.savez(folder / 'features.npz', features=features, paths=paths)
  (folder / 'said.csv').write_text('000.png,001.png,same\n')
  return folder


@pytest.mark.parametrize('page', _PAGES)
def test_what_a_page_shows_runs(page, home, tmp_path, monkeypatch):
  here = tmp_path / 'here'
  shutil.copytree(home, here, symlinks=True)
  monkeypatch.chdir(here)
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
  for words in _to_run(page):
    module, arguments = test_docs.module_of(words)
    # A cluster that is there, for the one that a page takes as an example.
    arguments = ['0' if x == '12' else x for x in arguments]
    # A page may show a command twice, and the home has features.npz.
    for argument in arguments:
      out = pathlib.Path(argument.removeprefix('--out='))
      if out.is_file() and str(out) != argument:
        out.unlink()
    importlib.import_module(module).main(arguments)
  given = {
    'features': np.load(home / 'features.npz')['features'],
    'images': np.zeros((2, 24, 12, 3), np.uint8),
    'num_merges': 20,
  }
  for code in _blocks(page):
    # Of the 500 crops that a script draws, five.
    exec(compile(code.replace('(500)', '(5)'), page, 'exec'), given)


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
