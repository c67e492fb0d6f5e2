"""Small data sets on disk and a small config, for tests of whole runs."""

import pathlib

import jax
import ml_collections
import numpy as np
import pytest
import small_networks
from PIL import Image

from dbc_jax.configs import common
from dbc_jax.devices import mesh
from dbc_jax.run import job
from dbc_jax.run import stage as stage_lib

ROOT = pathlib.Path(__file__).parents[1]
SHAPE = (24, 12)


def one_device(monkeypatch):
  """Runs are bit-identical on one device only."""
  monkeypatch.setattr(mesh, 'devices', lambda: jax.local_devices()[:1])


def make_images(count: int, num_identities: int, seed: int = 0) -> np.ndarray:
  """Noisy images [count, 24, 12, 3]; i shows identity i % num_identities."""
  rng = np.random.default_rng(seed)
  base = rng.integers(40, 216, (num_identities, 4, 2, 3))
  base = base.repeat(6, axis=1).repeat(6, axis=2)
  noise = rng.normal(0, 12, (count, *SHAPE, 3))
  images = base[np.arange(count) % num_identities] + noise
  return images.clip(0, 255).astype(np.uint8)


def write_images(root: pathlib.Path, names, images) -> pathlib.Path:
  """Writes PNGs: what is read back is what was given."""
  for name, image in zip(names, images, strict=True):
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)
  return root


def write_market(root: pathlib.Path, train_pids=None) -> pathlib.Path:
  """A tiny Market-1501: 30 training images; 4 queries, 12 in the gallery.

  The files hold PNG data under the official .jpg names, which decoders look
  through, so that no compression gets in.
  """
  if train_pids is None:
    train_pids = np.arange(30) % 6 + 1
  names, images = [], list(make_images(30, 6))
  for i, pid in enumerate(train_pids):
    names.append(f'bounding_box_train/{pid:04d}_c{i % 3 + 1}s1_{i:06d}_00.jpg')
  for i, image in enumerate(make_images(16, 4, seed=1)):
    folder = 'query' if i < 4 else 'bounding_box_test'
    name = f'{i % 4 + 101:04d}_c{i // 4 + 1}s1_{i:06d}_00.jpg'
    names.append(f'{folder}/{name}')
    images.append(image)
  for name, image in zip(names, images, strict=True):
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open('wb') as file:
      Image.fromarray(image).save(file, format='PNG')
  return root


def with_seed(
  config: ml_collections.ConfigDict, seed: int
) -> ml_collections.ConfigDict:
  """The same config with another seed."""
  config = config.copy_and_resolve_references()
  config.seed = seed
  return config


def small_config(
  dataset: str, root: pathlib.Path, criterion: str = 'dbc'
) -> ml_collections.ConfigDict:
  """Four stages of seconds: 30 images, 6 merges each."""
  config = common.base(f'{dataset},small')
  config.model.name = small_networks.NAME
  config.cluster.criterion = criterion
  config.cluster.reg_weight = 0.1
  config.cluster.merge_percent = 0.2
  config.data.root = str(root)
  config.data.stored_size = SHAPE
  config.data.image_size = SHAPE
  config.extract_batch_size = 16
  config.train.batch_size = 8
  config.train.reference_batch_size = 8
  config.train.stage0_epochs = 2
  config.train.drop_epoch = 1
  config.train.stage_epochs = 1
  return config


class KilledError(Exception):
  """As if the process had ended."""


def run_until(stage, config, workdir):
  """A run that is killed before a stage."""
  run = stage_lib.StageRunner.run

  def run_or_stop(self, number, state, data):
    if number == stage:
      raise KilledError
    return run(self, number, state, data)

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(stage_lib.StageRunner, 'run', run_or_stop)
    with pytest.raises(KilledError):
      job.run(config, workdir)
