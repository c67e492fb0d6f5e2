"""Devices of all processes: the only file that knows pmap.

State stays unstacked: it goes in and comes out once, not once per device, and
every returned value of it must have been averaged or gathered over the axis.
Each process holds a copy of the state and its own rows of a batch.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from dbc_jax.devices import limits, processes

AXIS_NAME = 'devices'
Device = Any  # A `jax.Device`, which is no type to a type checker.
_pmap = functools.partial(jax.pmap, axis_name=AXIS_NAME)
# What XLA leaves to its library YNN on a CPU, where it is the faster one
# (docs/performance.md): in training sums alone, in a forward pass nothing.
# Products and convolutions then run on Eigen.
_LIBRARY = 'xla_cpu_experimental_ynn_fusion_type'
_IN_TRAINING = 'LIBRARY_FUSION_TYPE_REDUCE'
_IN_A_FORWARD_PASS = ''


def devices() -> list[Device]:
  """Devices that a batch is split over, process after process."""
  return [
    device
    for process in range(processes.count())
    for device in jax.local_devices(process)
  ]


def local_devices() -> list[Device]:
  """Those of them that belong to this process."""
  own = jax.process_index()
  return [device for device in devices() if device.process_index == own]


def device_memory() -> int | None:
  """Bytes that the first local device has in all; None if unknown.

  A CPU has what this process may take of the host's.
  """
  stats = local_devices()[0].memory_stats()
  if stats:
    return stats['bytes_limit']
  return limits.host_memory()


def free_memory() -> int | None:
  """Bytes that host and first local device both have free; None: unknown."""
  free = [limits.free_memory()]
  if stats := local_devices()[0].memory_stats():
    free.append(stats['bytes_limit'] - stats['bytes_in_use'])
  known = [each for each in free if each is not None]
  return min(known) if known else None


def check_batch_size(batch_size: int) -> None:
  """Raises ValueError unless the batch can be split over the devices."""
  count = len(devices())
  found = f'{count} local devices'
  if processes.count() > 1:
    found = f'{count} devices of {processes.count()} processes'
  if batch_size < 1 or batch_size % count:
    raise ValueError(
      f'train.batch_size: got {batch_size}, expected a positive multiple of '
      f'the {found}; choose another batch size, or '
      'fewer devices (CUDA_VISIBLE_DEVICES)'
    )


def replicate(tree: Any) -> Any:
  """Places a tree where a compiled step puts what it returns.

  That is on every local device; other processes do the same with theirs.

  A state that comes from elsewhere would compile the same step once more.
  """
  return jax.device_put(tree, _sharding())


def own_rows(batch: Any, axis: int = 0) -> Any:
  """This process's rows of a global batch: a tree of NumPy views.

  Args:
    batch: tree of NumPy arrays, B rows along `axis`, B a multiple of the n
      devices, of which every process has as many.
    axis: which one is split.
  """
  own = local_devices()
  count = len(devices()) // len(own)
  which = devices().index(own[0]) // len(own)
  return jax.tree.map(lambda x: np.split(x, count, axis=axis)[which], batch)


def shard_own(rows: Any, axis: int = 0) -> Any:
  """Places what `own_rows` returns, each local device with its share.

  Args:
    rows: tree of NumPy arrays [b, ...], b a multiple of the m local devices.
    axis: which one b is.

  Returns:
    Tree of [m, b/m, ...], as the functions below take it; with `axis` 1 of
    [m, A, b/m, ...]. The transfer may still go on.
  """
  count = len(local_devices())
  stacked = jax.tree.map(
    lambda x: np.stack(np.split(np.asarray(x), count, axis=axis)), rows
  )
  return jax.device_put(stacked, _sharding(AXIS_NAME))


def shard(batch: Any, axis: int = 0) -> Any:
  """Both in one: a global batch of which every process has all rows."""
  return shard_own(own_rows(batch, axis), axis)


def _sharding(*axes: str) -> jax.sharding.NamedSharding:
  mesh = jax.sharding.Mesh(local_devices(), (AXIS_NAME,))
  return jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(*axes))


def host_is_device() -> bool:
  """Whether arrays of the devices lie in the host's memory."""
  return local_devices()[0].platform == 'cpu'


