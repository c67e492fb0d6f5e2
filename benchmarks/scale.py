"""What merging by Jaccard similarities costs, up to 200,000 samples.

  python -m benchmarks.scale [--parts=dense,large,peers] [--features=F.npz]

Parts:
  dense  12,936 x 512 on Jaccard distances (20, 3), a whole hierarchy: by a
         matrix and by similarities, time and peak memory, each in a process of
         its own; of a file's features where one is given
  large  25,000 to 200,000 x 256 of a synthetic long tail of identities, down to
         a twentieth of the samples; the exponent; and a plot
  peers  HDBSCAN, FINCH and average linkage on the same, as far as they go

Nothing is compiled before: each time has what a first call has, but for what
earlier processes left in the caches of compiled programs.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from benchmarks.measuring import Peak
from dbc_jax.cluster import (
  Criterion,
  jaccard_distances,
  jaccard_similarities,
  merge_clusters,
)
from dbc_jax.evaluation import clustering_scores

MARKET = 12_936
SIZES = (25_000, 50_000, 100_000, 200_000)
PEERS = {'hdbscan': 25_000, 'finch': 200_000, 'average': 25_000}
AVERAGE = Criterion('average', 0.002)
WIDTH, NOISE, MEAN_SIZE = 256, 0.6, 12
SECONDS = 1200


def long_tail(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
  """Features [N, 256] of unit length and identities [N] of 1 to hundreds."""
  rng = np.random.default_rng(seed)
  sizes = (
    np.ceil(rng.pareto(1.5, count) * MEAN_SIZE / 3).astype(int).clip(1, 500)
  )
  people = np.searchsorted(np.cumsum(sizes), count) + 1
  labels = np.repeat(np.arange(people), sizes[:people])[:count]
  labels = rng.permutation(labels)
  # Identities have few directions to differ in, as real ones.
  centres = rng.normal(size=(people, 24)) @ rng.normal(size=(24, WIDTH)) / 5
  x = centres[labels] + NOISE * rng.normal(size=(count, WIDTH))
  x /= np.linalg.norm(x, axis=1, keepdims=True)
  return x.astype(np.float32), labels


def market(path: str) -> np.ndarray:
  """Features of a file, or some of as many rows."""
  if not path:
    return long_tail(MARKET)[0]
  x = np.load(path)['features'].astype(np.float32)
  return x / np.linalg.norm(x, axis=1, keepdims=True)


def tree_by(kind: str, x: np.ndarray, num_merges: int) -> dict[str, Any]:
  """Merges, and how long each of its two parts takes."""
  start = time.perf_counter()
  given: dict[str, Any]
  if kind == 'sparse':
    given = {'similarities': jaccard_similarities(x, k1=20, k2=3)}
  else:
    given = {'distances': jaccard_distances(x, k1=20, k2=3)}
    given['distances'].block_until_ready()
  middle = time.perf_counter()
  result = merge_clusters(x, np.arange(len(x)), num_merges, AVERAGE, **given)
  end = time.perf_counter()
  edges = given['similarities'].nnz / len(x) if kind == 'sparse' else len(x)
  return {
    'distances': middle - start,
    'merging': end - middle,
    'edges': edges,
    'result': result,
  }


def child(name: str, path: str) -> dict[str, Any]:
  """What one process measures."""
  kind, _, count = name.partition(':')
  num = int(count)
  if kind in ('sparse', 'dense'):
    x = market(path)
    peak = Peak()
    found = tree_by(kind, x, len(x) - 1)
    found['labels'] = None
    return {key: found[key] for key in ('distances', 'merging', 'edges')} | {
      'bytes': peak.increase()
    }
  x, people = long_tail(num)
  peak = Peak()
  if kind == 'large':
    found = tree_by('sparse', x, num - num // 20)
    labels = found['result'].labels
    measured = {key: found[key] for key in ('distances', 'merging', 'edges')}
    measured['bytes'] = peak.increase()
    few = slice(0, 10_000)
    plain = tree_by('dense', x[few], 9_500)['result'].labels
    fast = tree_by('sparse', x[few], 9_500)['result'].labels
    measured['equal'] = bool(np.array_equal(plain, fast))
  else:
    start = time.perf_counter()
    labels = peer(kind, x, num // 20)
    measured = {'distances': 0.0, 'merging': time.perf_counter() - start}
    measured['bytes'] = peak.increase()
  scores = clustering_scores(labels, people)
  return measured | {'f': scores['pair_f'], 'clusters': int(labels.max()) + 1}


def peer(kind: str, x: np.ndarray, num_clusters: int) -> np.ndarray:
  """Labels by another program."""
  if kind == 'hdbscan':
    from sklearn.cluster import HDBSCAN

    return HDBSCAN(min_cluster_size=3, copy=True).fit(x).labels_
  if kind == 'finch':
    from finch import FINCH

    partitions, counts, _ = FINCH(x, verbose=False)
    nearest = int(np.argmin([abs(each - num_clusters) for each in counts]))
    return partitions[:, nearest]
  from sklearn.cluster import AgglomerativeClustering

  return AgglomerativeClustering(num_clusters, linkage='average').fit(x).labels_


def measured(name: str, path: str) -> dict[str, Any] | None:
  """Of a process of its own; None where it took too long or failed."""
  command = [sys.executable, '-m', 'benchmarks.scale', f'--child={name}']
  try:
    done = subprocess.run(
      [*command, f'--features={path}'],
      capture_output=True,
      text=True,
      timeout=SECONDS,
    )
  except subprocess.TimeoutExpired:
    return None
  if done.returncode:
    print(done.stderr[-500:], file=sys.stderr)
    return None
  return json.loads(done.stdout.splitlines()[-1])


def dense(path: str, figures: str) -> None:
  """By a matrix, and by similarities."""
  del figures
  rows = {kind: measured(f'{kind}:0', path) for kind in ('dense', 'sparse')}
  print('| | distances, s | merging, s | peak, GB | entries a sample |')
  print('|---|---|---|---|---|')
  for kind, row in rows.items():
    assert row is not None
    print(
      f'| {kind} | {row["distances"]:.1f} | {row["merging"]:.1f} | '
      f'{row["bytes"] / 1e9:.2f} | {row["edges"]:.0f} |'
    )
  sums = [row['distances'] + row['merging'] for row in rows.values() if row]
  print(f'{sums[0] / sums[1]:.1f} times faster')


def large(path: str, figures: str) -> None:
  """Time against N."""
  rows = {num: measured(f'large:{num}', path) for num in SIZES}
  print('| N | distances, s | merging, s | peak, GB | entries | pair F | |')
  print('|---|---|---|---|---|---|---|')
  known = {num: row for num, row in rows.items() if row}
  for num, row in known.items():
    same = 'as the dense' if row['equal'] else 'not as the dense'
    print(
      f'| {num:,} | {row["distances"]:.0f} | {row["merging"]:.1f} | '
      f'{row["bytes"] / 1e9:.2f} | {row["edges"]:.0f} | {row["f"]:.2f} | '
      f'10,000 of them: {same} |'
    )
  _, axes = plt.subplots(figsize=(5, 3.5))
  for part in ('distances', 'merging'):
    values = [row[part] for row in known.values()]
    exponent = np.polyfit(np.log([*known]), np.log(values), 1)[0]
    print(f'{part}: N^{exponent:.2f}')
    axes.loglog([*known], values, 'o-', label=f'{part}: N^{exponent:.2f}')
  axes.set_xlabel('samples N')
  axes.set_ylabel('seconds')
  axes.set_xticks([*known], [f'{num:,}' for num in known])
  axes.minorticks_off()
  axes.legend(frameon=False, fontsize=8)
  if figures:
    plt.savefig(pathlib.Path(figures) / 'scale.svg', bbox_inches='tight')


def peers(path: str, figures: str) -> None:
  """Other programs on the same features."""
  del figures
  print('| | N | seconds | peak, GB | clusters | pair F |')
  print('|---|---|---|---|---|---|')
  for name, most in PEERS.items():
    for num in SIZES:
      if num > most:
        continue
      row = measured(f'{name}:{num}', path)
      cells = f'more than {SECONDS} s, or it failed | | |'
      if row:
        cells = (
          f'{row["merging"]:.0f} | {row["bytes"] / 1e9:.1f} | '
          f'{row["clusters"]:,} | {row["f"]:.2f}'
        )
      print(f'| {name} | {num:,} | {cells} |', flush=True)


PARTS: dict[str, Callable[[str, str], None]] = {
  'dense': dense,
  'large': large,
  'peers': peers,
}


def main() -> None:
  """Runs the parts that are asked for."""
  parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
  parser.add_argument('--parts', default=','.join(PARTS))
  parser.add_argument('--features', default='', help='.npz with `features`')
  parser.add_argument('--figures', default='', help='folder of the plot')
  parser.add_argument('--child', default='', help=argparse.SUPPRESS)
  args = parser.parse_args()
  if args.child:
    print(json.dumps(child(args.child, args.features)))
    return
  for part in args.parts.split(','):
    print(f'\n{part}', flush=True)
    PARTS[part](args.features, args.figures)


if __name__ == '__main__':
  main()
