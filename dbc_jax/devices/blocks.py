"""A pass over blocks, spread over the local devices, and over processes.

Other processes compute a share of the blocks where they help the first one.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from dbc_jax.devices import helpers, mesh, processes


class BlockPass(Protocol):
  """A computation over many blocks; hashable, as compiled code depends on it.

  What `shared`, an item, a result and the carry are is the pass's own affair.
  """

  def compute(self, shared: Any, item: Any, /) -> Any:
    """The result of one item; the expensive part, on any device."""

  def consume(self, carry: Any, shared: Any, item: Any, result: Any, /) -> Any:
    """The carry with the result of the next item, in order."""


class Shares(NamedTuple):
  """How processes may share the G items of a pass: each takes some in a row.

  Attributes:
    costs: [G] of each item, in any unit.
    ends: [G] int, ascending. Behind the last row of the carry that an item
      finishes; it begins where the item before ends.
    begins: [G] int. The first item that the rows which an item finishes
      depend on: itself, or one before.
  """

  costs: np.ndarray
  ends: np.ndarray
  begins: np.ndarray


def even_shares(ends: np.ndarray) -> Shares:
  """Of items that cost the same and depend on nothing before."""
  return Shares(np.ones(len(ends)), ends, np.arange(len(ends)))


def fold_blocks(
  block_pass: BlockPass,
  carry: Any,
  shared: Any,
  items: Any,
  shares: Shares | None = None,
) -> Any:
  """Computes all items, one on each local device, and consumes them in order.

  Args:
    block_pass: what to compute, and what to do with it.
    carry: to begin with; used up.
    shared: tree of arrays that every item needs; copied to all devices.
    items: tree of arrays [G, ...]; item g is row g of each.
    shares: how other processes may help; None: they do not. Then arrays of the
      carry that have as many rows as the last item ends at are filled by all of
      them, and other ones are what the first process leaves in them.

  Returns:
    The last carry, on the first device. The number of devices or processes does
    not change it: a result depends on its item alone.
  """
  if shares is None or not helpers.are_there():
    return _fold_own(block_pass, carry, shared, items)
  given = block_pass, carry, items, shares
  return helpers.everywhere(_fold_share, shared, given)


def _fold_share(shared: Any, given: Any) -> Any:
  """Computes a share of the items, and puts together what all have."""
  block_pass, carry, items, shares = given
  count, own = processes.count(), processes.own_number()
  costs = np.cumsum(shares.costs)
  parts = costs[-1] * np.arange(1, count) / count
  cuts = np.searchsorted(costs, parts, side='right')
  bounds = np.array([0, *cuts, len(costs)])
  rows = np.array([0, *shares.ends])[bounds]
  start, stop = bounds[own : own + 2]
  if start < stop:
    chosen = slice(shares.begins[start], stop)
    few = jax.tree.map(lambda x: x[chosen], items)
    carry = _fold_own(block_pass, carry, shared, few)
  lengths = np.diff(rows)

  def together(leaf: Any) -> Any:
    if not np.ndim(leaf) or len(leaf) != rows[-1]:
      return leaf
    part = np.asarray(leaf[rows[own] : rows[own + 1]])
    return jnp.asarray(processes.gather_rows(part, lengths))

  return jax.tree.map(together, carry)


def _fold_own(
  block_pass: BlockPass, carry: Any, shared: Any, items: Any
) -> Any:
  """Computes the items on the devices of this process."""
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
