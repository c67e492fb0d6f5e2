"""Real signals and kills, to real processes; benchmarks.faults does many."""

import os
import re
import signal
import subprocess
import sys
import time

import pytest
import runs
import small_networks

from benchmarks import faults

pytestmark = pytest.mark.slow


@pytest.fixture(scope='module')
def start(tmp_path_factory):
  """Starts the training of a few seconds in a workdir, with other flags."""
  folder = tmp_path_factory.mktemp('faults')
  names = [f'{i}.png' for i in range(24)]
  runs.write_images(folder / 'crops', names, runs.make_images(24, 6))
  # Of the first six images each shows another person.
  said = folder / 'said.csv'
  said.write_text('0.png,6.png,same\n0.png,1.png,different\n')
  environment = os.environ | {
    'PYTHONPATH': f'{runs.ROOT}:{runs.ROOT / "tests"}',
    'JAX_COMPILATION_CACHE_DIR': str(folder / 'cache'),
    'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0',
    'XLA_FLAGS': '--xla_backend_optimization_level=0',
  }
  command = [
    *(sys.executable, '-m', 'dbc_jax.main', '--config=ecluster:folder,small'),
    f'--config.data.root={folder / "crops"}',
    f'--config.data.corrections={said}',
    '--config.data.image_size=(24,12)',
    '--config.data.stored_size=(24,12)',
    f'--config.model.name={small_networks.NAME}',
    '--config.train.batch_size=8',
    '--config.train.stage0_epochs=200',
    '--config.train.stage_epochs=20',
    '--config.cluster.merge_percent=0.3',
  ]

  def run(workdir, *flags):
    return subprocess.Popen(
      [*command, f'--workdir={workdir}', *flags],
      env=environment,
      stdout=subprocess.PIPE,
      stderr=subprocess.STDOUT,
      text=True,
    )

  return run


@pytest.fixture(scope='module')
def straight(start, tmp_path_factory):
  """What an uninterrupted run ends with."""
  workdir = tmp_path_factory.mktemp('straight')
  process = start(workdir)
  output, _ = process.communicate(timeout=300)
  assert process.returncode == 0, output
  outcome = faults.outcome(workdir)
  assert '0.png,6.png,same,' in outcome['corrections']
  assert '"corrections": 2' in outcome['history']
  return outcome


def _wait_for(process, text):
  """Reads a run's output until a line has the text; returns all of it."""
  lines = []
  for line in process.stdout:
    lines.append(line)
    if text in line:
      return ''.join(lines)
  raise AssertionError(''.join(lines))


def _finish(start, workdir, straight):
  process = start(workdir)
  output, _ = process.communicate(timeout=300)
  assert process.returncode == 0, output
  assert 'Traceback' not in output
  assert faults.outcome(workdir) == straight
  return output


# nohup and background jobs ignore the others, and then do what they start.
HEARD = [
  number
  for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
  if signal.getsignal(number) is not signal.SIG_IGN
]


@pytest.mark.parametrize('number', HEARD[:2])
def test_a_signal_saves_and_says_where(number, start, straight, tmp_path):
  process = start(tmp_path)
  _wait_for(process, 'stage 0 epoch 3/')
  process.send_signal(number)
  output, _ = process.communicate(timeout=60)
  assert process.returncode == 128 + number, output
  assert 'Traceback' not in output
  (where,) = re.findall(
    rf'^Ended by {number.name}\. The same command goes on from (.*)\.$',
    output,
    re.MULTILINE,
  )
  step, stage = re.fullmatch(r'step (\d+) of stage (\d+)', where).groups()
  output = _finish(start, tmp_path, straight)
  assert f'resuming at step {step} of stage {stage}' in output


def test_a_signal_before_any_training_ends_at_once(start, tmp_path):
  process = start(tmp_path / 'run')
  _wait_for(process, 'merging')
  process.send_signal(signal.SIGTERM)
  output, _ = process.communicate(timeout=60)
  assert process.returncode == 128 + signal.SIGTERM, output
  assert 'Ended by SIGTERM' in output
  assert 'Traceback' not in output


AT_THE_END = """
import os, signal, sys
from dbc_jax import main
from dbc_jax.devices import peers
from dbc_jax.run import job

def end(self, status):
  print('the work is done', flush=True)
  os.kill(os.getpid(), signal.SIGTERM)

job.run = lambda *given: None
peers.Watch.leave = end
sys.argv = ['dbc', '--config=ecluster']
main.run()
"""


def test_a_signal_after_all_is_done_ends_without_a_traceback(tmp_path):
  done = subprocess.run(
    [sys.executable, '-c', AT_THE_END],
    env=os.environ | {'PYTHONPATH': str(runs.ROOT)},
    cwd=tmp_path,
    capture_output=True,
    text=True,
    check=False,
    timeout=120,
  )
  assert 'the work is done' in done.stdout
  assert done.returncode == -signal.SIGTERM
  assert 'Traceback' not in done.stderr


IN_A_DESTRUCTOR = """
import os, signal, time
from dbc_jax.devices import interrupts

class Dying:
  def __del__(self):
    os.kill(os.getpid(), signal.SIGTERM)
    for _ in range(1000):
      pass

interrupts.install()
try:
  dying = Dying()
  del dying
  time.sleep(300)
except interrupts.Interrupted as error:
  print(error)
"""


def test_a_signal_whose_exception_python_drops_is_not_lost():
  done = subprocess.run(
    [sys.executable, '-c', IN_A_DESTRUCTOR],
    env=os.environ | {'PYTHONPATH': str(runs.ROOT)},
    capture_output=True,
    text=True,
    check=False,
    timeout=60,
  )
  assert done.stdout.startswith('Ended by SIGTERM'), done
  assert done.stderr == ''
  assert done.returncode == 0


@pytest.mark.skipif(len(HEARD) < 2, reason='all signals but one are ignored')
def test_a_second_signal_ends_at_once(start, tmp_path):
  process = start(tmp_path)
  _wait_for(process, 'stage 0 epoch 3/')
  # It cannot come to its next step.
  process.send_signal(signal.SIGSTOP)
  process.send_signal(signal.SIGTERM)
  process.send_signal(HEARD[1])
  process.send_signal(signal.SIGCONT)
  output, _ = process.communicate(timeout=60)
  assert process.returncode > 128, output
  assert 'again: ended at once' in output


def test_a_kill_at_any_moment_loses_nothing(start, straight, tmp_path):
  for wait in (0.1, 0.7):
    process = start(tmp_path, '--config.checkpoint_minutes=0.001')
    _wait_for(process, 'epoch')
    time.sleep(wait)
    process.kill()
    output, _ = process.communicate()
    assert 'Traceback' not in output
  output = _finish(start, tmp_path, straight)
  assert 'has ended without a word; this one takes it over' in output
  assert 'resuming' in output


def test_two_seeds_at_once_never_share_a_workdir(start, tmp_path):
  processes = [start(tmp_path, f'--config.seed={seed}') for seed in (0, 1)]
  deadline, ended = time.monotonic() + 120, [None, None]
  while ended == [None, None] and time.monotonic() < deadline:
    time.sleep(0.1)
    ended = [process.poll() for process in processes]
  assert sorted(ended, key=str) == [1, None]
  refused = processes[ended.index(1)]
  alive = processes[ended.index(None)]
  alive.kill()
  alive.communicate()
  output, _ = refused.communicate()
  assert re.search(
    rf'Error: workdir: .* in use by the run of process {alive.pid} on', output
  )
