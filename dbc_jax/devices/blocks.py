"""A pass over blocks, spread over the local devices.

Every process that calls it computes all blocks on its own devices.
"""

import functools
from collections.abc import Callable
from typing import Any, Protocol

import jax
import numpy as np

from dbc_jax.devices import mesh


class BlockPass(Protocol):
  """A computation over many blocks; hashable, as compiled code depends on it.

  What `shared`, an item, a result and the carry are is the pass's own affair.
  """

  def compute(self, shared: Any, item: Any, /) -> Any:
    """The result of one item; the expensive part, on any device."""

  def consume(self, carry: Any, shared: Any, item: Any, result: Any, /) -> Any:
    """The carry with the result of the next item, in order."""


def fold_blocks(
  block_pass: BlockPass, carry: Any, shared: Any, items: Any
) -> Any:
  """Computes all items, one on each local device, and consumes them in order.

  Args:
    block_pass: what to compute, and what to do with it.
    carry: to begin with; used up.
    shared: tree of arrays that every item needs; copied to all devices.
    items: tree of arrays [G, ...]; item g is row g of each.

  Returns:
    The last carry, on the first device. The number of devices does not change
    it: a result depends on its item alone.
  """
  local = mesh.local_devices()
  if len(local) == 1:
    return _fold(block_pass, carry, shared, items)
  compute = _compute_on(block_pass, tuple(local))
  everywhere = mesh.replicate(shared)
  count = len(jax.tree.leaves(items)[0])
  for start in range(0, count, len(local)):
    # The last round repeats an item rather than compile for fewer devices.
    chosen = np.minimum(np.arange(start, start + len(local)), count - 1)
    results = compute(everywhere, jax.tree.map(lambda x: x[chosen], items))  # noqa: B023
    for k in range(min(len(local), count - start)):
      item = jax.tree.map(lambda x: x[start + k], items)  # noqa: B023
      result = jax.tree.map(
        lambda x: jax.device_put(x.addressable_shards[k].data, local[0]),  # noqa: B023
        results,
      )
      carry = _consume(block_pass, carry, shared, item, result)
    # Not more than a round of results at a time.
    jax.block_until_ready(carry)
  return carry


@functools.partial(jax.jit, static_argnums=0, donate_argnums=1)
def _fold(block_pass: BlockPass, carry: Any, shared: Any, items: Any) -> Any:
  def body(k: jax.Array, carry: Any) -> Any:
    item = jax.tree.map(lambda x: x[k], items)
    result = block_pass.compute(shared, item)
    return block_pass.consume(carry, shared, item, result)

  count = len(jax.tree.leaves(items)[0])
  return jax.lax.fori_loop(0, count, body, carry)


@functools.partial(jax.jit, static_argnums=0, donate_argnums=1)
def _consume(
  block_pass: BlockPass, carry: Any, shared: Any, item: Any, result: Any
) -> Any:
  # A shard keeps the axis that was split.
  result = jax.tree.map(lambda x: x[0], result)
  return block_pass.consume(carry, shared, item, result)


@functools.cache
def _compute_on(
  block_pass: BlockPass, local: tuple[mesh.Device, ...]
) -> Callable[..., Any]:
  return mesh.parallel_map(block_pass.compute, local)
