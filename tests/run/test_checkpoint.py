"""Checkpoints come back as they were, and only where they belong."""

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from dbc_jax.run import checkpoint


@pytest.fixture
def arrays():
  return {
    'params': {'w': np.arange(6, dtype=np.float32).reshape(2, 3)},
    'labels': np.arange(4, dtype=np.int32),
  }


def test_round_trip(tmp_path, arrays):
  checkpoint.CheckpointStore(tmp_path).save(0, arrays, {'history': [{'a': 1}]})
  store = checkpoint.CheckpointStore(tmp_path)
  assert store.latest_stage() == 0
  assert store.read_record(0) == {'history': [{'a': 1}]}
  restored = store.restore(0, arrays)
  np.testing.assert_array_equal(restored['params']['w'], arrays['params']['w'])
  np.testing.assert_array_equal(restored['labels'], arrays['labels'])
  assert restored['labels'].dtype == np.int32


def test_empty_store_has_no_stage(tmp_path):
  assert checkpoint.CheckpointStore(tmp_path).latest_stage() is None


@pytest.mark.parametrize(
  ('change', 'message'),
  [
    ({'labels': np.zeros(5, np.int32)}, r"\['labels'\] is int32\[4\].*\[5\]"),
    ({'labels': np.zeros(4, np.int64)}, r'is int32\[4\].*int64\[4\]'),
    ({'more': np.zeros(1)}, r"\['more'\] is None"),
    ({'params': {}}, r"\['params'\]\['w'\] is float32.*expected None"),
  ],
)
def test_another_shape_or_dtype_is_refused(tmp_path, arrays, change, message):
  store = checkpoint.CheckpointStore(tmp_path)
  store.save(0, arrays, {})
  with pytest.raises(ValueError, match=message):
    store.restore(0, arrays | change)


def test_a_used_stage_is_refused_aloud(tmp_path, arrays):
  store = checkpoint.CheckpointStore(tmp_path)
  store.save(1, arrays, {})
  with pytest.raises(RuntimeError, match='stage 1 was not written'):
    store.save(1, arrays, {})


def test_a_disk_that_is_full_is_one_error_and_no_tracebacks(tmp_path):
  code = f"""
import pathlib, resource, time
import numpy as np
from dbc_jax.run import checkpoint
store = checkpoint.CheckpointStore(pathlib.Path({str(tmp_path)!r}))
rng = np.random.default_rng(0)
arrays = {{f'a{{i}}': rng.bytes(20_000) for i in range(60)}}
# A file that may not grow is as a disk that is full.
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
arrays = {{k: np.frombuffer(v, np.uint8) for k, v in arrays.items()}}
try:
  store.save(0, arrays, {{}})
except ValueError as error:
  print(error)
time.sleep(1)
"""
  result = subprocess.run(
    [sys.executable, '-c', code],
    capture_output=True,
    text=True,
    timeout=120,
    check=False,
  )
  (line,) = result.stdout.splitlines()
  assert line.startswith(f'workdir: {tmp_path}/0 cannot be written (')
  assert line.endswith(checkpoint.MAKE_ROOM)
  assert 'Traceback' not in result.stderr
  assert 'Event loop' not in result.stderr


def test_keep_only(tmp_path, arrays):
  store = checkpoint.CheckpointStore(tmp_path)
  for stage in range(3):
    store.save(stage, arrays, {'stage': stage})
  store.keep_only({0, 2})
  store = checkpoint.CheckpointStore(tmp_path)
  assert store.latest_stage() == 2
  assert store.read_record(0) == {'stage': 0}
  with pytest.raises(FileNotFoundError):
    store.read_record(1)


DAMAGES = {
  'removed': lambda path: path.unlink(),
  'emptied': lambda path: path.write_bytes(b''),
  'cut': lambda path: path.write_bytes(path.read_bytes()[:-1]),
  'first bit': lambda path: _flip(path, 0),
  'a bit in the middle': lambda path: _flip(path, path.stat().st_size * 4 + 3),
  'last bit': lambda path: _flip(path, path.stat().st_size * 8 - 1),
}


