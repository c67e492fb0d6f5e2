"""Files of TensorBoard's projector: features, names, and pictures of them."""

import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from dbc_jax.reporting.metrics import write_atomically

CONFIG = 'projector_config.pbtxt'
_TENSORS, _METADATA, _SPRITE = 'features.tsv', 'metadata.tsv', 'sprite.png'
# TensorBoard's limit, and the side of a picture where there are few.
_MOST_PIXELS, _SIDE = 8192, 64


def write_projector(
  folder: Path,
  features: np.ndarray,
  names: Sequence[str],
  columns: Mapping[str, np.ndarray],
  picture: Callable[[int], np.ndarray] | None,
) -> None:
  """Writes what `tensorboard --logdir=FOLDER` shows under Projector.

  Args:
    folder: made where it is missing.
    features: [N, D] floating point.
    names: N paths.
    columns: from a heading to a value [N] of each image.
    picture: from i to image i, [H, W, 3] uint8; it becomes a tile of the
      sprite, as large as N leaves room for. None: no pictures.
  """
  folder.mkdir(exist_ok=True)
  count, width = features.shape
  partial = folder / f'{_TENSORS}.tmp'
  digits = '%.5g' if features.dtype == np.float16 else '%.7g'
  np.savetxt(partial, features, fmt=digits, delimiter='\t')
  os.replace(partial, folder / _TENSORS)
  lines = [' '.join(name.split()) for name in names]
  if columns:
    # TensorBoard takes the first line for a head where there are two columns.
    lines = [
      '\t'.join(map(str, row))
      for row in zip(
        ['path', *lines],
        *([key, *values.tolist()] for key, values in columns.items()),
        strict=True,
      )
    ]
  write_atomically(folder / _METADATA, ''.join(f'{x}\n' for x in lines))
  lines = [
    "  tensor_name: 'features'",
    f"  tensor_path: '{_TENSORS}'",
    f'  tensor_shape: {count}',
    f'  tensor_shape: {width}',
    f"  metadata_path: '{_METADATA}'",
  ]
  num_columns = math.ceil(math.sqrt(count))
  side = min(_SIDE, _MOST_PIXELS // num_columns)
  if picture is not None and side:
    partial = folder / f'{_SPRITE}.tmp'
    _sprite(picture, count, num_columns, side).save(partial, 'PNG')
    os.replace(partial, folder / _SPRITE)
    lines += [
      f"  sprite {{ image_path: '{_SPRITE}'",
      f'    single_image_dim: {side} single_image_dim: {side} }}',
    ]
  text = '\n'.join(['embeddings {', *lines, '}', ''])
  write_atomically(folder / CONFIG, text)


def _sprite(
  picture: Callable[[int], np.ndarray], count: int, num_columns: int, side: int
) -> Image.Image:
  """All pictures row by row, each whole in a square."""
  rows = math.ceil(count / num_columns)
  sprite = Image.new('RGB', (num_columns * side, rows * side))
  for i in range(count):
    tile = ImageOps.pad(Image.fromarray(picture(i)), (side, side))
    sprite.paste(tile, (i % num_columns * side, i // num_columns * side))
  return sprite
