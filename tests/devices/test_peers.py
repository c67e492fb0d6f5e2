"""Two processes of the command: signals, kills, and one that does not come."""

import os
import re
import signal
import socket
import subprocess
import sys
import time

import pytest
import runs
import small_networks

from dbc_jax.devices import peers, processes, relay

pytestmark = pytest.mark.slow

ENDED = 'has ended, and without it this one cannot go on; the same commands'
# What a person should never meet.
NOISE = ('Traceback', 'Check failure', 'Fatal Python error')


@pytest.fixture(scope='module')
def start(tmp_path_factory):
  """Starts the processes of a run of a minute, a workdir for each."""
  folder = tmp_path_factory.mktemp('peers')
  root = runs.write_market(folder / 'market')
  environment = os.environ | {
    'PYTHONPATH': f'{runs.ROOT}:{runs.ROOT / "tests"}',
    'JAX_PLATFORMS': 'cpu',
    'JAX_COMPILATION_CACHE_DIR': str(folder / 'cache'),
    'XLA_FLAGS': '--xla_backend_optimization_level=0'
    ' --xla_force_host_platform_device_count=2',
  }
  command = [
    *(sys.executable, '-m', 'dbc_jax.main', '--num_processes=2'),
    '--config=dbc:market1501,small',
    f'--config.data.root={root}',
    '--config.data.stored_size=(24,12)',
    '--config.data.image_size=(24,12)',
    f'--config.model.name={small_networks.NAME}',
    '--config.model.embedding_dim=16',
    '--config.extract_batch_size=8',
    '--config.train.batch_size=8',
    '--config.train.stage0_epochs=1000',
    '--config.cluster.merge_percent=0.3',
  ]
  started, opened = [], []

  def run(workdirs, *flags):
    address = f'--coordinator=127.0.0.1:{_free_port()}'
    files = [(folder / f'{len(started)}-{i}.txt').open('w+') for i in range(2)]
    pair = [
      subprocess.Popen(
        [*command, address, f'--process_id={i}', f'--workdir={each}', *flags],
        env=environment,
        stdout=files[i],
        stderr=subprocess.STDOUT,
      )
      for i, each in enumerate(workdirs)
    ]
    started.extend(pair)
    opened.extend(files)
    return pair, files

  yield run
  for process in started:
    process.kill()
    process.wait()
  for file in opened:
    file.close()


def _free_port():
  with socket.create_server(('127.0.0.1', 0)) as server:
    return server.getsockname()[1]


def _read(file):
  file.seek(0)
  return file.read()


def _wait_for(text, process, file):
  deadline = time.monotonic() + 240
  while text not in _read(file):
    assert process.poll() is None, _read(file)
    assert time.monotonic() < deadline, _read(file)
    time.sleep(0.1)


