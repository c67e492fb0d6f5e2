"""A training that tells how far it is, and its run."""

import logging
from typing import Any

import numpy as np

from dbc_jax import reporting
from dbc_jax.data.split import Split
from dbc_jax.run import selection
from dbc_jax.run.build import Parts
from dbc_jax.training.fit import Trainer
from dbc_jax.training.step import TrainState

log = logging.getLogger('dbc_jax')


def clock_of(
  parts: Parts, num_stages: int, num_samples: int
) -> reporting.RunClock:
  """Of a run whose trainings take as long as the images that they see."""
  train = parts.config.train
  steps: dict[selection.Stage, int] = {
    selection.WARMUP: train.warmup_epochs * (num_samples // train.batch_size)
  }
  for stage in range(num_stages):
    steps[stage] = parts.epochs(stage) * parts.steps(stage, num_samples)
  warmup, later = (
    trainer.step.objective.views for trainer in (parts.warmup, parts.trainer)
  )
  return reporting.RunClock(
    {
      part: count * (warmup if part == selection.WARMUP else later)
      for part, count in steps.items()
    }
  )


def fit(
  parts: Parts,
  trainer: Trainer,
  start: TrainState,
  split: Split,
  labels: np.ndarray,
  *,
  part: selection.Stage,
  num_stages: int,
  clock: reporting.RunClock,
  rates: list[tuple[float, float]],
  steps: int,
  advice: str,
  **options: Any,
) -> tuple[TrainState, reporting.StageProgress]:
  """As `Trainer.fit` to the end, with a bar or a line an epoch.

  Args:
    parts: of the run.
    trainer, start, split, labels, rates, steps: as for `Trainer.fit`.
    part: a stage, or the warm-up.
    num_stages: of the run.
    clock: of the run.
    advice: what to do where the loss is not finite.
    **options: further ones of `Trainer.fit`.

  Returns:
    The last state, and the means of the last epoch.

  Raises:
    FloatingPointError: a loss is NaN or infinite; names the step.
  """
  train, data = parts.config.train, parts.config.data
  images = train.batch_size * (data.num_frames if split.is_video else 1)
  state = start
  with reporting.StageProgress(
    part, num_stages, len(rates), steps, images, clock=clock
  ) as progress:
    try:
      for _, state in trainer.fit(  # noqa: B007 the last one counts
        start,
        split,
        labels,
        rates=rates,
        steps=steps,
        batch_size=train.batch_size,
        num_frames=data.num_frames,
        on_step=progress.update,
        **options,
      ):
        if not progress.enabled:
          log.info(progress.describe())
    except FloatingPointError as error:
      message = f'{progress.name}, {error}. {advice}'
      raise FloatingPointError(message) from error
  return state, progress
