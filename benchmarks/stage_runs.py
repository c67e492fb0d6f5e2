"""Runs whose every stage is kept on disk, for benchmarks.stage_selection.

  python -m benchmarks.stage_runs --seeds=0,1,2
  python -m benchmarks.stage_runs --sets=market1501 --root=DIR --seeds=0

Sets of training images, each clustered as a config says: those of
benchmarks.synthetic_sets, and market1501, 100 training and 100 test identities
of the real set, ',small'.

A run is one file of --cache: of every stage its record, its labels and the
features of the training images. Runs that are there already are not done again.
"""

import importlib
import json
import pathlib
import time

import ml_collections
import numpy as np
from absl import app, flags, logging

from benchmarks.synthetic_sets import SYNTHETIC, synthetic_data
from dbc_jax.data import load_configured
from dbc_jax.data.pipeline import LoadedDataset
from dbc_jax.run import build
from dbc_jax.run import config as config_lib
from dbc_jax.run.stage import StageRunner

_SETS = flags.DEFINE_list('sets', ['demo'], 'Sets of training images.')
_CONFIG = flags.DEFINE_string('config', 'ecluster', 'Of configs/.')
_SEEDS = flags.DEFINE_list('seeds', ['0'], 'Seeds of the runs.')
_ROOT = flags.DEFINE_string('root', '', 'Folder of market1501.')
_DECAY = flags.DEFINE_bool(
  'later_decay', True, 'train.later_decay on synthetic images.'
)
_CACHE = flags.DEFINE_string('cache', 'runs/stages', 'Where the runs are kept.')


def main(argv: list[str]) -> None:
  """Does the runs that --cache lacks."""
  del argv
  logging.set_verbosity(logging.WARNING)
  cache = pathlib.Path(_CACHE.value)
  cache.mkdir(parents=True, exist_ok=True)
  for seed in map(int, _SEEDS.value):
    for name in _SETS.value:
      path = cache / f'{name}-{_CONFIG.value}-{seed}.npz'
      if not path.exists():
        clock = time.perf_counter()
        arrays = _run(name, seed)
        partial = path.with_suffix('.tmp')
        with partial.open('wb') as file:
          np.savez(file, **arrays)
        partial.rename(path)
        print(path, f'{time.perf_counter() - clock:.0f} s', flush=True)


def _run(name: str, seed: int) -> dict[str, np.ndarray]:
  """A whole run; arrays of S stages of N images."""
  config, data = _load(name, seed)
  runner = StageRunner(build.Parts(config), len(data.train))
  arrays = {key: [] for key in ('labels', 'features')}
  state = runner.first_state(data.train)
  for stage in range(runner.num_stages):
    arrays['labels'].append(state.labels)
    state = runner.run(stage, state, data)
    # Of the network after this stage, which is what a run would keep.
    arrays['features'].append(
      runner.parts.extract(state.variables, data.train)[0]
    )
  arrays = {key: np.stack(values) for key, values in arrays.items()}
  arrays['history'] = np.array(json.dumps(state.history))
  arrays['pids'] = data.truth.train_pids
  return arrays


def _load(
  name: str, seed: int
) -> tuple[ml_collections.ConfigDict, LoadedDataset]:
  module = importlib.import_module(f'dbc_jax.configs.{_CONFIG.value}')
  if name in SYNTHETIC:
    config = module.get_config('demo')
    config.train.later_decay = _DECAY.value
    config.seed = seed
    config_lib.check_config(config)
    return config, synthetic_data(config, name)
  config = module.get_config(f'{name},small')
  config.data.root = _ROOT.value
  config.data.num_identities = 100
  config.seed = seed
  config_lib.check_config(config)
  return config, build.load_data(config, *load_configured(config.data))


if __name__ == '__main__':
  app.run(main)
