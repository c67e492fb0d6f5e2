"""Time and memory of the demo's command, as a process of its own.

python -m benchmarks.demo_cost [--config=configs/ecluster.py]
"""

import os
import resource
import subprocess
import sys
import tempfile
import time

from absl import app, flags

# What the command does, and how long its saving takes.
_TIMED = """
import atexit, time
from dbc_jax import main
from dbc_jax.run.checkpoint import CheckpointStore

def timed(method):
  def call(*args):
    start = time.perf_counter()
    method(*args)
    spent.append(time.perf_counter() - start)
  return call

spent = []
CheckpointStore.save = timed(CheckpointStore.save)
CheckpointStore.keep_only = timed(CheckpointStore.keep_only)
atexit.register(lambda: print(
  f'saving and tidying: {sum(spent):.2f} s in {len(spent)} calls'
))
main.run()
"""
_CONFIG = flags.DEFINE_string('config', 'configs/ecluster.py', 'What to run.')


def main(argv: list[str]) -> None:
  """Runs the command in an empty workdir and prints what it took."""
  del argv
  with tempfile.TemporaryDirectory() as workdir:
    command = [sys.executable, '-c', _TIMED]
    command += [f'--config={_CONFIG.value}', f'--workdir={workdir}/run']
    start = time.perf_counter()
    subprocess.run(command, check=True)
    seconds = time.perf_counter() - start
  usage = resource.getrusage(resource.RUSAGE_CHILDREN)
  # Linux counts in KiB.
  print(
    f'{_CONFIG.value}: {seconds:.0f} s wall, '
    f'{usage.ru_utime + usage.ru_stime:.0f} s of {os.cpu_count()} cores, '
    f'peak memory {usage.ru_maxrss * 1024 / 1e9:.2f} GB'
  )


if __name__ == '__main__':
  app.run(main)
