"""What clustering costs, beside the bare matrix product and other programs.

  python -m benchmarks.clustering [--features=F.npz] [--parts=stage,memory]

Parts:
  stage      one stage of Market-1501's size, by every criterion, beside the
             bare float32 product X @ X.T
  public     the same, beside one np.average a pair of clusters, the way of the
             public code of BUC and DBC
  hierarchy  all merges down to one cluster, beside fastcluster
  jaccard    the k-reciprocal Jaccard distance
  memory     peak memory of both engines, each in a process of its own
  scaling    time against the number of samples

Times are medians of --repeats calls, the things compared taking turns; what is
compiled is compiled before. Features are random unless a file has some.
"""

import json
import pathlib
import subprocess
import sys
import time

import jax
import matplotlib.pyplot as plt
import numpy as np
from absl import app, flags

from benchmarks.measuring import Peak, medians
from benchmarks.stages import merging, product, random_features
from dbc_jax.cluster import Criterion, jaccard_distances, merge_clusters

SIZE, NUM_MERGES = 12936, 646
CRITERIA = (
  Criterion('buc', 0.003),
  Criterion('dbc', 0.1),
  Criterion('ecluster', 0.9),
  Criterion('estat', 0.1),
  Criterion('average', 0.002),
)
PARTS = ('stage', 'public', 'hierarchy', 'jaccard', 'memory', 'scaling')

_PARTS = flags.DEFINE_list('parts', [*PARTS], 'What to run.')
_REPEATS = flags.DEFINE_integer('repeats', 3, 'Calls of which to take medians.')
_FEATURES = flags.DEFINE_string('features', '', 'An .npz with `features`.')
_FIGURES = flags.DEFINE_string('figures', '', 'Folder for the scaling plot.')
_CHILD = flags.DEFINE_string('child', '', 'Used by the part `memory`.')


def features(num: int, dim: int) -> np.ndarray:
  """Those of the file, as far as they reach, else random ones."""
  if _FEATURES.value and dim == 512:
    x = np.load(_FEATURES.value)['features'].astype(np.float32)[:num]
    return x / np.linalg.norm(x, axis=1, keepdims=True)
  return random_features(num, dim)


def stage() -> None:
  """A stage against the product."""
  x = features(SIZE, 2048)
  calls = {'X @ X.T, JAX': product(x), 'X @ X.T, NumPy': lambda: x @ x.T}
  calls |= {c.name: merging(x, NUM_MERGES, c) for c in CRITERIA}
  seconds = medians(calls, _REPEATS.value)
  bare = min(seconds['X @ X.T, JAX'], seconds['X @ X.T, NumPy'])
  print(f'\n{SIZE} x 2048, {NUM_MERGES} merges')
  print('| | seconds | over the faster product | beyond 1.5 products, s |')
  print('|---|---|---|---|')
  for name, value in seconds.items():
    print(
      f'| {name} | {value:.2f} | {value / bare:.2f} | '
      f'{value - 1.5 * bare:+.2f} |'
    )


def public() -> None:
  """A first stage against one np.average a pair of clusters."""
  seconds = {}
  for num in (500, 1000):
    x = random_features(num, 512)
    distances = np.linalg.norm(x[:, None] - x, axis=2)
    start = time.perf_counter()
    for i in range(num):
      for j in range(i + 1, num):
        np.average(distances[i : i + 1, j : j + 1])
    seconds[num] = time.perf_counter() - start
  whole = seconds[1000] * (SIZE / 1000) ** 2
  own = medians(
    {'stage': merging(features(SIZE, 512), NUM_MERGES, CRITERIA[1])},
    _REPEATS.value,
  )
  print(
    f'\none np.average a pair: {seconds[500]:.2f} s for 500 clusters, '
    f'{seconds[1000]:.2f} s for 1000, so {whole:.0f} s for {SIZE}; a stage '
    f'of {NUM_MERGES} merges {own["stage"]:.2f} s with the distances: '
    f'{whole / own["stage"]:.0f} times faster'
  )


def hierarchy() -> None:
  """All merges against fastcluster."""
  import fastcluster  # A peer: only this part needs it.

  x = features(SIZE, 512)
  calls = {
    'fastcluster': lambda: fastcluster.linkage(x.astype(np.float64), 'average'),
    'average linkage': merging(x, SIZE - 1, Criterion('average', 0.0)),
  }
  calls |= {c.name: merging(x, SIZE - 1, c) for c in CRITERIA}
  seconds = medians(calls, _REPEATS.value)
  print(f'\n{SIZE} x 512, all {SIZE - 1} merges, distances counted')
  print('| | seconds | times faster than fastcluster |\n|---|---|---|')
  for name, value in seconds.items():
    print(f'| {name} | {value:.1f} | {seconds["fastcluster"] / value:.1f} |')


