"""Data sets by name: errors come before any work and say what to do."""

import subprocess
import sys
import types

import pytest

from configs import common
from dbc_jax.data import load_dataset

KNOWN = (
  'demo, demo_video, dukemtmc_reid, dukemtmc_videoreid, folder, mars, '
  'market1501, msmt17'
)
READ_FILES = KNOWN.split(', ')[2:]


@pytest.mark.parametrize('name', ['', 'Market1501', 'mars_video'])
def test_unknown_names(name):
  with pytest.raises(ValueError, match=f'known are: {KNOWN}'):
    load_dataset(name)


@pytest.mark.parametrize('name', READ_FILES)
@pytest.mark.parametrize('root', [None, ''])
def test_root_is_asked_for(name, root):
  with pytest.raises(ValueError, match=rf"'{name}'.* --config.data.root=DIR"):
    load_dataset(name, root)


@pytest.mark.parametrize('name', READ_FILES)
def test_missing_root_names_what_exists(tmp_path, name):
  lost = tmp_path / 'a' / 'b'
  with pytest.raises(ValueError, match='does not exist') as caught:
    load_dataset(name, lost)
  assert f'{lost} does not exist ({tmp_path} does)' in str(caught.value)


@pytest.mark.parametrize('name', READ_FILES)
def test_root_must_be_a_folder_with_something_in_it(tmp_path, name):
  with pytest.raises(ValueError, match=r'is empty\.'):
    load_dataset(name, tmp_path)
  archive = tmp_path / 'data.zip'
  archive.write_bytes(b'PK')
  with pytest.raises(ValueError, match=r'is a file; .* unpack'):
    load_dataset(name, archive)


def test_unknown_options_are_named(tmp_path):
  with pytest.raises(ValueError, match='option num_ids, sed; known are: num_'):
    load_dataset('market1501', tmp_path, num_ids=3, sed=1)
  with pytest.raises(ValueError, match='option seed; known are: none'):
    load_dataset('dukemtmc_videoreid', tmp_path, seed=1)


@pytest.fixture
def demo(monkeypatch):
  """Stands in for the module of the embedded data set."""

  def load(*, seed=0):
    return 'dataset', seed

  name = 'dbc_jax.data.synthetic.images'
  module = types.ModuleType(name)
  module.load = load
  monkeypatch.setitem(sys.modules, name, module)


@pytest.mark.parametrize('root', [None, ''])
def test_demo_gets_its_options_and_no_root(demo, root):
  assert load_dataset('demo', root, seed=3) == ('dataset', 3)


def test_demo_refuses_files_and_unknown_options(demo, tmp_path):
  with pytest.raises(ValueError, match='reads no files, but root is'):
    load_dataset('demo', tmp_path)
  with pytest.raises(ValueError, match='option sed; known are: seed'):
    load_dataset('demo', sed=3)


def test_readers_are_imported_only_when_asked_for():
  code = (
    'import sys, dbc_jax.data; '
    'assert not any(m in sys.modules for m in '
    '("dbc_jax.data.synthetic", "dbc_jax.data.readers.market1501", "jax"))'
  )
  subprocess.run([sys.executable, '-c', code], check=True)


def test_configs_know_the_same_data_sets():
  assert sorted(common.DATASETS) == sorted(KNOWN.split(', '))
