"""A folder for the Hugging Face hub: weights, settings, a card."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dbc_jax.data.augment import MEAN, STD
from dbc_jax.export.network import Network, network_of_run, variables_of_run
from dbc_jax.export.packages import require
from dbc_jax.export.safetensors_file import (
  beyond_torchvision,
  write_safetensors,
)
from dbc_jax.models.backbones import resnet
from dbc_jax.reporting import write_atomically
from dbc_jax.reporting.model_card import format_card
from dbc_jax.run import hub
from dbc_jax.run.restore import RestoredRun
from dbc_jax.training import camera_statistics

CARD = 'README.md'
# Those of roboflow's reid, which knows ResNet-50 alone.
REID_CONFIG, REID_WEIGHTS = 'reid_config.json', 'weights.safetensors'
_FILES = (CARD, hub.CONFIG, hub.WEIGHTS, REID_CONFIG, REID_WEIGHTS)

_HOW = """\
```python
from dbc_jax import FeatureExtractor

extract = FeatureExtractor.from_pretrained('{folder}')  # this folder
features = extract(paths)  # [N, D] float32, rows of unit length
```"""
_CAMERAS = """
`extract(paths, cameras)` normalises each image by the statistics of its camera.
The training cameras were {camids}."""
_REID = """
`ReIDModel.from_pretrained('{folder}')` of the package reid loads it, too, from
`{weights}` and `{config}`. Its features are not of unit length."""
_THRESHOLDS = """
Two images that are nearer than this show one person, by the clusters of
training and at a rate of false matches:

| false matches | Euclidean distance | cosine distance |
|---|---|---|"""


def write_hub_folder(
  folder: Path,
  run: RestoredRun,
  history: Sequence[Mapping[str, Any]],
  *,
  chosen: str,
  camera: int | None,
  thresholds: Mapping[str, float],
  metadata: Mapping[str, str],
) -> list[str]:
  """Writes a folder that `FeatureExtractor.from_pretrained` reads.

  Args:
    folder: made where it is missing; other files in it stay.
    run: of `restore_run`.
    history: its records.
    chosen: how the stage was, in words.
    camera: whose statistics are the only ones; None keeps all.
    thresholds: Euclidean distances by false-match rates.
    metadata: that is written into the weights.

  Returns:
    The names of the files.

  Raises:
    ValueError: a camera that the run has not.
  """
  config, variables = run.parts.config, variables_of_run(run, camera)
  folder.mkdir(exist_ok=True)
  hub.write(folder, config, run.stage, variables, metadata)
  how = [_HOW.format(folder=folder.name)]
  if camera_statistics.KEY in variables:
    camids = variables[camera_statistics.KEY]['camids'].tolist()
    how.append(_CAMERAS.format(camids=', '.join(map(str, camids))))
  for_reid = _is_for_reid(run)
  if not for_reid:  # Of an earlier export, perhaps.
    for name in (REID_CONFIG, REID_WEIGHTS):
      (folder / name).unlink(missing_ok=True)
  else:
    _write_for_reid(folder, network_of_run(run, camera), metadata)
    how.append(
      _REID.format(folder=folder.name, weights=REID_WEIGHTS, config=REID_CONFIG)
    )
  if thresholds:
    how.append(_THRESHOLDS)
    how += [
      f'| {rate} | {distance:.3f} | {distance**2 / 2:.3f} |'
      for rate, distance in thresholds.items()
    ]
  card = format_card(
    f'A re-identification network: {config.model.name}',
    config.to_dict(),
    history,
    run.stage,
    num_images=len(run.labels),
    about_data='They are not part of this folder.',
    how='\n'.join(how),
    chosen=chosen,
  )
  write_atomically(folder / CARD, card)
  return [name for name in _FILES if (folder / name).exists()]


def push(folder: Path, repository: str) -> str:
  """Uploads what `write_hub_folder` wrote; a new repository is private.

  Args:
    folder: of `write_hub_folder`.
    repository: 'USER/NAME'.

  Returns:
    Where it is.

  Raises:
    ValueError: huggingface_hub is not installed, or the hub refuses.
  """
  package = require('huggingface_hub')
  try:
    package.create_repo(repository, private=True, exist_ok=True)
    package.upload_folder(
      repo_id=repository, folder_path=folder, allow_patterns=list(_FILES)
    )
  # Its own errors and those of an HTTP library that changes.
  except Exception as error:
    first = ' '.join(str(error).split()).split('. ')[0]
    raise ValueError(
      f'--push: {repository}: {type(error).__name__}: {first}; {folder} is '
      'whole, push it by: hf upload'
    ) from error
  return f'https://huggingface.co/{repository}'


def _is_for_reid(run: RestoredRun) -> bool:
  """Whether it is the ResNet-50 that reid builds; its last stride is 2."""
  name = run.parts.config.model.name
  if name not in resnet.RESNETS:
    return False
  network = network_of_run(run)
  same = network.spec == resnet.RESNETS['resnet50']
  return same and network.last_stride == 2 and not beyond_torchvision(network)


def _write_for_reid(
  folder: Path, network: Network, metadata: Mapping[str, str]
) -> None:
  write_safetensors(folder / REID_WEIGHTS, network, metadata=metadata)
  settings = {
    'architecture': 'timm:resnet50',
    'preprocessing': {
      'input_size': list(network.image_size),
      'mean': list(MEAN),
      'std': list(STD),
      'interpolation': 'bilinear',
    },
  }
  write_atomically(folder / REID_CONFIG, json.dumps(settings, indent=2) + '\n')
