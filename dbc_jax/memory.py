"""The memory (lookup table) and its loss: pure functions.

Source: Xiao et al. 2017 (OIM) as used by E-cluster, Eq. 2, and DBC, Eq. 2.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from dbc_jax import values
from dbc_jax.labels import NOT_PLACED

_EPSILON = 1e-12
# Rows of a memory; more would be no memory of this machine.
_LARGEST = 2**31 - 1


def memory_loss(
  memory: jax.Array,
  embeddings: jax.Array,
  labels: jax.Array,
  *,
  temperature: float,
  num_clusters: jax.Array | int,
) -> jax.Array:
  """Temperature-softmax cross-entropy against the memory.

      p(y | v) = exp(V_y . v / temperature) / sum_k exp(V_k . v / temperature)

  The loss is the batch's mean of -log p(label). The memory gets no gradient.

  Args:
    memory: [capacity, E] float32, rows of unit length (or zero).
    embeddings: [B, E] float32, of unit length.
    labels: [B] int32, in 0..num_clusters-1.
    temperature: divides the logits; 0.1 in the papers.
    num_clusters: rows from here on are no clusters and take no part. May be
      traced, so that a falling count needs no second compilation.

  Returns:
    Scalar float32.

  Raises:
    ValueError: arrays of other shapes or kinds. Outside of compiled code also:
      labels of no such cluster, numbers that are not finite, a temperature
      that is not positive.

  Source: E-cluster, Eq. 2; DBC, Eq. 2.
  """
  memory, embeddings, labels = _checked(memory, embeddings, labels)
  _checked_clusters(labels, num_clusters, len(memory))
  if not _is_traced(temperature):
    values.number(temperature, 'temperature', 1e-30, 1e30)
  logits = _similarities(memory, embeddings, num_clusters) / temperature
  log_probs = jax.nn.log_softmax(logits)
  picked = jnp.take_along_axis(log_probs, labels[:, None], axis=1)
  return -jnp.mean(picked)


def memory_accuracy(
  memory: jax.Array,
  embeddings: jax.Array,
  labels: jax.Array,
  *,
  num_clusters: jax.Array | int,
) -> jax.Array:
  """Share of the batch whose nearest live row is its own; as `memory_loss`."""
  memory, embeddings, labels = _checked(memory, embeddings, labels)
  _checked_clusters(labels, num_clusters, len(memory))
  nearest = jnp.argmax(_similarities(memory, embeddings, num_clusters), axis=1)
  return jnp.mean(nearest == labels)


def _is_traced(value: object) -> bool:
  return isinstance(value, Tracer)


def _array(value: jax.typing.ArrayLike, name: str, width: int) -> jax.Array:
  """Rows [N, width] of finite numbers; any width for 0."""
  if not _is_traced(value):
    given = values.reals(value, name)
    if not np.isfinite(given).all():
      raise ValueError(
        f'{name}: got NaN or infinity, expected finite numbers; look at the '
        'network that made them.'
      )
    value = given
  found = jnp.asarray(value)
  if found.dtype != jnp.float64:  # Halves would lose the length of a row.
    found = found.astype(jnp.float32)
  if found.ndim != 2 or not found.size or width not in (0, found.shape[1]):
    expected = f'[N, {width}]' if width else '[N, E]'
    raise ValueError(
      f'{name}: got shape {found.shape}, expected {expected}; pass rows of one '
      'network.'
    )
  return found


def _whole(labels: jax.typing.ArrayLike, size: int) -> jax.Array:
  """Labels [size] of integers."""
  if not _is_traced(labels):
    return jnp.asarray(values.integers(labels, 'labels', size, 'one cluster'))
  found = jnp.asarray(labels)
  if found.shape != (size,) or not jnp.issubdtype(found.dtype, jnp.integer):
    raise ValueError(
      f'labels: got {found.shape} {found.dtype}, expected ({size},) integers.'
    )
  return found


def _check_range(labels: jax.Array, least: int, most: int) -> None:
  if _is_traced(labels):
    return
  found = np.asarray(labels)
  if found.min() < least or found.max() >= most:
    raise ValueError(
      f'labels: got {found.min()}..{found.max()}, expected {least}..'
      f'{most - 1}; pass those of the clusters that have a row.'
    )


def _checked(
  memory: jax.typing.ArrayLike,
  embeddings: jax.typing.ArrayLike,
  labels: jax.typing.ArrayLike,
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """A memory [capacity, E] and a batch, of float32."""
  memory = _array(memory, 'memory', 0)
  embeddings = _array(embeddings, 'embeddings', memory.shape[1])
  return memory, embeddings, _whole(labels, len(embeddings))


def _checked_clusters(
  labels: jax.Array, num_clusters: jax.Array | int, capacity: int
) -> None:
  """Raises ValueError for labels of no such cluster, where they are known."""
  if not _is_traced(num_clusters):
    is_array = isinstance(num_clusters, jax.Array)
    given = np.asarray(num_clusters)[()] if is_array else num_clusters
    capacity = values.whole(given, 'num_clusters', 1, capacity)
  _check_range(labels, 0, capacity)


def _similarities(
  memory: jax.Array, embeddings: jax.Array, num_clusters: jax.Array | int
) -> jax.Array:
  similarities = jnp.matmul(
    embeddings, jax.lax.stop_gradient(memory).T, precision='highest'
  )
  live = jnp.arange(memory.shape[0]) < num_clusters
  return jnp.where(live, similarities, -jnp.inf)


def update_memory(
  memory: jax.Array,
  embeddings: jax.Array,
  labels: jax.Array,
  *,
  momentum: float,
  by: str = 'each',
) -> jax.Array:
  """Moves the rows of a batch's clusters towards its samples.

      V[y] <- normalize(momentum V[y] + (1 - momentum) v)

  Args:
    memory: [capacity, E] float32.
    embeddings: [B, E] float32.
    labels: [B] int32.
    momentum: weight of the old row; 0.5 in the papers.
    by: what v is, where a label occurs more than once. 'each': each sample,
      one after another in the order of the batch. 'hardest': the one least
      similar to its row, of equals the first. 'mean': their mean.

  Returns:
    [capacity, E] float32, the new memory.

  Raises:
    ValueError: as `memory_loss`; a momentum outside [0, 1], or another `by`.

  Source: E-cluster, sec. 3.1, and DBC, sec. III-A; the order of 'each' is that
    of the public code's loop. 'hardest' and 'mean' are the two of Dai et al.,
    Cluster Contrast (2022), sec. 3.3.
  """
  memory, embeddings, labels = _checked(memory, embeddings, labels)
  _check_range(labels, 0, len(memory))
  values.choice(by, 'by', ('each', 'hardest', 'mean'))
  if not _is_traced(momentum):
    values.number(momentum, 'momentum', 0, 1)
  alike = labels[:, None] == labels
  # How often a sample's label came before in the batch. Samples of one round
  # name different rows, so that a round is a single gather and scatter.
  rounds = jnp.sum(jnp.tril(alike, -1), axis=1)
  last = jnp.max(rounds) + 1
  if by != 'each':
    weights = alike.astype(embeddings.dtype)
    if by == 'hardest':
      own = jnp.sum(memory[labels] * embeddings, axis=1)
      hardest = jnp.argmin(jnp.where(alike, own, jnp.inf), axis=1)
      weights = jax.nn.one_hot(hardest, len(labels), dtype=embeddings.dtype)
    weights /= weights.sum(axis=1, keepdims=True)
    embeddings = jnp.matmul(weights, embeddings, precision='highest')
    last = 1

  def update_round(k: jax.Array, memory: jax.Array) -> jax.Array:
    rows = momentum * memory[labels] + (1.0 - momentum) * embeddings
    norms = jnp.sqrt(jnp.sum(jnp.square(rows), axis=1, keepdims=True))
    target = jnp.where(rounds == k, labels, memory.shape[0])
    return memory.at[target].set(
      rows / jnp.maximum(norms, _EPSILON), mode='drop'
    )

  return jax.lax.fori_loop(0, last, update_round, memory)


def init_memory(
  embeddings: jax.typing.ArrayLike,
  labels: jax.typing.ArrayLike,
  num_clusters: int,
  capacity: int,
) -> jax.Array:
  """The centroid of each current cluster, of unit length.

  Always under the current labels: rows indexed by an earlier labelling would
  tie a cluster's supervision to the order of the files.

  Args:
    embeddings: [N, E] float32, eval-mode embeddings of the training samples.
    labels: [N] int32, in 0..num_clusters-1, or -1 for a sample of no cluster.
    num_clusters: number of live rows.
    capacity: rows of the result, >= num_clusters; those beyond are zero.

  Returns:
    [capacity, E] float32.

  Raises:
    ValueError: num_clusters exceeds capacity; arrays of other shapes or kinds,
      labels of no such cluster, or numbers that are not finite.

  Source: DBC, sec. III-A ("lookup table containing the centroid feature of
    each class").
  """
  capacity = values.whole(capacity, 'capacity', 1, _LARGEST)
  num_clusters = values.whole(num_clusters, 'num_clusters', 0)
  if num_clusters > capacity:
    raise ValueError(
      f'num_clusters: got {num_clusters}, more than capacity {capacity}'
    )
  embeddings = _array(embeddings, 'embeddings', 0)
  labels = _whole(labels, len(embeddings))
  _check_range(labels, NOT_PLACED, num_clusters)
  return _centroids(embeddings, labels, capacity)


@functools.partial(jax.jit, static_argnames='capacity')
def _centroids(
  embeddings: jax.Array, labels: jax.Array, capacity: int
) -> jax.Array:
  # Over all rows, so that a falling count compiles nothing anew.
  # A label beyond them is dropped.
  labels = jnp.where(labels < 0, capacity, labels)
  sums = jax.ops.segment_sum(embeddings, labels, num_segments=capacity)
  # The direction of the sum is that of the mean.
  norms = jnp.sqrt(jnp.sum(jnp.square(sums), axis=1, keepdims=True))
  return sums / jnp.maximum(norms, _EPSILON)
