"""From a config to parts: the only place where one becomes the other."""

import contextlib
import dataclasses
import functools
import logging
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dbc_jax import data as data_lib
from dbc_jax import models
from dbc_jax.data import pipeline
from dbc_jax.data.augment import augment, augment_strongly
from dbc_jax.data.split import Split
from dbc_jax.data.views import two_views
from dbc_jax.devices import mesh
from dbc_jax.run import config as config_lib
from dbc_jax.run import rules
from dbc_jax.run import workdir as workdir_lib
from dbc_jax.run.config import Config
from dbc_jax.run.merger import Merger
from dbc_jax.training import camera_statistics, embed, optim, step
from dbc_jax.training.fit import Trainer
from dbc_jax.training.objectives import Objective, create_objective

log = logging.getLogger('dbc_jax')

# docs/from_scratch.md has what these were chosen by.
_STRONG = {
  'crop_area': (0.4, 1.0),
  'crop_aspect': (0.75, 1.33),
  'jitter': 0.4,
  'hue': 0.05,
  'grey': 0.1,
}


def with_network(config: Config, workdir: Path) -> Config:
  """A config with the network of its weights, where it leaves model.name ''.

  A run with a checkpoint has the name in its config.json, and needs the file
  no more.

  Raises:
    ValueError: there is no such file, or it holds none of our networks.
  """
  if config.model.name:
    return config
  named, train = config.copy_and_resolve_references(), config.train
  if workdir_lib.has_run(workdir):
    with contextlib.suppress(ValueError):  # It is told later.
      saved = workdir_lib.read_config(workdir)
      fields = ('init', 'continue_from')
      if all(saved.get('train', {}).get(x) == train[x] for x in fields):
        named.model.name = saved.model.name
        return named
  if train.continue_from:
    other = Path(train.continue_from).expanduser()
    named.model.name = workdir_lib.read_config(other).model.name
    return named
  init = train.init
  if init in config_lib.INITS:
    raise ValueError(
      "model.name: got '', which stands for the network of a file of weights, "
      f'and train.init={init!r} names none; give one of them'
    )
  try:
    named.model.name = models.network_of(init)
  except ValueError as error:
    raise ValueError(f'train.init: {error}') from error
  log.info('model.name: %s, by the arrays of %s', named.model.name, init)
  return named


def with_cameras(config: Config, truth: data_lib.GroundTruth) -> Config:
  """A config whose `data.use_cameras` says whether cameras are used.

  'auto' becomes True where the data set has them. Where it has none, nothing
  else of the config asks for them. Where they are used, merging centres them.
  Centring by itself, as in configs that leave the field at False, is a use of
  them, too.

  Raises:
    ValueError: they are asked for, and the data set has none.
  """
  wanted, there = config.data.use_cameras, truth.train_camids is not None
  centring = config.cluster.camera_centring
  if not there and wanted != 'auto' and (centring or wanted == 'True'):
    field = 'cluster.camera_centring' if centring else 'data.use_cameras'
    raise ValueError(
      f'{field}: got True, but {config.data.name} has no cameras of the '
      'training images; set it to False'
    )
  used = there if wanted == 'auto' else wanted == 'True' or centring
  if config.data.camera_statistics and not used:
    log.info('data.camera_statistics: without effect, as no cameras are used')
  if (wanted, centring) == (str(used), used):
    return config
  resolved = config.copy_and_resolve_references()
  resolved.data.use_cameras = str(used)
  resolved.cluster.camera_centring = used
  if wanted == 'auto':
    log.info(
      'data.use_cameras: %s, as %s has %s',
      used,
      config.data.name,
      'cameras' if there else 'none',
    )
  return resolved


