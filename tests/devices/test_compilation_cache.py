"""Programs are kept in the user's folder, within bounds, unless told else."""

import subprocess
import sys

import jax
import pytest

from dbc_jax.devices import compilation_cache

_SCRIPT = """
import jax
from dbc_jax.devices.compilation_cache import use_compilation_cache

use_compilation_cache()
jax.config.update('jax_persistent_cache_min_compile_time_secs', 0)
jax.jit(lambda x: x + 1)(1.0)
print(jax.config.values['jax_compilation_cache_max_size'])
"""


def _run(folder, **environment):
  done = subprocess.run(
    [sys.executable, '-c', _SCRIPT],
    env={'JAX_PLATFORMS': 'cpu', 'XDG_CACHE_HOME': str(folder), **environment},
    capture_output=True,
    text=True,
    check=True,
  )
  return int(done.stdout), sorted(p.name for p in folder.rglob('*-cache'))


def test_programs_are_kept_within_bounds(tmp_path):
  size, kept = _run(tmp_path)
  assert size == compilation_cache.MAX_BYTES
  assert kept


def test_the_folder_of_earlier_builds_is_no_hindrance(tmp_path):
  earlier = tmp_path / 'dbc_jax' / 'jax'
  earlier.mkdir(parents=True)
  # Without a bound no time of use stands beside a program.
  (earlier / 'program-cache').write_bytes(b'of an earlier build')
  _, kept = _run(tmp_path)
  assert len(kept) > 1


def test_jax_can_be_told_to_keep_none(tmp_path):
  assert not _run(tmp_path, JAX_ENABLE_COMPILATION_CACHE='false')[1]


def test_a_folder_that_jax_was_told_comes_first(tmp_path):
  folder = tmp_path / 'told'
  size, kept = _run(tmp_path, JAX_COMPILATION_CACHE_DIR=str(folder))
  assert size != compilation_cache.MAX_BYTES
  assert kept
  assert [*tmp_path.iterdir()] == [folder]


@pytest.fixture
def told_nothing():
  """JAX has no folder, as in a new process."""
  before = jax.config.values['jax_compilation_cache_dir']
  jax.config.update('jax_compilation_cache_dir', None)
  yield
  jax.config.update('jax_compilation_cache_dir', before)


@pytest.mark.usefixtures('told_nothing')
def test_a_folder_that_cannot_be_written_is_one_line(
  tmp_path, monkeypatch, caplog
):
  (tmp_path / 'file').touch()
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'file'))
  compilation_cache.use_compilation_cache()
  assert jax.config.values['jax_compilation_cache_dir'] is None
  (record,) = caplog.records
  assert 'not kept' in record.message
  assert str(tmp_path / 'file') in record.message
  assert '--nocompilation_cache' in record.message


@pytest.mark.usefixtures('told_nothing')
def test_a_user_without_a_home_is_one_line(monkeypatch, caplog):
  # As in a container, by docker run -u 12345.
  def nobody(uid):
    raise KeyError(f'getpwuid(): uid not found: {uid}')

  monkeypatch.delenv('HOME')
  monkeypatch.delenv('XDG_CACHE_HOME', raising=False)
  monkeypatch.setattr('pwd.getpwuid', nobody)
  compilation_cache.use_compilation_cache()
  assert jax.config.values['jax_compilation_cache_dir'] is None
  (record,) = caplog.records
  assert 'there is no home folder; set HOME or XDG_CACHE_HOME' in record.message
