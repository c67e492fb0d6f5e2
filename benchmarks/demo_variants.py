"""What other settings make of the demo: warm-up, precision, batch.

  python -m benchmarks.demo_variants --seeds=0,1,2 --rows=random,bfloat16

Rows, of configs/ecluster.py, each a whole run:
  random           the config as it is
  self_supervised  after the label-free warm-up
  random:50        stage 0 alone, of 50 epochs, its rate dropped at the same
                   share of them: as many images as 20 epochs of warm-up, of two
                   views each, and 10 of stage 0
  bfloat16         the network computes in bfloat16
  batch 256        with the rule for larger batches: rates x 4, and a warm-up
  batch 256 same rates

Results are appended to --out, one JSON object a line; what is there already is
not run again, so an interrupted call goes on.
"""

import json
import pathlib
import statistics
import time
from typing import Any

import jax
import ml_collections
from absl import app, flags, logging

from dbc_jax.configs import ecluster
from dbc_jax.data import load_configured
from dbc_jax.devices import mesh
from dbc_jax.run import build
from dbc_jax.run import config as config_lib
from dbc_jax.run import record as record_lib
from dbc_jax.run.stage import StageRunner

# Fields of the config that a row changes.
VARIANTS = {
  'random': {},
  'self_supervised': {'train.init': 'self_supervised'},
  'bfloat16': {'model.dtype': 'bfloat16'},
  'batch 256': {'train.batch_size': 256},
  'batch 256 same rates': {
    'train.batch_size': 256,
    'train.reference_batch_size': 256,
  },
}

_SEEDS = flags.DEFINE_list('seeds', ['0', '1', '2'], 'Seeds of the runs.')
_ROWS = flags.DEFINE_list(
  'rows', ['random', 'self_supervised', 'random:50'], 'What is run.'
)
_OUT = flags.DEFINE_string(
  'out', 'runs/demo_variants.jsonl', 'Results, read and appended.'
)


def main(argv: list[str]) -> None:
  """Runs what is missing in --out, then prints the table."""
  del argv
  logging.set_verbosity(logging.WARNING)
  out = pathlib.Path(_OUT.value)
  out.parent.mkdir(parents=True, exist_ok=True)
  for seed in map(int, _SEEDS.value):
    for row in _ROWS.value:
      if (row, seed) in {(x['row'], x['seed']) for x in _read(out)}:
        continue
      line = {'row': row, 'seed': seed}
      line |= _run(_config(row, seed), stage0_alone=':' in row)
      with out.open('a') as file:
        file.write(json.dumps(line) + '\n')
      print(_table([line]), flush=True)
  print(_table(_read(out)))


def _config(row: str, seed: int) -> ml_collections.ConfigDict:
  name, _, epochs = row.partition(':')
  config = ecluster.get_config('demo')
  config.seed = seed
  config.train.later_decay = False  # as in the runs that the docs tell of
  config.update_from_flattened_dict(VARIANTS[name])
  if epochs:
    share = config.train.drop_epoch / config.train.stage0_epochs
    config.train.stage0_epochs = int(epochs)
    config.train.drop_epoch = round(share * int(epochs))
  config_lib.check_config(config)
  return config


def _run(
  config: ml_collections.ConfigDict, stage0_alone: bool
) -> dict[str, Any]:
  """Scores at the start, and of every stage; seconds of the parts."""
  data = build.load_data(config, *load_configured(config.data))
  runner = StageRunner(build.Parts(config), len(data.train))
  clock = time.perf_counter()
  variables = None
  if config.train.init == 'self_supervised':
    variables = runner.warm_up(data.train)
  state = runner.first_state(data.train, variables)
  seconds = time.perf_counter() - clock
  start = record_lib.evaluate(
    runner.parts.extract,
    state.variables,
    state.labels,
    data,
    config.camera_rule,
  )
  clock = time.perf_counter()
  for stage in range(1 if stage0_alone else runner.num_stages):
    state = runner.run(stage, state, data)
  return {
    'start': start,
    'history': state.history,
    'seconds_start': seconds,
    'seconds_stages': time.perf_counter() - clock,
  }


def _read(out: pathlib.Path) -> list[dict[str, Any]]:
  lines = out.read_text().splitlines() if out.exists() else []
  return [json.loads(line) for line in lines]


def _table(lines: list[dict[str, Any]]) -> str:
  """Markdown: means over the seeds, and each seed's figure."""
  text = [
    '| | seeds | at the start | after stage 0 | kept stage | at stage | last '
    'stage | pair F, kept | seconds before stage 0, after |',
    '|---|---|---|---|---|---|---|---|---|',
  ]
  for row in dict.fromkeys(line['row'] for line in lines):
    runs = [line for line in lines if line['row'] == row]
    kept = [max(run['history'], key=lambda r: r['map']) for run in runs]
    cells = [
      row,
      str(len(runs)),
      _scores([run['start'] for run in runs]),
      _scores([run['history'][0] for run in runs]),
      _scores(kept),
      ', '.join(str(record['stage']) for record in kept),
      _scores([run['history'][-1] for run in runs]),
      f'{statistics.mean(record["pair_f"] for record in kept):.2f}',
      ', '.join(
        f'{statistics.mean(run[key] for run in runs):.0f}'
        for key in ('seconds_start', 'seconds_stages')
      ),
    ]
    if ':' in row:
      cells[4:8] = [''] * 4
    text.append(f'| {" | ".join(cells)} |')
  text.append(
    f'\nmAP (each seed) / rank-1 in %; jax {jax.__version__}, '
    f'{len(mesh.devices())} x {mesh.devices()[0].device_kind}'
  )
  return '\n'.join(text)


def _scores(records: list[dict[str, float]]) -> str:
  maps = [100 * record['map'] for record in records]
  rank1 = statistics.mean(100 * record['rank1'] for record in records)
  each = ', '.join(f'{value:.1f}' for value in maps)
  return f'{statistics.mean(maps):.1f} ({each}) / {rank1:.1f}'


if __name__ == '__main__':
  app.run(main)
