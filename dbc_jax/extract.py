"""Features and embeddings of a whole split; called by the driver."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from dbc_jax import parallel
from dbc_jax.data import transforms
from dbc_jax.models import Encoder

Extractor = Callable[
  [dict[str, Any], np.ndarray], tuple[np.ndarray, np.ndarray]
]


def make_extractor(
  encoder: Encoder, *, image_size: tuple[int, int], batch_size: int
) -> Extractor:
  """Compiles the eval-mode network over all local devices.

  Args:
    encoder: the network.
    image_size: (height, width) the images are resized to.
    batch_size: rows a call, rounded up to a multiple of the devices. Smaller
      splits are padded to it, so that there is one compilation a run.

  Returns:
    `extract(variables, images)`: images uint8 [N, H, W, 3] to (features
    [N, D], embeddings [N, E]), float32 NumPy in the order of the images.
  """
  count = len(parallel.devices())
  batch_size = -(-batch_size // count) * count

  def apply(
    variables: dict[str, Any], images: jax.Array
  ) -> tuple[jax.Array, jax.Array]:
    images = transforms.resize(images, image_size)
    embeddings, features = encoder.apply(variables, images, train=False)
    return features, embeddings

  mapped = parallel.parallel_map(apply)

  def extract(
    variables: dict[str, Any], images: np.ndarray
  ) -> tuple[np.ndarray, np.ndarray]:
    variables = parallel.replicate(variables)
    features, embeddings = [], []
    for start in range(0, len(images), batch_size):
      chunk = images[start : start + batch_size]
      padding = batch_size - len(chunk)
      padded = np.pad(chunk, ((0, padding), (0, 0), (0, 0), (0, 0)))
      rows = mapped(variables, padded)
      features.append(rows[0][: len(chunk)])
      embeddings.append(rows[1][: len(chunk)])
    return np.concatenate(features), np.concatenate(embeddings)

  return extract
