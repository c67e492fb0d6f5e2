"""What one stage does: train, extract, evaluate, merge.

Functions of a RunState. Training is given pixels and cluster labels, never
names, cameras or identities.
"""

import functools
import logging
import time
from collections.abc import Callable
from concurrent import futures
from typing import Any

import numpy as np

from dbc_jax import reporting
from dbc_jax.cluster.proxies import split_clusters
from dbc_jax.data.pipeline import LoadedDataset
from dbc_jax.data.split import Split
from dbc_jax.devices import mesh, processes
from dbc_jax.run import record as record_lib
from dbc_jax.run import rules, selection
from dbc_jax.run.fitting import Fitter, RunState, learnt
from dbc_jax.run.within import Moment

log = logging.getLogger('dbc_jax')


class StageRunner(Fitter):
  """The stages of a run: what trains them, and all that follows."""

  _views: Split | None = None
  _of_two: np.ndarray | None = None

  @property
  def _before(self) -> int:
    """How many clusterings come before stage 0."""
    return 0 if self._config.train.stage0_epochs else 1

  def first_state(
    self, split: Split, variables: dict[str, Any] | None = None
  ) -> RunState:
    """Every sample a cluster of its own; the network random unless given."""
    variables = variables or self.parts.init_variables()
    labels = np.arange(len(split), dtype=np.int32)
    with reporting.busy('embedding'):
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
      with reporting.busy('embedding'):
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
    record |= self._measure(variables, features, labels, data)
    return state._replace(features=features, history=[record])

  def _evaluate(
    self, variables: dict[str, Any], labels: np.ndarray, data: LoadedDataset
  ) -> dict[str, Any]:
    """By identities, as far as there are any."""
    embed, config = self.parts.embed, self._config
    with reporting.busy('scores'):
      return record_lib.evaluate(
        embed, variables, labels, data, config.camera_rule, config.leave_one_out
      )

  def _measure(
    self,
    variables: dict[str, Any],
    features: np.ndarray,
    labels: np.ndarray,
    data: LoadedDataset,
  ) -> dict[str, float]:
    """By features and clusters, and by pairs that are surely of two persons."""
    # Of some training images, the same in all stages and all runs.
    self._views = self._views or self.parts.views(data.train)
    with reporting.busy('indices of the clusters'):
      views = np.split(self.parts.extract(variables, self._views)[0], 2)
      measures = record_lib.measure(features, labels, (views[0], views[1]))
    if self._config.cluster.cut == 'papers':
      del measures['placed']  # All of them, always.
    if self._of_two is None:
      self._of_two = rules.of_two(self._config, data.truth)
    of_two = rules.unlike(features, self._of_two)
    if len(of_two):
      measures |= record_lib.measure_pairs(labels, of_two)
    return measures

  def heed(self, state: RunState, data: LoadedDataset) -> RunState:
    """The state whose labels agree with the links that there are now.

    A stage that was interrupted goes on with those that it began with.
    """
    if state.begun is not None or data.links is None:
      return state
    labels = self.parts.merger.heed(state.features, state.labels, data.links())
    if (labels != state.labels).any():
      log.info(
        'corrections and rules: there are %d clusters with them, and %d '
        'without',
        labels.max() + 1,
        state.labels.max() + 1,
      )
    return state._replace(labels=labels)

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
    links = data.links() if data.links else None
    with reporting.busy('clustering') as progress:
      return self.parts.merger(
        features, embeddings, labels, number, count, camids, links, progress
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
      FloatingPointError: the loss, or the features, became NaN or infinite;
        names the step, and what to change.
    """
    num_clusters = int(state.labels.max()) + 1
    record: dict[str, Any] = {'stage': stage, 'num_clusters': num_clusters}
    asked = self._config.cluster.num_clusters
    if asked == num_clusters and stage == self.num_stages - 1:
      record['asked_clusters'] = asked
    if (links := data.links and data.links()) and links.told:
      record['corrections'] = links.told
    # Scores of earlier stages are no business of training.
    blind = state._replace(history=[])
    proxies = None
    if self.parts.uses_proxies:
      assert data.truth.train_camids is not None
      proxies = split_clusters(state.labels, data.truth.train_camids)
    moment = None
    for moment in self._train(stage, blind, data.train, proxies):
      self._offer(stage, moment, state)
    assert moment is not None
    variables, student = learnt(moment.state)
    losses, accuracies, steps = moment.sums
    record |= {'loss': losses / steps, 'accuracy': accuracies / steps}
    record['images_per_second'] = moment.images_per_second
    seconds = {'train': moment.seconds}

    clock = time.perf_counter()
    camids = data.truth.train_camids
    with reporting.busy('embedding'):
      variables = self.parts.with_statistics(variables, data.train, camids)
      features, embeddings = self.parts.embed(variables, data.train, camids)
    if not np.isfinite(features).all():  # Its last loss was that of a step ago.
      raise FloatingPointError(
        f'stage {stage}: the features are not finite. {self.advice(stage)}'
      )
    seconds['embed'] = time.perf_counter() - clock
    self._offer(stage, moment, state)

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
      measures = self._measure(variables, features, state.labels, data)
      seconds['measure'] = time.perf_counter() - clock
      self._offer(stage, moment, state)

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

  def _offer(self, stage: int, moment: Moment, state: RunState) -> None:
    """Lets it be saved where training stands, and the run be interrupted."""
    if self.within:
      self.within.offer(stage, moment, state.labels, state.history)