def _ends(pair, files, seconds):
  """Statuses and outputs of both; they end within some time."""
  deadline = time.monotonic() + seconds
  for process, file in zip(pair, files, strict=True):
    try:
      process.wait(max(0.1, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
      pytest.fail(f'still there after {seconds} s: {_read(file)}')
  outputs = [*map(_read, files)]
  for output in outputs:
    assert not [x for x in NOISE if x in output], output
  return [process.returncode for process in pair], outputs


@pytest.mark.parametrize('heard', [(0,), (1,), (0, 1)])
def test_a_signal_to_some_saves_and_ends_all(heard, start, tmp_path):
  pair, files = start([tmp_path] * 2)
  _wait_for('stage 0 epoch 3/', pair[0], files[0])
  for i in heard:
    pair[i].send_signal(signal.SIGTERM)
  codes, outputs = _ends(pair, files, 150)
  assert codes == [128 + signal.SIGTERM] * 2
  told = [re.findall(r'^Ended by SIGTERM.*$', x, re.M) for x in outputs]
  assert told[0] == told[1]
  (step,) = re.findall(r'from (step \d+) of stage 0\.$', *told[0])
  if heard != (0,):
    return
  pair, files = start([tmp_path] * 2)
  _wait_for(f'resuming at {step} of stage 0', pair[0], files[0])
  for process in pair:  # It would take the cores from the next test.
    process.kill()


@pytest.mark.parametrize('dead', [0, 1])
def test_where_one_is_killed_the_other_ends_with_a_line(dead, start, tmp_path):
  pair, files = start([tmp_path] * 2)
  _wait_for('stage 0 epoch 3/', pair[0], files[0])
  pair[dead].kill()
  # The grace, and some time on a busy machine.
  codes, outputs = _ends(pair, files, peers.GRACE_SECONDS + 25)
  assert codes[dead] == -signal.SIGKILL
  assert codes[1 - dead] == 1
  assert outputs[1 - dead].count(f'Error: process {dead} {ENDED}') == 1


def test_different_workdirs_are_an_error_and_no_deadlock(start, tmp_path):
  pair, files = start([tmp_path / 'a', tmp_path / 'b'])
  codes, outputs = _ends(pair, files, 120)
  assert codes == [1, 1]
  for output, name in zip(outputs, 'ab', strict=True):
    assert re.search(
      'Error: workdir: process 1 does not see in its --workdir what process 0 '
      rf'.*{tmp_path / name}\)',
      output,
    )


MEET = """
import sys
from dbc_jax.devices import processes
processes.MEET_SECONDS = 6
processes.start(sys.argv[1], 2, int(sys.argv[2]), detect=False)
"""


@pytest.mark.parametrize('own', [0, 1])
def test_one_that_does_not_come_is_told_and_ends_the_others(own):
  address = f'127.0.0.1:{_free_port()}'
  result = subprocess.run(
    [sys.executable, '-c', MEET, address, str(own)],
    env=os.environ | {'PYTHONPATH': str(runs.ROOT), 'JAX_PLATFORMS': 'cpu'},
    capture_output=True,
    text=True,
    timeout=60,
    check=False,
  )
  who = f'process 0 has not answered at {address}'
  who = who if own else 'other processes have not come'
  assert result.returncode == 1, result.stderr
  assert f'{who} yet (3 of 6 s)' in result.stderr
  assert f'Error: --coordinator: {who} within 6 s; start all' in result.stderr
  assert not [x for x in NOISE if x in result.stderr]


@pytest.fixture
def watched(monkeypatch):
  """Makes a `Watch` for each of some processes, all of them in this one."""
  made = []

  def make(count):
    watches, ended = _watches(monkeypatch, count)
    made.extend(watches)
    return watches, ended

  yield make
  for watch in made:
    watch._is_left.set()
    for peer in watch._peers.values():
      peer.close()


def _watches(monkeypatch, count):
  told, ended = [], []
  for name, value in (('count', lambda: count), ('is_first', lambda: False)):
    monkeypatch.setattr(processes, name, value)
  monkeypatch.setattr(peers, 'GRACE_SECONDS', 0.3)

  def text_of_first(text):
    told.extend([text] if text else [])
    return told[0]

  monkeypatch.setattr(processes, 'text_of_first', text_of_first)
  watches = []
  for number in range(count):
    monkeypatch.setattr(processes, 'is_first', lambda own=number: own == 0)
    monkeypatch.setattr(processes, 'own_number', lambda own=number: own)
    watches.append(
      peers.Watch(
        'localhost:1', lambda status, own=number: ended.append((own, status))
      )
    )
  deadline = time.monotonic() + 20
  while len(watches[0]._peers) < count - 1 and time.monotonic() < deadline:
    time.sleep(0.01)
  return watches, ended


def _soon(condition):
  deadline = time.monotonic() + 20
  while not condition() and time.monotonic() < deadline:
    time.sleep(0.01)
  return condition()


def test_a_loss_reaches_processes_that_do_not_know_each_other(watched, capfd):
  watches, ended = watched(3)
  watches[2]._peers[0].shutdown(socket.SHUT_RDWR)
  assert _soon(lambda: {(0, 1), (1, 1)} <= {*ended})
  assert 'process 2 has ended' in capfd.readouterr().err


def test_who_leaves_well_ends_nobody(watched):
  watches, ended = watched(2)
  for watch in watches:
    watch.leave(0)
  time.sleep(1)
  assert not ended


def test_an_error_of_one_ends_the_other(watched, capfd):
  watches, ended = watched(2)
  watches[1].leave('Error: no such folder')
  assert _soon(lambda: {(1, 1), (0, 1)} <= {*ended})
  errors = capfd.readouterr().err
  assert 'Error: no such folder' in errors
  assert 'Error: process 1 has ended' in errors


def test_strangers_are_not_listened_to(monkeypatch):
  told = []
  monkeypatch.setattr(processes, 'count', lambda: 2)
  monkeypatch.setattr(processes, 'text_of_first', told.append)
  watch = peers.Watch(None, told.append)
  port = int(told[0].split()[1])
  with socket.create_connection(('127.0.0.1', port)) as stranger:
    stranger.sendall(b'let me in 1\n')
    assert stranger.recv(1) == b''
  assert not watch._peers
  # The one that it waits for, so that it ends.
  token = told[0].split()[2]
  with socket.create_connection(('127.0.0.1', port)) as peer:
    peer.sendall(f'{token} 1\n'.encode())
    assert _soon(lambda: 1 in watch._peers)
    peer.sendall(b'.')
    assert _soon(lambda: 1 in watch._gone)


def test_a_relay_outlives_what_it_stands_for():
  with socket.create_server(('127.0.0.1', 0)) as far:
    address = relay.start(f'127.0.0.1:{far.getsockname()[1]}')
    host, port = address.split(':')
    near = socket.create_connection((host, int(port)))
    other, _ = far.accept()
    near.sendall(b'question')
    assert other.recv(8) == b'question'
    other.sendall(b'answer')
    assert near.recv(6) == b'answer'
    other.close()
  near.settimeout(0.5)
  with pytest.raises(TimeoutError):
    near.recv(1)
  near.close()
