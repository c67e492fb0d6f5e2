"""What merging clusters gains over stage 0, beside baselines and controls.

  python -m benchmarks.merging_gain --data=demo --seeds=0,1,2
  python -m benchmarks.merging_gain --data=market1501,small --root=DIR \
      --num_identities=100 --seeds=0

Rows:
  raw pixels, histogram  nearest neighbours without any network
  random network         before training
  supervised             the same network and loss, trained with identities
  buc, dbc, ...          the configs as they are, or with another lambda, as
                         buc:0.005; all share stage 0
  no merging             the same epochs and rates, every image alone
  stage 0 prolonged      as many epochs in all, on stage 0's schedule; 'stage 0
                         prolonged:20' takes 20 epochs

Results are appended to --out, one JSON object a line; what is there already is
not run again, so an interrupted call goes on.
"""

import importlib
import json
import pathlib
import statistics
import time
from typing import Any

import jax
import ml_collections
import numpy as np
from absl import app, flags, logging

from dbc_jax import evaluation
from dbc_jax.data import Dataset, GroundTruth, load_configured, load_images
from dbc_jax.data.pipeline import LoadedDataset
from dbc_jax.devices import mesh
from dbc_jax.run import build
from dbc_jax.run import merger as merger_lib
from dbc_jax.run import record as record_lib
from dbc_jax.run.stage import RunState, StageRunner

CRITERIA = ('buc', 'dbc', 'ecluster', 'estat')
CONTROLS = ('no merging', 'stage 0 prolonged')
SUPERVISED_EPOCHS = 60

_DATA = flags.DEFINE_string('data', 'demo', 'As after the colon of --config.')
_ROOT = flags.DEFINE_string('root', '', 'Folder of the data set.')
_IDENTITIES = flags.DEFINE_integer('num_identities', 0, 'Reduced set, or 0.')
_SEEDS = flags.DEFINE_list('seeds', ['0', '1', '2'], 'Seeds of the runs.')
_ROWS = flags.DEFINE_list(
  'rows', ['supervised', *CRITERIA, *CONTROLS], 'Rows that are trained.'
)
_OUT = flags.DEFINE_string(
  'out', 'runs/merging_gain.jsonl', 'Results, read and appended.'
)


def main(argv: list[str]) -> None:
  """Runs what is missing in --out, then prints the table."""
  del argv
  logging.set_verbosity(logging.WARNING)
  out = pathlib.Path(_OUT.value)
  out.parent.mkdir(parents=True, exist_ok=True)
  for seed in map(int, _SEEDS.value):
    missing = [
      row for row in _ROWS.value if (row, seed) not in _keys(_read(out))
    ]
    if missing:
      _run_seed(seed, missing, out)
  print(_table(_read(out)))


def _run_seed(seed: int, rows: list[str], out: pathlib.Path) -> None:
  config = _config('buc', seed)
  dataset, truth = load_configured(config.data)
  data = build.load_data(config, dataset, truth)

  def record(row: str, history: list[dict[str, Any]], seconds: float) -> None:
    line = {'row': row, 'seed': seed, 'seconds': seconds, 'history': history}
    with out.open('a') as file:
      file.write(json.dumps(line) + '\n')
    print(row, seed, f'{seconds:.0f} s', history[-1], flush=True)

  if 'raw pixels' not in {line['row'] for line in _read(out)}:
    for row, scores in _without_network(dataset, truth).items():
      record(row, [scores], 0.0)

  def single_stage(
    epochs: int, labels: np.ndarray, row: str, **crops: tuple[float, float]
  ) -> None:
    longer = config.copy_and_resolve_references()
    longer.data.update(crops)
    longer.train.drop_epoch = round(
      epochs * config.train.drop_epoch / config.train.stage0_epochs
    )
    longer.train.stage0_epochs = epochs
    start = time.perf_counter()
    one = StageRunner(build.Parts(longer), len(data.train))
    one.num_stages = 1
    state = one.first_state(data.train)._replace(labels=labels)
    record(row, one.run(0, state, data).history, time.perf_counter() - start)

  alone = np.arange(len(data.train), dtype=np.int32)
  if 'supervised' in rows:
    _, pids = np.unique(data.truth.train_pids, return_inverse=True)
    # The public code's crops: with identities, stronger ones help.
    single_stage(
      SUPERVISED_EPOCHS,
      pids.astype(np.int32),
      'supervised',
      crop_area=(0.64, 1.0),
      crop_aspect=(1.0, 1.5),
    )
  stages = StageRunner(build.Parts(config), len(data.train))
  in_all = stages.parts.epochs_before(stages.num_stages)
  for row in rows:
    name, _, epochs = row.partition(':')
    if name == 'stage 0 prolonged':
      single_stage(int(epochs or in_all), alone, row)

  criteria = [r for r in rows if _is_criterion(r) or r == 'no merging']
  if not criteria:
    return
  # Stage 0 does not depend on the criterion: it is run once a seed.
  start = time.perf_counter()
  state = stages.first_state(data.train)
  if ('random network', seed) not in _keys(_read(out)):
    scores = record_lib.evaluate(
      stages.parts.extract, state.variables, alone, data, config.camera_rule
    )
    record('random network', [scores], 0.0)
  after_first = _unmerged(stages, 0, state, data)
  first_seconds = time.perf_counter() - start
  for row in criteria:
    start = time.perf_counter()
    state = after_first
    if _is_criterion(row):
      stages.parts.merger = merger_lib.Merger(_config(row, seed).cluster)
      rows = stages.parts.extract(state.variables, data.train)
      labels, _ = stages.parts.merger(*rows, alone, stages.num_merges)
      state = state._replace(labels=labels)
    for stage in range(1, stages.num_stages):
      if _is_criterion(row):
        state = stages.run(stage, state, data)
      else:
        state = _unmerged(stages, stage, state, data)
    record(row, state.history, first_seconds + time.perf_counter() - start)


