"""The memory (lookup table) and its loss: pure functions.

Source: Xiao et al. 2017 (OIM) as used by E-cluster, Eq. 2, and DBC, Eq. 2.
"""

import functools

import jax
import jax.numpy as jnp

_EPSILON = 1e-12


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

  Source: E-cluster, Eq. 2; DBC, Eq. 2.
  """
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
  nearest = jnp.argmax(_similarities(memory, embeddings, num_clusters), axis=1)
  return jnp.mean(nearest == labels)


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

  Source: E-cluster, sec. 3.1, and DBC, sec. III-A; the order of 'each' is that
    of the public code's loop. 'hardest' and 'mean' are the two of Dai et al.,
    Cluster Contrast (2022), sec. 3.3.
  """
  memory, embeddings, labels = map(jnp.asarray, (memory, embeddings, labels))
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
    ValueError: num_clusters exceeds capacity.

  Source: DBC, sec. III-A ("lookup table containing the centroid feature of
    each class").
  """
  if num_clusters > capacity:
    raise ValueError(
      f'num_clusters: got {num_clusters}, more than capacity {capacity}'
    )
  return _centroids(jnp.asarray(embeddings), jnp.asarray(labels), capacity)


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
