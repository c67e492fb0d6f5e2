"""How soon the page of `dbc review` opens, and answers: docs/correct.md.

    python -m benchmarks.review

It makes the workdir of a run on 12,936 synthetic crops, 128 x 64, in 751
clusters. Features are drawn, and the network is random: what a run would have
learned is no part of this. The command is started as a user starts it, and the
page is opened in a Chromium, where clicks are timed from the key to what it
draws. Then 100 answers are given, and it clusters again. Without Playwright and
a Chromium clicks are requests alone.
"""

import argparse
import contextlib
import itertools
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.measuring import chromium
from dbc_jax.cluster import simplified_silhouettes
from dbc_jax.reporting import write_clusters
from dbc_jax.run import build, config_files, features_file, identities
from dbc_jax.run import corrections as corrections_lib
from dbc_jax.run import workdir as workdir_lib
from dbc_jax.run.checkpoint import CheckpointStore
from dbc_jax.run.corrections import Correction

CLUSTERS, CAMERAS, DIM, REPEATS = 751, 6, 512, 15
ANSWERS, STARTS = 100, 3
_STAGE, _DIGEST = 1, 'digest'
# From a key to the picture after what is waited for, in milliseconds.
_PRESS = """async () => {
  const start = performance.now();
  document.activeElement.dispatchEvent(new KeyboardEvent('keydown',
    {key: KEY, bubbles: true, cancelable: true}));
  while (!(READY)) await new Promise(requestAnimationFrame);
  await new Promise(requestAnimationFrame);
  return performance.now() - start;
}"""
_SAID = "document.getElementById('said').textContent.includes(%s)"
# Pictures out of sight are not loaded.
_DRAWN = """[...document.querySelectorAll('main img')].every(
  (x) => x.complete || x.getBoundingClientRect().top > innerHeight)"""


def main() -> None:
  """Makes the workdir, and prints times."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--images', type=int, default=12_936)
  parser.add_argument('--config', default='best:folder,small')
  args = parser.parse_args()
  with tempfile.TemporaryDirectory() as folder, chromium() as browser:
    workdir, names = make(Path(folder), args.images, args.config)
    print(f'{os.getloadavg()[0]:.1f} processes were waiting for a CPU')
    for _ in range(STARTS):
      with started(workdir) as (address, start):
        opens(address, start, browser)
    with started(workdir) as (address, _):
      requests(address)
      if browser is not None:
        clicks(address, browser)
    answer(workdir, names)
    with started(workdir) as (address, _):
      wait_until_ready(address)
      again = timed(lambda: ask(address, 'recluster', {}))
      print(f'clustering again with {ANSWERS} answers: {again / 1e3:.1f} s')


def make(folder: Path, count: int, name: str) -> tuple[Path, list[str]]:
  """A workdir, and the names of its images."""
  rng = np.random.default_rng(0)
  names = [f'{i // 1000:02d}/{i:05d}.jpg' for i in range(count)]
  for each in names:
    path = folder / 'crops' / each
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = (
      rng.integers(0, 256, (16, 8, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    )
    Image.fromarray(pixels).save(path)
  labels = (np.arange(count) % CLUSTERS).astype(np.int32)
  features = rng.normal(size=(CLUSTERS, DIM))[labels]
  features = np.float32(features + 0.55 * rng.normal(size=features.shape))
  features /= np.linalg.norm(features, axis=1, keepdims=True)
  workdir = folder / 'run'
  workdir.mkdir()
  config = config_files.load_config(name)
  config.data.root = str(folder / 'crops')
  config.data.use_cameras = 'True'
  config.data.camera_statistics = False
  config.cluster.camera_centring = True
  config.train.teacher_momentum = 0.0
  (workdir / workdir_lib.CONFIG).write_text(workdir_lib.as_json(config))
  variables = build.Parts(config).init_variables()
  CheckpointStore(workdir / workdir_lib.CHECKPOINTS).save(
    _STAGE,
    workdir_lib.arrays_of(variables, labels, labels, None),
    {
      'digest': _DIGEST,
      'history': [{'stage': _STAGE, 'num_clusters': CLUSTERS}],
      'num_samples': count,
    },
  )
  features_file.write(workdir, features, names, _STAGE, _DIGEST)
  write_clusters(
    workdir / identities.CLUSTERS,
    names,
    labels,
    camids=rng.integers(0, CAMERAS, count),
    silhouettes=simplified_silhouettes(features, labels),
  )
  identities.write(workdir, identities.first(CLUSTERS))
  return workdir, names


def answer(workdir: Path, names: list[str]) -> None:
  """Writes answers, half of each kind, in place of what was said before."""
  corrections_lib.write_corrections(
    workdir / corrections_lib.NAME,
    [
      # Image i is of cluster i modulo their number.
      Correction(names[i], names[i + CLUSTERS + i % 2], i % 2 == 0)
      for i in range(ANSWERS)
    ],
  )


@contextlib.contextmanager
def started(workdir: Path) -> Any:
  """The address of the command's page, and when the command was started."""
  start = time.perf_counter()
  process = subprocess.Popen(
    [sys.executable, '-m', 'dbc_jax', 'review', f'--workdir={workdir}'],
    stdout=subprocess.PIPE,
    text=True,
  )
  try:
    assert process.stdout is not None
    found = re.search(r'http://\S+', process.stdout.readline())
    assert found is not None
    yield found[0], start
  finally:
    process.terminate()
    process.wait()


