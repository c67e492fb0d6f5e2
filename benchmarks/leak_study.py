"""What BUC's leak gains: a memory indexed by the labels before the merging.

  python -m benchmarks.leak_study --seeds=0,1,2 --figure=docs/leak.svg
  python -m benchmarks.leak_study --config=buc
  python -m benchmarks.leak_study --seeds= --cache=runs/stages

Rows, each a whole run of a config on the demo, INIT and ORDER:
  true    row k of the memory is the mean of cluster k, as in this project
  stale   row k is the mean of what was cluster k before the last merging
  hashed  samples in the order of a hash of their pixels, as in this project
  sorted  by identity and camera, as the files of public data sets are

A seed's rows of one order share stage 0, which comes before any merging.
Results are appended to --out, one JSON object a line; what is there already is
not run again, so an interrupted call goes on. --cache adds what stale rows tell
of identities before any training, on the runs of benchmarks.stage_runs.
"""

import dataclasses
import importlib
import itertools
import json
import pathlib
from typing import Any

import jax
import matplotlib.pyplot as plt
import numpy as np
from absl import app, flags, logging

from dbc_jax import memory
from dbc_jax.data import load_configured
from dbc_jax.data.frames import ResidentFrames
from dbc_jax.data.pipeline import LoadedDataset
from dbc_jax.data.split import Split
from dbc_jax.run import build
from dbc_jax.run import config as config_lib
from dbc_jax.run.stage import RunState, StageRunner

ROWS = ('true hashed', 'stale hashed', 'true sorted', 'stale sorted')


def main(argv: list[str]) -> None:
  """Runs what is missing in --out, then prints the tables."""
  del argv
  logging.set_verbosity(logging.WARNING)
  config, out = flags.FLAGS.config, pathlib.Path(flags.FLAGS.out)
  out.parent.mkdir(parents=True, exist_ok=True)
  for seed in map(int, flags.FLAGS.seeds):
    for order in ('hashed', 'sorted'):
      done = [(line['row'], line['seed']) for line in _read(out, config)]
      rows = [row for row in flags.FLAGS.row if row.endswith(order)]
      rows = [row for row in rows if (row, seed) not in done]
      if rows:
        _run(config, order, seed, rows, out)
  lines = _read(out, config)
  if lines:
    print(_table(lines))
  if flags.FLAGS.figure:
    with plt.rc_context({'svg.hashsalt': 'x', 'font.size': 9}):
      _draw(lines).savefig(flags.FLAGS.figure, metadata={'Date': None})
  if flags.FLAGS.cache:
    print(_leak_table(pathlib.Path(flags.FLAGS.cache), config))


class StaleRunner(StageRunner):
  """Indexes the rows of the memory by the labels `before`, if there are any."""

  before: np.ndarray | None = None

  def objective_state(self, state: RunState) -> Any:
    """What the objective of a stage starts with."""
    now = super().objective_state(state)
    if self.before is None:
      return now
    # More rows than clusters; those beyond take no part in training.
    before, count = self.before, int(self.before.max()) + 1
    rows = memory.init_memory(state.embeddings, before, count, len(before))
    return now._replace(memory=rows)


def sorted_by_identity(data: LoadedDataset) -> LoadedDataset:
  """The training samples by identity and camera, else in the order they had."""
  train, truth = data.train, data.truth
  order = np.lexsort((truth.train_camids, truth.train_pids))
  pixels = np.stack([train.image(i) for i in order])
  names = data.names | {'train': [data.names['train'][i] for i in order]}
  train = Split(ResidentFrames(pixels), np.arange(len(order)))
  pids, camids = truth.train_pids[order], truth.train_camids[order]
  truth = dataclasses.replace(truth, train_pids=pids, train_camids=camids)
  return dataclasses.replace(data, train=train, names=names, truth=truth)


def _run(
  name: str, order: str, seed: int, rows: list[str], out: pathlib.Path
) -> None:
  """Rows of one order and seed, whose stage 0 is the same."""
  config = importlib.import_module(f'dbc_jax.configs.{name}').get_config('demo')
  config.seed = seed
  config.train.later_decay = False  # as in the runs of docs/leak.md
  config_lib.check_config(config)
  data = build.load_data(config, *load_configured(config.data))
  if order == 'sorted':
    data = sorted_by_identity(data)
  runner = StaleRunner(build.Parts(config), len(data.train))
  start = runner.first_state(data.train)
  after_first = runner.run(0, start, data)
  for row in rows:
    before, state = start.labels, after_first
    for stage in range(1, runner.num_stages):
      runner.before = before if row.startswith('stale') else None
      before = state.labels
      state = runner.run(stage, state, data)
    line = {'config': name, 'row': row, 'seed': seed}
    line['history'] = state.history
    with out.open('a') as file:
      file.write(json.dumps(line) + '\n')
    print(seed, row, 'is done', flush=True)


def _read(out: pathlib.Path, config: str) -> list[dict[str, Any]]:
  text = out.read_text() if out.exists() else ''
  lines = map(json.loads, text.splitlines())
  return [line for line in lines if line['config'] == config]


