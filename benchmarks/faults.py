"""Kills a run at random moments, damages its checkpoints, counts what is lost.

python -m benchmarks.faults [--trials=20] [--terms=5] [--damages=3] [--seed=0]

A trial by kind:
- SIGKILL, SIGTERM: sent at five random moments to a small run, on 150 images
  that are drawn, which has a checkpoint within stages every second; then it is
  left to its end. Moments are of its work: not of loading its modules before.
- removed, cut, one bit: a file of a run that was ended at a random moment is
  removed, loses its second half, or has one bit turned over; then the same
  command. Each file in turn has one of the three, in the next run another.

All runs heed corrections. Counted are trials that end otherwise than the
undisturbed run, in a result (silent) or with an error (losses); and those that
print a traceback.
"""

import argparse
import hashlib
import importlib
import json
import os
import pathlib
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from typing import NoReturn

import numpy as np
from PIL import Image

_QUICK = [
  '--config=ecluster:market1501',
  '--config.model.name=resnet_tiny',
  '--config.model.embedding_dim=16',
  '--config.data.stored_size=(32,16)',
  '--config.data.image_size=(32,16)',
  '--config.train.stage0_epochs=3',
  '--config.train.stage_epochs=2',
  '--config.cluster.merge_percent=0.25',
]
# Before a run is forked; the last two a run loads when it needs them.
_LOADED = ('dbc_jax.main', 'sklearn.manifold', 'tensorboardX')
_TIMEOUT_SECONDS = 600
_SIGNALS = 5  # of a trial
_SAID = 'said.csv'


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
    'corrections': (workdir / 'corrections.csv').read_text(),
  }


def write_images(root: pathlib.Path) -> None:
  """A small Market-1501: 150 images to train with, 30 queries, 90 others.

  Beside it is what a person has said of some images.
  """
  names = []
  rng = np.random.default_rng(0)
  for folder, first, count in (
    ('bounding_box_train', 1, 150),
    ('query', 101, 30),
    ('bounding_box_test', 101, 90),
  ):
    (root / folder).mkdir(parents=True)
    for i in range(count):
      person = first + i % 30
      figure = np.random.default_rng(person).integers(40, 216, (8, 4, 3))
      pixels = np.kron(figure, np.ones((4, 4, 1)))
      pixels = (pixels + rng.normal(0, 20, pixels.shape)).clip(0, 255)
      camera = 1 if folder == 'query' else 2 + i // 30
      name = f'{person:04d}_c{camera}s1_{i:06d}_00.jpg'
      Image.fromarray(pixels.astype(np.uint8)).save(root / folder / name)
      names.append(f'{folder}/{name}')
  said = [f'{names[i]},{names[i + 30]},same' for i in range(15)]
  said += [f'{names[i]},{names[i + 1]},different' for i in range(15, 29)]
  (root.parent / _SAID).write_text('\n'.join(said) + '\n')


def _run(
  workdir: pathlib.Path,
  *more: str,
  seconds: float = _TIMEOUT_SECONDS,
  number: int = signal.SIGKILL,
) -> tuple[int, str, float]:
  """Status, output and seconds of a run's work on a workdir.

  A signal is sent after some seconds of it. The work begins where the command
  takes the workdir. Each run is a fork of this process, which has loaded all
  modules and started nothing.
  """
  with tempfile.TemporaryFile('w+') as output:
    pid = os.fork()
    if not pid:
      for stream in (1, 2):
        os.dup2(output.fileno(), stream)
      own = [
        f'--config.data.root={workdir.parent}/images',
        f'--config.data.corrections={workdir.parent / _SAID}',
        f'--workdir={workdir}',
      ]
      sys.argv = ['dbc', *_QUICK, *own, *more]
      _end_as_a_process()
    status, start = None, None
    while status is None:
      time.sleep(0.01)
      done, ended = os.waitpid(pid, os.WNOHANG)
      if done:
        status = os.waitstatus_to_exitcode(ended)
      elif start is None:
        if _is_of(workdir / 'run.lock', pid):
          start = time.monotonic()
      elif time.monotonic() - start > seconds:
        os.kill(pid, number)
        seconds = float('inf')
    output.seek(0)
    return status, output.read(), time.monotonic() - (start or 0.0)


def _end_as_a_process() -> NoReturn:
  """Runs the command, and does what the interpreter does around it."""
  code: int | str | None = 0
  try:
    importlib.import_module('dbc_jax.main').run()
  except SystemExit as error:
    code = error.code
    if isinstance(code, str):
      sys.stderr.write(f'{code}\n')
      code = 1
  except BaseException:  # noqa: BLE001
    traceback.print_exc()
    code = 1
  sys.stdout.flush()
  sys.stderr.flush()
  os._exit(code or 0)


def _is_of(lock: pathlib.Path, pid: int) -> bool:
  try:
    return json.loads(lock.read_text())['pid'] == pid
  except (OSError, ValueError):
    return False


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
      told = [each for each in outputs if 'Traceback' in each] or outputs[-1:]
      _, traceback_of, rest = told[0].partition('Traceback')
      print(traceback_of + rest[:4000] or told[0][-2000:], file=sys.stderr)


def _signalled(
  number: int, rng: random.Random, folder: pathlib.Path, seconds: float
) -> tuple[int, list[str]]:
  """Signals a run again and again until it is done."""
  outputs, allowed = [], {-number, 128 + number}
  for _ in range(100):
    # Then it is left to its end.
    disturbed = len(outputs) < _SIGNALS
    wait = rng.uniform(0.0, seconds) if disturbed else _TIMEOUT_SECONDS
    status, output, _ = _run(
      folder,
      '--config.checkpoint_minutes=0.017',
      seconds=wait,
      number=number,
    )
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


def run_trials() -> None:
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
    # JAX reads these when it is loaded.
    for module in _LOADED:
      importlib.import_module(module)
    write_images(folder / 'images')
    # In the first all is compiled, and another program may disturb the others.
    seconds = float('inf')
    for _ in range(4):
      shutil.rmtree(folder / 'straight', ignore_errors=True)
      status, output, taken = _run(folder / 'straight')
      if status:
        sys.exit(output)
      seconds = min(seconds, taken)
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
        wait = rng.uniform(0.4, 1) * seconds
        _run(broken, seconds=wait, number=signal.SIGTERM)
      for place, path in enumerate(_files(broken)):
        # Three such runs have each kind of damage at each file.
        kind = ('removed', 'cut', 'one bit')[(place + trial) % 3]
        counts = table.setdefault(kind, _Counts())
        workdir = folder / 'damaged'
        shutil.rmtree(workdir, ignore_errors=True)
        shutil.copytree(broken, workdir)
        _damage(workdir / path.relative_to(broken), kind, rng)
        status, output, _ = _run(workdir)
        counts.add(status, ['', output], workdir, expected)
  heads = ('trials', 'faults', 'losses', 'silent', 'tracebacks')
  print(f'| kind | {" | ".join(heads)} |')
  print('|---' * (len(heads) + 1) + '|')
  for kind, counts in table.items():
    row = ' | '.join(str(getattr(counts, head)) for head in heads)
    print(f'| {kind} | {row} |')


if __name__ == '__main__':
  run_trials()
