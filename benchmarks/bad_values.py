"""Hands bad values to the command and to the library, and counts what happens.

python -m benchmarks.bad_values [--overrides=500] [--calls=300] [--seed=0]

Overrides: fields of the configs get odd values, on the command line of
dbc_jax.main, which trains on 24 small images. Calls: public functions get odd
arguments (benchmarks.bad_calls). Counted by outcome:

- right: taken, and the outcome is that of the value. Of an override that is:
  the run ends, config.json has the value, and all its numbers are finite.
- told: an error of one line that names the field or argument.
- traceback: any other exception, or an error that names nothing.
- silent: taken, though it means nothing (NaN, a text for a number), or with
  numbers that are not finite, or unlike the same value in its usual form.
- endless: longer than `_SECONDS`, and not in training.

Each of the last three kinds is a fault, and is printed.
"""

import argparse
import ast
import json
import math
import os
import pathlib
import random
import re
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image

from benchmarks import bad_calls
from dbc_jax import main as command
from dbc_jax.run import config_files
from dbc_jax.run.config import flat

_QUICK = {
  'model.name': 'resnet_tiny',
  'model.embedding_dim': '16',
  'data.stored_size': '(32,16)',
  'data.image_size': '(32,16)',
  'data.csv': 'list.csv',
  'train.init': 'random',
  'train.batch_size': '8',
  'train.reference_batch_size': '8',
  'train.stage0_epochs': '1',
  'train.stage_epochs': '1',
  'train.warmup_epochs': '1',
  'train.num_stages': '2',
  'cluster.merge_percent': '0.3',
  'cluster.jaccard_k1': '5',
  'cluster.jaccard_k2': '2',
}
_CLUSTERS = {'train.images_per_cluster': '4'}  # of configs that have it
_SECONDS = 120
_MEMORY = 12 << 30
OUTCOMES = ('right', 'told', 'traceback', 'silent', 'endless')

_NUMBERS = ('-1', '0', 'nan', 'inf', '-inf', '', 'abc', '1e30', '(1,2)', 'None')
_ODD: dict[type, tuple[str, ...]] = {
  int: (
    *_NUMBERS,
    '1.5',
    '99999999999999999999',
    '2000000000',
    '3e0',
    'True',
    '1_0',
    '2**3',
  ),
  float: (*_NUMBERS, '1e-30', '1e308', '-0.0', '1e400', 'True', '0x1', '1,5'),
  bool: ('maybe', '', '2', '-1', 'nan', 'yes', 'true', 'None', '[]', '0.0'),
  str: (
    '',
    ' ',
    'none',
    'nan',
    '0',
    '../..',
    'a.b',
    'é\udcff',
    'hf:',
    'x:y',
    '*',
    '{camid',
    '/dev/null',
    'a,b',
    '0.5 memory',
    'os.path',
  ),
  tuple: (
    '()',
    '(1,)',
    '(0,0)',
    '(-1,2)',
    '(nan,1)',
    '(1.5,2.5)',
    'abc',
    '5',
    '(100000000,100000000)',
    '(1,2,3)',
    "('a','b')",
    '(2,1)',
    '(1,inf)',
    '',
    '((1,2),(3,4))',
    '(True,True)',
    '(0.5,0.5',
  ),
}
# Each by itself is fine.
_PAIRS = (
  ('train.run_decay=True', 'train.later_decay=True'),
  ('train.images_per_cluster=3', 'train.batch_size=8'),
  ('cluster.squared=True', 'cluster.distance=jaccard'),
  ('cluster.jaccard_k1=2', 'cluster.jaccard_k2=9'),
  ('data.views=strong', 'data.erasing=0.5'),
  ('data.tracklets=True', 'data.csv=list.csv'),
  ('data.pattern={camid}', 'data.csv=list.csv'),
  ('data.identities_seed=1', 'data.num_identities=0'),
  ('train.init=self_supervised', 'model.frozen_stages=1'),
  ('train.init=self_supervised', 'train.batch_size=1'),
  ('cluster.cut=papers', 'train.num_stages=99'),
  ('cluster.num_clusters=24', 'cluster.cut=dense'),
  ('cluster.merge_percent=0.9', 'train.stage0_epochs=0'),
  ('data.camera_statistics=True', 'data.use_cameras=False'),
  ('model.parts=99', 'model.parts_and_global=True'),
  ('model.name=', 'train.init=random'),
  ('memory.init=zeros', 'train.objective=camera_proxies'),
  ('cluster.features=embedding', 'model.head_layers=0'),
)


