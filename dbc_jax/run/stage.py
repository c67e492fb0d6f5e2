"""What one stage does: train, extract, evaluate, merge.

Functions of a RunState. Training is given pixels and cluster labels, never
names, cameras or identities.
"""

import functools
import logging
import pathlib
import time
from collections.abc import Callable
from concurrent import futures
from typing import Any, NamedTuple

import jax
import numpy as np

from dbc_jax import reporting
from dbc_jax.cluster.proxies import Proxies, split_clusters
from dbc_jax.data.pipeline import LoadedDataset
from dbc_jax.data.split import Split
from dbc_jax.devices import mesh, processes
from dbc_jax.reporting.profiling import Profiler
from dbc_jax.run import config as config_lib
from dbc_jax.run import fitting, selection
from dbc_jax.run import record as record_lib
from dbc_jax.run.build import Parts
from dbc_jax.training.camera_statistics import network_of

log = logging.getLogger('dbc_jax')

# Tells the warm-up's random numbers from the stages', in which no step and no
# epoch has this number.
_STREAM = 2**32 - 1


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
  """

  variables: dict[str, Any]
  labels: np.ndarray
  features: np.ndarray
  embeddings: np.ndarray
  history: list[dict[str, Any]]
  student: dict[str, Any] | None = None


class StageRunner:
  """The stages of a run.

  Attributes:
    parts: of the run.
    num_stages: in the whole run.
  """

  def __init__(
    self,
    parts: Parts,
    num_samples: int,
    profile_dir: pathlib.Path | None = None,
  ):
    """Compiles nothing yet.

    Args:
      parts: of the run.
      num_samples: N, training samples.
      profile_dir: for a trace of some training steps, or None.
    """
    self.parts = parts
    self.num_stages = config_lib.num_stages(parts.config, num_samples)
    self._num_samples = num_samples
    # How many clusterings come before stage 0.
    self._before = 0 if parts.config.train.stage0_epochs else 1
    self._config = parts.config
    self._views: Split | None = None
    self._profiler = Profiler(profile_dir)

  @functools.cached_property
  def clock(self) -> reporting.RunClock:
    """Of the whole run."""
    return fitting.clock_of(self.parts, self.num_stages, self._num_samples)

  def warm_up(self, split: Split) -> dict[str, Any]:
    """The random network after training on a split's images alone.

    Raises:
      FloatingPointError: a loss is NaN or infinite; names the epoch and step.
    """
    seed, train = self._config.seed, self._config.train
    trainer, epochs = self.parts.warmup, train.warmup_epochs
    blank = np.zeros(len(split), np.int32)
    start = trainer.step.start(
      self.parts.init_variables(),
      trainer.step.objective.start(np.zeros((len(split), 0)), blank),
      step=0,
      rng=jax.random.fold_in(jax.random.key(seed), _STREAM),
    )
    clock = time.perf_counter()
    state, progress = fitting.fit(
      self.parts,
      trainer,
      start,
      split,
      blank,
      part=selection.WARMUP,
      num_stages=self.num_stages,
      clock=self.clock,
      rates=self.parts.warmup_rates(),
      seeds=[(seed, epoch, _STREAM) for epoch in range(epochs)],
      steps=len(split) // train.batch_size,
      advice='Nothing is saved yet. Lower train.learning_rate',
    )
    seconds = time.perf_counter() - clock
    log.info(
      'warm-up: %d epochs, loss %.2f, %.1f s',
      epochs,
      progress.epoch_loss,
      seconds,
    )
    return {'params': state.params, 'batch_stats': state.batch_stats}

  def first_state(
    self, split: Split, variables: dict[str, Any] | None = None
  ) -> RunState:
    """Every sample a cluster of its own; the network random unless given."""
    variables = variables or self.parts.init_variables()
    labels = np.arange(len(split), dtype=np.int32)
    features, embeddings = self.parts.extract(variables, split)
    return RunState(variables, labels, features, embeddings, [])

  def start(
    self,
    data: LoadedDataset,
    variables: dict[str, Any] | None = None,
    *,
    is_warm: bool = False,
    place: Callable[[np.ndarray], np.ndarray] | None = None,
  ) -> RunState:
    """What stage 0 starts from: single samples, or clusters.

    Args:
      data: the data set; training is given its images alone.
      variables: of the network; at random unless given.
      is_warm: they are of a warm-up, which gets a record of its own.
      place: from features [N, D] to those clusters, in place of the cut.
    """
    camids = data.truth.train_camids
    variables = self.parts.with_statistics(
      variables or self.parts.init_variables(), data.train, camids
    )
    if not self._before:
      state = self.first_state(data.train, variables)
    else:
      features, embeddings = self.parts.embed(variables, data.train, camids)
      labels = np.arange(len(data.train), dtype=np.int32)
      if place is not None:
        labels = place(features)
      else:
        labels, _ = self._place(features, embeddings, labels, 0, data)
      log.info(
        'first clusters: %d, of %d of %d images',
        labels.max() + 1,
        np.count_nonzero(labels >= 0),
        len(labels),
      )
      state = RunState(variables, labels, features, embeddings, [])
    if not is_warm:
      return state
    # `first_state` knows no cameras.
    features = state.features
    if not self._before:
      features, _ = self.parts.embed(variables, data.train, camids)
    labels = state.labels
    record = {'stage': selection.WARMUP, 'num_clusters': int(labels.max()) + 1}
    record |= self._evaluate(variables, labels, data)
    record |= self._measure(variables, features, labels, data.train)
    return state._replace(features=features, history=[record])

  def _evaluate(
    self, variables: dict[str, Any], labels: np.ndarray, data: LoadedDataset
  ) -> dict[str, Any]:
    """By identities, as far as there are any."""
    embed, rule = self.parts.embed, self._config.camera_rule
    return record_lib.evaluate(embed, variables, labels, data, rule)

  def _measure(
    self,
    variables: dict[str, Any],
    features: np.ndarray,
    labels: np.ndarray,
    split: Split,
  ) -> dict[str, float]:
    """By features and clusters alone."""
    # Of some training images, the same in all stages and all runs.
    self._views = self._views or self.parts.views(split)
    first, second = np.split(self.parts.extract(variables, self._views)[0], 2)
    measures = record_lib.measure(features, labels, (first, second))
    if self._config.cluster.cut == 'papers':
      del measures['placed']  # All of them, always.
    return measures

  def _place(
    self,
    features: np.ndarray,
    embeddings: np.ndarray,
    labels: np.ndarray,
    number: int,
    data: LoadedDataset,
  ) -> tuple[np.ndarray, np.ndarray]:
    """The next clusters, and scores, as `Merger` returns them."""
    camids = None
    if self._config.cluster.camera_centring:
      camids = data.truth.train_camids
    count = self.num_stages - 1 + self._before
    return self.parts.merger(
      features, embeddings, labels, number, count, camids
    )

  def run(self, stage: int, state: RunState, data: LoadedDataset) -> RunState:
    """Trains, extracts, evaluates and, unless it is the last, merges.

    A GPU or TPU evaluates while it merges.

    Args:
      stage: 0 for the first.
      state: at its start.
      data: the data set. Training is given its images alone, and merging
        its cameras where the config asks for that.

    Returns:
      The state for the next stage; its history has a new last record.

    Raises:
      FloatingPointError: the loss became NaN or infinite; names the step.
    """
    num_clusters = int(state.labels.max()) + 1
    record: dict[str, Any] = {'stage': stage, 'num_clusters': num_clusters}
    asked = self._config.cluster.num_clusters
    if asked and stage == self.num_stages - 1:
      record['asked_clusters'] = asked
    clock = time.perf_counter()
    # Scores of earlier stages are no business of training.
    blind = state._replace(history=[])
    proxies = None
    if self.parts.uses_proxies:
      assert data.truth.train_camids is not None
      proxies = split_clusters(state.labels, data.truth.train_camids)
    variables, student, metrics = self._train(stage, blind, data.train, proxies)
    record |= metrics
    seconds = {'train': time.perf_counter() - clock}

    clock = time.perf_counter()
    camids = data.truth.train_camids
    variables = self.parts.with_statistics(variables, data.train, camids)
    features, embeddings = self.parts.embed(variables, data.train, camids)
    seconds['embed'] = time.perf_counter() - clock

    with futures.ThreadPoolExecutor(1) as beside:
      clock = time.perf_counter()
      evaluate = functools.partial(
        self._evaluate, variables, state.labels, data
      )
      # On a CPU it would take the cores from what follows. Several processes
      # have to gather what they compute in the same order.
      scores, scoring = {}, None
      if mesh.host_is_device() or processes.count() > 1:
        scores = evaluate()
      else:
        scoring = beside.submit(evaluate)
      seconds['evaluate'] = time.perf_counter() - clock

      clock = time.perf_counter()
      measures = self._measure(variables, features, state.labels, data.train)
      seconds['measure'] = time.perf_counter() - clock

      next_labels = state.labels
      if stage + 1 < self.num_stages:
        clock = time.perf_counter()
        number = stage + self._before
        next_labels, merge_scores = self._place(
          features, embeddings, state.labels, number, data
        )
        measures |= record_lib.measure_merges(
          state.history, state.labels, next_labels, merge_scores
        )
        seconds['cluster'] = time.perf_counter() - clock

      if scoring is not None:
        clock = time.perf_counter()
        scores = scoring.result()
        seconds['evaluate'] += time.perf_counter() - clock
    if not scores:
      del seconds['evaluate']
    record |= scores | measures
    record |= {f'seconds_{part}': value for part, value in seconds.items()}
    return RunState(
      variables,
      next_labels,
      features,
      embeddings,
      [*state.history, record],
      student,
    )

  def objective_state(
    self, state: RunState, proxies: Proxies | None = None
  ) -> Any:
    """What the objective of a stage starts with."""
    objective: Any = self.parts.trainer.step.objective
    if proxies is not None:
      return objective.start_proxies(state.embeddings, proxies)
    return objective.start(state.embeddings, state.labels)

  def _train(
    self,
    stage: int,
    state: RunState,
    split: Split,
    proxies: Proxies | None,
  ) -> tuple[dict[str, Any], dict[str, Any] | None, dict[str, float]]:
    """Trains one stage.

    Returns the variables, a student's if there is one, and metrics at the end.
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
    trainer = self.parts.trainer
    start = trainer.step.start(
      state.student or network_of(state.variables),
      self.objective_state(state, proxies),
      step=sum(
        self.parts.epochs(each) * self.parts.steps(each, len(split))
        for each in range(stage)
      ),
      rng=jax.random.key(seed),
      teacher=network_of(state.variables) if state.student else None,
    )
    advice = 'Nothing is saved yet. Lower train.learning_rate'
    if stage:
      advice = (
        f'The checkpoint of stage {stage - 1} is kept. Lower '
        'train.later_learning_rate, in another --workdir'
      )
    trained, progress = fitting.fit(
      self.parts,
      trainer,
      start,
      split,
      state.labels,
      part=stage,
      num_stages=self.num_stages,
      clock=self.clock,
      rates=rates,
      seeds=[(seed, before + epoch) for epoch in range(len(rates))],
      targets=None if proxies is None else proxies.rows,
      steps=steps,
      advice=advice,
      images_per_cluster=train.images_per_cluster,
      profiler=self._profiler,
    )
    metrics = {
      'loss': progress.epoch_loss,
      'accuracy': progress.epoch_accuracy,
      'images_per_second': progress.images_per_second,
    }
    learnt = {'params': trained.params, 'batch_stats': trained.batch_stats}
    if trained.teacher:
      return trained.teacher, learnt, metrics
    return learnt, None, metrics
