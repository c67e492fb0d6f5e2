"""Which engine merges: the one that a memory budget allows."""

from typing import NamedTuple

from dbc_jax.cluster.criteria.criterion import Criterion
from dbc_jax.cluster.distances import panels


class Engine(NamedTuple):
  """An engine, and why it was chosen.

  Attributes:
    name: 'dense', on a [K, K] matrix, or 'matrix_free', without one.
    reason: for a log line.
  """

  name: str
  reason: str


def slot_capacity(num_clusters: int, num_samples: int) -> int:
  """Slots for num_clusters, rounded up to an eighth of num_samples.

  Stages of a run then share the compiled code of eight sizes or fewer.
  """
  step = max(64, -(-num_samples // 512) * 64)
  return min(num_samples, -(-num_clusters // step) * step)


def _needed_bytes(
  criterion: Criterion,
  shape: tuple[int, int],
  num_clusters: int,
  given_distances: bool,
) -> tuple[int, int]:
  """Peak memory of the dense and of the matrix-free engine."""
  num_samples, dim = shape
  # Blocks of a pass in float64, the features on the device, and states [K].
  shared = 3 * 8 * num_samples * panels.block_size(num_samples)
  shared += 4 * num_samples * dim + 200 * num_samples
  if criterion.uses_deviations:
    shared += 4 * num_samples * dim
  capacity = slot_capacity(num_clusters, num_samples)
  dense = shared + 4 * capacity**2
  if given_distances:
    dense += 4 * num_samples**2
  if criterion.merge == 'ranked':
    # Scores, and masks over them.
    dense += 7 * num_clusters**2
  return dense, shared


def choose_engine(
  criterion: Criterion,
  shape: tuple[int, int],
  num_clusters: int,
  *,
  given_distances: bool = False,
  memory_budget_gb: float | None = None,
) -> Engine:
  """The engine that `merge_clusters` uses.

  The dense one, which is faster, wherever it fits.

  Args:
    criterion, memory_budget_gb: as in `merge_clusters`.
    shape: (N, D) of the features.
    num_clusters: K.
    given_distances: whether a distance matrix is given.

  Raises:
    ValueError: the budget is too small for any engine that could do it.
  """
  dense, free = _needed_bytes(criterion, shape, num_clusters, given_distances)
  needs = f'the dense engine needs {dense / 1e9:.3g} GB'
  if memory_budget_gb is None:
    return Engine('dense', f'{needs}, no budget is set')
  if memory_budget_gb * 1e9 >= dense:
    return Engine('dense', f'{needs} of a budget of {memory_budget_gb:.3g} GB')
  size = f'{shape[0]} samples in {num_clusters} clusters'
  if criterion.merge == 'ranked' or given_distances:
    what = 'a given distance matrix' if given_distances else "merge='ranked'"
    raise ValueError(
      f'memory_budget_gb: got {memory_budget_gb:g}, expected at least '
      f'{dense / 1e9:.3g} for {size}: {what} needs the dense engine; raise it, '
      "or merge sequentially by the features' own distances, which takes "
      f'{free / 1e9:.3g}.'
    )
  if not memory_budget_gb * 1e9 >= free:
    raise ValueError(
      f'memory_budget_gb: got {memory_budget_gb:g}, expected at least '
      f'{free / 1e9:.3g} for the matrix-free engine, or {dense / 1e9:.3g} for '
      f'the dense one, on {size}; raise it, or leave it out.'
    )
  return Engine(
    'matrix_free', f'{needs}, more than the budget of {memory_budget_gb:.3g} GB'
  )
