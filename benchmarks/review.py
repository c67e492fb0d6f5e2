"""How soon the page of `dbc review` opens, and answers: docs/correct.md.

    python -m benchmarks.review

It makes the workdir of a run on 12,936 synthetic crops, 128 x 64, in 751
clusters. Features are drawn: no network is needed for what is measured. The
command is started as a user starts it. Then what a click asks for is timed,
over HTTP; a browser takes its own time to draw.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import types
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dbc_jax.cluster import simplified_silhouettes
from dbc_jax.configs import common
from dbc_jax.reporting import write_clusters
from dbc_jax.review.background import Background
from dbc_jax.review.pictures import Pictures, samples_of_run
from dbc_jax.review.server import PageServer
from dbc_jax.review.session import Session
from dbc_jax.run import identities

CLUSTERS, DIM, REPEATS = 751, 512, 15


def main() -> None:
  """Makes the workdir, and prints times."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--images', type=int, default=12_936)
  args = parser.parse_args()
  with tempfile.TemporaryDirectory() as folder:
    names, features = make(Path(folder), args.images)
    print(f'{os.getloadavg()[0]:.1f} processes were waiting for a CPU')
    for _ in range(3):
      opens(Path(folder) / 'run')
    clicks(Path(folder) / 'run', names, features)


def make(folder: Path, count: int) -> tuple[list[str], np.ndarray]:
  """A workdir and its images; their names and features."""
  rng = np.random.default_rng(0)
  names = [f'crops/{i // 1000:02d}/{i:05d}.jpg' for i in range(count)]
  for name in names:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = (
      rng.integers(0, 256, (16, 8, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    )
    Image.fromarray(pixels).save(path)
  names = [name.removeprefix('crops/') for name in names]
  labels = np.arange(count) % CLUSTERS
  features = rng.normal(size=(CLUSTERS, DIM))[labels]
  features = np.float32(features + 0.55 * rng.normal(size=features.shape))
  features /= np.linalg.norm(features, axis=1, keepdims=True)
  workdir = folder / 'run'
  workdir.mkdir()
  config = common.base('folder,small')
  config.data.root = str(folder / 'crops')
  (workdir / 'config.json').write_text(config.to_json())
  write_clusters(
    workdir / identities.CLUSTERS,
    names,
    labels,
    camids=rng.integers(0, 6, count),
    silhouettes=simplified_silhouettes(features, labels),
  )
  identities.write(workdir, identities.first(CLUSTERS))
  return names, features


def opens(workdir: Path) -> None:
  """From the command to a page with its clusters and first pictures."""
  start = time.perf_counter()
  process = subprocess.Popen(
    [sys.executable, '-m', 'dbc_jax', 'review', f'--workdir={workdir}'],
    stdout=subprocess.PIPE,
    text=True,
  )
  assert process.stdout is not None
  found = re.search(r'http://\S+', process.stdout.readline())
  assert found is not None
  stages = {'address': time.perf_counter() - start}
  for name in ('', 'state', 'clusters'):
    body = urllib.request.urlopen(found[0] + name).read()
  stages['clusters'] = time.perf_counter() - start
  for card in json.loads(body)['clusters']:
    for image in card['images']:
      urllib.request.urlopen(f'{found[0]}small?row={image["row"]}').read()
  stages['all pictures of them'] = time.perf_counter() - start
  process.terminate()
  process.wait()
  told = ', '.join(f'{key} {value:.2f} s' for key, value in stages.items())
  print(f'after the command: {told}', flush=True)


def clicks(workdir: Path, names: list[str], features: np.ndarray) -> None:
  """What one click asks for, of a page whose features are there."""
  extractor = types.SimpleNamespace(run=None)
  session = Session(
    workdir,
    lambda found: Pictures(lambda: samples_of_run(workdir, None), found.names),
    lambda found: Background(
      workdir, found, lambda: (extractor, features, names)
    ),
  )
  server = PageServer(0, session.gets(), session.posts())
  threading.Thread(target=server.serve_forever, daemon=True).start()

  def ask(name: str, given: dict[str, Any] | None = None) -> Any:
    data = None if given is None else json.dumps(given).encode()
    headers = {'Content-Type': 'application/json'}
    request = urllib.request.Request(server.address + name, data, headers)
    with urllib.request.urlopen(request) as answer:
      body = answer.read()
      return json.loads(body) if 'json' in answer.headers.as_string() else body

  start = time.perf_counter()
  ask('question')
  print(f'the first question: {time.perf_counter() - start:.1f} s')
  row, cluster = iter(range(1000, 9000)), iter(range(CLUSTERS))

  def answer() -> None:
    a, b = (image['row'] for image in ask('question')['pair'])
    ask('pair', {'a': a, 'b': b, 'answer': 'different'})

  work = {
    'a page of clusters': lambda: ask(f'clusters?page={next(cluster) % 30}'),
    'another order': lambda: ask('clusters?order=newest'),
    'a path': lambda: ask('clusters?path=999'),
    'a cluster': lambda: ask(f'cluster?id={next(cluster)}'),
    'a small picture': lambda: ask(f'small?row={next(row)}'),
    'images like one': lambda: ask(f'like?row={next(row)}'),
    'parts of a cluster': lambda: ask(f'parts?id={next(cluster)}&count=3'),
    'merge of two': lambda: ask(
      'merge', {'clusters': [next(cluster), next(cluster)]}
    ),
    'an answer and the next question': answer,
    'undo': lambda: ask('undo', {}),
  }
  for what, each in work.items():
    times = []
    for _ in range(REPEATS):
      start = time.perf_counter()
      each()
      times.append(1e3 * (time.perf_counter() - start))
    print(
      f'{what}: {statistics.median(times):.0f} ms, at most {max(times):.0f}',
      flush=True,
    )
  server.shutdown()


if __name__ == '__main__':
  main()
  os._exit(0)  # A thread may be in compiled code.
