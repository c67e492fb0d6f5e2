"""What trains a stage, and the warm-up before all.

It is given pixels and cluster labels, never names, cameras or identities. It
shows where it stands after each epoch; who asks for that may save it.
"""

import functools
import logging
import pathlib
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from dbc_jax import reporting
from dbc_jax.cluster.proxies import Proxies
from dbc_jax.data.split import Split
from dbc_jax.devices import interrupts, processes
from dbc_jax.reporting.profiling import Profiler
from dbc_jax.run import config as config_lib
from dbc_jax.run import within as within_lib
from dbc_jax.run.build import Parts
from dbc_jax.run.selection import WARMUP, Stage
from dbc_jax.run.within import Moment, Saved, WithinStore
from dbc_jax.training.camera_statistics import network_of
from dbc_jax.training.fit import Stop, Trainer
from dbc_jax.training.step import TrainState

log = logging.getLogger('dbc_jax')

# Tells the warm-up's random numbers from the stages', in which no step and no
# epoch has this number.
_STREAM = 2**32 - 1
# What the configs have, to tell which field is far from it.
_USUAL_RATE, _USUAL_TEMPERATURE, _USUAL_DECAY = 0.1, 0.1, 5e-4


class RunState(NamedTuple):
  """What is threaded from one stage to the next.

  Attributes:
    variables: 'params' and 'batch_stats' of the network; of the teacher, where
      there is one.
    student: of the network that goes on learning, where that is another.
    labels: [N] int32, the clusters the coming stage trains on; -1 for a sample
      that is in none.
    features: [N, D] float32, of `variables`.
    embeddings: [N, E] float32, eval-mode, of them.
    history: one record a stage, as written to metrics.jsonl.
    begun: of the coming stage, if it was interrupted: where its training
      stands. Of the rest only `labels` and `history` are then meant.
  """

  variables: dict[str, Any]
  labels: np.ndarray
  features: np.ndarray
  embeddings: np.ndarray
  history: list[dict[str, Any]]
  student: dict[str, Any] | None = None
  begun: Moment | None = None


