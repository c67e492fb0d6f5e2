"""The only stateful loop: train, extract, evaluate, merge, relabel, save.

Called by main. Everything it calls is a function of what it passes; training
is given pixels and cluster labels, never names, cameras or identities.
"""

import functools
import logging
import pathlib
import time
from typing import Any, NamedTuple

import jax
import ml_collections
import numpy as np

from dbc_jax import (
  checkpoint,
  cluster,
  evaluation,
  extract,
  memory,
  models,
  optim,
  parallel,
  reporting,
  settings,
)
from dbc_jax import data as data_lib
from dbc_jax import train as train_lib
from dbc_jax.data import pipeline

log = logging.getLogger('dbc_jax')


class RunState(NamedTuple):
  """What the loop threads from one stage to the next.

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


def run(config: ml_collections.ConfigDict, workdir: pathlib.Path) -> None:
  """Runs or resumes the whole job of a config.

  Args:
    config: as in configs/.
    workdir: where everything is written. A run that was interrupted goes on
      after its last complete stage; a finished one prints its summary.

  Raises:
    ValueError: a config value, the data or the workdir is not as expected;
      raised before any work starts.
    FloatingPointError: the loss became NaN or infinite.
  """
  settings.check_config(config)
  parallel.check_batch_size(config.train.batch_size)
  criterion = make_criterion(config.cluster)
  encoder = models.create_encoder(**config.model, axis_name=parallel.AXIS_NAME)
  dataset, truth = load_data(config.data)
  num_merges, num_stages = settings.num_merges_and_stages(
    len(dataset.train), config.cluster.merge_percent
  )
  if config.train.batch_size > len(dataset.train):
    raise ValueError(
      f'train.batch_size: got {config.train.batch_size}, more than the '
      f'{len(dataset.train)} training images'
    )
  job = Job(config, workdir, encoder, criterion, num_merges, num_stages)
  job.load(dataset, truth)
  settings.claim_workdir(workdir, config)
  job.run()


def make_criterion(fields: ml_collections.ConfigDict) -> cluster.Criterion:
  """The merging criterion that a config's `cluster` fields describe."""
  return cluster.Criterion(
    fields.criterion,
    fields.reg_weight,
    intra=fields.intra,
    update=fields.intra_update,
    ssd=fields.ssd,
    merge=fields.merge,
    squared=fields.squared,
  )


def load_data(
  fields: ml_collections.ConfigDict,
) -> tuple[data_lib.Dataset, data_lib.GroundTruth]:
  """The data set that a config's `data` fields describe."""
  options = {}
  if fields.num_identities:
    options['num_identities'] = fields.num_identities
  return data_lib.load_dataset(fields.name, fields.root or None, **options)


