"""What each part of configs/pretrained.py gives, on reduced Market-1501.

  python -m benchmarks.recipe --root=DIR --weights=FILE --out=DIR \
    --rows=dense,dbscan_0.5 --draws=0,1 --seeds=0,1

Each run is a whole `dbc_jax.main` in a workdir of its own under --out, named
ROW_dDRAW_sSEED: 200 training identities and as many of the test, other ones in
each draw. What is finished is not run again, what was interrupted resumes, and
--workers run side by side, each on its share of the cores. `--rows=` alone
prints the table of what is there.

The table has the last stage: means with their standard deviation, and the
difference to --reference on the same draws and seeds, with its standard error.
"""

import functools
import itertools
import json
import os
import pathlib
import statistics
import subprocess
import sys
from concurrent import futures

from absl import app, flags

_NO_CAMERAS = {'data.use_cameras': 'False'}
_PAPERS = {
  'model.name': '',
  'data.image_size': '(128, 64)',
  'data.stored_size': '(128, 64)',
}
# Fields that a row changes; of configs/pretrained.py, but for the papers' own.
ROWS = {
  'dense': _NO_CAMERAS,
  'cameras': {'data.use_cameras': 'True'},
  # Cuts.
  **{
    f'dbscan_{eps}': {'cluster.cut': 'dbscan', 'cluster.eps': eps}
    for eps in ('0.4', '0.5', '0.6')
  },
  'hdbscan': {'cluster.cut': 'hdbscan'},
  'share': {'cluster.cut': 'share'},
  'core': {'cluster.cut': 'core', 'cluster.share': '(0.1, 0.5)'},
  'dense_ecluster': {
    'cluster.criterion': 'ecluster',
    'cluster.reg_weight': '0.1',
  },
  'dense_buc': {'cluster.criterion': 'buc', 'cluster.reg_weight': '0.003'},
  # One part off each.
  'not_anew': {'cluster.anew': 'False'},
  'any_images': {'train.images_per_cluster': '0'},
  'images_4': {'train.images_per_cluster': '4'},
  'no_neck': {'model.neck': 'False'},
  'mean_pooling': {'model.pooling': 'mean'},
  'stride_2': {'model.last_stride': '2'},
  'no_erasing': {'data.erasing': '0.0'},
  'papers_crop': {'data.crop_padding': '0'},
  'update_mean': {'memory.update_by': 'mean'},
  'update_each': {'memory.update_by': 'each'},
  'momentum_0.5': {'memory.momentum': '0.5'},
  'temperature_0.1': {'memory.temperature': '0.1'},
  'teacher': {'train.teacher_momentum': '0.99'},
  'euclidean': {'cluster.distance': 'euclidean'},
  # The papers' own loop, from the same weights.
  'ecluster': _PAPERS,
}

_OF_A_STAGE = (
  'num_clusters',
  'placed',
  'pair_precision',
  'pair_recall',
  'loss',
  'rank1',
  'map',
  'silhouette',
  'neighbour_f',
  'view_agreement',
)

_ROWS = flags.DEFINE_list('rows', ['dense', 'dbscan_0.5'], 'What is run.')
_DRAWS = flags.DEFINE_list('draws', ['0'], 'Draws of identities.')
_SEEDS = flags.DEFINE_list('seeds', ['0'], 'Seeds of the runs.')
_ROOT = flags.DEFINE_string('root', '', 'Folder of Market-1501.')
_WEIGHTS = flags.DEFINE_string('weights', '', 'File of ImageNet weights.')
_OUT = flags.DEFINE_string('out', 'runs/recipe', 'Folder of the workdirs.')
_WORKERS = flags.DEFINE_integer('workers', 2, 'Runs side by side.')
_REFERENCE = flags.DEFINE_string('reference', 'dense', 'Row to compare with.')
_EXTRA = flags.DEFINE_list('extra', [], 'More flags of all runs, KEY=VALUE.')
_CURVES = flags.DEFINE_bool('curves', False, 'Prints every stage, too.')


