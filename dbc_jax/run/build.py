"""What is checked and chosen before any work starts; called by the driver."""

import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from dbc_jax import data as data_lib
from dbc_jax import evaluation, models
from dbc_jax.run import checkpoint
from dbc_jax.run import config as config_lib
from dbc_jax.run import merger as merger_lib
from dbc_jax.training import step as step_lib

# In a workdir.
CHECKPOINTS, WARMUP = 'checkpoints', 'checkpoints/warmup'


def choose_engine(
  config: ml_collections.ConfigDict,
  encoder: models.Encoder,
  merger: merger_lib.Merger,
  num_samples: int,
) -> None:
  """Logs the engine of the first merges; raises now if none can be had."""
  size = tuple(config.data.image_size)
  embeddings, features = jax.eval_shape(
    lambda: encoder.apply(
      encoder.init(jax.random.key(0), jnp.zeros((1, *size, 3))),
      jnp.zeros((1, *size, 3)),
    )
  )
  chosen = features
  if config.cluster.features == 'embedding':
    chosen = embeddings
  merger.choose_engine((num_samples, chosen.shape[1]), num_samples)


def check_workdir(
  workdir: pathlib.Path, config: ml_collections.ConfigDict
) -> None:
  """A workdir without a complete stage may be used by any config."""
  if workdir.exists() and not workdir.is_dir():
    raise ValueError(f'workdir: {workdir} is a file; choose another --workdir')
  folders = [workdir / CHECKPOINTS, workdir / WARMUP]
  if any(_has_stage(folder) for folder in folders):
    config_lib.check_workdir(workdir, config)


def given_weights(
  config: ml_collections.ConfigDict,
  encoder: models.Encoder,
  workdir: pathlib.Path,
) -> dict[str, Any] | None:
  """The network of the file that `train.init` names.

  None if it names none, or if stage 0 is done and the file is needed no more.
  """
  if config.train.init in config_lib.INITS or _has_stage(workdir / CHECKPOINTS):
    return None
  random = step_lib.init_variables(
    encoder, jax.random.key(config.seed), tuple(config.data.image_size)
  )
  try:
    return models.load_pretrained(config.train.init, random)
  except ValueError as error:
    raise ValueError(f'train.init: {error}') from error


def _has_stage(folder: pathlib.Path) -> bool:
  if not folder.exists():
    return False
  return checkpoint.CheckpointStore(folder).latest_stage() is not None


def check_matches(truth: data_lib.GroundTruth, camera_rule: bool) -> None:
  """Raises now, and not after stage 0, if no query can have a match."""
  try:
    evaluation.rank_features(
      np.ones((len(truth.query_pids), 1)),
      np.ones((len(truth.gallery_pids), 1)),
      truth.query_pids,
      truth.gallery_pids,
      truth.query_camids,
      truth.gallery_camids,
      camera_rule=camera_rule,
    )
  except ValueError as error:
    how = ' (--config.camera_rule=False)' if 'camera_rule' in str(error) else ''
    raise ValueError(f'{error}{how}') from error
