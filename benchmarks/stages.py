"""Stages to measure: features, merges and the bare product."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from dbc_jax.cluster import Criterion, merge_clusters


def random_features(num: int, dim: int, seed: int = 0) -> np.ndarray:
  """[num, dim] float32 of unit length, some 17 around each of many centres."""
  rng = np.random.default_rng(seed)
  centres = rng.standard_normal((max(1, num // 17), dim), np.float32)
  x = centres[rng.integers(len(centres), size=num)]
  x += rng.standard_normal((num, dim), np.float32)
  return x / np.linalg.norm(x, axis=1, keepdims=True)


def merging(
  x: np.ndarray, num_merges: int, criterion: Criterion
) -> Callable[[], object]:
  """A call of merge_clusters from single samples."""
  return lambda: merge_clusters(x, np.arange(len(x)), num_merges, criterion)


def product(x: np.ndarray) -> Callable[[], object]:
  """The bare product, on the same device."""
  array, multiply = jnp.asarray(x), jax.jit(lambda a: a @ a.T)
  return lambda: multiply(array)