def main(argv: list[str]) -> None:
  """Runs what is missing, then prints the table."""
  del argv
  out = pathlib.Path(_OUT.value).absolute()
  out.mkdir(parents=True, exist_ok=True)
  # Row after row within a draw and seed, so that pairs are soon complete.
  todo = [
    (row, int(draw), int(seed))
    for seed, draw in itertools.product(_SEEDS.value, _DRAWS.value)
    for row in _ROWS.value
  ]
  cores = sorted(os.sched_getaffinity(0))
  free = [cores[i :: _WORKERS.value] for i in range(_WORKERS.value)]

  def run(what: tuple[str, int, int]) -> None:
    mine = free.pop()
    try:
      _run(out, *what, cores=mine)
    finally:
      free.append(mine)

  with futures.ThreadPoolExecutor(_WORKERS.value) as workers:
    for _ in workers.map(run, todo):
      pass
  print(_table(out))


def _run(
  out: pathlib.Path, row: str, draw: int, seed: int, *, cores: list[int]
) -> None:
  workdir = out / f'{row}_d{draw}_s{seed}'
  if (workdir / 'features.npz').exists():
    return
  name = 'ecluster' if row == 'ecluster' else 'pretrained'
  fields = {
    'data.root': _ROOT.value,
    'data.num_identities': '200',
    'data.identities_seed': str(draw),
    'train.init': _WEIGHTS.value,
    'seed': str(seed),
    **_NO_CAMERAS,
    **ROWS[row],
    **dict(each.split('=', 1) for each in _EXTRA.value),
  }
  with (out / f'{workdir.name}.log').open('a') as log:
    done = subprocess.run(
      [
        sys.executable,
        '-m',
        'dbc_jax.main',
        f'--config=configs/{name}.py:market1501',
        f'--workdir={workdir}',
        *(f'--config.{key}={value}' for key, value in fields.items()),
      ],
      stdout=log,
      stderr=log,
      preexec_fn=functools.partial(os.sched_setaffinity, 0, cores),
      check=False,
    )
  print(f'{workdir.name}: exit status {done.returncode}', flush=True)


def _history(workdir: pathlib.Path) -> list[dict]:
  lines = (workdir / 'metrics.jsonl').read_text().splitlines()
  return [json.loads(line) for line in lines]


def _table(out: pathlib.Path) -> str:
  """Markdown, of all runs that are finished."""
  found: dict[str, dict[str, list[dict]]] = {}
  for features in sorted(out.glob('*_d*_s*/features.npz')):
    row, which = features.parent.name.split('_d', 1)
    found.setdefault(row, {})[which] = _history(features.parent)
  text = [
    '| row | runs | rank-1 | mAP | difference | placed | precision | recall | '
    'clusters |',
    '|---|---|---|---|---|---|---|---|---|',
  ]
  base = found.get(_REFERENCE.value, {})
  for row, runs in found.items():
    last = {which: history[-1] for which, history in runs.items()}
    differences = [
      100 * (last[which]['map'] - base[which][-1]['map'])
      for which in last.keys() & base.keys()
    ]
    cells = [row, str(len(last))]
    cells += [
      _mean([100 * r[key] for r in last.values()]) for key in ('rank1', 'map')
    ]
    cells.append('' if row == _REFERENCE.value else _with_error(differences))
    for key in ('placed', 'pair_precision', 'pair_recall', 'num_clusters'):
      values = [r.get(key, 1.0) for r in last.values()]
      cells.append(f'{statistics.mean(values):.3g}')
    text.append(f'| {" | ".join(cells)} |')
  if _CURVES.value:
    for row, runs in found.items():
      for which, history in runs.items():
        text.append(f'\n{row} d{which}')
        text += [
          '  '.join(f'{key} {r[key]:.3g}' for key in _OF_A_STAGE if key in r)
          for r in history
        ]
  return '\n'.join(text)


def _mean(values: list[float]) -> str:
  if len(values) < 2:
    return f'{values[0]:.1f}'
  return f'{statistics.mean(values):.1f} ± {statistics.stdev(values):.1f}'


def _with_error(values: list[float]) -> str:
  """Mean and standard error of paired differences, and how many."""
  if len(values) < 2:
    return ', '.join(f'{value:+.1f}' for value in values)
  error = statistics.stdev(values) / len(values) ** 0.5
  return f'{statistics.mean(values):+.2f} ± {error:.2f} ({len(values)})'


if __name__ == '__main__':
  app.run(main)
