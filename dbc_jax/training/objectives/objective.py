"""What an objective is, and the weighted sum of several, which is one again."""

import dataclasses
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np


class Outputs(NamedTuple):
  """What the network makes of a batch; a row is one view of one sample.

  Attributes:
    embeddings: [b, E] float32, of unit length.
    features: [b, D] float32, of unit length.
  """

  embeddings: jax.Array
  features: jax.Array


class Objective(Protocol):
  """A loss, and a state that it needs beside the network.

  An objective is immutable. Its methods are pure; `loss` and `after` run
  inside a compiled step, over the devices of axis `mesh.AXIS_NAME`. The state
  is any tree of arrays, of fixed shapes, equal on all devices.
  """

  @property
  def views(self) -> int:
    """Views of each image in a batch; they are rows side by side."""
    ...

  def start(self, embeddings: np.ndarray, labels: np.ndarray) -> Any:
    """The state at the start of a stage.

    Args:
      embeddings: [N, E] float32, of all training samples, before the stage.
      labels: [N] int32, the clusters that the stage trains on; -1 for a
        sample that is in none, and in no batch.
    """
    ...

  # An objective with a method `start_proxies(embeddings, proxies)` gets that
  # called in place of `start` where a run uses cameras, with the
  # `cluster.proxies.Proxies` of its clusters. Its labels are then their rows.

  def loss(
    self, state: Any, outputs: Outputs, labels: jax.Array
  ) -> tuple[jax.Array, jax.Array]:
    """The loss of one device's rows, and their accuracy, both scalars.

    Args:
      state: before the step.
      outputs: of the b rows of this device.
      labels: [b] int32, of the rows.
    """
    ...

  def after(self, state: Any, outputs: Outputs, labels: jax.Array) -> Any:
    """The state after the step, from the rows [B] of all devices, in order."""
    ...


@dataclasses.dataclass(frozen=True)
class _Sum:
  """See `weighted_sum`; its state is a tuple of the parts' states."""

  terms: tuple[tuple[float, Objective], ...]

  @property
  def views(self) -> int:
    return max(part.views for _, part in self.terms)

  def start(self, embeddings: np.ndarray, labels: np.ndarray) -> Any:
    return tuple(part.start(embeddings, labels) for _, part in self.terms)

  def loss(
    self, state: Any, outputs: Outputs, labels: jax.Array
  ) -> tuple[jax.Array, jax.Array]:
    found = [
      part.loss(own, outputs, labels)
      for (_, part), own in zip(self.terms, state, strict=True)
    ]
    weights = jnp.array([weight for weight, _ in self.terms])
    return weights @ jnp.stack([loss for loss, _ in found]), found[0][1]

  def after(self, state: Any, outputs: Outputs, labels: jax.Array) -> Any:
    return tuple(
      part.after(own, outputs, labels)
      for (_, part), own in zip(self.terms, state, strict=True)
    )


def weighted_sum(*terms: tuple[float, Objective]) -> Objective:
  """The objective whose loss is the weighted sum of others.

      loss = sum_k weight_k loss_k

  Args:
    *terms: pairs (weight, objective), at least one. The accuracy is that of
      the first; each image is seen as often as the most demanding one needs.
  """
  return _Sum(terms)
