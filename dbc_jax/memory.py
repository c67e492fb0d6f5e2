"""The memory (lookup table) and its loss: pure functions, called by train.

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
  memory = jax.lax.stop_gradient(memory)
  logits = embeddings @ memory.T / temperature
  live = jnp.arange(memory.shape[0]) < num_clusters
  log_probs = jax.nn.log_softmax(jnp.where(live, logits, -jnp.inf))
  picked = jnp.take_along_axis(log_probs, labels[:, None], axis=1)
  return -jnp.mean(picked)


def update_memory(
  memory: jax.Array,
  embeddings: jax.Array,
  labels: jax.Array,
  *,
  momentum: float,
) -> jax.Array:
  """Moves each sample's row towards it, one sample after another.

      V[y] <- normalize(momentum V[y] + (1 - momentum) v)

  Args:
    memory: [capacity, E] float32.
    embeddings: [B, E] float32. A label that occurs twice is updated twice, in
      the order of the batch.
    labels: [B] int32.
    momentum: weight of the old row; 0.5 in the papers.

  Returns:
    [capacity, E] float32, the new memory.

  Source: E-cluster, sec. 3.1, and DBC, sec. III-A; the order is that of the
    public code's loop.
  """
  memory, embeddings, labels = map(jnp.asarray, (memory, embeddings, labels))

  def update_one(i: jax.Array, memory: jax.Array) -> jax.Array:
    row = momentum * memory[labels[i]] + (1.0 - momentum) * embeddings[i]
    norm = jnp.sqrt(jnp.sum(jnp.square(row)))
    return memory.at[labels[i]].set(row / jnp.maximum(norm, _EPSILON))

  return jax.lax.fori_loop(0, embeddings.shape[0], update_one, memory)


def init_memory(
  embeddings: jax.Array,
  labels: jax.Array,
  num_clusters: int,
  capacity: int,
) -> jax.Array:
  """The centroid of each current cluster, of unit length.

  Always under the current labels: rows indexed by an earlier labelling would
  tie a cluster's supervision to the order of the files.

  Args:
    embeddings: [N, E] float32, eval-mode embeddings of the training samples.
    labels: [N] int32, in 0..num_clusters-1.
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
  sums = jax.ops.segment_sum(embeddings, labels, num_segments=capacity)
  # The direction of the sum is that of the mean.
  norms = jnp.sqrt(jnp.sum(jnp.square(sums), axis=1, keepdims=True))
  return sums / jnp.maximum(norms, _EPSILON)