class Job:
  """One run: its fixed parts, and the methods that advance a RunState."""

  def __init__(
    self,
    config: ml_collections.ConfigDict,
    workdir: pathlib.Path,
    encoder: models.Encoder,
    criterion: cluster.Criterion,
    num_merges: int,
    num_stages: int,
  ):
    self.config = config
    self.workdir = workdir
    self.encoder = encoder
    self.criterion = criterion
    self.num_merges = num_merges
    self.num_stages = num_stages
    train = config.train
    self.image_size = tuple(config.data.image_size)
    self.optimizer = optim.create_optimizer(
      momentum=train.momentum,
      weight_decay=train.weight_decay,
      backbone_multiplier=train.backbone_multiplier,
    )
    self.step_fn = train_lib.make_train_step(
      encoder=encoder,
      optimizer=self.optimizer,
      image_size=self.image_size,
      temperature=config.memory.temperature,
      memory_momentum=config.memory.momentum,
    )
    self.extract = extract.make_extractor(
      encoder,
      image_size=self.image_size,
      batch_size=config.extract_batch_size,
    )

  def load(
    self, dataset: data_lib.Dataset, truth: data_lib.GroundTruth
  ) -> None:
    """Decodes all images and puts the training set in its hashed order."""
    size = tuple(self.config.data.stored_size)
    images = data_lib.load_images(dataset.train, size)
    order, self.fingerprint = pipeline.content_order(images, self.config.seed)
    self.images = images[order]
    self.names = [dataset.train.names[i] for i in order]
    self.truth = truth
    self.train_pids = _take(truth.train_pids, order)
    self.train_camids = _take(truth.train_camids, order)
    if truth.can_evaluate:
      self.query = data_lib.load_images(dataset.query, size)
      self.gallery = data_lib.load_images(dataset.gallery, size)

  def run(self) -> None:
    """All stages that are still to be done, then the outputs."""
    self._announce()
    self.store = checkpoint.CheckpointStore(self.workdir / 'checkpoints')
    done = self.store.latest_stage()
    state = self._first_state() if done is None else self._restore(done)
    first = 0 if done is None else done + 1
    events = reporting.EventWriter(self.workdir, done)
    for stage in range(first, self.num_stages):
      state = self._run_stage(stage, state)
      reporting.write_metrics(self.workdir, state.history)
      events.write_stage(state.history[-1])
      log.info(reporting.format_record(state.history[-1]))
    events.close()
    self._finish(state.history, was_finished=first == self.num_stages)

  def _announce(self) -> None:
    config = self.config
    devices = jax.local_devices()
    log.info(
      '%s on %s: %d training images, %d stages of %d merges, %s on %d %s '
      'device(s), workdir %s',
      config.cluster.criterion,
      config.data.name,
      len(self.images),
      self.num_stages,
      self.num_merges,
      config.model.name,
      len(devices),
      devices[0].device_kind,
      self.workdir,
    )
    if not self.truth.can_evaluate:
      log.info(
        'the data set has no identities: training and clustering only, '
        'nothing is evaluated and the last stage is the result'
      )

  def _first_state(self) -> RunState:
    variables = train_lib.init_variables(
      self.encoder, jax.random.key(self.config.seed), self.image_size
    )
    _, embeddings = self.extract(variables, self.images)
    labels = np.arange(len(self.images), dtype=np.int32)
    return RunState(variables, labels, embeddings, [])

  def _restore(self, stage: int) -> RunState:
    record = self.store.read_record(stage)
    if record['fingerprint'] != self.fingerprint:
      raise ValueError(
        f'workdir: {self.workdir} holds a run on other training images; '
        'choose another --workdir, or bring the images back as they were'
      )
    state = self._first_state()
    arrays = self.store.restore(
      stage, _arrays(state.variables, state.labels, state.labels)
    )
    log.info('resuming after stage %d of %d', stage, self.num_stages - 1)
    variables = {k: arrays[k] for k in ('params', 'batch_stats')}
    _, embeddings = self.extract(variables, self.images)
    return RunState(
      variables, arrays['next_labels'], embeddings, record['history']
    )

  def _run_stage(self, stage: int, state: RunState) -> RunState:
    num_clusters = len(self.images) - stage * self.num_merges
    record: dict[str, Any] = {'stage': stage, 'num_clusters': num_clusters}
    start = time.perf_counter()
    variables, record['loss'] = self._train(stage, num_clusters, state)
    trained = time.perf_counter()
    features, embeddings = self.extract(variables, self.images)
    record['seconds_train'] = trained - start
    record['seconds_embed'] = time.perf_counter() - trained

    start = time.perf_counter()
    record |= self._evaluate(variables, state.labels)
    record['seconds_evaluate'] = time.perf_counter() - start

    next_labels = state.labels
    if stage + 1 < self.num_stages:
      start = time.perf_counter()
      chosen = features
      if self.config.cluster.features == 'embedding':
        chosen = embeddings
      next_labels = cluster.merge_clusters(
        chosen, state.labels, self.num_merges, self.criterion
      ).labels
      record['seconds_cluster'] = time.perf_counter() - start
    history = [*state.history, record]
    self.store.save(
      stage,
      _arrays(variables, state.labels, next_labels),
      {'history': history, 'fingerprint': self.fingerprint},
    )
    self.store.keep_only({stage, kept_stage(history)[0]})
    return RunState(variables, next_labels, embeddings, history)

  def _train(
    self, stage: int, num_clusters: int, state: RunState
  ) -> tuple[dict[str, Any], float]:
    """Trains one stage; returns the variables and the last epoch's loss."""
    train = self.config.train
    epochs = train.stage_epochs if stage else train.stage0_epochs
    epochs_before = train.stage0_epochs + (stage - 1) * train.stage_epochs
    epochs_before = epochs_before if stage else 0
    steps = len(self.images) // train.batch_size
    rows = memory.init_memory(
      state.embeddings, state.labels, num_clusters, len(self.images)
    )
    if self.config.memory.init == 'zeros':
      rows = jax.numpy.zeros_like(rows)
    train_state = train_lib.create_train_state(
      state.variables,
      self.optimizer,
      rows,
      num_clusters,
      step=epochs_before * steps,
      rng=jax.random.key(self.config.seed),
    )
    with reporting.StageProgress(
      stage, self.num_stages, epochs, steps, train.batch_size
    ) as progress:
      for epoch in range(epochs):
        rate = optim.learning_rate(
          stage,
          epoch,
          initial=train.learning_rate,
          dropped=train.dropped_learning_rate,
          drop_epoch=train.drop_epoch,
          later=train.later_learning_rate,
        )
        try:
          train_state = train_lib.train_epoch(
            self.step_fn,
            train_state,
            self.images,
            state.labels,
            learning_rate=rate,
            batch_size=train.batch_size,
            seed=(self.config.seed, epochs_before + epoch),
            on_step=functools.partial(progress.update, epoch),
          )
        except FloatingPointError as error:
          raise FloatingPointError(
            f'stage {stage}, epoch {epoch}, {error}. The checkpoint of the '
            'last complete stage is kept; lower train.learning_rate or '
            'train.later_learning_rate'
          ) from error
      mean_loss = progress.epoch_loss
    variables = {
      'params': train_state.params,
      'batch_stats': train_state.batch_stats,
    }
    return variables, mean_loss

  def _evaluate(
    self, variables: dict[str, Any], labels: np.ndarray
  ) -> dict[str, float]:
    scores: dict[str, float] = {}
    truth = self.truth
    if truth.can_evaluate:
      scores |= evaluation.rank_features(
        self.extract(variables, self.query)[0],
        self.extract(variables, self.gallery)[0],
        truth.query_pids,
        truth.gallery_pids,
        truth.query_camids,
        truth.gallery_camids,
      )
    if self.train_pids is not None:
      scores |= evaluation.clustering_scores(labels, self.train_pids)
    return scores

  def _finish(
    self, history: list[dict[str, Any]], *, was_finished: bool
  ) -> None:
    """Writes what people look at, from the kept stage's clusters."""
    kept, reason = kept_stage(history)
    variables = train_lib.init_variables(
      self.encoder, jax.random.key(0), self.image_size
    )
    blank = np.zeros(len(self.images), np.int32)
    labels = self.store.restore(kept, _arrays(variables, blank, blank))[
      'labels'
    ]
    reporting.write_metrics(self.workdir, history)
    reporting.write_clusters(
      self.workdir / 'clusters.csv',
      self.names,
      labels,
      pids=self.train_pids,
      camids=self.train_camids,
    )
    reporting.write_report(
      self.workdir / 'report.html',
      history,
      kept,
      reason,
      self.config.to_dict(),
      self.names,
      labels,
      self.images,
      pids=self.train_pids,
    )
    if was_finished:
      log.info('this run is finished already; its summary:')
    print(reporting.format_summary(history, kept, reason, self.workdir))


def kept_stage(history: list[dict[str, Any]]) -> tuple[int, str]:
  """The stage whose model and clusters are the result so far, and why."""
  evaluated = [r for r in history if 'map' in r]
  if not evaluated:
    return history[-1]['stage'], 'last stage'
  best = max(evaluated, key=lambda r: r['map'])
  return best['stage'], 'best mAP on the test identities'


def _arrays(
  variables: dict[str, Any], labels: np.ndarray, next_labels: np.ndarray
) -> dict[str, Any]:
  """What a checkpoint holds: the model, its labels, and those that follow."""
  return {
    'params': variables['params'],
    'batch_stats': variables['batch_stats'],
    'labels': labels,
    'next_labels': next_labels,
  }


def _take(values: np.ndarray | None, order: np.ndarray) -> np.ndarray | None:
  return None if values is None else values[order]
