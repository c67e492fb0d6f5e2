"""Frames kept on the devices, or decoded anew; both give the same bits."""

import os
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import jax
import numpy as np

from dbc_jax.devices import mesh

# Frames decoded ahead of the batch that is asked for.
_READ_AHEAD = 256
# Batches on their way to the devices.
_BATCHES_AHEAD = 2


class Frames(Protocol):
  """The frames of a split, all of one size."""

  def read(self, frame: int, /) -> np.ndarray:
    """One frame, uint8 [H, W, 3], on the host."""
    ...

  def on_devices(self) -> jax.Array | None:
    """All frames [F, H, W, 3] on every device, if they are kept there."""
    ...

  def batches(self, index: np.ndarray) -> Iterator[jax.Array]:
    """Batch after batch, on the devices.

    Args:
      index: [S, B] or [S, B, T] int, frames of S batches.

    Yields:
      S times uint8 [n, B/n, H, W, 3] or [n, B/n, T, H, W, 3], as
      `mesh.shard` would place it: of several processes, each reads and
      holds only its own rows.
    """
    ...


class ResidentFrames:
  """All frames in the memory of every device; a batch is gathered there."""

  def __init__(self, images: np.ndarray):
    """Takes uint8 [F, H, W, 3], which must not be changed afterwards."""
    self._on_host = mesh.host_is_device()
    self._images: Any = images
    if not self._on_host:
      self._images = mesh.replicate(images)
      self._gather = mesh.parallel_map(lambda images, rows: images[rows])

  def read(self, frame: int) -> np.ndarray:
    return np.asarray(self._images[frame])

  def on_devices(self) -> jax.Array | None:
    return None if self._on_host else self._images

  def batches(self, index: np.ndarray) -> Iterator[jax.Array]:
    for rows in index:
      if self._on_host:
        yield mesh.shard_own(self._images[mesh.own_rows(rows)])
      else:
        yield self._gather(self._images, mesh.shard(rows))


class StreamedFrames:
  """Frames that are decoded on threads, some batches ahead of training."""

  def __init__(self, read: Callable[[int], np.ndarray]):
    """Takes a function from the number of a frame to uint8 [H, W, 3]."""
    self.read = read

  def on_devices(self) -> None:
    return None

  def batches(self, index: np.ndarray) -> Iterator[jax.Array]:
    import grain  # Takes most of a second; resident frames need none.

    index = mesh.own_rows(index, axis=1)
    order = index.reshape(-1)
    decoded = (
      grain.MapDataset.range(len(order))
      .map(lambda k: self.read(int(order[k])))
      .batch(int(np.prod(index.shape[1:])))
      .to_iter_dataset(
        grain.ReadOptions(
          num_threads=2 * (os.cpu_count() or 1),
          prefetch_buffer_size=_READ_AHEAD,
        )
      )
    )
    on_the_way: list[jax.Array] = []
    for images in decoded:
      images = images.reshape((*index.shape[1:], *images.shape[1:]))
      on_the_way.append(mesh.shard_own(images))
      if len(on_the_way) > _BATCHES_AHEAD:
        yield on_the_way.pop(0)
    yield from on_the_way