class Parts:
  """What a config describes; each part is made when it is first asked for.

  Attributes:
    config: of the run.
    image_size: (height, width) that the network sees.
    encoder: the network, whose axis is `mesh.AXIS_NAME`.
    merger: merges clusters.
    trainer: of the stages.
    warmup: of the label-free warm-up.
    extract: features and embeddings of a split.
  """

  def __init__(self, config: Config):
    """Makes nothing yet, and checks nothing."""
    self.config = config
    self.image_size: tuple[int, int] = tuple(config.data.image_size)

  @functools.cached_property
  def encoder(self) -> models.Encoder:
    return models.create_encoder(**self.config.model, axis_name=mesh.AXIS_NAME)

  @property
  def _family(self) -> ModuleType:
    return models.find_family(self.config.model.name)[0]

  @functools.cached_property
  def merger(self) -> Merger:
    return Merger(self.config.cluster)

  @functools.cached_property
  def extract(self) -> embed.Extractor:
    return embed.make_extractor(
      self.encoder,
      image_size=self.image_size,
      batch_size=self.config.extract_batch_size,
      max_frames=self.config.data.max_frames,
    )

  @functools.cached_property
  def _crops(self) -> dict[str, Any]:
    data = self.config.data
    return {key: tuple(data[key]) for key in ('crop_area', 'crop_aspect')}

  @property
  def _extras(self) -> dict[str, Any]:
    data = self.config.data
    return {key: data[key] for key in ('crop_padding', 'erasing')}

  @property
  def _strong(self) -> step.Augment:
    return functools.partial(augment_strongly, size=self.image_size, **_STRONG)

  @functools.cached_property
  def trainer(self) -> Trainer:
    fields = self.config.memory
    try:
      objective = create_objective(
        self.config.train.objective,
        temperature=fields.temperature,
        momentum=fields.momentum,
        init=fields.init,
        update_by=fields.update_by,
      )
    except ValueError as error:
      raise ValueError(f'train.{error}') from error
    return self._trainer(
      objective,
      self._strong
      if self.config.data.views == 'strong'
      else functools.partial(
        augment, size=self.image_size, **self._crops, **self._extras
      ),
      backbone_multiplier=self.config.train.backbone_multiplier,
      frozen=self._family.frozen(self.config.model.frozen_stages),
      name=self.config.train.optimizer,
      teacher_momentum=self.config.train.teacher_momentum,
    )

  @functools.cached_property
  def _estimate_cameras(self) -> camera_statistics.Estimator:
    return camera_statistics.make_estimator(
      self.encoder,
      image_size=self.image_size,
      batch_size=self.config.extract_batch_size,
    )

  @property
  def uses_statistics(self) -> bool:
    """Whether features are normalised by the statistics of their camera."""
    data = self.config.data
    return data.camera_statistics and data.use_cameras == 'True'

  def embed(
    self, variables: dict[str, Any], split: Split, camids: np.ndarray | None
  ) -> tuple[np.ndarray, np.ndarray]:
    """As `extract`, by the statistics of cameras if the variables have any."""
    if camids is None or camera_statistics.KEY not in variables:
      return self.extract(variables, split)
    return camera_statistics.extract_by_camera(
      self.extract, variables, split, camids
    )

  def with_statistics(
    self, variables: dict[str, Any], split: Split, camids: np.ndarray | None
  ) -> dict[str, Any]:
    """The variables, with the statistics of cameras if they are used."""
    if not self.uses_statistics:
      return variables
    assert camids is not None
    return self._estimate_cameras(variables, split, camids)

  @property
  def uses_proxies(self) -> bool:
    """Whether training tells the parts of a cluster by their camera."""
    takes_them = hasattr(self.trainer.step.objective, 'start_proxies')
    return takes_them and self.config.data.use_cameras == 'True'

  @functools.cached_property
  def warmup(self) -> Trainer:
    # Backbone and head learn at the same rate: nothing is pre-trained yet.
    return self._trainer(
      create_objective('contrastive'),
      self._strong,
      backbone_multiplier=1.0,
    )

  def _trainer(
    self,
    objective: Objective,
    seen: step.Augment,
    teacher_momentum: float = 0.0,
    **rates: Any,
  ) -> Trainer:
    train = self.config.train
    optimizer = optim.create_optimizer(
      momentum=train.momentum, weight_decay=train.weight_decay, **rates
    )
    return Trainer(
      step.Step(self.encoder, optimizer, objective, seen, teacher_momentum)
    )

  def init_variables(self) -> dict[str, Any]:
    """The network at random, from the config's seed."""
    return step.init_variables(
      self.encoder, jax.random.key(self.config.seed), self.image_size
    )

  @functools.cached_property
  def variable_shapes(self) -> dict[str, Any]:
    """The network without its numbers."""
    images = jnp.zeros((1, *self.image_size, 3))
    return jax.eval_shape(lambda: self.encoder.init(jax.random.key(0), images))

  def saved_shapes(
    self, labels: np.ndarray, num_cameras: int, *, is_warm: bool = False
  ) -> dict[str, Any]:
    """What a checkpoint holds, with some labels [N] and without its numbers."""
    shapes = self.variable_shapes
    has_student = self.config.train.teacher_momentum and not is_warm
    student = shapes if has_student else None
    if self.uses_statistics:
      shapes = camera_statistics.shapes_of(shapes, num_cameras)
    return workdir_lib.arrays_of(shapes, labels, labels, student)

  def given_weights(self, workdir: Path) -> dict[str, Any] | None:
    """The network of the file that `train.init` names.

    None if it names none, if the run goes on from another, or if stage 0 is
    done and the file is needed no more.
    """
    init = self.config.train.init
    done = workdir_lib.has_stage(workdir / workdir_lib.CHECKPOINTS)
    other = self.config.train.continue_from
    if init in config_lib.INITS or other or done:
      return None
    try:
      return models.load_pretrained(
        init, self.init_variables(), torch_name=self._family.torch_name
      )
    except ValueError as error:
      raise ValueError(f'train.init: {error}') from error

  def views(self, split: Split) -> Split:
    """Two views of some samples, as training sees them; always the same."""
    return two_views(split, **self._crops)

  def log_engine(self, num_samples: int) -> None:
    """Logs the engine of the first merges; raises now if none can be had."""
    images = jnp.zeros((1, *self.image_size, 3))
    embeddings, features = jax.eval_shape(
      self.encoder.apply, self.variable_shapes, images
    )
    width = self.merger.chosen(features, embeddings).shape[1]
    self.merger.engine((num_samples, width), num_samples)

  def epochs(self, stage: int) -> int:
    """How many a stage has."""
    train = self.config.train
    if self._is_of_single_samples(stage):
      return train.stage0_epochs
    return 1 if train.stage_steps else train.stage_epochs

  def stage_rates(
    self, stage: int, num_stages: int
  ) -> list[tuple[float, float]]:
    """Of each epoch of a stage, the rate of its first step and at its end."""
    train = self.config.train
    alone = self._is_of_single_samples(stage)
    epochs = self.epochs(stage)
    if train.run_decay and not alone:
      later = [
        self.epochs(each)
        for each in range(num_stages)
        if not self._is_of_single_samples(each)
      ]
      passed = sum(later[: stage - (num_stages - len(later))])
      rate = train.later_learning_rate * (
        train.batch_size / train.reference_batch_size
      )
      rates = optim.cosine_rates(rate, sum(later))
      return rates[passed : passed + epochs]
    return [
      optim.learning_rates(
        0 if alone else 1,
        epoch,
        initial=train.learning_rate,
        dropped=train.dropped_learning_rate,
        drop_epoch=train.drop_epoch,
        later=train.later_learning_rate,
        scale=train.batch_size / train.reference_batch_size,
        warmup_epochs=train.rate_warmup_epochs,
        later_decay_epochs=epochs if train.later_decay else 0,
      )
      for epoch in range(epochs)
    ]

  def steps(self, stage: int, num_samples: int) -> int:
    """How many an epoch of a stage has."""
    train = self.config.train
    if train.stage_steps and not self._is_of_single_samples(stage):
      return train.stage_steps
    return num_samples // train.batch_size

  def _is_of_single_samples(self, stage: int) -> bool:
    return stage == 0 and self.config.train.stage0_epochs > 0

  def warmup_rates(self) -> list[tuple[float, float]]:
    """As `stage_rates`: a cosine that falls to zero."""
    train = self.config.train
    scale = train.batch_size / train.reference_batch_size
    return optim.cosine_rates(scale * train.learning_rate, train.warmup_epochs)


def load_data(
  config: Config,
  dataset: data_lib.Dataset,
  truth: data_lib.GroundTruth,
  **options: Any,
) -> pipeline.LoadedDataset:
  """The splits of a data set, decoded as a config asks, with its rules."""
  data = pipeline.load_splits(
    dataset,
    truth,
    size=tuple(config.data.stored_size),
    seed=config.seed,
    memory_budget_gb=config.data.memory_budget_gb,
    skip_unreadable=config.data.skip_unreadable,
    camera_rule=config.camera_rule,
    leave_one_out=config.leave_one_out,
    **options,
  )
  return dataclasses.replace(data, ruled=rules.pairs(config, data.truth))
