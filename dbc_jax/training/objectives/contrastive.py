"""Label-free: an image's other view is told from all other images (NT-Xent)."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dbc_jax.devices.mesh import AXIS_NAME
from dbc_jax.training.objectives.objective import Outputs

# docs/from_scratch.md has what it was chosen by.
_TEMPERATURE = 0.2


def contrastive_loss(
  features: jax.Array, everyone: jax.Array, offset: jax.Array | int
) -> tuple[jax.Array, jax.Array]:
  """Tells a view's other view from all other images (NT-Xent).

      p(i) = exp(v_i . v_i' / t) / sum_{k != i} exp(v_k . v_i / t),  t = 0.2

  The loss is the mean of -log p(i). Rows 2j and 2j + 1 are views of one image.

  Args:
    features: [b, D] float32, of unit length: rows offset.. of `everyone`.
    everyone: [B, D] float32, B even.
    offset: may be traced.

  Returns:
    The loss, and the share of the b rows whose nearest is their other view.

  Source: Chen et al., A Simple Framework for Contrastive Learning of Visual
    Representations (2020), Eq. 1.
  """
  rows = offset + jnp.arange(len(features))
  similarities = jnp.matmul(features, everyone.T, precision='highest')
  itself = rows[:, None] == jnp.arange(len(everyone))
  similarities = jnp.where(itself, -jnp.inf, similarities)
  other = rows ^ 1
  log_probs = jax.nn.log_softmax(similarities / _TEMPERATURE)
  loss = -jnp.mean(jnp.take_along_axis(log_probs, other[:, None], axis=1))
  return loss, jnp.mean(jnp.argmax(similarities, axis=1) == other)


@dataclasses.dataclass(frozen=True)
class ContrastiveObjective:
  """`contrastive_loss` of the features; it reads no labels and has no state.

  A head takes no part: one that learned here would learn in the features' place
  (docs/from_scratch.md).
  """

  views: int = 2

  def start(self, embeddings: np.ndarray, labels: np.ndarray) -> tuple[()]:
    return ()

  def loss(
    self, state: Any, outputs: Outputs, labels: jax.Array
  ) -> tuple[jax.Array, jax.Array]:
    own = outputs.features
    everyone = jax.lax.all_gather(own, AXIS_NAME, tiled=True)
    return contrastive_loss(
      own, everyone, jax.lax.axis_index(AXIS_NAME) * len(own)
    )

  def after(self, state: Any, outputs: Outputs, labels: jax.Array) -> Any:
    return state


create = ContrastiveObjective
