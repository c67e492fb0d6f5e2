"""The label-free warm-up before stage 0, for networks that start at random.

Called by the stages where `train.init` is 'self_supervised'. The step knows an
axis name; what maps it over devices is in `parallel`.
"""

import functools
import logging
import math
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dbc_jax.data.augment import augment_strongly
from dbc_jax.data.split import Split
from dbc_jax.devices import mesh, processes
from dbc_jax.models import Encoder
from dbc_jax.training import fit, optim
from dbc_jax.training.step import StepFn, StepMetrics, descend

log = logging.getLogger('dbc_jax')

# docs/from_scratch.md has what these were chosen by.
_TEMPERATURE = 0.2
_VIEWS = {
  'crop_area': (0.4, 1.0),
  'crop_aspect': (0.75, 1.33),
  'jitter': 0.4,
  'hue': 0.05,
  'grey': 0.1,
}
# Folded into the run's key, in which no step of a stage has this number.
_STREAM = 2**32 - 1


class WarmupState(NamedTuple):
  """Everything a step reads and writes; fields as those of TrainState."""

  params: Any
  batch_stats: Any
  opt_state: Any
  learning_rate: jax.Array
  rate_increment: jax.Array
  step: jax.Array
  rng: jax.Array


def contrastive_loss(
  embeddings: jax.Array, everyone: jax.Array, offset: jax.Array | int
) -> tuple[jax.Array, jax.Array]:
  """Tells a view's other view from all other images (NT-Xent).

      p(i) = exp(v_i . v_i' / t) / sum_{k != i} exp(v_k . v_i / t),  t = 0.2

  The loss is the mean of -log p(i). Rows 2j and 2j + 1 are views of one image.

  Args:
    embeddings: [b, E] float32, of unit length: rows offset.. of `everyone`.
    everyone: [B, E] float32, B even.
    offset: may be traced.

  Returns:
    The loss, and the share of the b rows whose nearest is their other view.

  Source: Chen et al., A Simple Framework for Contrastive Learning of Visual
    Representations (2020), Eq. 1.
  """
  rows = offset + jnp.arange(len(embeddings))
  similarities = jnp.matmul(embeddings, everyone.T, precision='highest')
  itself = rows[:, None] == jnp.arange(len(everyone))
  similarities = jnp.where(itself, -jnp.inf, similarities)
  other = rows ^ 1
  log_probs = jax.nn.log_softmax(similarities / _TEMPERATURE)
  loss = -jnp.mean(jnp.take_along_axis(log_probs, other[:, None], axis=1))
  return loss, jnp.mean(jnp.argmax(similarities, axis=1) == other)


def warmup_step(
  state: WarmupState,
  batch: dict[str, jax.Array],
  *,
  encoder: Encoder,
  optimizer: optax.GradientTransformation,
  image_size: tuple[int, int],
  axis_name: str,
) -> tuple[WarmupState, StepMetrics]:
  """One update of the network on two views of each image.

  Args:
    state: equal on all devices.
    batch: 'images' uint8 [B/n, H, W, 3], or [B/n, T, H, W, 3] of tracklets.
      Its 'labels' are not read.
    encoder, optimizer, image_size: static.
    axis_name: of the devices; an image is told from those of all devices.

  Returns:
    The new state and the metrics, equal on all devices.
  """
  augment_rng, dropout_rng = jax.random.split(
    jax.random.fold_in(state.rng, state.step)
  )
  # The two views side by side: a row's place in the global batch, by which
  # dropout draws, is then the same on any number of devices.
  images = jnp.repeat(batch['images'], 2, axis=0)
  offset = jax.lax.axis_index(axis_name) * len(images)
  images = augment_strongly(
    augment_rng,
    offset + jnp.arange(len(images)),
    images,
    size=image_size,
    **_VIEWS,
  )

  def loss_fn(params: Any) -> tuple[jax.Array, tuple[jax.Array, Any]]:
    (embeddings, _), mutated = encoder.apply(
      {'params': params, 'batch_stats': state.batch_stats},
      images,
      train=True,
      rngs={'dropout': dropout_rng},
      mutable=['batch_stats'],
    )
    everyone = jax.lax.all_gather(embeddings, axis_name, tiled=True)
    loss, accuracy = contrastive_loss(embeddings, everyone, offset)
    return loss, (accuracy, mutated['batch_stats'])

  (loss, (accuracy, batch_stats)), grads = jax.value_and_grad(
    loss_fn, has_aux=True
  )(state.params)
  grads, batch_stats, loss, accuracy = jax.lax.pmean(
    (grads, batch_stats, loss, accuracy), axis_name
  )
  params, opt_state, loss = descend(optimizer, state, grads, loss)
  state = state._replace(
    params=params,
    batch_stats=batch_stats,
    opt_state=opt_state,
    learning_rate=state.learning_rate + state.rate_increment,
    step=state.step + 1,
  )
  return state, StepMetrics(loss, accuracy)


