"""Images and their features for TensorBoard's projector."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from dbc_jax.reporting import projector
from dbc_jax.verbs.embedding import Embedded


def check_projector(folder: Path, *, overwrite: bool) -> None:
  """Raises ValueError unless files can be written there."""
  if (folder / projector.CONFIG).exists() and not overwrite:
    raise ValueError(
      f'--projector: {folder} has a {projector.CONFIG}; --overwrite replaces it'
    )
  if not folder.absolute().parent.is_dir():
    raise ValueError(f'--projector: there is no folder {folder.parent}')


def write_projector(folder: Path, embedded: Embedded) -> None:
  """`reporting.write_projector` of what was embedded.

  Args:
    folder: made where it is missing.
    embedded: N features; with files that show them, pictures are written.
  """
  find, clusters = embedded.picture, embedded.clusters

  def picture(i: int) -> np.ndarray:
    assert find is not None
    with Image.open(find(i)) as image:
      return np.asarray(ImageOps.exif_transpose(image).convert('RGB'))

  projector.write_projector(
    folder,
    embedded.features,
    embedded.names,
    {} if clusters is None else {'cluster': clusters},
    None if find is None else picture,
  )
