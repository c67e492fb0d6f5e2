"""Linkages: from distances between samples to one between two clusters."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike


@dataclasses.dataclass(frozen=True)
class Linkage:
  """The smallest, or the largest, distance between members of two clusters.

  Engines combine distances in any order, then finish.
  """

  # Of two arrays, element by element, the value that counts; the same along an
  # axis; and the same as a method of `x.at[...]`.
  combine: Callable[..., Array]
  reduce: Callable[..., Array]
  scatter: str
  none: float  # The value before any distance.
  dtype: Any = jnp.float32  # What panels are combined in.

  def count(self, values: Array, twice: Array) -> Array:
    """Distances as they are combined; some stand for two equal ones."""
    del twice
    return values

  def put(self, into: Array, slots: Array, values: Array) -> Array:
    """Combines each value with its slot; slots out of range are dropped."""
    return getattr(into.at[slots], self.scatter)(values, mode='drop')

  def finish(self, values: Array, pairs: ArrayLike) -> Array:
    """The linkage, from the combined distances of so many pairs of samples."""
    del pairs
    return values

  def merge(self, a: Array, b: Array, n_a: Array, n_b: Array) -> Array:
    """Linkage of a merged cluster with others, from that of its two parts."""
    del n_a, n_b
    return self.combine(a, b)

  def merge_within(
    self, a: Array, b: Array, inter: Array, n_a: Array, n_b: Array
  ) -> Array:
    """Linkage of a merged cluster with itself; `inter` is that of its parts."""
    del n_a, n_b
    return self.combine(self.combine(a, b), inter)


class _Mean(Linkage):
  """The mean distance between members, of all n_a n_b pairs."""

  def count(self, values: Array, twice: Array) -> Array:
    values = values.astype(self.dtype)
    return jnp.where(twice, 2 * values, values)

  def finish(self, values: Array, pairs: ArrayLike) -> Array:
    return values / pairs

  def merge(self, a: Array, b: Array, n_a: Array, n_b: Array) -> Array:
    return (n_a * a + n_b * b) / (n_a + n_b)

  def merge_within(
    self, a: Array, b: Array, inter: Array, n_a: Array, n_b: Array
  ) -> Array:
    total = n_a**2 * a + n_b**2 * b + 2 * n_a * n_b * inter
    return total / (n_a + n_b) ** 2


MIN = Linkage(jnp.minimum, jnp.min, 'min', jnp.inf)
# Sums stay in float64 until complete, where those of float32 distances are as
# good as exact: they do not depend on the order of a GPU's atomic additions.
MEAN = _Mean(jnp.add, jnp.sum, 'add', 0.0, jnp.float64)
