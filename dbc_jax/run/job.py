"""The only stateful loop: stage after stage, saved, resumed, reported.

It takes the data set apart: pixels go to training, names and the ground truth
to evaluation and reports alone (cameras to the merging too, where
`cluster.camera_centring` asks for them).
"""

import contextlib
import functools
import logging
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np

from dbc_jax import reporting
from dbc_jax.data import load_configured, pipeline
from dbc_jax.devices import interrupts, mesh, processes
from dbc_jax.run import (
  build,
  continuation,
  cost,
  features_file,
  forgetting,
  linking,
  result,
  rules,
  same_data,
  selection,
  start_checks,
)
from dbc_jax.run import config as config_lib
from dbc_jax.run import lock as lock_lib
from dbc_jax.run import workdir as workdir_lib
from dbc_jax.run.checkpoint import CheckpointStore
from dbc_jax.run.config import Config
from dbc_jax.run.stage import RunState, StageRunner
from dbc_jax.run.within import WithinStore

log = logging.getLogger('dbc_jax')

OnStage = Callable[[int, np.ndarray, RunState], None]

# Of the order in which compiled steps add up. A record without it is of 1:
# before convolutions took other forms on a CPU.
_ROUNDING = 2


def run(
  config: Config, workdir: pathlib.Path, on_stage: OnStage | None = None
) -> None:
  """Runs or resumes the whole job of a config.

  Args:
    config: as in configs/.
    workdir: where everything is written. A run that was interrupted goes on
      from its last checkpoint; a finished one prints its summary.
    on_stage: called after each stage that is done now, once it is saved, with
      its number, the clusters [N] that it trained on, and the state after it.

  Raises:
    ValueError: a config value, the data or the workdir is not as expected, or
      another run has the workdir; raised before any work starts.
    FloatingPointError: the loss became NaN or infinite; the checkpoint of the
      last complete stage stays.
  """
  with lock_lib.hold(workdir) as lock:
    _run(config, workdir, on_stage, lock)


def _run(
  config: Config,
  workdir: pathlib.Path,
  on_stage: OnStage | None,
  lock: lock_lib.Lock,
) -> None:
  """`run`, in a workdir that is its own."""
  config = forgetting.with_forgotten(config, workdir)
  config = build.with_network(config, workdir)
  config_lib.check_config(config)
  processes.check_same('config', workdir_lib.as_json(config))
  mesh.check_batch_size(config.train.batch_size)
  parts = build.Parts(config)
  # Made now, so that a bad field ends the run before any work.
  _ = parts.merger, parts.trainer
  old = None
  if continuation.starts_from_another(config, workdir):
    old = continuation.Continuation(config)
  dataset, truth = load_configured(config.data)
  config_lib.check_num_samples(config, len(dataset.train))
  config = build.with_cameras(config, truth)
  parts = build.Parts(config)
  records = workdir_lib.check_workdir(workdir, config)
  start_checks.check_matches(truth, config.camera_rule)
  rules.check(config, truth)
  parts.log_engine(len(dataset.train))
  weights = parts.given_weights(workdir)
  data = build.load_data(config, dataset, truth)
  processes.check_same('data', data.fingerprint())
  same_data.check(workdir, records, config, data)
  if old is not None:
    old.check(data)
  log.info(data.decision)
  if data.left_out:
    log.warning(
      '%d images cannot be read and are left out, the first: %s',
      len(data.left_out),
      data.left_out[0],
    )
    config_lib.check_num_samples(config, len(data.train))
    start_checks.check_matches(data.truth, config.camera_rule)
  start_checks.check_leave_one_out(config, data)
  data = linking.with_corrections(config, workdir, dataset.train, data)
  start_checks.tell(config, data)
  profile_dir = workdir / 'profile' if config.profile else None
  within = WithinStore(
    workdir / workdir_lib.WITHIN,
    config.checkpoint_minutes,
    _facts(parts, data),
    lock.check,
  )
  runner = StageRunner(parts, len(data.train), profile_dir, within)
  devices = mesh.devices()
  log.info(
    '%s on %s: %d training images, %d stages, %s, %s on %d x %s, workdir %s',
    config.cluster.criterion,
    config.data.name,
    len(data.train),
    runner.num_stages,
    config_lib.describe_cut(config, len(data.train)),
    config.model.name,
    len(devices),
    devices[0].device_kind,
    workdir,
  )
  if runner.num_stages == 1 and config.train.stage0_epochs:
    log.warning('there is a single stage: nothing will be merged')
  _Job(runner, workdir, data, weights, old, on_stage, lock, within).run()


