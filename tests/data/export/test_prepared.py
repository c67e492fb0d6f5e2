"""Prepared once, whole or not at all, through kills and rivals."""

import os
import pathlib
import shutil
import signal
import subprocess
import sys

import pytest
import runs
import tensorflow_datasets as tfds

from dbc_jax.data.export import prepared

REPOSITORY = pathlib.Path(__file__).parents[3]
PREPARE = """
import os, pathlib, signal, sys, warnings
from dbc_jax.data.export import prepared, stored_frames, tfds_builders
warnings.simplefilter('ignore')
tfds_builders.ImageBuilder.SHARD_LENGTH = 4
if sys.argv[3] == 'killed':
  stored_frames._BLOCK = 4
  storable = stored_frames.storable
  seen = []
  def die_at_the_fortieth(data):
    seen.append(data)
    if len(seen) == 40:
      os.kill(os.getpid(), signal.SIGKILL)
    return storable(data)
  stored_frames.storable = die_at_the_fortieth
root, data_dir = map(pathlib.Path, sys.argv[1:3])
print(prepared.prepare('market1501', root, data_dir)[1])
"""


@pytest.fixture
def root(tmp_path):
  """46 images."""
  return runs.write_market(tmp_path / 'data')


def start(root, data_dir, kind='whole'):
  command = [sys.executable, '-c', PREPARE, str(root), str(data_dir), kind]
  return subprocess.Popen(
    command,
    cwd=REPOSITORY,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )


def count(folder):
  source = tfds.builder_from_directory(folder).as_data_source()
  return {split: sum(1 for _ in source[split]) for split in source}


WHOLE = {'train': 30, 'query': 4, 'gallery': 12}


def test_killed_then_two_at_once(tmp_path, root):
  home = tmp_path / 'tfds/market1501'
  killed = start(root, tmp_path / 'tfds', 'killed')
  killed.communicate(timeout=60)
  assert killed.returncode == -signal.SIGKILL
  shards = [*home.rglob('*.array_record-*')]
  assert len(shards) >= 9  # It had written all of two splits.
  assert not (home / '1.0.0').exists()

  with prepared._alone(home):
    rivals = [start(root, tmp_path / 'tfds') for _ in range(2)]
    for rival in rivals:
      assert 'Waiting for another process' in rival.stderr.readline()
    assert not (home / '1.0.0').exists()
  printed = [rival.communicate(timeout=60)[0].strip() for rival in rivals]
  assert [rival.returncode for rival in rivals] == [0, 0]
  assert sorted(printed) == ['False', 'True']
  assert count(home / '1.0.0') == WHOLE
  assert {path.name for path in home.iterdir()} == {'.lock', '1.0.0'}


def test_second_time_nothing_is_written(tmp_path, root):
  folder, is_new = prepared.prepare('market1501', root, tmp_path / 'tfds')
  before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
  again = prepared.prepare('market1501', root, tmp_path / 'tfds')
  assert (is_new, again) == (True, (folder, False))
  assert before == {path: path.stat().st_mtime_ns for path in folder.iterdir()}


@pytest.mark.parametrize('change', ['image', 'shard'])
def test_changed_files_are_prepared_again(tmp_path, root, change):
  folder, _ = prepared.prepare('market1501', root, tmp_path / 'tfds')
  if change == 'image':
    shutil.copy(
      root / 'query/0101_c1s1_000000_00.jpg',
      root / 'query/0101_c2s1_000000_00.jpg',
    )
  else:
    next(folder.glob('*query*')).unlink()
  assert prepared.prepare('market1501', root, tmp_path / 'tfds')[1]
  assert count(folder) == WHOLE | {'query': 4 + (change == 'image')}
  assert {path.name for path in folder.parent.iterdir()} == {'.lock', '1.0.0'}


def test_failure_leaves_the_old_data_set(tmp_path, root):
  folder, _ = prepared.prepare('market1501', root, tmp_path / 'tfds')
  (root / 'query/0101_c1s1_000000_00.jpg').write_bytes(b'')
  with pytest.raises(ValueError, match='1 of 4 images cannot be read'):
    prepared.prepare('market1501', root, tmp_path / 'tfds')
  assert count(folder) == WHOLE


def test_data_set_of_another_root_is_not_replaced(tmp_path, root):
  prepared.prepare('market1501', root, tmp_path / 'tfds')
  other = runs.write_market(tmp_path / 'other')
  with pytest.raises(ValueError, match=rf'was prepared from {root}, not from'):
    prepared.prepare('market1501', other, tmp_path / 'tfds')


def test_folder_that_cannot_be_written_is_named(tmp_path, root):
  (tmp_path / 'file').touch()
  with pytest.raises(ValueError, match=r'file/market1501 cannot be written: '):
    prepared.prepare('market1501', root, tmp_path / 'file')


def test_default_is_beside_the_data_or_in_the_cache(tmp_path, monkeypatch):
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
  roots = [tmp_path / 'a/images', tmp_path / 'b/images']
  for root in roots:
    root.mkdir(parents=True)
  assert prepared.default_data_dir('folder', roots[0]) == roots[0] / 'tfds'

  monkeypatch.setattr(os, 'access', lambda *_: False)
  cached = [prepared.default_data_dir('folder', root) for root in roots]
  assert {path.parent for path in cached} == {tmp_path / 'cache/dbc_jax/tfds'}
  assert len(set(cached)) == 2
  monkeypatch.setenv('XDG_CACHE_HOME', '')
  monkeypatch.setenv('HOME', str(tmp_path))
  home = tmp_path / '.cache/dbc_jax/tfds'
  assert prepared.default_data_dir('folder', roots[0]).parent == home
  # Prepared by somebody who may write there.
  (roots[0] / 'tfds/folder').mkdir(parents=True)
  assert prepared.default_data_dir('folder', roots[0]) == roots[0] / 'tfds'