def make_step(
  encoder: Encoder,
  optimizer: optax.GradientTransformation,
  image_size: tuple[int, int],
) -> StepFn:
  """`warmup_step` with its static fields bound, over all local devices."""
  return mesh.parallel_update(
    functools.partial(
      warmup_step,
      encoder=encoder,
      optimizer=optimizer,
      image_size=image_size,
      axis_name=mesh.AXIS_NAME,
    )
  )


def warm_up(
  encoder: Encoder,
  variables: dict[str, Any],
  split: Split,
  *,
  epochs: int,
  batch_size: int,
  learning_rate: float,
  momentum: float,
  weight_decay: float,
  image_size: tuple[int, int],
  num_frames: int,
  seed: int,
) -> dict[str, Any]:
  """Trains a network on nothing but the images of a split; logs each epoch.

  Args:
    encoder: the network; its embedding is what is compared.
    variables: to begin with.
    split: N training samples.
    epochs: passes, two views of each image in each.
    batch_size: images of the global batch, <= N; the others in it are what an
      image is told from.
    learning_rate: of the first step; it falls to zero by a cosine.
    momentum, weight_decay: of SGD.
    image_size: (height, width) the network sees.
    num_frames: drawn of each tracklet.
    seed: of the run.

  Returns:
    The new variables. Backbone and head learn at the same rate: nothing is
    pre-trained yet.

  Raises:
    FloatingPointError: a loss is NaN or infinite; names the epoch and step.
  """
  optimizer = optim.create_optimizer(
    momentum=momentum, weight_decay=weight_decay, backbone_multiplier=1.0
  )
  step_fn = make_step(encoder, optimizer, image_size)
  # As create_train_state does: processes must not differ in rounding.
  variables = processes.from_first(variables)
  state = WarmupState(
    params=variables['params'],
    batch_stats=variables['batch_stats'],
    opt_state=optimizer.init(variables['params']),
    learning_rate=jnp.float32(0.0),
    rate_increment=jnp.float32(0.0),
    step=jnp.int32(0),
    rng=jax.random.fold_in(jax.random.key(seed), _STREAM),
  )
  clock = time.perf_counter()
  for epoch in range(epochs):
    metrics: list[tuple[float, float]] = []
    start, end = (
      learning_rate * (1.0 + math.cos(math.pi * passed / epochs)) / 2.0
      for passed in (epoch, epoch + 1)
    )
    try:
      state = fit.train_epoch(
        step_fn,
        None,
        state,
        split,
        np.zeros(len(split), np.int32),
        rates=(start, end),
        batch_size=batch_size,
        num_frames=num_frames,
        seed=(seed, epoch, _STREAM),
        on_step=lambda *values: metrics.append(values),  # noqa: B023
      )
    except FloatingPointError as error:
      raise FloatingPointError(
        f'warm-up, epoch {epoch}, {error}. Nothing is saved yet. Lower '
        'train.learning_rate'
      ) from error
    loss, accuracy = np.mean(metrics, axis=0)
    log.info(
      'warm-up epoch %d/%d: loss %.2f, accuracy %.0f %%',
      epoch + 1,
      epochs,
      loss,
      100 * accuracy,
    )
  seconds = time.perf_counter() - clock
  log.info('warm-up: %d epochs, loss %.2f, %.1f s', epochs, loss, seconds)
  return {'params': state.params, 'batch_stats': state.batch_stats}