def _by_row(lines: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
  found = {row: [x for x in lines if x['row'] == row] for row in ROWS}
  return {row: runs for row, runs in found.items() if runs}


def _table(lines: list[dict[str, Any]]) -> str:
  """Markdown: means over the seeds, and each seed's figure."""
  text = [
    '| | seeds | mAP after stage 0 | best | last | pair F at best | last |',
    '|---|---|---|---|---|---|---|',
  ]
  for row, runs in _by_row(lines).items():
    first, last = ([run['history'][k] for run in runs] for k in (0, -1))
    best = [max(run['history'], key=lambda r: r['map']) for run in runs]
    cells = [row, ', '.join(str(run['seed']) for run in runs)]
    columns = itertools.product(['map'], (first, best, last))
    for key, part in (*columns, ('pair_f', best), ('pair_f', last)):
      values = [100 * record[key] for record in part]
      each = ', '.join(f'{value:.1f}' for value in values)
      cells.append(f'{np.mean(values):.1f} ({each})')
    text.append(f'| {" | ".join(cells)} |')
  return '\n'.join([*text, f'\nin %: mean (each seed); jax {jax.__version__}'])


def _draw(lines: list[dict[str, Any]]) -> plt.Figure:
  """MAP and pair F by stage: each run thin, their mean thick."""
  figure, panels = plt.subplots(1, 2, figsize=(8, 3.2), layout='constrained')
  keys = {'map': 'mAP, %', 'pair_f': 'pair F, %'}
  for panel, (key, name) in zip(panels, keys.items(), strict=True):
    for row, runs in _by_row(lines).items():
      color = 'C3' if row.startswith('stale') else 'C0'
      style = '-' if row.endswith('sorted') else ':'
      scores = [[100 * r[key] for r in run['history']] for run in runs]
      panel.plot(np.transpose(scores), style, color=color, lw=0.6, alpha=0.5)
      panel.plot(np.mean(scores, axis=0), style, color=color, label=row)
    panel.set(xlabel='stage', ylabel=name)
    panel.grid(alpha=0.3)
  panels[1].legend(frameon=False)
  return figure


def numbered_by_first(labels: np.ndarray) -> np.ndarray:
  """The same clusters, numbered by the positions of their first samples.

  So `merge_clusters` numbers them where each sample began as a cluster: one
  keeps the place of the lowest that it contains.
  """
  _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
  return first.argsort().argsort()[inverse]


def leak(
  before: np.ndarray, labels: np.ndarray, pids: np.ndarray
) -> dict[str, float]:
  """What stale rows tell of identities, before any training.

  Row k is the mean of old cluster k. A cluster is of the identity that most
  of its images show.

  Args:
    before: [N] int, the old clusters.
    labels: [N] int, the fewer clusters that these were merged to.
    pids: [N] int.

  Returns:
    Shares: of new clusters k that contain old cluster k, 'part'; whose row is
    of their identity, 'own'; and of pairs of new clusters of one identity, how
    many have two rows of one identity, whichever that is, 'pairs'.
  """
  _, pids = np.unique(pids, return_inverse=True)
  counts = np.zeros((2, before.max() + 1, pids.max() + 1), int)
  for count, numbers in zip(counts, (before, labels), strict=True):
    np.add.at(count, (numbers, pids), 1)
  clusters = np.arange(labels.max() + 1)
  rows, own = counts[:, clusters].argmax(axis=2)
  homes = np.empty(before.max() + 1, int)
  homes[before] = labels
  pairs = np.equal.outer(own, own) & ~np.eye(len(own), dtype=bool)
  return {
    'part': float(np.mean(homes[clusters] == clusters)),
    'own': float(np.mean(rows == own)),
    'pairs': float(np.equal.outer(rows, rows)[pairs].mean()),
  }


def _leak_table(cache: pathlib.Path, config: str) -> str:
  """Markdown: means of `leak` over all mergings of the kept runs."""
  paths = sorted(cache.glob(f'demo-{config}-*.npz'))
  if not paths:
    raise ValueError(
      f'--cache: {cache} has no demo-{config}-SEED.npz; make some by '
      f'python -m benchmarks.stage_runs --config={config}'
    )
  shares = {'hashed': [], 'sorted': [], 'dealt at random': []}
  rng = np.random.default_rng(0)
  for path in paths:
    with np.load(path) as run:
      pids, stages = run['pids'], run['labels']
    for before, labels in itertools.pairwise(stages):
      dealt = rng.permutation(before.max() + 1)[before]
      shares['hashed'].append(leak(before, labels, pids))
      shares['dealt at random'].append(leak(dealt, labels, pids))
    stages = map(numbered_by_first, stages[:, pids.argsort(kind='stable')])
    for before, labels in itertools.pairwise(stages):
      shares['sorted'].append(leak(before, labels, np.sort(pids)))
  text = [f'| {len(paths)} runs | part | own | pairs |', '|---|---|---|---|']
  for name, rows in shares.items():
    means = (f'{np.mean([row[key] for row in rows]):.1%}' for key in rows[0])
    text.append(f'| {name} | {" | ".join(means)} |')
  return '\n'.join(text)


if __name__ == '__main__':
  # Not above, where they would clash with those of other studies in tests.
  flags.DEFINE_string('config', 'ecluster', 'Of configs/.')
  flags.DEFINE_list('seeds', ['0', '1', '2'], 'Seeds of the runs.')
  flags.DEFINE_multi_enum('row', list(ROWS), ROWS, 'What is run; repeated.')
  flags.DEFINE_string('out', 'runs/leak_study.jsonl', 'Read and appended.')
  flags.DEFINE_string('figure', '', 'SVG of the stages, or none.')
  flags.DEFINE_string('cache', '', 'Kept runs to measure on, or none.')
  app.run(main)