class Fitter:
  """Trains the stages of a run.

  Attributes:
    parts: of the run.
    num_stages: in the whole run.
    within: where a stage is saved while it is trained; None: nowhere.
  """

  def __init__(
    self,
    parts: Parts,
    num_samples: int,
    profile_dir: pathlib.Path | None = None,
    within: WithinStore | None = None,
  ):
    """Compiles nothing yet.

    Args:
      parts: of the run.
      num_samples: N, training samples.
      profile_dir: for a trace of some training steps, or None.
      within: as the attribute.
    """
    self.parts = parts
    self.within = within
    self.num_stages = config_lib.num_stages(parts.config, num_samples)
    self._config = parts.config
    self._num_samples = num_samples
    self._profiler = Profiler(profile_dir)

  @functools.cached_property
  def clock(self) -> reporting.RunClock:
    """Of the whole run, whose trainings take as long as their images."""
    train, parts = self._config.train, self.parts
    passes = train.warmup_epochs * (self._num_samples // train.batch_size)
    work: dict[Stage, float] = {
      WARMUP: passes * parts.warmup.step.objective.views
    }
    views = parts.trainer.step.objective.views
    for stage in range(self.num_stages):
      steps = parts.epochs(stage) * parts.steps(stage, self._num_samples)
      work[stage] = steps * views
    return reporting.RunClock(work)

  def warm_up(self, split: Split) -> dict[str, Any]:
    """The random network after training on a split's images alone.

    Raises:
      FloatingPointError: a loss is NaN or infinite; names the epoch and step.
    """
    seed, train = self._config.seed, self._config.train
    trainer, epochs = self.parts.warmup, train.warmup_epochs
    blank = np.zeros(len(split), np.int32)
    begun = Moment(
      trainer.step.start(
        self.parts.init_variables(),
        trainer.step.objective.start(np.zeros((len(split), 0)), blank),
        step=0,
        rng=jax.random.fold_in(jax.random.key(seed), _STREAM),
      ),
      steps=0,
    )
    saved = self.within and self.within.find(WARMUP)
    begun = (saved and _continued(WARMUP, begun, saved)) or begun
    moment = begun
    for moment in self._fit(
      trainer,
      WARMUP,
      begun,
      split,
      blank,
      rates=self.parts.warmup_rates(),
      seeds=[(seed, epoch, _STREAM) for epoch in range(epochs)],
      steps=len(split) // train.batch_size,
      advice=self.advice(WARMUP),
    ):
      if self.within:
        self.within.offer(WARMUP, moment, blank, [])
    losses, _, count = moment.sums
    log.info(
      'warm-up: %d epochs, loss %.2f, %.1f s',
      epochs,
      losses / count,
      moment.seconds,
    )
    state = moment.state
    return {'params': state.params, 'batch_stats': state.batch_stats}

  def _fit(
    self,
    trainer: Trainer,
    part: Stage,
    begun: Moment,
    split: Split,
    labels: np.ndarray,
    *,
    rates: list[tuple[float, float]],
    steps: int,
    advice: str,
    **options: Any,
  ) -> Iterator[Moment]:
    """As `Trainer.fit`, with a bar or a line an epoch.

    Yields where it stands after each epoch, and where it is told to stop.

    Args:
      trainer, split, labels, rates, steps: as for `Trainer.fit`.
      part: a stage, or the warm-up.
      begun: where it stands at first.
      advice: what to do where the loss is not finite.
      **options: further ones of `Trainer.fit`.
    """
    train, data = self._config.train, self._config.data
    images = train.batch_size * (data.num_frames if split.is_video else 1)
    first = int(begun.state.step) - begun.steps
    start = time.perf_counter() - begun.seconds
    if begun.steps == len(rates) * steps:
      yield begun
    with reporting.StageProgress(
      part, self.num_stages, len(rates), steps, images, clock=self.clock
    ) as progress:
      progress.resume(begun.steps, begun.sums)
      try:
        for _, state in trainer.fit(
          begun.state,
          split,
          labels,
          rates=rates,
          steps=steps,
          batch_size=train.batch_size,
          num_frames=data.num_frames,
          on_step=progress.update,
          done=begun.steps,
          stop=self._stop,
          **options,
        ):
          done = int(state.step) - first
          if not progress.enabled and done > begun.steps and not done % steps:
            log.info(progress.describe())
          yield Moment(
            state,
            done,
            progress.sums,
            time.perf_counter() - start,
            progress.images_per_second or begun.images_per_second,
          )
      except FloatingPointError as error:
        message = f'{progress.name}, {error}. {advice}'
        raise FloatingPointError(message) from error

  def advice(self, part: Stage) -> str:
    """What to change where training diverges, by what the config has."""
    train, memory = self._config.train, self._config.memory
    of_single = part == WARMUP or (part == 0 and train.stage0_epochs > 0)
    rate = 'learning_rate' if of_single else 'later_learning_rate'
    scale = train.batch_size / train.reference_batch_size
    # Of each field its value, and how many times it is beyond the usual one.
    found = {
      f'lower train.{rate}': (train[rate], train[rate] * scale / _USUAL_RATE),
      'lower train.weight_decay': (
        train.weight_decay,
        train.weight_decay / _USUAL_DECAY,
      ),
    }
    if part != WARMUP:
      ratio = _USUAL_TEMPERATURE / memory.temperature
      found['raise memory.temperature'] = memory.temperature, ratio
    dropped = train.dropped_learning_rate
    ratio = dropped * scale / _USUAL_RATE
    if part == 0 and of_single and ratio > 1:
      found['lower train.dropped_learning_rate'] = dropped, ratio
    found = dict(sorted(found.items(), key=lambda x: -x[1][1]))
    far = [name for name, (_, ratio) in found.items() if ratio > 10]
    # The rate is the first to try where nothing stands out.
    names = far or [f'lower train.{rate}']
    words = [f'{name} (it is {found[name][0]:g})' for name in names]
    others = [name for name in found if name not in names]
    if not far:
      words += [f'if that does not help, {" and ".join(others)}']
    text = ', '.join(words)
    text = text[0].upper() + text[1:]
    if part in (WARMUP, 0):
      return f'Nothing is saved yet. {text}'
    return (
      f'The checkpoint of stage {int(part) - 1} is kept. {text}, in another '
      '--workdir'
    )

  @property
  def _stop(self) -> Stop | None:
    """What ends training after a step, for one process.

    Several end together, after an epoch.
    """
    ends = self.within is not None and processes.count() == 1
    return interrupts.asked if ends else None

  def begun(self, stage: int, num_samples: int) -> RunState | None:
    """A stage that was interrupted while it was trained, if one was."""
    saved = self.within and self.within.find(stage)
    if not saved:
      return None
    # Of the right shapes, and replaced.
    variables = jax.tree.map(
      lambda x: np.zeros(x.shape, x.dtype), self.parts.variable_shapes
    )
    images = np.zeros((1, *self.parts.image_size, 3), np.float32)
    width = jax.eval_shape(
      self.parts.encoder.apply, self.parts.variable_shapes, images
    )[0].shape[1]
    embeddings = np.full((num_samples, width), width**-0.5, np.float32)
    state = RunState(
      variables, saved.labels, embeddings, embeddings, saved.history
    )
    start = Moment(self._start(stage, state, None, num_samples), steps=0)
    moment = _continued(stage, start, saved)
    return moment and state._replace(begun=moment)

  def objective_state(
    self, state: RunState, proxies: Proxies | None = None
  ) -> Any:
    """What the objective of a stage starts with."""
    objective: Any = self.parts.trainer.step.objective
    if proxies is not None:
      return objective.start_proxies(state.embeddings, proxies)
    return objective.start(state.embeddings, state.labels)

  def _start(
    self,
    stage: int,
    state: RunState,
    proxies: Proxies | None,
    num_samples: int,
  ) -> TrainState:
    """What the training of a stage starts with."""
    return self.parts.trainer.step.start(
      state.student or network_of(state.variables),
      self.objective_state(state, proxies),
      step=self._first_step(stage, num_samples),
      rng=jax.random.key(self._config.seed),
      teacher=network_of(state.variables) if state.student else None,
    )

  def _first_step(self, stage: int, num_samples: int) -> int:
    return sum(
      self.parts.epochs(each) * self.parts.steps(each, num_samples)
      for each in range(stage)
    )

  def _train(
    self,
    stage: int,
    state: RunState,
    split: Split,
    proxies: Proxies | None,
  ) -> Iterator[Moment]:
    """Trains one stage; yields where it stands after each epoch.

    And where it is told to stop: it is not to be asked for more then.
    """
    train, seed = self._config.train, self._config.seed
    rates = self.parts.stage_rates(stage, self.num_stages)
    before = sum(map(self.parts.epochs, range(stage)))
    steps = self.parts.steps(stage, len(split))
    places = train.batch_size // max(1, train.images_per_cluster)
    if train.images_per_cluster and state.labels.max() + 1 < places:
      log.warning(
        'stage %d: %d clusters are fewer than the %d that a batch has places '
        'for (train.images_per_cluster), so some stand in it more than once',
        stage,
        state.labels.max() + 1,
        places,
      )
    begun = state.begun
    if begun is None:
      begun = Moment(self._start(stage, state, proxies, len(split)), steps=0)
    yield from self._fit(
      self.parts.trainer,
      stage,
      begun,
      split,
      state.labels,
      rates=rates,
      seeds=[(seed, before + epoch) for epoch in range(len(rates))],
      targets=None if proxies is None else proxies.rows,
      steps=steps,
      advice=self.advice(stage),
      images_per_cluster=train.images_per_cluster,
      profiler=self._profiler,
    )


def _continued(stage: Stage, start: Moment, saved: Saved) -> Moment | None:
  """A stage where it was interrupted; None if that is of another build."""
  try:
    state = within_lib.with_arrays(start.state, saved.moment.state)
  except ValueError as error:
    log.warning(
      'what was saved within stage %s is of another build (%s): the stage '
      'begins anew',
      stage,
      error,
    )
    return None
  log.info('resuming at step %d of stage %s', saved.moment.steps, stage)
  return saved.moment._replace(state=state)


def learnt(
  state: TrainState,
) -> tuple[dict[str, Any], dict[str, Any] | None]:
  """The variables of the network that embeds, and of the one that learns.

  The second is None where they are the same.
  """
  own = {'params': state.params, 'batch_stats': state.batch_stats}
  return (state.teacher, own) if state.teacher else (own, None)