def ask(address: str, name: str, given: dict[str, Any] | None = None) -> Any:
  """What the page would get."""
  data = None if given is None else json.dumps(given).encode()
  headers = {'Content-Type': 'application/json'}
  request = urllib.request.Request(address + name, data, headers)
  with urllib.request.urlopen(request) as found:
    body = found.read()
    return json.loads(body) if 'json' in found.headers.as_string() else body


def wait_until_ready(address: str) -> None:
  """Until the features are there."""
  while not (known := ask(address, 'state')['background'])['ready']:
    if known['fault']:
      raise RuntimeError(known['fault'])
    time.sleep(0.2)


def timed(work: Callable[[], Any]) -> float:
  """How long it takes, in milliseconds."""
  start = time.perf_counter()
  work()
  return 1e3 * (time.perf_counter() - start)


def opens(address: str, start: float, browser: Any) -> None:
  """From the command to a page with its clusters and their pictures."""
  stages = {'address': time.perf_counter() - start}
  if browser is None:
    ask(address, 'clusters')
    stages['clusters, as a request'] = time.perf_counter() - start
  else:
    page = browser.new_page()
    page.goto(address)
    page.wait_for_selector('[role=option]')
    stages['clusters are drawn'] = time.perf_counter() - start
    page.wait_for_function(f'() => {_DRAWN}')
    stages['their pictures are drawn'] = time.perf_counter() - start
    page.close()
  wait_until_ready(address)
  stages['features are there'] = time.perf_counter() - start
  told = ', '.join(f'{key} {value:.2f} s' for key, value in stages.items())
  print(f'after the command: {told}', flush=True)


def tell(what: str, times: list[float]) -> None:
  """Prints the median and the most."""
  print(
    f'{what}: {statistics.median(times):.0f} ms, at most {max(times):.0f}',
    flush=True,
  )


def requests(address: str) -> None:
  """What one click asks for, once the features are there."""
  wait_until_ready(address)
  first = timed(lambda: ask(address, 'question'))
  print(f'the first question: {first / 1e3:.1f} s')
  row, cluster = itertools.count(1000), itertools.count()

  def reply() -> None:
    a, b = (image['row'] for image in ask(address, 'question')['pair'])
    ask(address, 'pair', {'a': a, 'b': b, 'answer': 'different'})

  def merge() -> None:
    ask(address, 'merge', {'clusters': [next(cluster), next(cluster)]})

  work = {
    'a page of clusters': lambda: f'clusters?page={next(cluster) % 30}',
    'another order': lambda: 'clusters?order=newest',
    'a path': lambda: 'clusters?path=999',
    'a cluster': lambda: f'cluster?id={next(cluster)}',
    'a small picture': lambda: f'small?row={next(row)}',
    'images like one': lambda: f'like?row={next(row)}',
    'parts of a cluster': lambda: f'parts?id={next(cluster)}&count=3',
  }
  print('requests:')
  for what, name in work.items():
    tell(
      what, [timed(lambda n=name: ask(address, n())) for _ in range(REPEATS)]
    )
  tell('merge of two', [timed(merge) for _ in range(REPEATS)])
  tell(
    'an answer and the next question', [timed(reply) for _ in range(REPEATS)]
  )
  tell(
    'undo', [timed(lambda: ask(address, 'undo', {})) for _ in range(REPEATS)]
  )


def clicks(address: str, browser: Any) -> None:
  """From a key to what it draws."""
  page = browser.new_page()
  page.goto(address)
  page.wait_for_selector('[role=option]')

  def press(key: str, ready: str) -> float:
    script = _PRESS.replace('KEY', json.dumps(key)).replace('READY', ready)
    return page.evaluate(script)

  def said(text: str) -> str:
    return _SAID % json.dumps(text)

  other = "document.querySelector('[role=option]').textContent !== %s"
  images = "document.querySelector('.images')"
  times: dict[str, list[float]] = {}

  def add(what: str, key: str, ready: str) -> None:
    # A person looks before pressing the next key.
    page.wait_for_function(f'() => {_DRAWN}')
    times.setdefault(what, []).append(press(key, ready))

  for _ in range(REPEATS):
    first = page.locator('[role=option]').first.text_content()
    add('the next page of clusters', ']', other % json.dumps(first))
    add('open a cluster', 'Enter', images)
    add(
      'back',
      'Escape',
      f"!({images}) && document.querySelector('[role=option]')",
    )
    page.wait_for_selector('[role=option]:focus')
    page.keyboard.press('Space')
    page.keyboard.press('ArrowRight')
    page.keyboard.press('Space')
    add('merge two', 'm', said('are one person'))
    add('undo', 'u', said('Taken back'))
  page.keyboard.press('2')
  page.wait_for_function(
    "() => document.querySelectorAll('main img').length > 1"
  )
  for _ in range(REPEATS):
    before = page.evaluate(
      "[...document.querySelectorAll('main img')].map((x) => x.src).join()"
    )
    ready = (
      "document.querySelectorAll('main img').length > 1 && "
      "[...document.querySelectorAll('main img')].map((x) => x.src).join() "
      f'!== {json.dumps(before)}'
    )
    add('an answer and the next question', 'n', ready)
  print('in a Chromium, from the key to what it draws:')
  for what, found in times.items():
    tell(what, found)
  page.close()


if __name__ == '__main__':
  main()
