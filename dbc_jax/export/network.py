"""What is exported: a ResNet with its pooling, as plain arrays."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from dbc_jax.models.backbones import resnet
from dbc_jax.run.restore import RestoredRun
from dbc_jax.training import camera_statistics


@dataclasses.dataclass(frozen=True)
class Network:
  """An embedding network in evaluation mode.

  Attributes:
    name: of the config.
    spec: of its backbone.
    params, stats: 'backbone' and, where there are any, 'pooling' and 'neck', as
      linen has them.
    image_size: (height, width) that it sees.
    last_stride: 1 or 2.
    pooling: 'mean' or 'gem'.
    neck: whether a BatchNorm stands behind the pooling.
    parts: stripes that are pooled by themselves.
    parts_and_global: whether the whole map follows them.
  """

  name: str
  spec: resnet.ResNetSpec
  params: Mapping[str, Any]
  stats: Mapping[str, Any]
  image_size: tuple[int, int]
  last_stride: int
  pooling: str
  neck: bool
  parts: int
  parts_and_global: bool


def network_of_run(run: RestoredRun, camera: int | None = None) -> Network:
  """The network of a run.

  Args:
    run: of `restore_run`.
    camera: whose BatchNorm statistics are taken; None for those of all.

  Raises:
    ValueError: a network that is no ResNet of this package, or a camera that
      the run has not.
  """
  model = run.parts.config.model
  if model.name not in resnet.RESNETS:
    raise ValueError(
      f'{model.name} is no ResNet of dbc_jax; it cannot be exported'
    )
  variables = variables_of_run(run, camera)
  return Network(
    name=model.name,
    spec=resnet.RESNETS[model.name],
    params=variables['params'],
    stats=variables['batch_stats'],
    image_size=run.parts.image_size,
    last_stride=model.last_stride,
    pooling=model.pooling,
    neck=model.neck,
    parts=model.parts,
    parts_and_global=model.parts_and_global,
  )


def variables_of_run(
  run: RestoredRun, camera: int | None = None
) -> dict[str, Any]:
  """The variables of a run, as NumPy.

  Args:
    run: of `restore_run`.
    camera: whose BatchNorm statistics are the only ones; None keeps all.

  Raises:
    ValueError: a camera that the run has not.
  """
  variables = jax.tree.map(np.asarray, dict(run.variables))
  if camera is None:
    return variables
  if camera_statistics.KEY not in variables:
    raise ValueError(
      f'--camera: got {camera}, but this run has no statistics of cameras; '
      'leave it out'
    )
  saved = variables[camera_statistics.KEY]
  known = saved['camids'].tolist()
  if camera not in known:
    raise ValueError(
      f'--camera: got {camera}, expected one of {", ".join(map(str, known))}'
    )
  row = known.index(camera)
  stats = jax.tree.map(lambda x: x[row], saved['batch_stats'])
  return {'params': variables['params'], 'batch_stats': stats}
