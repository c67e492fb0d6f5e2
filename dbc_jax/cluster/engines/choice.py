"""Which engine merges: the one that a memory budget allows."""

import math
from typing import NamedTuple

from dbc_jax import values
from dbc_jax.cluster.criteria.criterion import Criterion, check_criterion
from dbc_jax.cluster.distances import panels
from dbc_jax.cluster.engines.separable import form_of
from dbc_jax.devices import mesh

# Of the device's memory, where no budget is set; the rest is other programs'.
_SHARE_OF_DEVICE = 0.8
# From so many samples on the sparse engine is worth loading its compiled code.
_MANY = 4096
# Of an edge: its similarity twice over, and room for merged rows.
_BYTES_PER_EDGE = 24
_BYTES_PER_CLUSTER = 300


class Engine(NamedTuple):
  """An engine, and why it was chosen.

  Attributes:
    name: 'dense', on a [C, C] matrix; 'matrix_free', without one; 'sparse', on
      similarities of which most are zero.
    reason: for a log line.
    capacity: C, slots for clusters, >= K. Compiled code depends on it.
  """

  name: str
  reason: str
  capacity: int


def _rounded_capacity(num_clusters: int, num_samples: int) -> int:
  """Slots for num_clusters, rounded up to an eighth of num_samples."""
  step = max(64, -(-num_samples // 512) * 64)
  return min(num_samples, -(-num_clusters // step) * step)


def _shared_bytes(criterion: Criterion, shape: tuple[int, int]) -> int:
  """Peak memory of any engine, but for its matrix."""
  num_samples, dim = shape
  # Blocks of a pass in float64, the features on the device, and states [K].
  shared = 3 * 8 * num_samples * panels.block_size(num_samples)
  shared += 4 * num_samples * dim + 200 * num_samples
  if criterion.uses_deviations:
    shared += 4 * num_samples * dim
  return shared


def _checked_shape(shape: tuple[int, int]) -> tuple[int, int]:
  try:
    num_samples, dim = shape
  except (TypeError, ValueError):
    raise ValueError(
      f'shape: got {shape!r}, expected (N, D); pass features.shape.'
    ) from None
  return values.whole(num_samples, 'shape', 1), values.whole(dim, 'shape', 1)


def choose_engine(
  criterion: Criterion,
  shape: tuple[int, int],
  num_clusters: int,
  *,
  given_distances: bool = False,
  jaccard: bool = False,
  num_forbidden: int = 0,
  memory_budget_gb: float | None = None,
) -> Engine:
  """The engine that `merge_clusters` uses, or is best called for.

  The dense one, which is faster, wherever it fits. For Jaccard distances it is
  the sparse one from 4,096 samples on, and wherever the dense one does not fit.

  Args:
    criterion, memory_budget_gb: as in `merge_clusters`.
    shape: (N, D) of the features.
    num_clusters: K.
    given_distances: whether a distance matrix is given.
    jaccard: whether `jaccard_similarities` could be passed in its place.
    num_forbidden: pairs of clusters that never merge; any engine takes them.

  Without a budget it is 80 % of the memory that the device has.

  Raises:
    ValueError: the budget is too small for any engine that could do it.
  """
  check_criterion(criterion)
  shape = _checked_shape(shape)
  num_samples = shape[0]
  num_clusters = values.whole(num_clusters, 'num_clusters', 1, num_samples)
  given_distances = values.flag(given_distances, 'given_distances')
  num_forbidden = values.whole(num_forbidden, 'num_forbidden', 0)
  # Pairs are padded, moved and turned.
  free = _shared_bytes(criterion, shape) + 64 * num_forbidden
  given = 4 * num_samples**2 if given_distances else 0
  if criterion.merge == 'ranked':
    # Scores, and masks over them, beside the matrix.
    sizes = {num_clusters: 11 * num_clusters**2}
  else:
    # With a slot a sample, all stages of a run share their compiled code.
    capacities = num_samples, _rounded_capacity(num_clusters, num_samples)
    # The matrix, and for a moment the one of half its slots that follows it.
    sizes = {capacity: 5 * capacity**2 for capacity in capacities}
  budget, allowed, got = _budget(memory_budget_gb)
  is_sparse = jaccard and form_of(criterion) is not None
  fits = [c for c, matrix in sizes.items() if budget >= free + given + matrix]
  # Without a budget, what takes least: no stage of a run follows.
  if memory_budget_gb is None:
    fits = fits and [min(sizes)]
  capacity = fits[0] if fits else min(sizes)
  dense = free + given + sizes[capacity]
  needs = f'the dense engine needs {dense / 1e9:.3g} GB'
  if is_sparse and budget >= free:
    if num_samples >= _MANY:
      reason = f'{num_samples:,} samples, and most share no neighbour'
      return Engine('sparse', reason, num_clusters)
    if not fits:
      return Engine('sparse', f'{needs}, more than {allowed}', num_clusters)
  if fits:
    return Engine('dense', f'{needs} of {allowed}', capacity)
  size = f'{num_samples} samples in {num_clusters} clusters'
  got = f'memory_budget_gb: got {got}, expected at least'
  if is_sparse:
    raise ValueError(
      f'{got} {free / 1e9:.3g} for the sparse engine on {size}, and '
      f'{_BYTES_PER_EDGE} bytes for each pair that shares neighbours; raise '
      'it, or leave it out.'
    )
  if jaccard:
    raise ValueError(
      f'{got} {dense / 1e9:.3g} for {size}: {_what_needs_pairs(criterion)} '
      'needs the Jaccard distances of all pairs; raise it, or merge by '
      'average, buc, dbc or ecluster, which need those of neighbours alone.'
    )
  if criterion.merge == 'ranked' or given_distances:
    what = 'a given distance matrix' if given_distances else "merge='ranked'"
    raise ValueError(
      f'{got} {dense / 1e9:.3g} for {size}: {what} needs the dense engine; '
      "raise it, or merge sequentially by the features' own distances, which "
      f'takes {free / 1e9:.3g}.'
    )
  if not budget >= free:
    raise ValueError(
      f'{got} {free / 1e9:.3g} for the matrix-free engine, or '
      f'{dense / 1e9:.3g} for the dense one, on {size}; raise it, or leave it '
      'out.'
    )
  return Engine(
    'matrix_free',
    f'{needs}, more than {allowed}',
    num_clusters,
  )


def _what_needs_pairs(criterion: Criterion) -> str:
  """Of a criterion without a form, what keeps it from having one."""
  if criterion.merge == 'ranked':
    return "merge='ranked'"
  if 'squared' in criterion.rule.options() and criterion.squared:
    return 'squared=True'
  if 'ssd' in criterion.rule.options() and criterion.ssd == 'printed':
    return "ssd='printed'"
  return repr(criterion.name)


def check_pairs(
  num_pairs: int, memory_budget_gb: float | None, beside: int = 0
) -> None:
  """Raises ValueError where similarities of so many pairs do not fit.

  Args:
    num_pairs: similarities above zero, N of them of samples with themselves.
    memory_budget_gb: in 1e9 bytes; None for what choose_engine takes.
    beside: bytes that are needed beside them.
  """
  budget, _, got = _budget(memory_budget_gb)
  needed = _BYTES_PER_EDGE * num_pairs + beside
  if not budget >= needed:
    raise ValueError(
      f'memory_budget_gb: got {got}, expected at least {needed / 1e9:.3g} for '
      f'{num_pairs:,} pairs that share neighbours; raise it, or look at fewer '
      'neighbours (k1).'
    )


def _budget(memory_budget_gb: float | None) -> tuple[float, str, str]:
  """In bytes, in words, and what to say that was got."""
  if memory_budget_gb is not None:
    given = values.number(memory_budget_gb, 'memory_budget_gb', 0, math.inf)
    return given * 1e9, f'a budget of {given:.3g} GB', f'{given:g}'
  memory = mesh.device_memory() or math.inf
  allowed = f"80 % of the device's {memory / 1e9:.3g} GB (no budget is set)"
  return _SHARE_OF_DEVICE * memory, allowed, f'None, for {allowed}'


def sparse_engine(
  criterion: Criterion,
  num_edges: int,
  num_clusters: int,
  num_means: int,
  *,
  memory_budget_gb: float | None = None,
) -> Engine:
  """The engine for given similarities.

  Args:
    criterion, memory_budget_gb: as in `merge_clusters`.
    num_edges: similarities above zero.
    num_clusters: K.
    num_means: D, the width of features that the criterion needs, or 0.

  Raises:
    ValueError: the criterion does not go with them, or the budget is too small.
  """
  if form_of(criterion) is None:
    raise ValueError(
      f'similarities: {_what_needs_pairs(criterion)} needs the distances of '
      'all pairs: its score of two clusters that share no neighbour is no sum; '
      'pass distances=jaccard_distances(...), or merge by average, buc, dbc or '
      'ecluster.'
    )
  beside = (_BYTES_PER_CLUSTER + 8 * num_means) * num_clusters
  check_pairs(num_edges, memory_budget_gb, beside)
  return Engine('sparse', 'similarities are given', num_clusters)
