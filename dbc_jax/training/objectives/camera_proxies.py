"""A row of the memory for each camera of each cluster."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dbc_jax.cluster.proxies import Proxies, split_clusters
from dbc_jax.memory import init_memory, update_memory
from dbc_jax.training.objectives.objective import Outputs

# Both as in the paper.
_NEGATIVES = 50  # rows of other clusters that a sample is told from, at most
_WEIGHT = 0.5  # of the loss across cameras


class ProxyState(NamedTuple):
  """The memory of a stage; of N rows, as many live ones as there are proxies.

  Attributes:
    memory: [N, E] float32.
    clusters: [N] int32, the cluster of each row; -1 for a dead one.
    groups: [N] int32, rows of the same camera have the same; -1 likewise.
  """

  memory: jax.Array
  clusters: jax.Array
  groups: jax.Array


def proxy_loss(
  state: ProxyState,
  embeddings: jax.Array,
  rows: jax.Array,
  *,
  temperature: float,
) -> tuple[jax.Array, jax.Array]:
  """Within the sample's camera, and across the cameras of its cluster.

  With s_k = V_k . v / temperature, a sample of row y, the rows C of its camera,
  the rows P of its cluster in other cameras, and Q the 50 rows of other
  clusters with the largest s,

      within = -log exp(s_y) / sum_{k in C} exp(s_k)
      across = -mean_{p in P} log exp(s_p) / sum_{k in P or Q} exp(s_k)

  The loss is the batch's mean of within + 0.5 across; across is 0 where P is
  empty. The memory gets no gradient.

  Args:
    state: the memory.
    embeddings: [B, E] float32, of unit length.
    rows: [B] int32, the row of each sample.
    temperature: divides the logits.

  Returns:
    The loss, and the share of samples whose nearest row of their camera is
    their own; both float32 scalars.

  Source: Wang et al., Camera-aware Proxies for Unsupervised Person
    Re-Identification (AAAI 2021), Eq. 5-8.
  """
  logits = jnp.matmul(
    embeddings, jax.lax.stop_gradient(state.memory).T, precision='highest'
  )
  logits /= temperature
  live = state.clusters >= 0
  same_camera = live & (state.groups == state.groups[rows][:, None])
  same_cluster = live & (state.clusters == state.clusters[rows][:, None])
  inside = jnp.where(same_camera, logits, -jnp.inf)
  own = jnp.take_along_axis(logits, rows[:, None], axis=1)[:, 0]
  within = jax.nn.logsumexp(inside, axis=1) - own
  accuracy = jnp.mean(jnp.argmax(inside, axis=1) == rows)

  positive = same_cluster & ~same_camera
  count = positive.sum(axis=1)
  others = jnp.where(live & ~same_cluster, logits, -jnp.inf)
  hardest = jax.lax.top_k(others, min(_NEGATIVES, others.shape[1]))[0]
  # Where there is no row to log, a finite number that the mask below takes out.
  against = jnp.where(positive, logits, -jnp.inf)
  against = jnp.concatenate([against, hardest], axis=1)
  against = jnp.where((count == 0)[:, None], 0.0, against)
  total = jax.nn.logsumexp(against, axis=1)
  mean = jnp.where(positive, logits, 0.0).sum(axis=1) / jnp.maximum(count, 1)
  across = jnp.where(count > 0, total - mean, 0.0)
  return jnp.mean(within + _WEIGHT * across), accuracy


@dataclasses.dataclass(frozen=True)
class CameraProxies:
  """`proxy_loss` as an objective; its labels are the rows of `Proxies`.

  Attributes:
    temperature: divides the logits.
    momentum: weight of a row's old value.
    update_by: `by` of `dbc_jax.memory.update_memory`.
  """

  temperature: float
  momentum: float
  update_by: str = 'each'
  views: int = 1

  def start(self, embeddings: np.ndarray, labels: np.ndarray) -> ProxyState:
    """As if one camera had seen all."""
    return self.start_proxies(
      embeddings, split_clusters(labels, np.zeros(len(labels), np.int32))
    )

  def start_proxies(
    self, embeddings: np.ndarray, proxies: Proxies
  ) -> ProxyState:
    """The state at the start of a stage, for clusters split by camera."""
    count, capacity = len(proxies.clusters), len(embeddings)
    padded = [
      np.pad(x, (0, capacity - count), constant_values=-1)
      for x in (proxies.clusters, proxies.groups)
    ]
    memory = init_memory(embeddings, proxies.rows, count, capacity)
    return ProxyState(memory, *map(jnp.asarray, padded))

  def loss(
    self, state: ProxyState, outputs: Outputs, labels: jax.Array
  ) -> tuple[jax.Array, jax.Array]:
    return proxy_loss(
      state, outputs.embeddings, labels, temperature=self.temperature
    )

  def after(
    self, state: ProxyState, outputs: Outputs, labels: jax.Array
  ) -> ProxyState:
    memory = update_memory(
      state.memory,
      outputs.embeddings,
      labels,
      momentum=self.momentum,
      by=self.update_by,
    )
    return state._replace(memory=memory)


create = CameraProxies
