"""Whether the cut of configs/pretrained.py needs settings of its own anywhere.

  python -m benchmarks.robust_cut --sets=demo,few,many,balanced,skewed --seeds=0

Each set of benchmarks.synthetic_sets gets a warm-up in place of weights. From
that network the loop of configs/pretrained.py runs as it is, and with nine
others: the cut `core` with three last shares times three `min_size`. Results
are appended to --out, one JSON object a line; what is there already is not run
again.
"""

import itertools
import json
import pathlib
import statistics
from typing import Any

import ml_collections
from absl import app, flags, logging

from benchmarks.synthetic_sets import synthetic_data
from dbc_jax.configs import pretrained
from dbc_jax.run import build
from dbc_jax.run.stage import StageRunner

_SETTINGS: dict[str, dict[str, Any]] = {'default': {}} | {
  f'{share} {size}': {'cut': 'core', 'share': (0.1, share), 'min_size': size}
  for share, size in itertools.product((0.3, 0.6, 0.9), (2, 4, 8))
}

_SETS = flags.DEFINE_list(
  'sets', ['demo', 'few', 'many', 'balanced', 'skewed'], 'Sets of images.'
)
_SEEDS = flags.DEFINE_list('seeds', ['0'], 'Seeds of the runs.')
_OUT = flags.DEFINE_string(
  'out', 'runs/robust_cut.jsonl', 'Results, read and appended.'
)


def main(argv: list[str]) -> None:
  """Runs what is missing in --out, then prints the table."""
  del argv
  logging.set_verbosity(logging.WARNING)
  out = pathlib.Path(_OUT.value)
  out.parent.mkdir(parents=True, exist_ok=True)
  for seed, name in itertools.product(map(int, _SEEDS.value), _SETS.value):
    done = {(x['set'], x['seed'], x['setting']) for x in _read(out)}
    missing = [x for x in _SETTINGS if (name, seed, x) not in done]
    if not missing:
      continue
    config = pretrained.get_config('demo')
    config.seed = seed
    data = synthetic_data(config, name)
    runner = StageRunner(build.Parts(config), len(data.train))
    variables = runner.warm_up(data.train)
    for setting in missing:
      changed: ml_collections.ConfigDict = config.copy_and_resolve_references()
      changed.cluster.update(_SETTINGS[setting])
      runner = StageRunner(build.Parts(changed), len(data.train))
      state = runner.start(data, variables)
      for stage in range(runner.num_stages):
        state = runner.run(stage, state, data)
      line = {'set': name, 'seed': seed, 'setting': setting}
      line['history'] = state.history
      with out.open('a') as file:
        file.write(json.dumps(line) + '\n')
      print(name, seed, setting, f'{state.history[-1]["map"]:.3f}', flush=True)
  print(_table(_read(out)))


def _read(out: pathlib.Path) -> list[dict[str, Any]]:
  lines = out.read_text().splitlines() if out.exists() else []
  return [json.loads(line) for line in lines]


def _table(lines: list[dict[str, Any]]) -> str:
  """Markdown: mAP of the last stage in %, means over the seeds."""
  settings = [*_SETTINGS]
  text = [
    f'| set | {" | ".join(settings)} | default / best |',
    '|' + '---|' * (len(settings) + 2),
  ]
  for name in dict.fromkeys(line['set'] for line in lines):
    means = []
    for setting in settings:
      values = [
        100 * line['history'][-1]['map']
        for line in lines
        if (line['set'], line['setting']) == (name, setting)
      ]
      means.append(statistics.mean(values) if values else float('nan'))
    cells = [f'{value:.1f}' for value in means]
    text.append(
      f'| {name} | {" | ".join(cells)} | {means[0] / max(means[1:]):.2f} |'
    )
  return '\n'.join(text)


if __name__ == '__main__':
  app.run(main)
