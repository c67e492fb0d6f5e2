"""Which samples make each batch: any that are placed, or P clusters x K."""

import itertools
from collections.abc import Sequence

import numpy as np


def draw_batches(
  labels: np.ndarray,
  *,
  steps: int,
  batch_size: int,
  images_per_cluster: int,
  seed: Sequence[int],
) -> np.ndarray:
  """The samples of some steps.

  Each sample, or each cluster, comes once before any comes again, and so do
  the samples of a cluster within its turn. With fewer clusters than a batch
  has places for, one stands in a batch more than once.

  Args:
    labels: [N] int, clusters; samples of -1 come into no batch.
    steps: S, how many.
    batch_size: B.
    images_per_cluster: K, which divides B: a batch is of B / K clusters. 0: of
      any samples.
    seed: of what is drawn.

  Returns:
    [S, B] int.
  """
  rng = np.random.default_rng(seed)
  if not images_per_cluster:
    order = _rounds(rng, np.flatnonzero(labels >= 0), steps * batch_size)
    return order.reshape(steps, batch_size)
  members = np.argsort(labels, kind='stable')[np.count_nonzero(labels < 0) :]
  ends = np.cumsum(np.bincount(labels[members]))
  members = np.split(members, ends[:-1])
  turns = steps * batch_size // images_per_cluster
  chosen = [
    _rounds(rng, members[k], images_per_cluster)
    for k in _rounds(rng, np.arange(len(members)), turns)
  ]
  return np.concatenate(chosen).reshape(steps, batch_size)


def _rounds(
  rng: np.random.Generator, items: np.ndarray, count: int
) -> np.ndarray:
  """The first so many of the items in one random order after another."""
  orders = (rng.permutation(items) for _ in itertools.count())
  needed = -(-count // len(items))
  return np.concatenate([*itertools.islice(orders, needed)])[:count]
