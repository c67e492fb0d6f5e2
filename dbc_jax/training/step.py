"""The training step, as a pure function of a TrainState.

The step knows an axis name; what maps it over devices is `devices.mesh`.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from dbc_jax.devices import mesh, processes
from dbc_jax.models import Encoder
from dbc_jax.training.objectives import Objective, Outputs

# `augment` and `augment_strongly` of the data, with their fields bound:
# (rng, positions [b], uint8 images [b, ...]) to normalised float32 images.
Augment = Callable[[jax.Array, jax.Array, jax.Array], jax.Array]


class TrainState(NamedTuple):
  """Everything a step reads and writes.

  Attributes:
    params, batch_stats: the network's variables.
    teacher: moving means of both, or () where there is no teacher.
    opt_state: of the optimiser; fresh in each stage.
    objective: what the objective needs beside the network.
    learning_rate: float32 scalar of the coming step.
    rate_increment: float32 scalar, what it grows by with each step.
    step: int32 scalar, counts through the whole run.
    rng: key of the run; a step uses fold_in(rng, step).
  """

  params: Any
  batch_stats: Any
  teacher: Any
  opt_state: Any
  objective: Any
  learning_rate: jax.Array
  rate_increment: jax.Array
  step: jax.Array
  rng: jax.Array


class StepMetrics(NamedTuple):
  """Of the global batch, before the update.

  Attributes:
    loss: NaN if the update is not finite.
    accuracy: share of rows that the objective tells rightly.
  """

  loss: Any
  accuracy: Any


def init_variables(
  encoder: Encoder, rng: jax.Array, image_size: tuple[int, int]
) -> dict[str, Any]:
  """Random 'params' and 'batch_stats' of the encoder."""
  images = jnp.zeros((1, *image_size, 3), jnp.float32)
  # For a single call: the same numbers, compiled in half the time.
  options = {'xla_backend_optimization_level': 1}
  if not mesh.host_is_device():  # Not tried elsewhere.
    options = None
  return jax.jit(encoder.init, compiler_options=options)(rng, images)


@dataclasses.dataclass(frozen=True)
class Step:
  """One update of the network, then of the objective's state.

  A call is pure, and is one device's share of a step.

  Attributes:
    encoder: the network, whose axis is `mesh.AXIS_NAME`.
    optimizer: its updates are scaled by -learning_rate here.
    objective: what is trained on.
    augment: from images to what the network sees of them.
    teacher_momentum: weight of the teacher's old weights; 0: no teacher.
      Tarvainen and Valpola, Mean teachers are better role models (2017).
  """

  encoder: Encoder
  optimizer: optax.GradientTransformation
  objective: Objective
  augment: Augment
  teacher_momentum: float = 0.0

  def start(
    self,
    variables: dict[str, Any],
    objective: Any,
    *,
    step: int,
    rng: jax.Array,
    teacher: dict[str, Any] | None = None,
  ) -> TrainState:
    """The state at the start of a stage: fresh optimiser, given variables.

    Several processes take all from the first: what each computed by itself
    may differ in rounding, and would go on to differ.

    Args:
      variables: 'params' and 'batch_stats'.
      objective: the objective's state.
      step: the number of the first step.
      rng: key of the run.
      teacher: as `variables`; None: it starts as they do, if there is one.
    """
    variables, objective = processes.from_first((variables, objective))
    return TrainState(
      params=variables['params'],
      batch_stats=variables['batch_stats'],
      # Copies: a buffer cannot be taken over twice.
      teacher=jax.tree.map(jnp.array, teacher or variables)
      if self.teacher_momentum
      else (),
      # One program, not one a parameter.
      opt_state=jax.jit(self.optimizer.init)(variables['params']),
      objective=objective,
      learning_rate=jnp.float32(0.0),
      rate_increment=jnp.float32(0.0),
      step=jnp.int32(step),
      rng=rng,
    )

  def __call__(
    self, state: TrainState, batch: dict[str, jax.Array]
  ) -> tuple[TrainState, StepMetrics]:
    """The next state and the metrics, both equal on all devices.

    Args:
      state: equal on all devices.
      batch: this device's 'images' uint8 [B/n, H, W, 3], or
        [B/n, T, H, W, 3] of tracklets, and 'labels' int32 [B/n].
    """
    augment_rng, dropout_rng = jax.random.split(
      jax.random.fold_in(state.rng, state.step)
    )
    images, labels = batch['images'], batch['labels']
    if self.objective.views > 1:
      # Views side by side: a row's place in the global batch, by which dropout
      # and augmentation draw, is then the same on any number of devices.
      images, labels = (
        jnp.repeat(x, self.objective.views, axis=0) for x in (images, labels)
      )
    first = jax.lax.axis_index(mesh.AXIS_NAME) * len(images)
    images = self.augment(augment_rng, first + jnp.arange(len(images)), images)

    def loss_fn(params: Any) -> tuple[jax.Array, Any]:
      outputs, mutated = self.encoder.apply(
        {'params': params, 'batch_stats': state.batch_stats},
        images,
        train=True,
        rngs={'dropout': dropout_rng},
        mutable=['batch_stats'],
      )
      outputs = Outputs(*outputs)
      loss, accuracy = self.objective.loss(state.objective, outputs, labels)
      return loss, (accuracy, outputs, mutated['batch_stats'])

    (loss, (accuracy, outputs, batch_stats)), grads = jax.value_and_grad(
      loss_fn, has_aux=True
    )(state.params)
    grads, batch_stats, loss, accuracy = jax.lax.pmean(
      (grads, batch_stats, loss, accuracy), mesh.AXIS_NAME
    )
    updates, opt_state = self.optimizer.update(
      grads, state.opt_state, state.params
    )
    updates = jax.tree.map(lambda u: -state.learning_rate * u, updates)
    # The loss of NaN weights can be finite: XLA's maximum on a CPU makes
    # relu(NaN) zero. So an update that is not finite shows in its step's loss.
    finite = jax.tree.map(lambda u: jnp.isfinite(u).all(), updates)
    finite = jnp.stack(jax.tree.leaves(finite)).all()
    loss = jnp.where(finite, loss, jnp.nan)
    outputs, labels = jax.lax.all_gather(
      (outputs, labels), mesh.AXIS_NAME, tiled=True
    )
    params = optax.apply_updates(state.params, updates)
    student = {'params': params, 'batch_stats': batch_stats}
    state = state._replace(
      params=params,
      batch_stats=batch_stats,
      teacher=self._taught(state.teacher, student),
      opt_state=opt_state,
      objective=self.objective.after(state.objective, outputs, labels),
      learning_rate=state.learning_rate + state.rate_increment,
      step=state.step + 1,
    )
    return state, StepMetrics(loss, accuracy)

  def _taught(self, teacher: Any, student: Any) -> Any:
    if not self.teacher_momentum:
      return teacher
    return optax.incremental_update(student, teacher, 1 - self.teacher_momentum)
