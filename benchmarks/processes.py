"""What two processes take beside one, each with one thread on its own core.

  python -m benchmarks.processes [--parts=extraction,neighbours,merging]

Parts:
  extraction  features of 4,096 images of 64 x 32 by `resnet_tiny`
  neighbours  Jaccard similarities (20, 3) of 20,000 x 256 features: the search
              for neighbours is shared, sets and overlaps are the first's
  merging     200 merges of 20,000 x 256 features without a matrix: the first
              search of all pairs, and two passes a merge

Times are medians of --repeats calls after one that compiles. Needs Linux, two
cores, and nothing else that computes.
"""

import argparse
import hashlib
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import jax
import numpy as np

from benchmarks.stages import random_features
from dbc_jax import models
from dbc_jax.cluster import Criterion, jaccard_similarities, merge_clusters
from dbc_jax.data.frames import ResidentFrames
from dbc_jax.data.split import Split
from dbc_jax.devices import helpers, mesh, processes
from dbc_jax.training import embed
from dbc_jax.training.step import init_variables

SIZE, COUNT, BATCH = (64, 32), 4096, 128
SAMPLES, DIM, MERGES = 20_000, 256, 200
# A part of what a matrix needs.
BUDGET = 0.5


def extraction() -> Callable[[], np.ndarray]:
  """A call that embeds all images."""
  rng = np.random.default_rng(0)
  images = rng.integers(0, 256, (COUNT, *SIZE, 3), np.uint8)
  encoder = models.create_encoder(
    'resnet_tiny', embedding_dim=128, axis_name=mesh.AXIS_NAME
  )
  variables = init_variables(encoder, jax.random.key(0), SIZE)
  extract = embed.make_extractor(
    encoder, image_size=SIZE, batch_size=BATCH, max_frames=1
  )
  split = Split(ResidentFrames(images), np.arange(COUNT))
  return lambda: extract(variables, split)[0]


def neighbours() -> Callable[[], np.ndarray]:
  """A call for the number of neighbours of each sample."""
  x = random_features(SAMPLES, DIM)

  def call() -> np.ndarray:
    return np.diff(jaccard_similarities(x, k1=20, k2=3).indptr).astype(np.int32)

  return lambda: helpers.lead(call, np.zeros(SAMPLES, np.int32))


def merging() -> Callable[[], np.ndarray]:
  """A call for the labels after the merges."""
  x, labels = random_features(SAMPLES, DIM), np.arange(SAMPLES, dtype=np.int32)

  def call() -> np.ndarray:
    return merge_clusters(
      x, labels, MERGES, Criterion('average', 0.002), memory_budget_gb=BUDGET
    ).labels

  return lambda: helpers.lead(call, labels)


PARTS = {part.__name__: part for part in (extraction, neighbours, merging)}


def child(args: argparse.Namespace) -> None:
  """Measures as one process of several; the first prints a line."""
  processes.start(
    args.coordinator, args.num_processes, args.process_id, detect=False
  )
  found = {}
  for name in args.parts.split(','):
    call, seconds = PARTS[name](), []
    for _ in range(args.repeats + 1):
      processes.wait_for_all()
      start = time.perf_counter()
      result = np.ascontiguousarray(call())
      seconds.append(time.perf_counter() - start)
    digest = hashlib.blake2b(result.tobytes(), digest_size=8).hexdigest()
    found[name] = statistics.median(seconds[1:]), digest
  if processes.is_first():
    print(json.dumps(found))
  processes.wait_for_all()


def measured(count: int, args: argparse.Namespace) -> dict[str, list]:
  """What so many processes take, each on a core."""
  with socket.socket() as free:
    free.bind(('127.0.0.1', 0))
    port = free.getsockname()[1]
  cores = sorted(os.sched_getaffinity(0))
  started = []
  for i in range(count):
    command = [sys.executable, '-m', 'benchmarks.processes', '--child']
    command += [f'--parts={args.parts}', f'--repeats={args.repeats}']
    if count > 1:
      command += [f'--coordinator=127.0.0.1:{port}', f'--process_id={i}']
      command += [f'--num_processes={count}']
    # Libraries make as many threads as they have cores.
    command = ['taskset', '--cpu-list', str(cores[i]), *command]
    started.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
  outputs = [process.communicate()[0] for process in started]
  if any(process.returncode for process in started):
    sys.exit('A process failed.')
  return json.loads(outputs[0].splitlines()[-1])


def main() -> None:
  """Compares, or measures as one of the processes."""
  parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
  parser.add_argument('--parts', default=','.join(PARTS))
  parser.add_argument('--repeats', type=int, default=3)
  parser.add_argument('--child', action='store_true', help=argparse.SUPPRESS)
  parser.add_argument('--coordinator', help=argparse.SUPPRESS)
  parser.add_argument('--num_processes', type=int, help=argparse.SUPPRESS)
  parser.add_argument('--process_id', type=int, help=argparse.SUPPRESS)
  args = parser.parse_args()
  if args.child:
    child(args)
    return
  one, two = (measured(count, args) for count in (1, 2))
  print('| | one process, s | two, s | times faster | results |')
  print('|---|---|---|---|---|')
  for name in one:
    (alone, result), (shared, other) = one[name], two[name]
    same = 'equal' if result == other else 'differ'
    print(
      f'| {name} | {alone:.2f} | {shared:.2f} | {alone / shared:.2f} | {same} |'
    )


if __name__ == '__main__':
  main()
