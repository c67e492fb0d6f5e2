"""Epoch after epoch over the training samples: the only loop of training."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dbc_jax.data.split import Split
from dbc_jax.devices import mesh
from dbc_jax.reporting.profiling import Profiler
from dbc_jax.training.batches import draw_batches
from dbc_jax.training.step import Step, StepMetrics, TrainState

# Called with the number of the epoch, and loss and accuracy of the step.
OnStep = Callable[[int, float, float], None]
# Whether training is to end after the coming step.
Stop = Callable[[], object]


class Trainer:
  """A step for all devices.

  Attributes:
    step: of one device.
    compiled_step: the same over all devices; its batch is what `mesh.shard`
      places.
    compiled_epoch: many of them at once, for images that devices keep.
  """

  def __init__(self, step: Step):
    """Compiles nothing yet."""
    self.step = step
    self.compiled_step = mesh.parallel_update(step)
    self.compiled_epoch = mesh.parallel_epoch(self._scan)

  def _scan(
    self,
    state: TrainState,
    data: tuple[jax.Array, jax.Array],
    index: tuple[jax.Array, jax.Array],
  ) -> tuple[TrainState, StepMetrics]:
    """A whole epoch, for images that devices keep."""
    # Of each batch, its frames [S, B/n] or [S, B/n, T] and samples [S, B/n].
    images, labels = data

    def body(
      state: TrainState, rows: tuple[jax.Array, jax.Array]
    ) -> tuple[TrainState, StepMetrics]:
      frames, samples = rows
      batch = {'images': images[frames], 'labels': labels[samples]}
      return self.step(state, batch)

    return jax.lax.scan(body, state, index)

  def fit(
    self,
    state: TrainState,
    split: Split,
    labels: np.ndarray,
    *,
    rates: Sequence[tuple[float, float]],
    seeds: Sequence[tuple[int, ...]],
    batch_size: int,
    num_frames: int,
    on_step: OnStep,
    targets: np.ndarray | None = None,
    steps: int = 0,
    images_per_cluster: int = 0,
    profiler: Profiler | None = None,
    done: int = 0,
    stop: Stop | None = None,
  ) -> Iterator[tuple[int, TrainState]]:
    """Trains for some epochs, and yields the state after each.

    Each epoch steps once over the shuffled samples, unless `steps` says how
    many steps it has; an incomplete last batch is dropped.

    Args:
      state: at the start; used up.
      split: N training samples.
      labels: [N] int32; samples of -1 are left out, and the others take their
        places, so that an epoch has as many steps.
      rates: of each epoch, the learning rate of its first step, and of the one
        after its last; linear between.
      seeds: of each epoch, that of its permutation and its frames.
      batch_size: of the global batch, <= N.
      num_frames: drawn of each tracklet.
      on_step: called for every step, in order.
      targets: [N] int32, what the objective takes for labels; None: `labels`.
      steps: of an epoch; 0: N // batch_size.
      images_per_cluster: as `draw_batches`.
      profiler: takes a trace of some steps.
      done: how many steps of these epochs `state` has behind it: they are left
        out, and all else is as if they had been done here.
      stop: asked before each step, and where an epoch is compiled as a whole
        before each epoch; once it is true, no further step is done.

    Yields:
      The number of the epoch, from 0, and the state after it, which is good
      until the next epoch begins; at a stop the state so far, for the last
      time.

    Raises:
      FloatingPointError: a loss is NaN or infinite; names the epoch and step.
    """
    profiler = profiler or Profiler(None)
    steps = steps or len(split) // batch_size
    targets = labels if targets is None else targets
    for epoch, (ends, seed) in enumerate(zip(rates, seeds, strict=True)):
      skipped = min(max(0, done - epoch * steps), steps)
      if skipped == steps:
        continue
      if stop and stop():
        yield epoch, state
        return
      start, end = ends
      if not skipped:
        state = state._replace(
          learning_rate=jnp.float32(start),
          rate_increment=jnp.float32((end - start) / steps),
        )
      state = mesh.replicate(state)
      order = draw_batches(
        labels,
        steps=steps,
        batch_size=batch_size,
        images_per_cluster=images_per_cluster,
        seed=seed,
      )
      frames = split.draw_frames(order, num_frames, seed)
      order, frames = order[skipped:], frames[skipped:]
      first = int(state.step)
      # A trace of a whole epoch would be too long to look at.
      images = None if profiler.wanted else split.resident_images()
      if images is None:
        passing = self._step_by_step(state, split, targets, order, frames, stop)
      else:
        index = mesh.shard((frames, order), axis=1)
        data = images, mesh.replicate(targets)
        state, found = self.compiled_epoch(state, data, index)
        found = map(StepMetrics._make, zip(*jax.device_get(found), strict=True))
        passing = zip(itertools.repeat(state), found, strict=False)
      # The last of the states is the one after the epoch.
      for step, (state, metrics) in enumerate(passing, first):  # noqa: B007
        loss = float(metrics.loss)
        if not np.isfinite(loss):
          raise FloatingPointError(
            f'epoch {epoch}, step {step}: the loss is {loss}'
          )
        profiler.count()
        on_step(epoch, loss, float(metrics.accuracy))
      profiler.finish()
      is_whole = int(state.step) == first + len(order)
      yield epoch, state
      if not is_whole:
        return

  def _step_by_step(
    self,
    state: TrainState,
    split: Split,
    labels: np.ndarray,
    order: np.ndarray,
    frames: np.ndarray,
    stop: Stop | None,
  ) -> Iterator[tuple[TrainState, StepMetrics]]:
    """Each step's metrics, once the next step is dispatched.

    So the device never waits for the host. On a CPU, where XLA gives
    convolutions inside a loop a single thread, and where images are streamed.
    """
    before: Any = None
    for samples, images in zip(order, split.batches(frames), strict=True):
      if before is not None and stop and stop():
        break
      batch = {'images': images, 'labels': mesh.shard(labels[samples])}
      state, metrics = self.compiled_step(state, batch)
      if before is not None:
        yield state, before
      before = metrics
    yield state, before
