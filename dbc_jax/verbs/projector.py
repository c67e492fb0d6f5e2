"""Files of TensorBoard's projector: features, names, and pictures of them."""

import math
import os
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from dbc_jax.reporting import write_atomically
from dbc_jax.verbs.embedding import Embedded

CONFIG = 'projector_config.pbtxt'
_TENSORS, _METADATA, _SPRITE = 'features.tsv', 'metadata.tsv', 'sprite.png'
# TensorBoard's limit, and the side of a picture where there are few.
_MOST_PIXELS, _SIDE = 8192, 64


def check_projector(folder: Path, *, overwrite: bool) -> None:
  """Raises ValueError unless files can be written there."""
  if (folder / CONFIG).exists() and not overwrite:
    raise ValueError(
      f'--projector: {folder} has a {CONFIG}; --overwrite replaces it'
    )
  if not folder.absolute().parent.is_dir():
    raise ValueError(f'--projector: there is no folder {folder.parent}')


def write_projector(folder: Path, embedded: Embedded) -> None:
  """Writes what `tensorboard --logdir=FOLDER` shows under Projector.

  Args:
    folder: made where it is missing.
    embedded: N features; each picture that there is becomes a tile of the
      sprite, as large as N leaves room for.
  """
  folder.mkdir(exist_ok=True)
  count, width = embedded.features.shape
  partial = folder / f'{_TENSORS}.tmp'
  np.savetxt(partial, embedded.features, fmt='%.7g', delimiter='\t')
  os.replace(partial, folder / _TENSORS)
  names = [' '.join(name.split()) for name in embedded.names]
  if embedded.clusters is not None:
    # TensorBoard takes the first line for a head where there are two columns.
    pairs = zip(names, embedded.clusters, strict=True)
    names = ['path\tcluster', *(f'{name}\t{label}' for name, label in pairs)]
  write_atomically(folder / _METADATA, ''.join(f'{x}\n' for x in names))
  lines = [
    "  tensor_name: 'features'",
    f"  tensor_path: '{_TENSORS}'",
    f'  tensor_shape: {count}',
    f'  tensor_shape: {width}',
    f"  metadata_path: '{_METADATA}'",
  ]
  columns = math.ceil(math.sqrt(count))
  side = min(_SIDE, _MOST_PIXELS // columns)
  if embedded.picture is not None and side:
    partial = folder / f'{_SPRITE}.tmp'
    _sprite(embedded, columns, side).save(partial, 'PNG')
    os.replace(partial, folder / _SPRITE)
    lines += [
      f"  sprite {{ image_path: '{_SPRITE}'",
      f'    single_image_dim: {side} single_image_dim: {side} }}',
    ]
  text = '\n'.join(['embeddings {', *lines, '}', ''])
  write_atomically(folder / CONFIG, text)


def _sprite(embedded: Embedded, columns: int, side: int) -> Image.Image:
  """All pictures row by row, each whole in a square."""
  assert embedded.picture is not None
  count = len(embedded.features)
  rows = math.ceil(count / columns)
  sprite = Image.new('RGB', (columns * side, rows * side))
  for i in range(count):
    with Image.open(embedded.picture(i)) as image:
      upright = ImageOps.exif_transpose(image).convert('RGB')
      tile = ImageOps.pad(upright, (side, side))
    sprite.paste(tile, (i % columns * side, i // columns * side))
  return sprite
