"""What a whole run of many images costs, decoded whenever they are needed.

  python -m benchmarks.large_run [--counts=200000] [--folder=DIR]

It draws so many JPEGs of 64 x 32 and a test set: a long tail of identities
under six cameras. On them it trains resnet_tiny in three stages: two epochs of
single images, and one of each of two clusterings, by average linkage on Jaccard
distances. It prints the seconds of each part, the peak memory and the scores;
of several counts, the exponents as well. DIR keeps images and workdirs.
"""

import argparse
import csv
import json
import pathlib
import resource
import subprocess
import sys
import tempfile
import time
from typing import Any

import cv2
import numpy as np

from benchmarks.scale import long_tail

SIZE, CAMERAS, QUERIES, ANSWERS = (64, 32), 6, 500, 100
FIELDS = {
  'data.csv': 'list.csv',
  'data.corrections': 'answers.csv',
  'data.memory_budget_gb': 0.001,  # So that all are streamed.
  'cluster.memory_budget_gb': 4.0,
  'model.name': 'resnet_tiny',
  'model.parts': 1,
  'model.embedding_dim': 64,
  'train.init': 'random',
  'train.objective': 'memory',
  'train.batch_size': 256,
  'train.reference_batch_size': 256,
  'train.num_stages': 3,
  'train.stage0_epochs': 2,
  'train.stage_epochs': 1,
}
PARTS = ('train', 'embed', 'evaluate', 'measure', 'cluster')


def crop(person: int, camera: int, image: int) -> np.ndarray:
  """Uint8 [64, 32, 3] BGR: bands of a person's colours before a wall."""
  clothes = np.random.default_rng((0, person)).uniform(20, 235, (8, 2, 3))
  wall, gain = np.random.default_rng((1, camera)).uniform(0.6, 1.4, (2, 3))
  rng = np.random.default_rng((2, image))
  small = np.empty((8, 4, 3), np.float32)
  small[:] = 128 * wall
  small[:, 1:3] = clothes * gain * rng.uniform(0.8, 1.2)
  small = np.roll(small, rng.integers(-1, 2), axis=1)
  picture = cv2.resize(small, SIZE[::-1], interpolation=cv2.INTER_LINEAR)
  picture += rng.normal(0, 8, SIZE)[..., None]
  return np.clip(picture, 0, 255).astype(np.uint8)


def write_crops(folder: pathlib.Path, count: int) -> None:
  """So many training images, a tenth as many for tests, and lists of both."""
  total = count + count // 10
  people = np.sort(long_tail(total)[1])
  people[count:] += 1  # Nobody is in both.
  cameras = np.random.default_rng(3).integers(0, CAMERAS, total)
  names = [f'{i // 1000:04}/{i:07}.jpg' for i in range(total)]
  splits = np.where(np.arange(total) < count, 'train', 'gallery')
  _, first, sizes = np.unique(
    people[count:], return_index=True, return_counts=True
  )
  splits[count + first[sizes > 1][:QUERIES]] = 'query'

  for i, name in enumerate(names):
    if i % 1000 == 0:
      (folder / name).parent.mkdir(parents=True)
    picture = crop(int(people[i]), int(cameras[i]), i)
    cv2.imwrite(str(folder / name), picture)
  # In no order, as names of a real folder are.
  order = np.random.default_rng(4).permutation(total).tolist()
  columns = (names, people.tolist(), cameras.tolist(), splits.tolist())
  rows = [[column[i] for column in columns] for i in order]
  _write(folder / 'list.csv', [('path', 'pid', 'camid', 'split'), *rows])
  pairs = np.random.default_rng(5).integers(0, count - 1, ANSWERS)
  words = np.where(people[pairs] == people[pairs + 1], 'same', 'different')
  answers = [
    (names[i], names[i + 1], word)
    for i, word in zip(pairs.tolist(), words.tolist(), strict=True)
  ]
  _write(folder / 'answers.csv', answers)


def _write(path: pathlib.Path, rows: list[Any]) -> None:
  with path.open('w', newline='') as file:
    csv.writer(file).writerows(rows)


def trained(folder: pathlib.Path, count: int) -> dict[str, float]:
  """A run in a process of its own: seconds by part, bytes, and scores."""
  images, workdir = folder / f'crops-{count}', folder / f'run-{count}'
  start = time.perf_counter()
  if not images.exists():
    write_crops(images, count)
  found = {'draw': time.perf_counter() - start}
  command = [sys.executable, '-m', 'dbc_jax.main', f'--workdir={workdir}']
  command += ['--config=best:folder,small', f'--config.data.root={images}']
  fields = FIELDS | {'data.corrections': str(images / 'answers.csv')}
  command += [f'--config.{key}={value}' for key, value in fields.items()]
  start = time.perf_counter()
  subprocess.run(command, check=True)
  found['whole'] = time.perf_counter() - start
  lines = (workdir / 'metrics.jsonl').read_text().splitlines()
  records = [json.loads(line) for line in lines]
  for part in PARTS:
    found[part] = sum(each.get(f'seconds_{part}', 0.0) for each in records)
  found['rest'] = found['whole'] - sum(found[part] for part in PARTS)
  # Of the largest run so far; Linux counts in KiB.
  usage = resource.getrusage(resource.RUSAGE_CHILDREN)
  found['bytes'] = 1024.0 * usage.ru_maxrss
  return found | {key: records[-1][key] for key in ('rank1', 'map', 'pair_f')}


def main() -> None:
  """Trains on each number of images, the fewest first."""
  parser = argparse.ArgumentParser(description=str(__doc__).partition('\n')[0])
  parser.add_argument('--counts', default='200000')
  parser.add_argument('--folder', type=pathlib.Path)
  args = parser.parse_args()
  counts = sorted(map(int, args.counts.split(',')))
  with tempfile.TemporaryDirectory() as temporary:
    folder = args.folder or pathlib.Path(temporary)
    rows = [trained(folder, count) for count in counts]
  shown = ('draw', 'whole', *PARTS, 'rest')
  print(f'| images | {", s | ".join(shown)}, s | peak, GB | scores |')
  print('|---' * (len(shown) + 3) + '|')
  for count, row in zip(counts, rows, strict=True):
    seconds = ' | '.join(f'{row[part]:.0f}' for part in shown)
    scores = f'{row["rank1"]:.2f} / {row["map"]:.2f} / {row["pair_f"]:.2f}'
    print(f'| {count:,} | {seconds} | {row["bytes"] / 1e9:.2f} | {scores} |')
  if len(counts) > 1:
    for part in shown:
      values = np.log([row[part] for row in rows])
      print(f'{part}: N^{np.polyfit(np.log(counts), values, 1)[0]:.2f}')


if __name__ == '__main__':
  main()
