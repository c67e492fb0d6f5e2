"""The papers' objective: a softmax over the clusters' rows of a memory."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dbc_jax.memory import (
  init_memory,
  memory_accuracy,
  memory_loss,
  update_memory,
)
from dbc_jax.training.objectives.objective import Outputs


class MemoryState(NamedTuple):
  """The memory of a stage.

  Attributes:
    memory: [N, E] float32, a row a cluster; N samples need no more.
    num_clusters: int32 scalar, how many rows are live.
  """

  memory: jax.Array
  num_clusters: jax.Array


@dataclasses.dataclass(frozen=True)
class MemoryObjective:
  """`dbc_jax.memory` as an objective.

  Attributes:
    temperature: divides the logits.
    momentum: weight of a row's old value.
    init: 'centroid', or 'zeros' as BUC's corrected code.
    update_by: `by` of `dbc_jax.memory.update_memory`.
  """

  temperature: float
  momentum: float
  init: str = 'centroid'
  update_by: str = 'each'
  views: int = 1

  def start(self, embeddings: np.ndarray, labels: np.ndarray) -> MemoryState:
    num_clusters = int(labels.max()) + 1
    if self.init == 'zeros':
      memory = jnp.zeros(embeddings.shape)
    else:
      memory = init_memory(embeddings, labels, num_clusters, len(embeddings))
    return MemoryState(memory, jnp.int32(num_clusters))

  def loss(
    self, state: MemoryState, outputs: Outputs, labels: jax.Array
  ) -> tuple[jax.Array, jax.Array]:
    arguments = state.memory, outputs.embeddings, labels
    loss = memory_loss(
      *arguments,
      temperature=self.temperature,
      num_clusters=state.num_clusters,
    )
    return loss, memory_accuracy(*arguments, num_clusters=state.num_clusters)

  def after(
    self, state: MemoryState, outputs: Outputs, labels: jax.Array
  ) -> MemoryState:
    # Every device updates with the whole global batch, in order.
    memory = update_memory(
      state.memory,
      outputs.embeddings,
      labels,
      momentum=self.momentum,
      by=self.update_by,
    )
    return state._replace(memory=memory)


create = MemoryObjective
