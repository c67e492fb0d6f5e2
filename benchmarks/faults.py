"""Kills a run at random moments, damages its checkpoints, counts what is lost.

python -m benchmarks.faults [--trials=20] [--terms=5] [--damages=3] [--seed=0]

A trial by kind:
- SIGKILL, SIGTERM: sent at three random moments to a small run on the demo,
  which has a checkpoint within stages every second; then it is left to its end.
- removed, cut, one bit: a file of a run that was ended at a random moment is
  removed, loses its second half, or has one bit turned over; then the same
  command. Each file in turn has one of the three, in the next run another.

Counted are trials that end otherwise than the undisturbed run, in a result
(silent) or with an error (losses); and those that print a traceback.
"""

import argparse
import hashlib
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile

import numpy as np

_QUICK = [
  '--config=ecluster:demo',
  '--config.model.name=resnet_tiny',
  '--config.model.embedding_dim=16',
  '--config.data.stored_size=(32,16)',
  '--config.data.image_size=(32,16)',
  '--config.train.stage0_epochs=3',
  '--config.train.stage_epochs=2',
  '--config.cluster.merge_percent=0.25',
]
_TIMEOUT_SECONDS = 600
_SIGNALS = 3  # of a trial


def outcome(workdir: pathlib.Path) -> dict[str, str]:
  """What a finished run ends with, but for times: equal for equal runs."""
  records = (workdir / 'metrics.jsonl').read_text().splitlines()
  history = [
    {
      key: value
      for key, value in json.loads(line).items()
      if not key.startswith(('seconds', 'images_per'))
    }
    for line in records
  ]
  with np.load(workdir / 'features.npz', allow_pickle=False) as saved:
    features = hashlib.blake2b(saved['features'].tobytes()).hexdigest()
  return {
    'history': json.dumps(history),
    'features': features,
    'clusters': (workdir / 'clusters.csv').read_text(),
  }


def _command(workdir: pathlib.Path, *more: str) -> list[str]:
  command = [sys.executable, '-m', 'dbc_jax.main', *_QUICK]
  return [*command, f'--workdir={workdir}', *more]


def _run(
  command: list[str], seconds: float = _TIMEOUT_SECONDS, number: int = 0
) -> tuple[int, str]:
  """Status and output of a command, to which a signal is sent after a time."""
  process = subprocess.Popen(
    command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
  )
  try:
    output, _ = process.communicate(timeout=seconds)
  except subprocess.TimeoutExpired:
    process.send_signal(number or signal.SIGKILL)
    output, _ = process.communicate(timeout=_TIMEOUT_SECONDS)
  return process.returncode, output


class _Counts:
  """Of one kind of trial."""

  def __init__(self):
    self.trials = self.faults = self.losses = self.silent = 0
    self.tracebacks = 0

  def add(
    self, status: int, outputs: list[str], workdir: pathlib.Path, expected: dict
  ) -> None:
    self.trials += 1
    self.faults += len(outputs) - 1
    self.tracebacks += any('Traceback' in output for output in outputs)
    self.losses += status != 0
    if status == 0:
      self.silent += outcome(workdir) != expected
    print(vars(self), file=sys.stderr)
    if status or 'Traceback' in ''.join(outputs):
      print(outputs[-1][-2000:], file=sys.stderr)


def _signalled(
  number: int, rng: random.Random, folder: pathlib.Path, seconds: float
) -> tuple[int, list[str]]:
  """Signals a run again and again until it is done."""
  command = _command(folder, '--config.checkpoint_minutes=0.017')
  outputs, allowed = [], {-number, 128 + number}
  for _ in range(100):
    # Then it is left to its end.
    disturbed = len(outputs) < _SIGNALS
    wait = rng.uniform(0.0, seconds) if disturbed else _TIMEOUT_SECONDS
    status, output = _run(command, wait, number)
    outputs.append(output)
    if status not in allowed:
      break
  return status, outputs


def _damage(path: pathlib.Path, kind: str, rng: random.Random) -> None:
  content = bytearray(path.read_bytes())
  if kind == 'removed':
    path.unlink()
  elif kind == 'cut':
    path.write_bytes(content[: len(content) // 2])
  else:
    bit = rng.randrange(8 * len(content))
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)


def _files(workdir: pathlib.Path) -> list[pathlib.Path]:
  """All that a run goes on from."""
  found = [*(workdir / 'checkpoints').rglob('*'), workdir / 'config.json']
  return [path for path in found if path.is_file() and path.stat().st_size]


def main() -> None:
  """Does the trials and prints a table."""
  parser = argparse.ArgumentParser(
    description='Kills a run, damages its checkpoints, counts what is lost.'
  )
  parser.add_argument('--trials', type=int, default=20, help='of SIGKILL')
  parser.add_argument('--terms', type=int, default=5, help='trials of SIGTERM')
  parser.add_argument(
    '--damages', type=int, default=3, help='runs whose files are damaged'
  )
  parser.add_argument('--seed', type=int, default=0, help='of the moments')
  args = parser.parse_args()
  rng = random.Random(args.seed)
  table: dict[str, _Counts] = {}
  with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    os.environ.setdefault('JAX_COMPILATION_CACHE_DIR', f'{name}/cache')
    os.environ['JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS'] = '0'
    # Twice, so that all is compiled in the one that is timed.
    for _ in range(2):
      shutil.rmtree(folder / 'straight', ignore_errors=True)
      clock = os.times().elapsed
      status, output = _run(_command(folder / 'straight'))
      if status:
        sys.exit(output)
      seconds = os.times().elapsed - clock
    expected = outcome(folder / 'straight')
    print(f'undisturbed: {seconds:.1f} s', file=sys.stderr)
    trials = {signal.SIGKILL: args.trials, signal.SIGTERM: args.terms}
    for number, count in trials.items():
      counts = table[number.name] = _Counts()
      for trial in range(count):
        workdir = folder / f'{number.name}-{trial}'
        status, outputs = _signalled(number, rng, workdir, seconds)
        counts.add(status, outputs, workdir, expected)
        shutil.rmtree(workdir)
    for trial in range(args.damages):
      # One that was ended within a stage, and so has all kinds of files.
      broken = folder / f'broken-{trial}'
      while not (broken / 'checkpoints').is_dir():
        _run(_command(broken), rng.uniform(0.4, 1) * seconds, signal.SIGTERM)
      for place, path in enumerate(_files(broken)):
        # Three such runs have each kind of damage at each file.
        kind = ('removed', 'cut', 'one bit')[(place + trial) % 3]
        counts = table.setdefault(kind, _Counts())
        workdir = folder / 'damaged'
        shutil.rmtree(workdir, ignore_errors=True)
        shutil.copytree(broken, workdir)
        _damage(workdir / path.relative_to(broken), kind, rng)
        status, output = _run(_command(workdir))
        counts.add(status, ['', output], workdir, expected)
  heads = ('trials', 'faults', 'losses', 'silent', 'tracebacks')
  print(f'| kind | {" | ".join(heads)} |')
  print('|---' * (len(heads) + 1) + '|')
  for kind, counts in table.items():
    row = ' | '.join(str(getattr(counts, head)) for head in heads)
    print(f'| {kind} | {row} |')


if __name__ == '__main__':
  main()
