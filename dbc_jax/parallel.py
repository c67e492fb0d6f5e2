"""Local devices: the only file that knows pmap.

State stays unstacked: it goes in and comes out once, not once per device, and
every returned value of it must have been averaged or gathered over the axis.
"""

import functools
import os
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

AXIS_NAME = 'devices'


def devices() -> list[jax.Device]:
  """Devices that a batch is split over: all local ones."""
  return jax.local_devices()


def device_memory() -> int | None:
  """Bytes that the first device has in all; None where that is not known."""
  stats = devices()[0].memory_stats()
  if stats:
    return stats['bytes_limit']
  try:
    return os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')
  except (AttributeError, OSError, ValueError):  # Not on every system.
    return None


def check_batch_size(batch_size: int) -> None:
  """Raises ValueError unless the batch can be split over the devices."""
  count = len(devices())
  if batch_size < 1 or batch_size % count:
    raise ValueError(
      f'train.batch_size: got {batch_size}, expected a positive multiple of '
      f'the {count} local devices; choose another batch size, or '
      'fewer devices (CUDA_VISIBLE_DEVICES)'
    )


def replicate(tree: Any) -> Any:
  """Places a tree where a compiled step puts what it returns: on every device.

  A state that comes from elsewhere would compile the same step once more.
  """
  mesh = jax.sharding.Mesh(devices(), (AXIS_NAME,))
  everywhere = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
  return jax.device_put(tree, everywhere)


def parallel_update(
  step: Callable[..., tuple[Any, Any]],
) -> Callable[..., tuple[Any, Any]]:
  """Compiles `step(state, batch) -> (state, metrics)` for all local devices.

  Args:
    step: the step of one device; sees the axis `AXIS_NAME`. What it returns
      must be equal on all devices.

  Returns:
    The same signature; `batch` is a tree of [B, ...] arrays, which is split.
  """
  mapped = jax.pmap(
    step,
    axis_name=AXIS_NAME,
    in_axes=(None, 0),
    out_axes=(None, None),
    devices=devices(),
  )
  return lambda state, batch: mapped(state, _split(batch))


def parallel_map(
  function: Callable[..., Any],
) -> Callable[..., Any]:
  """Compiles `function(state, batch) -> outputs`, rows in and rows out.

  Args:
    function: maps [B/n, ...] to a tree of [B/n, ...] on each device.

  Returns:
    The same signature on whole batches [B, ...]; outputs are NumPy.
  """
  mapped = jax.pmap(
    function,
    axis_name=AXIS_NAME,
    in_axes=(None, 0),
    out_axes=0,
    devices=devices(),
  )

  def call(state: Any, batch: Any) -> Any:
    outputs = jax.device_get(mapped(state, _split(batch)))
    return jax.tree.map(lambda x: x.reshape((-1, *x.shape[2:])), outputs)

  return call


def map_blocks(
  function: Callable[..., jax.Array],
  shared: Any,
  items: Any,
  **options: Any,
) -> Iterator[Any]:
  """Applies `function(shared, item, **options)` to items, one on each device.

  Args:
    function: a module-level function; compiled once for its shapes and options.
    shared: what every item needs; copied to all devices once.
    items: tree of arrays [G, ...]; item g is row g of each.
    options: static.

  Yields:
    The G results in order, on the first device, with a leading axis of 1.
  """
  local = tuple(devices())
  mapped = _mapped(function, tuple(sorted(options.items())), local)
  shared = replicate(shared)
  count = len(jax.tree.leaves(items)[0])
  for start in range(0, count, len(local)):
    # The last round repeats an item rather than compile for fewer devices.
    chosen = np.minimum(np.arange(start, start + len(local)), count - 1)
    results = mapped(shared, jax.tree.map(lambda x: x[chosen], items))  # noqa: B023
    jax.block_until_ready(results)
    for k in range(min(len(local), count - start)):
      yield jax.tree.map(
        lambda x: jax.device_put(x.addressable_shards[k].data, local[0]),  # noqa: B023
        results,
      )


@functools.cache
def _mapped(
  function: Callable[..., jax.Array],
  options: tuple[tuple[str, Any], ...],
  local: tuple[jax.Device, ...],
) -> Callable[..., Any]:
  return jax.pmap(
    functools.partial(function, **dict(options)),
    axis_name=AXIS_NAME,
    in_axes=(None, 0),
    out_axes=0,
    devices=local,
  )


def _split(batch: Any) -> Any:
  count = len(devices())
  return jax.tree.map(
    lambda x: np.reshape(x, (count, x.shape[0] // count, *x.shape[1:])), batch
  )
