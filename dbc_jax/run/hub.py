"""A network as a folder of its own: its settings and weights, without a run."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import safetensors.numpy

from dbc_jax.models import weight_files
from dbc_jax.reporting import write_atomically
from dbc_jax.run import build, selection
from dbc_jax.run import config as config_lib
from dbc_jax.run import workdir as workdir_lib
from dbc_jax.run.config import Config
from dbc_jax.training import camera_statistics

CONFIG, WEIGHTS = workdir_lib.CONFIG, 'model.safetensors'
# What of a config features depend on. No field of it names a place.
_DATA_FIELDS = (
  'stored_size',
  'image_size',
  'max_frames',
  'camera_statistics',
  'use_cameras',
)


def write(
  folder: Path,
  config: Config,
  stage: selection.Stage,
  variables: Mapping[str, Any],
  metadata: Mapping[str, str],
) -> None:
  """Writes settings and weights, each whole or not at all.

  Names of arrays are the paths in `variables`, 'params/backbone/stem_conv/
  kernel', so that any network has them.

  Args:
    folder: that is there.
    config: of the run.
    stage: whose network it is.
    variables: 'params' and 'batch_stats' and, where the run used cameras,
      their statistics.
    metadata: that is written into the file of weights.
  """
  settings = {
    'stage': stage,
    'extract_batch_size': config.extract_batch_size,
    'data': {field: config.data[field] for field in _DATA_FIELDS},
    'model': config.model.to_dict(),
  }
  if camera_statistics.KEY not in variables:
    settings['data']['camera_statistics'] = False
  arrays = {
    name: np.asarray(value, order='C')
    for name, value in weight_files.flatten(dict(variables)).items()
  }
  partial = folder / f'{WEIGHTS}.tmp'
  safetensors.numpy.save_file(arrays, partial, dict(metadata))
  partial.replace(folder / WEIGHTS)
  write_atomically(folder / CONFIG, json.dumps(settings, indent=2) + '\n')


def is_folder(folder: Path) -> bool:
  """Whether `write` wrote a folder, and no run did."""
  return (folder / WEIGHTS).is_file() and not workdir_lib.has_run(folder)


def read(
  folder: Path,
) -> tuple[build.Parts, selection.Stage, dict[str, Any]]:
  """What `write` wrote: (parts, stage, variables).

  Raises:
    ValueError: no such folder, or one whose files do not fit together; names
      the first ten that do not.
  """
  config = _read_config(folder)
  parts = build.Parts(config)
  found = weight_files.read(weight_files.locate(folder / WEIGHTS))
  try:
    shapes = parts.variable_shapes
  except TypeError as error:  # A field of the model.
    raise ValueError(
      f'{folder / CONFIG}: is of a newer dbc_jax ({error}); update this one'
    ) from error
  cameras = found.get(f'{camera_statistics.KEY}/camids')
  if cameras is not None:
    shapes = camera_statistics.shapes_of(shapes, len(cameras))
  expected = weight_files.flatten(shapes)
  differing = [
    name
    for name in sorted(expected.keys() | found.keys())
    if _described(expected.get(name)) != _described(found.get(name))
  ]
  if differing:
    listed = '; '.join(
      f'{name} is {_described(found.get(name))}, expected '
      f'{_described(expected.get(name))}'
      for name in differing[:10]
    )
    raise ValueError(
      f'{folder / WEIGHTS}: is not of the network in {CONFIG}: {listed}; '
      'export it again'
    )
  leaves = [found[name] for name in expected]
  variables = jax.tree.unflatten(jax.tree.structure(shapes), leaves)
  return parts, config.stage, variables


def _read_config(folder: Path) -> Config:
  path = folder / CONFIG
  if not path.is_file():
    raise ValueError(
      f'{folder}: has no {CONFIG}; expected a folder of dbc export --format=hub'
    )
  try:
    saved = json.loads(path.read_text())
  except ValueError as error:
    raise ValueError(f'{path}: expected JSON, {error}') from error
  known = config_lib.flat(saved) if isinstance(saved, dict) else {}
  wanted = ['stage', 'extract_batch_size', 'model.name']
  wanted += [f'data.{field}' for field in _DATA_FIELDS]
  lacking = [name for name in wanted if name not in known]
  if lacking:
    raise ValueError(
      f'{path}: lacks {", ".join(lacking)}; expected what dbc export '
      '--format=hub writes'
    )
  return config_lib.with_added_fields(saved)


def _described(array: Any) -> str:
  return 'absent' if array is None else f'{array.dtype}{list(array.shape)}'