class _Job:
  """One run: its data, its files, and the loop over the stages."""

  def __init__(
    self,
    runner: StageRunner,
    workdir: pathlib.Path,
    data: pipeline.LoadedDataset,
    weights: dict[str, Any] | None,
    old: continuation.Continuation | None,
    on_stage: OnStage | None,
    lock: lock_lib.Lock,
    within: WithinStore,
  ):
    self._on_stage = on_stage
    self._lock = lock
    self._runner = runner
    self._parts = runner.parts
    self._within = within
    self._workdir = workdir
    self._data = data
    self._weights = weights
    self._old = old
    self._outputs = workdir_lib.Outputs(self._parts.config, workdir, data)

  def run(self) -> None:
    """All stages that are still to be done, then the outputs."""
    if not self._data.truth.can_evaluate:
      log.info(
        'no identities of queries and gallery in this data set: retrieval is '
        'not evaluated'
      )
    self._outputs.write_config()
    same_data.write(self._workdir, self._parts.config, self._data)
    self._store = CheckpointStore(self._workdir / workdir_lib.CHECKPOINTS)
    self._warmups: CheckpointStore | None = None
    train = self._parts.config.train
    if train.init == 'self_supervised' and not train.continue_from:
      self._warmups = CheckpointStore(self._workdir / workdir_lib.WARMUP)
    done = self._last_whole()
    if done is not None and self._is_end(done, self._store.read_record(done)):
      log.info('this run was finished before; its summary:')
      self._within.clear()
      history = self._store.read_record(done)['history']
      linking.tell_of_later(self._workdir, history, self._data)
      self._write_result(history)
      return
    # Of other networks, if there are any.
    features_file.drop_after(self._workdir, done)
    if done is None:
      if told := cost.describe(self._parts, self._data):
        log.info(told)
      self._load_start()
      first, state = 0, self._first_state()
    else:
      log.info(
        'resuming after stage %d of %d', done, self._runner.num_stages - 1
      )
      first, state = done + 1, self._begun(done + 1)
      state = state or self._restore(self._store, done)
    state = self._runner.heed(state, self._data)
    before = None
    if done is not None:
      before = self._read_arrays(self._store, done)['labels']
    self._outputs.start(state.history, before)
    with contextlib.closing(self._outputs):
      for stage in range(first, self._runner.num_stages):
        trained_on = state.labels
        with interrupts.held():
          state = self._runner.run(stage, state, self._data)
          self._save(self._store, stage, state, trained_on)
          self._within.clear()
          self._tidy(state.history)
          self._outputs.write_stage(state.history, trained_on)
          self._log(state.history[-1])
          if self._on_stage:
            self._on_stage(stage, trained_on, state)
    self._write_result(state.history, state.features)

  def _load_start(self) -> None:
    """What a first stage begins from, if it was not loaded.

    It was not where there were stages, none of which turned out to be whole.
    """
    config = self._parts.config
    other = continuation.starts_from_another(config, self._workdir)
    if self._old is None and other:
      self._old = continuation.Continuation(config)
      self._old.check(self._data)
    if self._weights is None:
      self._weights = self._parts.given_weights(self._workdir)

  def _last_whole(self) -> int | None:
    """The stage to go on after; all that is not needed for it is tidied up."""
    records, damaged = self._store.whole()
    lost: set[int] = set()
    for done, record in sorted(records.items(), reverse=True):
      missing = selection.stages_to_keep(record['history']) - records.keys()
      is_last = self._is_end(done, record)
      # One that is damaged is trained again, and one that the end needs. Others
      # that are missing may not be chosen in the end.
      if is_last:
        lost = missing
      if not missing & (damaged | lost):
        self._tidy(record['history'])
        return done
    if damaged:
      log.warning('no stage is left that is whole: they are all done again')
    self._store.keep_only(set())
    return None

  def _is_end(self, stage: int, record: dict[str, Any]) -> bool:
    """Whether a run ends with a stage, or did before images were forgotten."""
    return 'is_last' in record or stage >= self._runner.num_stages - 1

  def _tidy(self, history: list[dict[str, Any]]) -> None:
    """Keeps the stages that a result is made of.

    Of a run that goes on also the one before: it is there if the latest turns
    out to be damaged.
    """
    done, kept = history[-1]['stage'], selection.stages_to_keep(history)
    if done == self._runner.num_stages - 1:
      self._store.check(done)
    else:
      kept.add(done - 1)
    self._store.keep_only(kept)

  def _begun(self, stage: int) -> RunState | None:
    """The coming stage, if it was interrupted."""
    return self._runner.begun(stage, len(self._data.train))

  def _first_state(self) -> RunState:
    """From a random network, given weights, or a warm-up's, which is kept."""
    runner, data, store = self._runner, self._data, self._warmups
    if self._old is not None:
      place = functools.partial(
        self._old.place, data=data, workdir=self._workdir
      )
      start = functools.partial(runner.start, data, place=place)
      return self._begun(0) or start(self._old.variables)
    if store is None:
      return self._begun(0) or runner.start(data, self._weights)
    network, clustered = workdir_lib.NETWORK, workdir_lib.CLUSTERED
    done = max(store.whole()[0], default=None)
    if done is None:
      with interrupts.held():
        variables = runner.warm_up(data.train)
        self._lock.check()
        store.save(network, variables, _facts(self._parts, self._data))
        self._within.clear()
    else:
      log.info('resuming after the warm-up')
    if done == clustered:
      return self._begun(0) or self._restore(store, clustered)
    variables = store.restore(network, self._parts.variable_shapes)
    state = runner.start(data, variables, is_warm=True)
    self._save(store, clustered, state, state.labels)
    store.keep_only({network, clustered})
    self._log(state.history[-1])
    return state

  def _log(self, record: dict[str, Any]) -> None:
    line, to_go = reporting.format_record(record), self._runner.clock.describe()
    log.info(f'{line}; {to_go}' if to_go else line)

  def _restore(self, store: CheckpointStore, number: int) -> RunState:
    record = store.read_record(number)
    arrays = self._read_arrays(store, number)
    if record.get('rounding', 1) != _ROUNDING:
      log.info(
        'an earlier build began this run: further figures may differ from its '
        'own in the last digits'
      )
    elif 'config' not in record:
      log.info(
        'an earlier build began this run: its checkpoints have no checksums, '
        'and are taken as they are'
      )
    elif 'data' not in record:
      log.info(
        'an earlier build began this run: its checkpoints do not say which '
        'queries, cameras and identities it had; those of now are taken'
      )
    variables = workdir_lib.variables_of(arrays)
    features, embeddings = self._embed(variables)
    return RunState(
      variables,
      arrays['next_labels'],
      features,
      embeddings,
      record['history'],
      arrays.get('student'),
    )

  def _save(
    self,
    store: CheckpointStore,
    number: int,
    state: RunState,
    trained_on: np.ndarray,
  ) -> None:
    self._lock.check()
    store.save(
      number,
      workdir_lib.arrays_of(
        state.variables, trained_on, state.labels, state.student
      ),
      _facts(self._parts, self._data)
      | {
        'history': state.history,
        'num_samples': len(self._data.train),
        'num_cameras': self._data.num_cameras,
      },
    )

  def _read_arrays(self, store: CheckpointStore, number: int) -> dict[str, Any]:
    blank = np.zeros(len(self._data.train), np.int32)
    shapes = self._parts.saved_shapes(
      blank, self._data.num_cameras, is_warm=store is self._warmups
    )
    return store.restore(number, shapes)

  def _embed(self, variables: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    with reporting.busy('embedding'):
      return self._parts.embed(
        variables, self._data.train, self._data.truth.train_camids
      )

  def _write_result(
    self, history: list[dict[str, Any]], last: np.ndarray | None = None
  ) -> None:
    """With the chosen stage's clusters; `last`: features of the last stage."""
    chosen = selection.select(history).chosen
    if isinstance(chosen, int):
      arrays = self._read_arrays(self._store, chosen)
    else:
      assert self._warmups is not None
      arrays = self._read_arrays(self._warmups, workdir_lib.CLUSTERED)
    result.write_result(
      self._parts,
      self._data,
      self._workdir,
      history,
      workdir_lib.variables_of(arrays),
      features_file.labels(
        self._workdir, chosen, self._data.digest, arrays['labels']
      ),
      last,
    )


def _facts(parts: build.Parts, data: pipeline.LoadedDataset) -> dict[str, Any]:
  """What says of which run a checkpoint is."""
  return {
    **same_data.facts(parts.config, data),
    'config': config_lib.digest(parts.config),
    'rounding': _ROUNDING,
  }
