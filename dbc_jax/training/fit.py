"""One pass over the training samples; called by the stages.

In one compiled call where the devices keep the images, else step by step.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dbc_jax.data.split import Split
from dbc_jax.devices import mesh
from dbc_jax.training.step import StepFn, StepMetrics, TrainState, bound_step

EpochFn = Callable[[TrainState, Any, Any], tuple[TrainState, StepMetrics]]


def make_epoch(**fields: Any) -> EpochFn:
  """A whole epoch as one compiled call, for images that devices keep.

  Takes (state, (images, labels), frames, samples): all images [F, H, W, 3] and
  labels [N] on every device; the frames of each batch [S, B] or [S, B, T] and
  its samples [S, B], as `parallel.shard` places them by axis 1. Returns the
  state, whose buffers it takes over, and the metrics of all steps [S].
  """
  step = bound_step(**fields)

  def epoch(
    state: TrainState,
    data: tuple[jax.Array, jax.Array],
    index: tuple[jax.Array, jax.Array],
  ) -> tuple[TrainState, StepMetrics]:
    images, labels = data

    def body(
      state: TrainState, rows: tuple[jax.Array, jax.Array]
    ) -> tuple[TrainState, StepMetrics]:
      frames, samples = rows
      return step(state, {'images': images[frames], 'labels': labels[samples]})

    return jax.lax.scan(body, state, index)

  return mesh.parallel_epoch(epoch)


def train_epoch(
  step_fn: StepFn,
  epoch_fn: EpochFn | None,
  state: TrainState,
  split: Split,
  labels: np.ndarray,
  *,
  rates: tuple[float, float],
  batch_size: int,
  num_frames: int,
  seed: tuple[int, ...],
  on_step: Callable[[float, float], None],
) -> TrainState:
  """Steps once over the shuffled samples; an incomplete last batch is dropped.

  In one compiled call where the devices keep the images. On a CPU, where XLA
  gives convolutions inside a loop a single thread, and where images are
  streamed, step by step; the metrics of a step are then fetched only after the
  next one is dispatched, so that the device never waits for the host.

  Args:
    step_fn, epoch_fn: from `make_train_step` and `make_epoch`; without the
      second, all goes step by step.
    state: at the start of the epoch; used up.
    split: N training samples.
    labels: [N] int32.
    rates: learning rate of the first step, and of the one after the last.
    batch_size: of the global batch, <= N.
    num_frames: drawn of each tracklet.
    seed: of this epoch's permutation and of the frames.
    on_step: called with the loss and the accuracy of every step, in order.

  Returns:
    The state after the last step.

  Raises:
    FloatingPointError: a loss is NaN or infinite; names the step.
  """
  order = np.random.default_rng(seed).permutation(len(split))
  steps = len(order) // batch_size
  order = order[: steps * batch_size].reshape(steps, batch_size)
  state = mesh.replicate(
    state._replace(
      learning_rate=jnp.float32(rates[0]),
      rate_increment=jnp.float32((rates[1] - rates[0]) / steps),
    )
  )
  first_step = int(state.step)
  frames = split.draw_frames(order, num_frames, seed)
  images = split.resident_images()
  if images is not None and epoch_fn is not None:
    index = mesh.shard((frames, order), axis=1)
    data = images, mesh.replicate(labels)
    state, metrics = epoch_fn(state, data, index)
    metrics = jax.device_get(metrics)
    for step in range(steps):
      loss = _finite(metrics.loss[step], first_step + step)
      on_step(loss, float(metrics.accuracy[step]))
    return state
  pending: list[StepMetrics] = []
  for step, images in enumerate(split.batches(frames)):
    batch = {'images': images, 'labels': mesh.shard(labels[order[step]])}
    state, metrics = step_fn(state, batch)
    pending.append(metrics)
    if step:
      _report(pending.pop(0), first_step + step - 1, on_step)
  _report(pending.pop(0), first_step + steps - 1, on_step)
  return state


def _report(
  metrics: StepMetrics, step: int, on_step: Callable[[float, float], None]
) -> None:
  on_step(_finite(metrics.loss, step), float(metrics.accuracy))


def _finite(loss: jax.Array, step: int) -> float:
  value = float(loss)
  if not np.isfinite(value):
    raise FloatingPointError(f'step {step}: the loss is {value}')
  return value
