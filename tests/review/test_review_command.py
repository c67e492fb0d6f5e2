"""`dbc review` on a small run, as a user starts it and ends it."""

import base64
import csv
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest
import runs

from dbc_jax.commands import review
from dbc_jax.run import job, lock
from dbc_jax.run.corrections import read_corrections

pytestmark = pytest.mark.slow


@pytest.fixture(scope='module')
def crops(tmp_path_factory):
  names = [f'cam{i % 2}/{i:02d}.png' for i in range(30)]
  folder = tmp_path_factory.mktemp('crops')
  return runs.write_images(folder, names, runs.make_images(30, 6))


@pytest.fixture(scope='module')
def workdir(crops, tmp_path_factory):
  folder = tmp_path_factory.mktemp('run')
  config = runs.small_config('folder', crops)
  config.cluster.num_clusters = 8
  with pytest.MonkeyPatch.context() as monkeypatch:
    runs.one_device(monkeypatch)
    job.run(config, folder)
  return folder


class Started:
  """The command in a process of its own."""

  def __init__(self, *arguments):
    command = [sys.executable, '-m', 'dbc_jax', 'review', *arguments]
    folders = map(str, (runs.ROOT, runs.ROOT / 'tests'))
    self.process = subprocess.Popen(
      command,
      stdout=subprocess.PIPE,
      stderr=subprocess.STDOUT,
      text=True,
      env=os.environ | {'PYTHONPATH': os.pathsep.join(folders)},
    )
    assert self.process.stdout is not None
    self.said = ''.join(self.process.stdout.readline() for _ in range(3))
    found = re.search(r'http://127\.0\.0\.1:\d+/\S+/', self.said)
    assert found, self.said
    self.address = found[0]

  def ask(self, name, given=None):
    data = None if given is None else json.dumps(given).encode()
    headers = {'Content-Type': 'application/json'}
    request = urllib.request.Request(self.address + name, data, headers)
    try:
      with urllib.request.urlopen(request, timeout=120) as answer:
        return json.load(answer)
    except urllib.error.HTTPError as error:
      pytest.fail(f'{name}: {error.read().decode()}')

  def end(self, number=signal.SIGINT):
    """Its status and the rest of what it said."""
    self.process.send_signal(number)
    try:
      rest, _ = self.process.communicate(timeout=60)
    finally:
      self.process.kill()  # The next test wants the workdir.
    return self.process.returncode, rest


def test_a_person_looks_corrects_clusters_again_and_ends_it(workdir, crops):
  started = Started(f'--workdir={workdir}')
  try:
    page = urllib.request.urlopen(started.address, timeout=60).read()
    assert b'<title>dbc review</title>' in page
    cards = started.ask('clusters')['clusters']
    assert len(cards) == 8
    # While it is open no training takes the workdir.
    with (
      pytest.raises(ValueError, match='is in use by the run of process'),
      lock.hold(workdir),
    ):
      pass
    data = base64.b64encode((crops / 'cam1/17.png').read_bytes()).decode()
    found = started.ask('find', {'picture': data})['images']
    assert found[0]['path'] == 'cam1/17.png'
    ids = [card['id'] for card in cards[-2:]]
    started.ask('merge', {'clusters': ids})
    state = started.ask('recluster', {})['state']
    assert state['pending'] == 0
    assert state['background'] == {'ready': True, 'fault': None}
    asked = started.ask('question')['pair']
    assert len(asked) == 2
  finally:
    code, rest = started.end()
  assert code == 0
  said = read_corrections(workdir / 'corrections.csv')
  end = f'{len(said)} answers are in {workdir / "corrections.csv"}.'
  assert rest == f'\nEnded. {end}\n'
  assert re.search(r'ssh -L (\d+):127\.0\.0\.1:\1 ', started.said)
  assert not (workdir / 'run.lock').exists()
  with (workdir / 'clusters.csv').open() as file:
    now = {row['path']: row['cluster'] for row in csv.DictReader(file)}
  assert said
  assert all(now[x.a] == now[x.b] for x in said)


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_as_ctrl_c_does(workdir, number):
  started = Started(f'--workdir={workdir}')
  code, rest = started.end(number)
  assert code == 0
  assert 'Ended.' in rest


IN_A_DESTRUCTOR = """
import os, signal, socketserver
from dbc_jax.commands import review

class Dying:
  def __del__(self):
    os.kill(os.getpid(), signal.SIGINT)
    for _ in range(1000):
      pass

with socketserver.TCPServer(('127.0.0.1', 0), None) as server:
  review._end_at_signals(server)
  dying = Dying()
  del dying
  server.serve_forever()
"""


def test_no_signal_is_dropped():
  done = subprocess.run(
    [sys.executable, '-c', IN_A_DESTRUCTOR],
    env=os.environ | {'PYTHONPATH': str(runs.ROOT)},
    capture_output=True,
    timeout=60,
    check=False,
  )
  assert done.returncode == 0
  assert done.stderr == b''


def test_a_workdir_in_use_is_one_line(workdir, capsys):
  with (
    lock.hold(workdir),
    pytest.raises(
      SystemExit, match=r'^Error: workdir: .* is in use by the run'
    ),
  ):
    review.main([f'--workdir={workdir}'])


def test_what_is_no_run_is_one_line_and_stays_as_it_was(tmp_path):
  for name, fault in (
    ('nowhere', 'does not exist; name the --workdir of a training'),
    ('.', 'clusters.csv does not exist; a training writes it'),
  ):
    with pytest.raises(SystemExit, match=fault):
      review.main([f'--workdir={tmp_path / name}'])
  assert [*tmp_path.iterdir()] == []
  with pytest.raises(SystemExit, match='demo comes with the package'):
    review.main(['--workdir=demo'])


def test_a_port_in_use_is_one_line_and_lets_go_of_the_workdir(workdir):
  with socket.create_server(('127.0.0.1', 0)) as taken:
    port = taken.getsockname()[1]
    with pytest.raises(SystemExit, match=f'^Error: --port: {port} cannot be'):
      review.main([f'--workdir={workdir}', f'--port={port}'])
  assert not (workdir / 'run.lock').exists()


def test_images_that_moved_are_found_by_their_root(workdir, crops):
  moved = crops.rename(crops.with_name('moved'))
  try:
    started = Started(f'--workdir={workdir}', f'--root={moved}')
    try:
      address = f'{started.address}small?row=0'
      with urllib.request.urlopen(address, timeout=60) as answer:
        assert answer.headers['Content-Type'] == 'image/jpeg'
    finally:
      started.end()
    started = Started(f'--workdir={workdir}')
    try:
      deadline = time.monotonic() + 60
      while not (fault := started.ask('state')['pictures']):
        assert time.monotonic() < deadline
        time.sleep(0.2)
      assert '--root=DIR' in fault
      # Features are there without them.
      assert started.ask('like?row=0')['images']
    finally:
      started.end()
  finally:
    moved.rename(crops)
