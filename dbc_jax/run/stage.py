"""What one stage does: train, extract, evaluate, merge; called by the driver.

Functions of a RunState. Training is given pixels and cluster labels, never
names, cameras or identities.
"""

import functools
import logging
import pathlib
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from dbc_jax import memory, models, reporting
from dbc_jax.data.pipeline import LoadedDataset
from dbc_jax.data.split import Split
from dbc_jax.data.views import two_views
from dbc_jax.reporting import profiling
from dbc_jax.run import merger as merger_lib
from dbc_jax.run import record as record_lib
from dbc_jax.run import selection
from dbc_jax.training import embed, fit, optim
from dbc_jax.training import step as step_lib
from dbc_jax.training.objectives import contrastive

log = logging.getLogger('dbc_jax')


class RunState(NamedTuple):
  """What the driver threads from one stage to the next.

  Attributes:
    variables: 'params' and 'batch_stats' of the network.
    labels: [N] int32, the clusters the coming stage trains on.
    embeddings: [N, E] float32, eval-mode, of `variables`.
    history: one record a stage, as written to metrics.jsonl.
  """

  variables: dict[str, Any]
  labels: np.ndarray
  embeddings: np.ndarray
  history: list[dict[str, Any]]


class StageRunner:
  """The compiled parts of a run and the methods of a stage."""

  def __init__(
    self,
    config: ml_collections.ConfigDict,
    encoder: models.Encoder,
    merger: merger_lib.Merger,
    num_merges: int,
    num_stages: int,
    profile_dir: pathlib.Path | None = None,
  ):
    """Compiles nothing yet.

    Args:
      config: of the run.
      encoder: the network, with `parallel.AXIS_NAME`.
      merger: merges after each stage but the last.
      num_merges: how many at a time.
      num_stages: in the whole run.
      profile_dir: for a trace of some training steps, or None.
    """
    self._config = config
    self._encoder = encoder
    self.merger = merger
    self._num_merges = num_merges
    self._num_stages = num_stages
    self._two_views: Split | None = None
    self._profiler = profiling.Profiler(profile_dir)
    self._image_size = tuple(config.data.image_size)
    self._optimizer = optim.create_optimizer(
      momentum=config.train.momentum,
      weight_decay=config.train.weight_decay,
      backbone_multiplier=config.train.backbone_multiplier,
      frozen=models.frozen_prefixes(config.model.frozen_stages),
    )
    fields = {
      'encoder': encoder,
      'optimizer': self._optimizer,
      'image_size': self._image_size,
      'crop_area': tuple(config.data.crop_area),
      'crop_aspect': tuple(config.data.crop_aspect),
      'temperature': config.memory.temperature,
      'memory_momentum': config.memory.momentum,
    }
    self._step_fn = step_lib.make_train_step(**fields)
    self._epoch_fn = fit.make_epoch(**fields)
    self.extract = embed.make_extractor(
      encoder,
      image_size=self._image_size,
      batch_size=config.extract_batch_size,
      max_frames=config.data.max_frames,
    )

  def init_variables(self) -> dict[str, Any]:
    """The network at random, from the config's seed."""
    return step_lib.init_variables(
      self._encoder, jax.random.key(self._config.seed), self._image_size
    )

  def warm_up(self, split: Split) -> dict[str, Any]:
    """The random network after a warm-up on a split's images alone."""
    train = self._config.train
    scale = train.batch_size / train.reference_batch_size
    return contrastive.warm_up(
      self._encoder,
      self.init_variables(),
      split,
      epochs=train.warmup_epochs,
      batch_size=train.batch_size,
      learning_rate=scale * train.learning_rate,
      momentum=train.momentum,
      weight_decay=train.weight_decay,
      image_size=self._image_size,
      num_frames=self._config.data.num_frames,
      seed=self._config.seed,
    )

  def first_state(
    self, split: Split, variables: dict[str, Any] | None = None
  ) -> RunState:
    """Every sample a cluster of its own; the network random unless given."""
    variables = variables or self.init_variables()
    labels = np.arange(len(split), dtype=np.int32)
    return RunState(variables, labels, self.extract(variables, split)[1], [])

  def run(self, stage: int, state: RunState, data: LoadedDataset) -> RunState:
    """Trains, extracts, evaluates and, unless it is the last, merges.

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
    clock = time.perf_counter()
    # Scores of earlier stages are no business of training.
    blind = state._replace(history=[])
    variables, metrics = self._train(stage, num_clusters, blind, data.train)
    record |= metrics
    seconds = {'train': time.perf_counter() - clock}

    clock = time.perf_counter()
    features, embeddings = self.extract(variables, data.train)
    seconds['embed'] = time.perf_counter() - clock

    clock = time.perf_counter()
    scores = record_lib.evaluate(
      self.extract, variables, state.labels, data, self._config.camera_rule
    )
    record |= scores
    if scores:
      seconds['evaluate'] = time.perf_counter() - clock
    clock = time.perf_counter()
    views = np.split(self.extract(variables, self._views(data.train))[0], 2)
    record |= selection.measure(features, state.labels, views)
    seconds['measure'] = time.perf_counter() - clock

    next_labels = state.labels
    if stage + 1 < self._num_stages:
      clock = time.perf_counter()
      camids = None
      if self._config.cluster.camera_centring:
        camids = data.truth.train_camids
      next_labels, merge_scores = self.merger(
        features, embeddings, state.labels, self._num_merges, camids
      )
      record |= selection.measure_merges(
        state.history, state.labels, next_labels, merge_scores
      )
      seconds['cluster'] = time.perf_counter() - clock
    record |= {f'seconds_{part}': value for part, value in seconds.items()}
    return RunState(
      variables, next_labels, embeddings, [*state.history, record]
    )

  def _views(self, split: Split) -> Split:
    """Of some training images, the same in all stages and all runs."""
    if self._two_views is None:
      self._two_views = two_views(
        split,
        crop_area=self._config.data.crop_area,
        crop_aspect=self._config.data.crop_aspect,
      )
    return self._two_views

  def memory_rows(self, state: RunState) -> jax.Array:
    """The memory [capacity, E] that a stage starts with."""
    capacity, dimension = state.embeddings.shape
    if self._config.memory.init == 'zeros':
      return jnp.zeros((capacity, dimension))
    num_clusters = int(state.labels.max()) + 1
    return memory.init_memory(
      state.embeddings, state.labels, num_clusters, capacity
    )

  def _train(
    self, stage: int, num_clusters: int, state: RunState, split: Split
  ) -> tuple[dict[str, Any], dict[str, float]]:
    """Trains one stage; returns the variables and the last epoch's metrics."""
    train, seed = self._config.train, self._config.seed
    epochs = train.stage_epochs if stage else train.stage0_epochs
    epochs_before = 0
    if stage:
      epochs_before = train.stage0_epochs + (stage - 1) * train.stage_epochs
    steps = len(split) // train.batch_size
    images_a_step = train.batch_size
    if split.is_video:
      images_a_step *= self._config.data.num_frames
    train_state = step_lib.create_train_state(
      state.variables,
      self._optimizer,
      self.memory_rows(state),
      num_clusters,
      step=epochs_before * steps,
      rng=jax.random.key(seed),
    )
    with reporting.StageProgress(
      stage, self._num_stages, epochs, steps, images_a_step
    ) as progress:
      for epoch in range(epochs):
        rates = optim.learning_rates(
          stage,
          epoch,
          initial=train.learning_rate,
          dropped=train.dropped_learning_rate,
          drop_epoch=train.drop_epoch,
          later=train.later_learning_rate,
          scale=train.batch_size / train.reference_batch_size,
          warmup_epochs=train.rate_warmup_epochs,
          later_decay_epochs=epochs if train.later_decay else 0,
        )
        try:
          train_state = fit.train_epoch(
            self._step_fn,
            # A trace of a whole epoch would be too long to look at.
            None if self._profiler.wanted else self._epoch_fn,
            train_state,
            split,
            state.labels,
            rates=rates,
            batch_size=train.batch_size,
            num_frames=self._config.data.num_frames,
            seed=(seed, epochs_before + epoch),
            on_step=self._profiler.watch(
              functools.partial(progress.update, epoch)
            ),
          )
          self._profiler.finish()
        except FloatingPointError as error:
          raise FloatingPointError(
            f'stage {stage}, epoch {epoch}, {error}. {_advice(stage)}'
          ) from error
        if not progress.enabled:
          log.info(progress.describe())
      metrics = {
        'loss': progress.epoch_loss,
        'accuracy': progress.epoch_accuracy,
        'images_per_second': progress.images_per_second,
      }
    variables = {
      'params': train_state.params,
      'batch_stats': train_state.batch_stats,
    }
    return variables, metrics


def _advice(stage: int) -> str:
  if stage == 0:
    return 'Nothing is saved yet. Lower train.learning_rate'
  return (
    f'The checkpoint of stage {stage - 1} is kept. Lower '
    'train.later_learning_rate, in another --workdir'
  )
