"""A fixed part of benchmarks.bad_values: nothing silent, no traceback."""

import subprocess
import sys

import pytest
import runs

pytestmark = pytest.mark.slow


def test_bad_calls_are_told():
  command = [sys.executable, '-m', 'benchmarks.bad_values']
  result = subprocess.run(
    [*command, '--overrides=0', '--calls=60', '--seed=5'],
    cwd=runs.ROOT,
    capture_output=True,
    text=True,
    timeout=600,
    check=False,
  )
  assert result.returncode == 0, result.stderr
  row = result.stdout.splitlines()[-1].split('|')[2:-1]
  right, told, *faults = map(int, row)
  assert right + told == 60, result.stdout
  assert told > 0
  assert faults == [0, 0, 0], result.stdout


def test_bad_overrides_are_told():
  command = [sys.executable, '-m', 'benchmarks.bad_values']
  result = subprocess.run(
    [*command, '--overrides=30', '--calls=0', '--seed=3'],
    cwd=runs.ROOT,
    capture_output=True,
    text=True,
    timeout=1200,
    check=False,
  )
  assert result.returncode == 0, result.stderr
  row = result.stdout.splitlines()[-2].split('|')[2:-1]
  right, told, *faults = map(int, row)
  assert right + told == 30, result.stdout
  assert told > 0
  assert faults == [0, 0, 0], result.stdout
