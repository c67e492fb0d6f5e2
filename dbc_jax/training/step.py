"""One training step, as a pure function of a TrainState.

Called by the epochs. The step knows an axis name; what maps it over devices
is in `parallel`.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from dbc_jax import memory as memory_lib
from dbc_jax.data import augment as augment_lib
from dbc_jax.devices import mesh, processes
from dbc_jax.models import Encoder


class TrainState(NamedTuple):
  """Everything a step reads and writes.

  Attributes:
    params, batch_stats: the network's variables.
    opt_state: of the optimiser; fresh in each stage.
    memory: [capacity, E] float32.
    num_clusters: int32 scalar, live rows of the memory.
    learning_rate: float32 scalar of the coming step.
    rate_increment: float32 scalar, what it grows by with each step.
    step: int32 scalar, counts through the whole run.
    rng: key of the run; a step uses fold_in(rng, step).
  """

  params: Any
  batch_stats: Any
  opt_state: Any
  memory: jax.Array
  num_clusters: jax.Array
  learning_rate: jax.Array
  rate_increment: jax.Array
  step: jax.Array
  rng: jax.Array


class StepMetrics(NamedTuple):
  """Of the global batch, before the update.

  Attributes:
    loss: NaN if the update is not finite.
    accuracy: share of samples that are nearest to their own cluster's row.
  """

  loss: Any
  accuracy: Any


StepFn = Callable[[TrainState, dict[str, Any]], tuple[TrainState, StepMetrics]]


def init_variables(
  encoder: Encoder, rng: jax.Array, image_size: tuple[int, int]
) -> dict[str, Any]:
  """Random 'params' and 'batch_stats' of the encoder."""
  images = jnp.zeros((1, *image_size, 3), jnp.float32)
  return jax.jit(encoder.init)(rng, images)


def create_train_state(
  variables: dict[str, Any],
  optimizer: optax.GradientTransformation,
  memory: jax.Array,
  num_clusters: int,
  *,
  step: int,
  rng: jax.Array,
) -> TrainState:
  """The state at the start of a stage: fresh optimiser, given memory.

  Several processes take both from the first: what each computed by itself may
  differ in rounding, and would go on to differ.
  """
  variables, memory = processes.from_first((variables, memory))
  return TrainState(
    params=variables['params'],
    batch_stats=variables['batch_stats'],
    opt_state=optimizer.init(variables['params']),
    memory=memory,
    num_clusters=jnp.int32(num_clusters),
    learning_rate=jnp.float32(0.0),
    rate_increment=jnp.float32(0.0),
    step=jnp.int32(step),
    rng=rng,
  )


def train_step(
  state: TrainState,
  batch: dict[str, jax.Array],
  *,
  encoder: Encoder,
  optimizer: optax.GradientTransformation,
  image_size: tuple[int, int],
  crop_area: tuple[float, float],
  crop_aspect: tuple[float, float],
  temperature: float,
  memory_momentum: float,
  axis_name: str,
) -> tuple[TrainState, StepMetrics]:
  """One update of the network, then of the memory, on one device's share.

  Args:
    state: equal on all devices.
    batch: 'images' uint8 [B/n, H, W, 3], or [B/n, T, H, W, 3] of tracklets,
      and 'labels' int32 [B/n].
    encoder, optimizer, image_size, crop_area, crop_aspect, temperature,
      memory_momentum: static.
    axis_name: of the devices; gradients, statistics and loss are averaged
      over it, embeddings gathered in the order of the global batch.

  Returns:
    The new state and the metrics, equal on all devices.
  """
  images, labels = batch['images'], batch['labels']
  augment_rng, dropout_rng = jax.random.split(
    jax.random.fold_in(state.rng, state.step)
  )
  positions = jax.lax.axis_index(axis_name) * labels.shape[0] + jnp.arange(
    labels.shape[0]
  )
  images = augment_lib.augment(
    augment_rng,
    positions,
    images,
    size=image_size,
    crop_area=crop_area,
    crop_aspect=crop_aspect,
  )

  def loss_fn(params: Any) -> tuple[jax.Array, tuple[jax.Array, Any]]:
    (embeddings, _), mutated = encoder.apply(
      {'params': params, 'batch_stats': state.batch_stats},
      images,
      train=True,
      rngs={'dropout': dropout_rng},
      mutable=['batch_stats'],
    )
    loss = memory_lib.memory_loss(
      state.memory,
      embeddings,
      labels,
      temperature=temperature,
      num_clusters=state.num_clusters,
    )
    return loss, (embeddings, mutated['batch_stats'])

  (loss, (embeddings, batch_stats)), grads = jax.value_and_grad(
    loss_fn, has_aux=True
  )(state.params)
  accuracy = memory_lib.memory_accuracy(
    state.memory, embeddings, labels, num_clusters=state.num_clusters
  )
  grads, batch_stats, loss, accuracy = jax.lax.pmean(
    (grads, batch_stats, loss, accuracy), axis_name
  )
  params, opt_state, loss = descend(optimizer, state, grads, loss)
  # Every replica updates the memory with the whole global batch, in order.
  embeddings, labels = jax.lax.all_gather(
    (embeddings, labels), axis_name, tiled=True
  )
  memory = memory_lib.update_memory(
    state.memory, embeddings, labels, momentum=memory_momentum
  )
  state = state._replace(
    params=params,
    batch_stats=batch_stats,
    opt_state=opt_state,
    memory=memory,
    learning_rate=state.learning_rate + state.rate_increment,
    step=state.step + 1,
  )
  return state, StepMetrics(loss, accuracy)


def descend(
  optimizer: optax.GradientTransformation, state: Any, grads: Any, loss: Any
) -> tuple[Any, Any, jax.Array]:
  """New params and opt_state, and the loss: NaN if they are not finite.

  The loss of NaN weights can be finite: XLA's maximum on a CPU makes relu(NaN)
  zero. So an update that is not finite shows in its step's loss.
  """
  updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
  updates = jax.tree.map(lambda u: -state.learning_rate * u, updates)
  finite = jax.tree.map(lambda u: jnp.isfinite(u).all(), updates)
  finite = jnp.stack(jax.tree.leaves(finite)).all()
  loss = jnp.where(finite, loss, jnp.nan)
  return optax.apply_updates(state.params, updates), opt_state, loss


def make_train_step(**fields: Any) -> StepFn:
  """`train_step` with its static fields bound, over all local devices."""
  return mesh.parallel_update(bound_step(**fields))


def bound_step(**fields: Any) -> StepFn:
  """`train_step` of one device with its static fields bound."""
  return functools.partial(train_step, axis_name=mesh.AXIS_NAME, **fields)