def odd_overrides(count: int, seed: int) -> Iterator[list[str]]:
  """Lists of KEY=VALUE, the first of them a config's name."""
  rng = random.Random(seed)
  names = config_files.names()
  fields = {
    name: flat(config_files.load_config(f'{name}:folder,small').to_dict())
    for name in names
  }
  singles = [
    (key, value)
    for key, old in fields[names[0]].items()
    for value in _ODD[type(old)]
  ]
  rng.shuffle(singles)
  for i in range(count):
    name = names[i % len(names)]
    kind = i % 10
    key, value = singles[i % len(singles)]
    if kind == 7:  # A slip in the name.
      at = rng.randrange(len(key))
      slip = key[:at] + rng.choice(['', key[at] * 2, '_']) + key[at + 1 :]
      yield [name, f'{slip}=1']
    elif kind == 8:
      yield [name, *_PAIRS[i // 10 % len(_PAIRS)]]
    elif kind == 9:
      yield [name, *(f'{k}={v}' for k, v in rng.sample(singles, 3))]
    else:
      yield [name, f'{key}={value}']


def write_images(folder: pathlib.Path) -> None:
  """24 small crops, of 8 identities under three cameras, with their list."""
  rng = np.random.default_rng(0)
  rows = ['path,camid,pid,split']
  for i in range(40):
    image = rng.integers(0, 256, (4, 2, 3)).repeat(4, 0).repeat(4, 1)
    Image.fromarray(image.astype(np.uint8)).save(folder / f'{i}.png')
    split = 'train' if i < 24 else 'query' if i < 32 else 'gallery'
    camid = 1 + (i // 8) % 3
    rows.append(f'{i}.png,{camid},{i % 8},{split}')
  (folder / 'list.csv').write_text('\n'.join(rows) + '\n')


def run_forked(
  arguments: list[str], folder: pathlib.Path
) -> tuple[int | None, str]:
  """Exit status, None at the time limit, and output of dbc_jax.main."""
  output = folder / 'output'
  child = os.fork()
  if not child:
    _become_main(arguments, folder, output)
  end = time.monotonic() + _SECONDS
  while time.monotonic() < end:
    pid, status = os.waitpid(child, os.WNOHANG)
    if pid:
      break
    time.sleep(0.05)
  else:
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return None, output.read_text(errors='replace')
  return os.waitstatus_to_exitcode(status), output.read_text(errors='replace')


def _become_main(
  arguments: list[str], folder: pathlib.Path, output: pathlib.Path
) -> None:
  """In a child: never returns."""
  status = 1
  try:
    with output.open('wb') as file:
      os.dup2(file.fileno(), 1)
      os.dup2(file.fileno(), 2)
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    os.chdir(folder)
    sys.argv = ['main', *arguments]
    command.run()
  except SystemExit as error:
    status = error.code if isinstance(error.code, int) else 1
    if isinstance(error.code, str):
      sys.stderr.write(error.code + '\n')
    status = 0 if error.code is None else status
  except BaseException:  # noqa: BLE001 - As the interpreter would.
    traceback.print_exc()
  finally:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _as_value(text: str, old: Any) -> Any:
  """What a text means for a field; None if it means nothing there."""
  if isinstance(old, str):
    return text
  try:
    value = ast.literal_eval(text)
  except (ValueError, SyntaxError, RecursionError, MemoryError):
    value = {'true': True, 'false': False}.get(text.lower())
    if value is None:
      try:
        value = float(text)
      except ValueError:
        return None
  if isinstance(old, bool):
    if value in (0, 1) and not isinstance(value, float):
      return bool(value)
    return None
  if isinstance(old, tuple):
    return list(value) if isinstance(value, tuple) else None
  if isinstance(value, bool) or not isinstance(value, int | float):
    return None
  # No field is meant to be less than 0, or more than any number.
  if not 0 <= value < math.inf or (isinstance(old, int) and value % 1):
    return None
  return value


def _numbers(tree: Any) -> Iterator[float]:
  if isinstance(tree, dict):
    tree = list(tree.values())
  if isinstance(tree, list):
    for each in tree:
      yield from _numbers(each)
  elif isinstance(tree, float):
    yield tree


def judge_override(
  given: list[str], status: int | None, output: str, workdir: pathlib.Path
) -> str:
  """One of OUTCOMES."""
  if 'Traceback (most recent call last)' in output:
    return 'traceback'
  if status is None and not re.search(r'stage \d+ epoch|embedding', output):
    return 'endless'
  if status:
    lines = output.splitlines()
    first = next((i for i, x in enumerate(lines) if 'Error: ' in x), None)
    if first is None or len(lines) - first > 1:
      return 'traceback'  # Nothing, or more than a line.
    keys = [each.partition('=')[0] for each in given]
    texts = {each.partition('=')[2] for each in given}
    words = {part for key in keys for part in (key, key.rpartition('.')[2])}
    named = any(word in lines[first].lower() for word in words)
    named |= any(text and text in lines[first] for text in texts)
    return 'told' if named or 'did you mean' in lines[first] else 'traceback'
  fields = json.loads((workdir / 'config.json').read_text())
  for each in given:
    key, _, text = each.partition('=')
    saved = flat(fields)[key]
    value = _as_value(text, _tupled(saved))
    is_resolved = key in ('data.use_cameras', 'cluster.camera_centring')
    if value is None or (value != saved and not is_resolved):
      return 'silent'
  if status is None:
    return 'right'  # It trains, for as long as was asked.
  for line in (workdir / 'metrics.jsonl').read_text().splitlines():
    if not all(map(math.isfinite, _numbers(json.loads(line)))):
      return 'silent'
  with np.load(workdir / 'features.npz', allow_pickle=False) as arrays:
    if not np.isfinite(arrays['features']).all():
      return 'silent'
  return 'right'


def _tupled(value: Any) -> Any:
  return tuple(value) if isinstance(value, list) else value


def try_overrides(count: int, seed: int) -> Counter:
  """Outcomes of overrides; prints the faults."""
  counts: Counter = Counter()
  with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    write_images(folder)
    os.environ.setdefault('JAX_COMPILATION_CACHE_DIR', f'{name}/cache')
    os.environ['JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS'] = '0'
    flags = os.environ.get('XLA_FLAGS', '')
    os.environ['XLA_FLAGS'] = f'{flags} --xla_backend_optimization_level=0'
    for i, (config, *given) in enumerate(odd_overrides(count, seed)):
      keys = {each.partition('=')[0] for each in given}
      quick = _QUICK | (_CLUSTERS if config in ('best', 'pretrained') else {})
      usual = [f'{k}={v}' for k, v in quick.items() if k not in keys]
      workdir = folder / f'run{i}'
      arguments = [f'--config={config}:folder,small', f'--workdir={workdir}']
      if 'data.root' not in keys:
        usual.append(f'data.root={folder}')
      arguments += [f'--config.{each}' for each in (*usual, *given)]
      status, output = run_forked(arguments, folder)
      outcome = judge_override(given, status, output, workdir)
      counts[outcome] += 1
      last = '\n    '.join(output.strip().splitlines()[-3:])
      if outcome not in ('right', 'told'):
        print(f'{outcome}: {config} {given!r}\n    {last}', flush=True)
      elif os.environ.get('VERBOSE'):
        print(f'{outcome}: {config} {given!r} {last[-200:]}', flush=True)
  return counts


def main() -> None:
  """Tries all and prints a table."""
  parser = argparse.ArgumentParser(
    description='Hands bad values over, and counts what happens.'
  )
  parser.add_argument('--overrides', type=int, default=500, help='how many')
  parser.add_argument('--calls', type=int, default=300, help='how many')
  parser.add_argument('--seed', type=int, default=0, help='of the choice')
  args = parser.parse_args()
  # The first forks, which it can while JAX has not started.
  table = {
    'overrides': try_overrides(args.overrides, args.seed),
    'calls': bad_calls.try_calls(args.calls, args.seed),
  }
  print(f'| kind | {" | ".join(OUTCOMES)} |')
  print('|---' * (len(OUTCOMES) + 1) + '|')
  for kind, counts in table.items():
    print(f'| {kind} | {" | ".join(str(counts[x]) for x in OUTCOMES)} |')


if __name__ == '__main__':
  main()