def jaccard() -> None:
  """The Jaccard distance."""
  x = features(SIZE, 512)
  seconds = medians({'jaccard': lambda: jaccard_distances(x)}, _REPEATS.value)
  print(f'\njaccard_distances, {SIZE} x 512: {seconds["jaccard"]:.1f} s')


def scaling() -> None:
  """Seconds of a stage, N/20 merges, against N; and a plot."""
  sizes = (2000, 4000, 8000, 13000)
  rows = {}
  for num in sizes:
    x = random_features(num, 512)
    calls = {'X @ X.T': product(x)}
    calls |= {c.name: merging(x, num // 20, c) for c in CRITERIA}
    rows[num] = medians(calls, _REPEATS.value)
  print('\nseconds of a stage, N/20 merges, 512 dimensions')
  print('| | ' + ' | '.join(map(str, sizes)) + ' | exponent |')
  print('|---' * (len(sizes) + 2) + '|')
  _, axes = plt.subplots(figsize=(5, 3.5))
  for name in rows[sizes[0]]:
    values = [rows[num][name] for num in sizes]
    exponent = np.polyfit(np.log(sizes), np.log(values), 1)[0]
    cells = ' | '.join(f'{value:.2f}' for value in values)
    print(f'| {name} | {cells} | {exponent:.2f} |')
    axes.loglog(sizes, values, 'o-', label=f'{name}: N^{exponent:.2f}')
  axes.set_xlabel('samples N')
  axes.set_ylabel('seconds')
  axes.set_xticks(sizes, map(str, sizes))
  axes.minorticks_off()
  axes.legend(frameon=False, fontsize=8)
  if _FIGURES.value:
    path = pathlib.Path(_FIGURES.value) / 'clustering_cost.svg'
    plt.savefig(path, bbox_inches='tight')
    print(path)


def memory() -> None:
  """Peak memory of each engine, over what the process had before."""
  for name in (*(f'dense:{c.name}' for c in CRITERIA), 'matrix_free:dbc'):
    command = [sys.executable, '-m', 'benchmarks.clustering', f'--child={name}']
    lines = subprocess.run(
      command, check=True, capture_output=True, text=True
    ).stdout.splitlines()
    measured = json.loads(lines[-1])
    num, peak = measured['num'], measured['bytes']
    print(
      f'{measured["engine"]} {name.partition(":")[2]}, {num} x '
      f'{measured["dim"]}, {measured["merges"]} merges: peak '
      f'+{peak / 1e9:.2f} GB, {peak / (4 * num**2):.3f} of 4 N^2; process '
      f'{measured["process"] / 1e9:.2f} GB; {measured["seconds"]:.1f} s',
      flush=True,
    )


def measure(name: str) -> None:
  """One call in this process; prints a JSON line."""
  engine, _, criterion = name.partition(':')
  num, dim, merges, budget = SIZE, 2048, NUM_MERGES, None
  if engine == 'matrix_free':
    num, dim, merges, budget = 100_000, 128, 200, 2.0
  chosen = next(c for c in CRITERIA if c.name == criterion)
  merge_clusters(random_features(100, dim), np.arange(100), 5, chosen)
  x = random_features(num, dim)
  peak, start = Peak(), time.perf_counter()
  result = merge_clusters(
    x, np.arange(num), merges, chosen, memory_budget_gb=budget
  )
  measured = {
    'engine': result.engine,
    'num': num,
    'dim': dim,
    'merges': merges,
    'seconds': time.perf_counter() - start,
    'bytes': peak.increase(),
    'process': peak.process(),
  }
  print(json.dumps(measured))


def main(argv: list[str]) -> None:
  """Runs the parts that are asked for."""
  del argv
  if _CHILD.value:
    measure(_CHILD.value)
    return
  print(f'jax {jax.__version__} on {jax.devices()}, NumPy {np.__version__}')
  for part in _PARTS.value:
    {
      p.__name__: p
      for p in (stage, public, hierarchy, jaccard, memory, scaling)
    }[part]()


if __name__ == '__main__':
  app.run(main)