def _unmerged(
  stages: StageRunner, stage: int, state: RunState, data: LoadedDataset
) -> RunState:
  """One stage whose labels stay as they are."""
  merger = stages.parts.merger
  stages.parts.merger = lambda features, embeddings, labels, *_: (
    labels,
    np.zeros(1),
  )
  try:
    return stages.run(stage, state, data)
  finally:
    stages.parts.merger = merger


def _is_criterion(row: str) -> bool:
  return row.partition(':')[0] in CRITERIA


def _config(row: str, seed: int) -> ml_collections.ConfigDict:
  criterion, _, reg_weight = row.partition(':')
  module = importlib.import_module(f'dbc_jax.configs.{criterion}')
  config = module.get_config(_DATA.value)
  if reg_weight:
    config.cluster.reg_weight = float(reg_weight)
  config.seed = seed
  config.data.root = _ROOT.value
  config.data.num_identities = _IDENTITIES.value
  return config


def _without_network(
  dataset: Dataset, truth: GroundTruth
) -> dict[str, dict[str, float]]:
  """Nearest neighbours on pixels and on colour histograms."""
  query, gallery = (
    load_images(split, (64, 32)) for split in (dataset.query, dataset.gallery)
  )
  ways = {
    'raw pixels': lambda x: x.reshape(len(x), -1).astype(np.float32) - 127.5,
    'histogram': _histograms,
  }
  return {
    row: evaluation.rank_features(
      _unit(features(query)),
      _unit(features(gallery)),
      truth.query_pids,
      truth.gallery_pids,
      truth.query_camids,
      truth.gallery_camids,
    )
    for row, features in ways.items()
  }


def _histograms(images: np.ndarray) -> np.ndarray:
  """Six stripes, 8 x 8 x 8 RGB bins each, square root of the shares."""
  bins = (images // 32).astype(np.int64) @ np.array([64, 8, 1])
  stripes = np.array_split(bins, 6, axis=1)
  return np.stack(
    [
      np.concatenate(
        [np.sqrt(np.bincount(s[i].ravel(), minlength=512)) for s in stripes]
      )
      for i in range(len(images))
    ]
  )


def _unit(x: np.ndarray) -> np.ndarray:
  return x / np.linalg.norm(x, axis=1, keepdims=True)


def _read(out: pathlib.Path) -> list[dict[str, Any]]:
  lines = out.read_text().splitlines() if out.exists() else []
  return [json.loads(line) for line in lines]


def _keys(lines: list[dict[str, Any]]) -> set[tuple[str, int]]:
  return {(line['row'], line['seed']) for line in lines}


def _table(lines: list[dict[str, Any]]) -> str:
  """Markdown, means over the seeds."""
  rows: dict[str, list[dict[str, float]]] = {}
  for line in lines:
    history = line['history']
    best = max(history, key=lambda record: record['map'])
    rows.setdefault(line['row'], []).append(
      {
        'first': history[0]['map'],
        'map': best['map'],
        'rank1': best['rank1'],
        'last': history[-1]['map'],
        'stage': best.get('stage', 0),
        'pair_f': best.get('pair_f', float('nan')),
        'ratio': best['map'] / history[0]['map'],
      }
    )
  several = {line['row'] for line in lines if len(line['history']) > 1}
  supervised = statistics.mean(
    r['map'] for r in rows.get('supervised', [{'map': float('nan')}])
  )
  text = [
    '| | seeds | mAP after stage 0 | best mAP | rank-1 there | at stage | best '
    '/ stage 0 | last mAP | pair F at best | share of supervised mAP |',
    '|---|---|---|---|---|---|---|---|---|---|',
  ]
  for row, runs in rows.items():
    mean = {
      key: statistics.mean(r[key] for r in runs)
      for key in runs[0]
      if key != 'stage'
    }
    cells = [
      row,
      str(len(runs)),
      f'{mean["first"]:.1%}',
      f'{mean["map"]:.1%}',
      f'{mean["rank1"]:.1%}',
      ', '.join(str(r['stage']) for r in runs),
      f'{mean["ratio"]:.2f}',
      f'{mean["last"]:.1%}',
      f'{mean["pair_f"]:.2f}',
      f'{mean["map"] / supervised:.0%}',
    ]
    if row not in several:
      for column in (2, 5, 6, 7, 8):
        cells[column] = ''
    text.append(f'| {" | ".join(cells)} |')
  text.append(
    f'\njax {jax.__version__}, {jax.devices()[0].device_kind}, '
    f'{len(mesh.devices())} device(s)'
  )
  return '\n'.join(text)


if __name__ == '__main__':
  app.run(main)
