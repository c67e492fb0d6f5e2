"""Features and embeddings of a whole split."""

import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar, cast

import jax
import numpy as np

from dbc_jax.data import augment as augment_lib
from dbc_jax.data.split import Split
from dbc_jax.devices import mesh
from dbc_jax.models import Encoder
from dbc_jax.training import camera_statistics

Item = TypeVar('Item')
Extractor = Callable[[dict[str, Any], Split], tuple[np.ndarray, np.ndarray]]


def one_ahead(items: Iterable[Item]) -> Iterator[Item]:
  """The items, each once the next has been made.

  What a device computes is dispatched when an item is made, so it goes on
  while the host takes the item before.
  """
  passing = iter(items)
  for before in passing:
    for item in passing:
      yield before
      before = item
    yield before


def make_extractor(
  encoder: Encoder,
  *,
  image_size: tuple[int, int],
  batch_size: int,
  max_frames: int,
) -> Extractor:
  """Compiles the eval-mode network over all local devices.

  Args:
    encoder: the network.
    image_size: (height, width) the images are resized to.
    batch_size: images a call, rounded up to a multiple of the devices. The
      last is padded to it, so that there is one compilation a run.
    max_frames: of a tracklet, spread evenly over it.

  Returns:
    `extract(variables, split)`: (features [N, D], embeddings [N, E]), float32
    NumPy in the order of the split. Those of a tracklet come from the mean of
    its frames' pooled outputs (DBC IV-B).
  """
  count = len(mesh.devices())
  batch_size = -(-batch_size // count) * count

  def pool(variables: dict[str, Any], images: jax.Array) -> jax.Array:
    images = augment_lib.resize(images, image_size)
    return cast(jax.Array, encoder.apply(variables, images, method='pool'))

  mapped_pool = mesh.parallel_map(pool, is_network=True)
  mapped_finish = mesh.parallel_map(
    functools.partial(encoder.apply, method='finish')
  )

  def pooled_outputs(variables: dict[str, Any], split: Split) -> np.ndarray:
    outputs = np.zeros((0, 0), np.float32)
    passing = (
      (owners, weights, mapped_pool(variables, images))
      for owners, weights, images in split.frame_batches(batch_size, max_frames)
    )
    for owners, weights, pooled in one_ahead(passing):
      rows = mesh.unshard(pooled)[: len(owners)]
      if not len(outputs):
        outputs = np.zeros((len(split), rows.shape[1]), np.float32)
      samples, first = np.unique(owners, return_index=True)
      outputs[samples] += np.add.reduceat(rows * weights[:, None], first)
    return outputs

  def extract(
    variables: dict[str, Any], split: Split
  ) -> tuple[np.ndarray, np.ndarray]:
    variables = mesh.replicate(camera_statistics.network_of(variables))
    pooled = pooled_outputs(variables, split)
    features, embeddings = [], []
    for start in range(0, len(pooled), batch_size):
      chunk = pooled[start : start + batch_size]
      padded = np.pad(chunk, ((0, batch_size - len(chunk)), (0, 0)))
      rows = mesh.unshard(mapped_finish(variables, mesh.shard(padded)))
      embeddings.append(rows[0][: len(chunk)])
      features.append(rows[1][: len(chunk)])
    return np.concatenate(features), np.concatenate(embeddings)

  return extract
