"""Runs that no user has: with identities for clusters, with BUC's first memory.

These alone hand a training what it must not see, to measure what it is worth.
They keep no checkpoint: one that is interrupted starts again.
"""

import dataclasses
import pathlib
from typing import Any

import numpy as np

from dbc_jax import memory, reporting
from dbc_jax.data import load_configured
from dbc_jax.data.pipeline import LoadedDataset
from dbc_jax.labels import apart
from dbc_jax.run import build
from dbc_jax.run import lock as lock_lib
from dbc_jax.run import workdir as workdir_lib
from dbc_jax.run.config import Config
from dbc_jax.run.job import OnStage
from dbc_jax.run.stage import RunState, StageRunner

# 'true' and 'stale': rows of the memory by the current clusters, or by those
# before the last merging. 'hashed' and 'sorted': samples in the order of a hash
# of their pixels, as in this project, or by identity and camera, as files of
# public data sets are.
LEAKS = ('true_hashed', 'stale_hashed', 'true_sorted', 'stale_sorted')
KINDS = ('supervised', *LEAKS)
# Identities of the training samples of a leak's run, in its order.
PIDS = 'pids.npy'


def run(
  kind: str, config: Config, workdir: pathlib.Path, on_stage: OnStage
) -> None:
  """Does a whole run, and writes config.json and metrics.jsonl.

  Args:
    kind: one of KINDS.
    config: as in configs/.
    workdir: where they are written.
    on_stage: as of `job.run`.

  Raises:
    ValueError: a value or the data is not as expected, or another run has the
      workdir.
  """
  with lock_lib.hold(workdir):
    _run(kind, config, workdir, on_stage)


def _run(
  kind: str, config: Config, workdir: pathlib.Path, on_stage: OnStage
) -> None:
  config = build.with_network(config, workdir)
  dataset, truth = load_configured(config.data)
  if truth.train_pids is None:
    raise ValueError(
      f'{config.data.name}: the training images have no identities, which a '
      f'row of {kind!r} needs'
    )
  if kind in LEAKS and config.train.init == 'self_supervised':
    raise ValueError(
      'train.init: the rows of the leak have no warm-up; set it to random'
    )
  config = build.with_cameras(config, truth)
  data = build.load_data(config, dataset, truth)
  workdir_lib.Outputs(config, workdir, data).write_config()
  if kind == 'supervised':
    history = _supervised(config, workdir, data)
  else:
    history = _leaking(kind, config, workdir, data, on_stage)
  reporting.write_metrics(workdir, history)


def _supervised(
  config: Config, workdir: pathlib.Path, data: LoadedDataset
) -> list[dict[str, Any]]:
  """A run's passes, network and loss; one stage, whose clusters are true."""
  assert data.truth.train_pids is not None
  # A sample of nobody known is one of its own.
  pids = np.where(data.truth.train_pids < 0, -1, data.truth.train_pids)
  pids = np.unique(apart(pids), return_inverse=True)[1]
  pids = pids.astype(np.int32)
  parts = build.Parts(config)
  whole = StageRunner(parts, len(data.train))
  epochs = sum(map(parts.epochs, range(whole.num_stages)))
  single = config.copy_and_resolve_references()
  train = single.train
  if config.train.stage0_epochs:
    share = config.train.drop_epoch / config.train.stage0_epochs
    train.stage0_epochs, train.drop_epoch = epochs, round(share * epochs)
  elif config.train.stage_steps:
    train.stage_steps *= whole.num_stages
  else:
    train.stage_epochs = epochs
  runner = StageRunner(build.Parts(single), len(data.train))
  runner.num_stages = 1
  parts, camids = runner.parts, data.truth.train_camids
  variables = parts.given_weights(workdir)
  if train.init == 'self_supervised':
    variables = runner.warm_up(data.train)
  variables = parts.with_statistics(
    variables or parts.init_variables(), data.train, camids
  )
  features, embeddings = parts.embed(variables, data.train, camids)
  start = RunState(variables, pids, features, embeddings, [])
  return runner.run(0, start, data).history


class StaleRunner(StageRunner):
  """Indexes the rows of the memory by the labels `before`, if there are any."""

  before: np.ndarray | None = None

  def objective_state(self, state: RunState, proxies: Any = None) -> Any:
    """What the objective of a stage starts with."""
    now = super().objective_state(state, proxies)
    if self.before is None:
      return now
    # More rows than clusters; those beyond take no part in training.
    before, count = self.before, int(self.before.max()) + 1
    rows = memory.init_memory(state.embeddings, before, count, len(before))
    return now._replace(memory=rows)


def sorted_by_identity(data: LoadedDataset) -> LoadedDataset:
  """The training samples by identity and camera, else in the order they had."""
  train, truth = data.train, data.truth
  assert truth.train_pids is not None
  camids = truth.train_camids
  keys = [truth.train_pids] if camids is None else [camids, truth.train_pids]
  order = np.lexsort(keys)
  names = data.names | {'train': [data.names['train'][i] for i in order]}
  truth = dataclasses.replace(
    truth,
    train_pids=truth.train_pids[order],
    train_camids=None if camids is None else camids[order],
  )
  train = train.subset(order)
  return dataclasses.replace(data, train=train, names=names, truth=truth)


def _leaking(
  kind: str,
  config: Config,
  workdir: pathlib.Path,
  data: LoadedDataset,
  on_stage: OnStage,
) -> list[dict[str, Any]]:
  memory_of, _, order = kind.partition('_')
  if order == 'sorted':
    data = sorted_by_identity(data)
  assert data.truth.train_pids is not None
  np.save(workdir / PIDS, data.truth.train_pids)
  parts = build.Parts(config)
  runner = StaleRunner(parts, len(data.train))
  state = runner.first_state(data.train, parts.given_weights(workdir))
  before = state.labels
  for stage in range(runner.num_stages):
    runner.before = before if stage and memory_of == 'stale' else None
    before = state.labels
    state = runner.run(stage, state, data)
    on_stage(stage, before, state)
  return state.history
