"""StableHLO by jax.export: one file for JAX on CPU, GPU and TPU, or XLA."""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.export
import numpy as np

from dbc_jax import values
from dbc_jax.data.augment import resize
from dbc_jax.export.packages import require
from dbc_jax.models import layers
from dbc_jax.reporting import write_atomically
from dbc_jax.run import build

_PLATFORMS = ('cpu', 'cuda', 'tpu')
_SHAPE = 'batch, height, width, 3'


def write_stablehlo(
  path: Path,
  parts: build.Parts,
  variables: Mapping[str, Any],
  *,
  metadata: Mapping[str, str],
) -> list[str]:
  """Writes the network, its weights inside, and a JSON beside it.

  Images uint8 [batch, height, width, 3], RGB, of any size go in. They are
  resized as by `data.augment.resize`; features [batch, D] float32 of unit
  length come out. The operations are the plain ones, whatever the backend
  here.

  Args:
    path: ends in .stablehlo; PATH.json gets the metadata and jax's version.
    parts: of the run.
    variables: of `variables_of_run`.
    metadata: for the file beside.

  Returns:
    Lines that say what it is and how to load it.

  Raises:
    ValueError: flatbuffers, which jax writes such files by, is not installed.
  """
  path = values.path(path, 'path')
  require('flatbuffers')
  network = {key: variables[key] for key in ('params', 'batch_stats')}

  def features(images: jax.Array) -> Any:
    return parts.encoder.apply(network, resize(images, parts.image_size))[1]

  shape = jax.export.symbolic_shape(_SHAPE)
  with layers.plain_forms():
    exported = jax.export.export(jax.jit(features), platforms=_PLATFORMS)(
      jax.ShapeDtypeStruct(shape, np.uint8)
    )
  facts = {'jax': jax.__version__, 'input': 'raw', **metadata}
  write_atomically(_beside(path), json.dumps(facts, indent=2) + '\n')
  partial = path.with_name(f'{path.name}.tmp')
  partial.write_bytes(exported.serialize())
  os.replace(partial, path)
  return [
    f'for {", ".join(_PLATFORMS)}: uint8 [{_SHAPE}], RGB, of any size; '
    f'{_beside(path).name} beside it',
    f'of jax {jax.__version__}, for this version or a later one:',
    f"jax.export.deserialize(open('{path}', 'rb').read()).call(images)",
  ]


def read_stablehlo(path: Path) -> Callable[[Any], jax.Array]:
  """The function in a file: images uint8 [B, H, W, 3] to features [B, D].

  Raises:
    ValueError: no such file, a damaged one, or one of a jax that this one does
      not read.
  """
  path = values.path(path, 'path')
  require('flatbuffers')
  if not path.is_file():
    raise ValueError(f'{path} does not exist')
  try:
    exported = jax.export.deserialize(bytearray(path.read_bytes()))
    features = jax.jit(exported.call)
    # What this jax does not know shows when it is lowered.
    features.lower(jax.ShapeDtypeStruct((1, 8, 8, 3), np.uint8))
    return features
  # Damaged bytes end in whatever error the reader happens to meet.
  except Exception as error:
    raise ValueError(
      f'{path}: cannot be read by jax {jax.__version__}{_written_by(path)}; a '
      'file of a newer jax takes that one, a damaged file has to be exported '
      'again'
    ) from error


def _written_by(path: Path) -> str:
  try:
    return (
      f', and was written by jax {json.loads(_beside(path).read_text())["jax"]}'
    )
  except (OSError, ValueError, KeyError, TypeError):
    return ''


def _beside(path: Path) -> Path:
  return path.with_name(f'{path.name}.json')
