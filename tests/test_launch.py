"""What the scripts of launch/ would start, told by their dry run."""

import os
import pathlib
import subprocess

import pytest

LAUNCH = pathlib.Path(__file__).parents[1] / 'launch'
MAIN = "'python' '-m' 'dbc_jax.main'"


def dry_run(script, *arguments, **environment):
  # Without any program but those of a shell: nothing could be started.
  result = subprocess.run(
    ['bash', LAUNCH / script, *arguments],
    env={'PATH': os.defpath, 'DRY_RUN': '1'} | environment,
    capture_output=True,
    text=True,
    timeout=20,
    check=True,
  )
  assert not result.stderr
  return result.stdout.splitlines()


def test_one_machine():
  (line,) = dry_run('local.sh', '--config=a b')
  assert line.startswith('process 0 of 1, on all devices of ')
  assert line.endswith(f": {MAIN} '--config=a b'")


def test_processes_of_one_machine():
  lines = dry_run('multiprocess_cpu.sh', '3', '2', '--config=a b', PORT='777')
  assert lines == [
    f"process {i} of 3, on 2 CPU devices: {MAIN} '--config=a b' "
    f"'--coordinator=127.0.0.1:777' '--num_processes=3' '--process_id={i}'"
    for i in range(3)
  ]
  (line,) = dry_run('multiprocess_cpu.sh', '1', '2', 'own.py', 'x')
  assert ": 'python' 'own.py' 'x' '--coordinator=127.0.0.1:" in line


def test_machines_of_slurm():
  lines = dry_run(
    'slurm.sbatch', '--seed=1', SLURM_NNODES='2', SLURM_NTASKS_PER_NODE='2'
  )
  assert lines == [
    f'process {i} of 4, on GPU {i % 2} of machine {i // 2}: {MAIN} '
    "'--distributed' '--seed=1'"
    for i in range(4)
  ]


def test_slurm_warns_the_processes_before_their_time_ends():
  # Not the batch shell (`B:`), which would not pass it on.
  lines = (LAUNCH / 'slurm.sbatch').read_text().splitlines()
  assert '#SBATCH --signal=TERM@300' in lines


@pytest.mark.parametrize('checkout', ['', '/mnt/dbc'])
def test_machines_of_a_pod(checkout):
  (line,) = dry_run(
    'tpu_pod.sh', 'pod', 'zone', '--workdir=a b', CHECKOUT=checkout
  )
  assert line == (
    'one process on each machine of pod in zone: '
    f'cd {checkout or "dbc_jax"} && .venv/bin/python -m dbc_jax.main '
    '--distributed --workdir=a\\ b'
  )
