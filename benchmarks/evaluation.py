"""What ranking and re-ranking cost, at the sizes of public benchmarks.

  python -m benchmarks.evaluation [--parts=ranking,rerank] [--scale=0.1]

Parts:
  ranking  rank_features, 3,368 queries and 15,913 in the gallery (Market-1501)
  msmt17   the same for 11,659 and 82,161 (MSMT17)
  rerank   rerank_distances and evaluate_ranking of Market-1501's size

Features are random, [2048] each, around one centre an identity. Each part runs
in a process of its own. Seconds are medians of --repeats calls after a first
one, CPU seconds the mean of all calls, over all cores; the peak is what
a call takes beyond the features. --scale takes a share of all sizes.
"""

import subprocess
import sys
import time

import numpy as np
from absl import app, flags

from benchmarks.measuring import Peak, medians
from dbc_jax.evaluation import (
  evaluate_ranking,
  rank_features,
  rerank_distances,
)

DIMENSIONS, CAMERAS = 2048, 6


def reranking(
  queries: np.ndarray, gallery: np.ndarray, *ids: np.ndarray
) -> dict[str, float]:
  """Scores of re-ranked distances."""
  return evaluate_ranking(rerank_distances(queries, gallery), *ids)


# What is called, and numbers of queries, gallery and identities.
MARKET, MSMT17 = (3368, 15913, 750), (11659, 82161, 3060)
PARTS = {
  'ranking': (rank_features, MARKET),
  'msmt17': (rank_features, MSMT17),
  'rerank': (reranking, MARKET),
}

_PARTS = flags.DEFINE_list('parts', [*PARTS], 'What to run.')
_REPEATS = flags.DEFINE_integer('repeats', 1, 'Calls of which to take medians.')
_SCALE = flags.DEFINE_float('scale', 1.0, 'Share of the sizes.')
_CHILD = flags.DEFINE_string('child', '', 'Used by the parts.')


def random_case(sizes: tuple[int, int, int]) -> list[np.ndarray]:
  """Features, pids and camids as `rank_features` takes them."""
  queries, gallery, people = (max(1, round(_SCALE.value * n)) for n in sizes)
  rng = np.random.default_rng(0)
  centres = rng.standard_normal((people, DIMENSIONS), np.float32)
  pids = [rng.integers(people, size=n) for n in (queries, gallery)]
  features = []
  for each in pids:
    rows = rng.standard_normal((len(each), DIMENSIONS), np.float32)
    for row, pid in zip(rows, each, strict=True):
      row += 0.5 * centres[pid]
    features.append(rows)
  camids = [rng.integers(CAMERAS, size=n) for n in (queries, gallery)]
  return [*features, *pids, *camids]


def measure(part: str) -> None:
  """One part in this process; prints a row of the table."""
  call, sizes = PARTS[part]
  case = random_case(sizes)
  peak, start = Peak(), time.process_time()
  seconds = medians({part: lambda: call(*case)}, _REPEATS.value)[part]
  cpu = (time.process_time() - start) / (_REPEATS.value + 1)
  print(
    f'| {part} | {len(case[0]):,} x {len(case[1]):,} | {seconds:.1f} | '
    f'{cpu:.1f} | {peak.increase() / 1e9:.2f} |'
  )


def main(argv: list[str]) -> None:
  """Runs the parts that are asked for."""
  del argv
  if _CHILD.value:
    measure(_CHILD.value)
    return
  print(f'NumPy {np.__version__}')
  print('| | queries x gallery | seconds | CPU seconds | peak, GB |')
  print('|---|---|---|---|---|', flush=True)
  for part in _PARTS.value:
    command = [sys.executable, '-m', 'benchmarks.evaluation', f'--child={part}']
    command += [f'--scale={_SCALE.value}', f'--repeats={_REPEATS.value}']
    subprocess.run(command, check=True)


if __name__ == '__main__':
  app.run(main)
