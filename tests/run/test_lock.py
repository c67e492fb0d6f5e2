"""One run, one workdir: who has it, who is refused, and what a kill leaves."""

import json
import os
import pathlib
import subprocess
import sys
import threading
import time

import pytest
import runs

from dbc_jax.run import job, lock

HOLD = """
import pathlib, sys
from dbc_jax.run import lock
with lock.hold(pathlib.Path(sys.argv[1])):
  print('held', flush=True)
  sys.stdin.readline()
"""


@pytest.fixture
def holder(tmp_path):
  """Another process that holds the workdir."""
  process = subprocess.Popen(
    [sys.executable, '-c', HOLD, tmp_path / 'run'],
    env=os.environ | {'PYTHONPATH': str(runs.ROOT)},
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
    text=True,
  )
  assert process.stdout is not None
  assert process.stdout.readline() == 'held\n'
  yield process
  process.kill()
  process.communicate()


def _owner(workdir):
  return json.loads((workdir / lock.NAME).read_text())


def _write(workdir, **changes):
  """A lock as a run of this machine would have left it, but for changes."""
  with lock.hold(workdir):
    owner = _owner(workdir) | changes
  workdir.mkdir(exist_ok=True)
  (workdir / lock.NAME).write_text(json.dumps(owner))


def test_a_second_run_is_told_whose_the_workdir_is(holder, tmp_path):
  owner = _owner(tmp_path / 'run')
  assert owner['pid'] == holder.pid
  message = (
    rf'workdir: .*run is in use by the run of process {holder.pid} on .* '
    rf'\(since {owner["since"]}\); wait for its end, or choose another'
  )
  with pytest.raises(ValueError, match=message), lock.hold(tmp_path / 'run'):
    pass
  # Nor does a whole run begin, whatever its settings.
  config = runs.small_config('folder', tmp_path / 'nowhere')
  with pytest.raises(ValueError, match=message):
    job.run(config, tmp_path / 'run')
  # The refused ones took nothing away.
  assert _owner(tmp_path / 'run') == owner


def test_a_run_that_has_not_yet_said_who_it_is_is_waited_for(holder, tmp_path):
  path = tmp_path / 'run' / lock.NAME
  said = path.read_text()
  path.write_text('')
  later = threading.Timer(0.5, path.write_text, [said])
  later.start()
  message = f'in use by the run of process {holder.pid} on'
  with pytest.raises(ValueError, match=message), lock.hold(tmp_path / 'run'):
    pass
  later.join()


def test_after_a_kill_it_is_taken_over_with_a_line(holder, tmp_path, caplog):
  holder.kill()
  holder.wait()
  with caplog.at_level('INFO', 'dbc_jax'), lock.hold(tmp_path / 'run'):
    assert _owner(tmp_path / 'run')['pid'] == os.getpid()
  assert f'of process {holder.pid} on' in caplog.text
  assert 'takes it over' in caplog.text


def test_it_is_gone_after_the_run_and_so_is_a_folder_left_empty(tmp_path):
  with lock.hold(tmp_path / 'runs' / 'a'):
    assert (tmp_path / 'runs' / 'a' / lock.NAME).exists()
  assert not (tmp_path / 'runs').exists()
  with lock.hold(tmp_path / 'runs' / 'a'):
    (tmp_path / 'runs' / 'a' / 'config.json').touch()
  assert [*(tmp_path / 'runs').rglob('*.*')] == [
    tmp_path / 'runs' / 'a' / 'config.json'
  ]


@pytest.mark.parametrize('content', ['', '{"pid": 1', '[]'])
def test_a_lock_whose_writer_was_killed_is_nobodys(content, tmp_path):
  (tmp_path / lock.NAME).write_text(content)
  with lock.hold(tmp_path):
    assert _owner(tmp_path)['pid'] == os.getpid()


@pytest.mark.slow
def test_another_machine_without_a_sign_of_life(tmp_path, monkeypatch, caplog):
  monkeypatch.setattr(lock, 'TIMEOUT_SECONDS', 3.0)
  _write(tmp_path, machine='elsewhere', host='gpu7')
  start = time.monotonic()
  with caplog.at_level('INFO', 'dbc_jax'), lock.hold(tmp_path):
    pass
  assert time.monotonic() - start >= 3.0
  assert 'on gpu7' in caplog.text
  assert 'may be alive' in caplog.text
  assert 'takes it over' in caplog.text


def test_another_machine_that_lives(tmp_path, monkeypatch):
  monkeypatch.setattr(lock, 'TIMEOUT_SECONDS', 20.0)
  _write(tmp_path, machine='elsewhere', host='gpu7')
  beat = threading.Timer(1.0, lambda: os.utime(tmp_path / lock.NAME))
  beat.start()
  with (
    pytest.raises(ValueError, match=r'in use by .* on gpu7'),
    lock.hold(tmp_path),
  ):
    pass
  beat.join()
  assert _owner(tmp_path)['host'] == 'gpu7'


@pytest.mark.parametrize('lives', [True, False])
def test_where_the_kernel_locks_no_files_the_process_decides(
  lives, tmp_path, monkeypatch
):
  monkeypatch.setattr(lock, '_lock', lambda file: None)
  with subprocess.Popen(['sleep', '60']) as process:
    started = lock._started(process.pid)
    _write(tmp_path, pid=process.pid, started=started if lives else '1')
    if lives:
      with pytest.raises(ValueError, match='in use'), lock.hold(tmp_path):
        pass
    process.kill()
  with lock.hold(tmp_path):  # Dead, or a number that another process has now.
    assert _owner(tmp_path)['pid'] == os.getpid()


def test_a_holder_keeps_giving_signs_of_life(tmp_path, monkeypatch):
  monkeypatch.setattr(lock, 'BEAT_SECONDS', 0.05)
  with lock.hold(tmp_path):
    os.utime(tmp_path / lock.NAME, (1, 1))
    deadline = time.monotonic() + 30
    while (tmp_path / lock.NAME).stat().st_mtime == 1:
      assert time.monotonic() < deadline
      time.sleep(0.01)


def test_a_run_that_lost_its_workdir_writes_no_more(tmp_path):
  with lock.hold(tmp_path) as held:
    held.check()
    (tmp_path / lock.NAME).write_text('{"token": "b", "pid": 7, "host": "h"}')
    with pytest.raises(ValueError, match=r'taken over by .* of process 7 on h'):
      held.check()
  # It is not its own to remove.
  assert (tmp_path / lock.NAME).exists()


@pytest.mark.parametrize('where', ['/proc/run', '/dev/null', '/dev/null/run'])
def test_what_cannot_be_written_is_refused_before_images_are_read(
  where, tmp_path
):
  config = runs.small_config('folder', tmp_path / 'nowhere')
  with pytest.raises(ValueError, match=rf'workdir: {where} .*choose another'):
    job.run(config, pathlib.Path(where))