def _flip(path, bit):
  content = bytearray(path.read_bytes())
  content[bit // 8] ^= 1 << bit % 8
  path.write_bytes(content)


@pytest.mark.parametrize('kind', DAMAGES)
def test_damage_is_found_or_without_effect(kind, tmp_path, arrays, capfd):
  """Of each file in turn, and never by a traceback of orbax."""
  record = {'history': [{'loss': 0.25}], 'digest': 'ab'}
  checkpoint.CheckpointStore(tmp_path / 'good').save(0, arrays, record)
  files = [
    path.relative_to(tmp_path / 'good')
    for path in sorted((tmp_path / 'good' / '0').rglob('*'))
    if path.is_file() and path.stat().st_size
  ]
  told = []
  for name in files:
    shutil.rmtree(tmp_path / 'bad', ignore_errors=True)
    shutil.copytree(tmp_path / 'good', tmp_path / 'bad')
    DAMAGES[kind](tmp_path / 'bad' / name)
    store = checkpoint.CheckpointStore(tmp_path / 'bad')
    try:
      assert store.check(0) == record, name
      restored = store.restore(0, arrays)
    except checkpoint.DamagedError as error:
      told.append(str(error))
      continue
    for key in ('labels', 'params'):
      np.testing.assert_equal(restored[key], arrays[key], err_msg=str(name))
  # The list of files alone may be missing, or have a blank less.
  assert len(told) >= len(files) - 1
  assert capfd.readouterr().err == ''
  for line in told:
    assert str(tmp_path / 'bad' / '0') in line
    assert '\n' not in line


def test_arrays_are_compared_where_a_kill_left_no_list_of_files(
  tmp_path, arrays
):
  checkpoint.CheckpointStore(tmp_path).save(0, arrays, {})
  (tmp_path / '0' / 'files.json').unlink()
  assert checkpoint.CheckpointStore(tmp_path).check(0) == {}
  (tmp_path / '0' / 'record' / 'metadata').write_text('{}')
  with pytest.raises(checkpoint.DamagedError, match='its record is not what'):
    checkpoint.CheckpointStore(tmp_path).check(0)


def test_those_that_are_damaged_are_set_aside_with_a_line(
  tmp_path, arrays, caplog
):
  store = checkpoint.CheckpointStore(tmp_path)
  for stage in range(3):
    store.save(stage, arrays, {'stage': stage})
  (tmp_path / '1' / 'record' / 'metadata').write_text('')
  records, damaged = checkpoint.CheckpointStore(tmp_path).whole()
  assert records == {0: {'stage': 0}, 2: {'stage': 2}}
  assert damaged == {1}
  assert len(caplog.messages) == 1
  assert f'{tmp_path / "1"} is damaged: record/metadata' in caplog.text
  assert (tmp_path / 'damaged' / '1').is_dir()
  store = checkpoint.CheckpointStore(tmp_path)
  assert store.stages() == [0, 2]
  store.keep_only({0})
  store.save(1, arrays, {'stage': 1})  # Its number is free again.
  assert store.read_record(1) == {'stage': 1}


def test_one_under_another_number_is_damaged(tmp_path, arrays):
  checkpoint.CheckpointStore(tmp_path).save(0, arrays, {'stage': 0})
  (tmp_path / '0').rename(tmp_path / '4')
  with pytest.raises(checkpoint.DamagedError, match='4 is that of 0'):
    checkpoint.CheckpointStore(tmp_path).read_record(4)


def test_what_reads_back_otherwise_is_told_at_once(
  tmp_path, arrays, monkeypatch
):
  store = checkpoint.CheckpointStore(tmp_path)
  read = store._read_item

  def read_otherwise(stage, item, how):
    found = read(stage, item, how)
    return (
      found | {'labels': arrays['labels'] + 1} if 'labels' in found else (found)
    )

  monkeypatch.setattr(store, '_read_item', read_otherwise)
  with pytest.raises(ValueError, match=r"reads otherwise: .*\['labels'\]"):
    store.save(0, arrays, {})


def test_what_a_kill_leaves_of_saving_and_deleting_is_tidied(tmp_path, arrays):
  store = checkpoint.CheckpointStore(tmp_path)
  for stage in range(2):
    store.save(stage, arrays, {})
  for name in ('2.orbax-checkpoint-tmp', '7.orbax-checkpoint-tmp-deleted'):
    shutil.copytree(tmp_path / '0', tmp_path / name)
  store = checkpoint.CheckpointStore(tmp_path)
  assert store.stages() == [0, 1]
  store.keep_only({1})
  assert [path.name for path in tmp_path.iterdir()] == ['1']


# Below or above which a workdir may lie. Nothing of them is to be a pattern, an
# address or an escape.
NAMES = [
  *('[2026] re-ID', '[a]', 'a[b', 'a]b', 'a*b', 'a?b', 'a\\b', '{a,b}', 'a b'),
  *(' a', 'a ', 'a.', '.a', '-a', '~a', '$HOME', '%41', 'a#b', 'a&b;c', "a'b"),
  *('a"b', 'a:b', 'gs:', 's3:', 'a\nb', 'a\tb', '(a)', 'a!b', 'a=b', 'a,b'),
  *('\u00fc\u65e5', '\U0001f600', os.fsdecode(b'\xff\xfe'), 'x' * 200),
]


@pytest.mark.parametrize('name', NAMES)
def test_any_name_of_a_folder(name, tmp_path, arrays):
  folder = tmp_path / name / 'run' / 'checkpoints'
  decoy = tmp_path / 'axb' / 'run' / 'checkpoints' / '0'
  decoy.mkdir(parents=True)  # What 'a?b' would be as a pattern.
  checkpoint.check_path(folder)
  checkpoint.CheckpointStore(folder).save(0, arrays, {'a': 1})
  assert (folder / '0').is_dir()
  store = checkpoint.CheckpointStore(folder)
  assert store.read_record(0) == {'a': 1}
  restored = store.restore(0, arrays)
  np.testing.assert_array_equal(restored['labels'], arrays['labels'])