def for_small_steps(tree: Any) -> Any:
  """Arrays where a long loop of small steps is fast: a GPU's go to the host.

  A GPU starts every operation of every step anew, which costs more than the
  operation. A TPU does not, and a CPU is where they are. They stay where they
  are, too, if JAX was told to leave out the CPU (JAX_PLATFORMS=cuda).
  """
  if local_devices()[0].platform != 'gpu':
    return tree
  try:
    host = jax.local_devices(backend='cpu')[0]
  except RuntimeError:
    return tree
  return jax.device_put(tree, host)


def parallel_update(
  step: Callable[..., tuple[Any, Any]],
) -> Callable[..., tuple[Any, Any]]:
  """Compiles `step(state, batch) -> (state, metrics)` for all devices.

  Args:
    step: the step of one device; sees the axis `AXIS_NAME`. What it returns
      must be equal on all devices.

  Returns:
    The same signature; `batch` is what `shard` returns.
  """
  mapped = _pmap(
    step, in_axes=(None, 0), out_axes=(None, None), devices=devices()
  )
  # A pmap over several processes is none that jit could take in.
  if processes.count() > 1:
    return mapped
  return _with_library(mapped, _IN_TRAINING)


def parallel_epoch(
  epoch: Callable[..., tuple[Any, Any]],
) -> Callable[..., tuple[Any, Any]]:
  """Compiles `epoch(state, data, index) -> (state, metrics)` for all devices.

  Args:
    epoch: of one device, as the step of `parallel_update`; the state's buffers
      are taken over.

  Returns:
    The same signature; `data` is the same on all devices, `index` is what
    `shard` returns.
  """
  return _pmap(
    epoch,
    in_axes=(None, None, 0),
    out_axes=(None, None),
    donate_argnums=0,
    devices=devices(),
  )


def parallel_map(
  function: Callable[..., Any],
  chosen: Sequence[Device] | None = None,
  *,
  is_network: bool = False,
) -> Callable[..., Any]:
  """Compiles `function(state, batch) -> outputs`, rows in and rows out.

  Args:
    function: maps [B/n, ...] to a tree of [B/n, ...] on each device.
    chosen: the devices. Those of this process if left out: the function then
      sees a part of them alone along the axis `AXIS_NAME`.
    is_network: most of its work are convolutions.

  Returns:
    The same signature, from what `shard` returns to the like; `unshard` brings
    it to the host.
  """
  chosen = chosen or local_devices()
  mapped = _pmap(function, in_axes=(None, 0), out_axes=0, devices=chosen)
  if not is_network or len(chosen) > len(local_devices()):
    return mapped
  return _with_library(mapped, _IN_A_FORWARD_PASS)


@functools.cache
def _knows_library() -> bool:
  """Whether this XLA has the option, which is experimental."""
  try:
    jax.jit(lambda: 0, compiler_options={_LIBRARY: ''}).lower().compile()
  except jax.errors.JaxRuntimeError:
    return False
  return True


def _with_library(mapped: Callable[..., Any], parts: str) -> Callable[..., Any]:
  """The same call, compiled with what a CPU is fast with."""
  if not host_is_device() or not _knows_library():
    return mapped

  def on_devices(*arguments: Any) -> Any:
    return mapped(*arguments)

  return jax.jit(on_devices, compiler_options={_LIBRARY: parts})


def unshard(outputs: Any) -> Any:
  """What `parallel_map` returns as NumPy arrays [B, ...], in every process."""
  return jax.tree.map(
    lambda x: x.reshape((-1, *x.shape[2:])), processes.gather(outputs)
  )
