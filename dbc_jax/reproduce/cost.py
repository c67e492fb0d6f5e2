"""How long runs take: an estimate before any is done, and their own after."""

import time
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from dbc_jax.data import find_reader
from dbc_jax.reproduce.jobs import Job
from dbc_jax.run import build
from dbc_jax.run import config as config_lib

# A pass with its gradient costs three forward passes.
_TRAINING = 3
# Of a matrix product's arithmetic, what a whole run has per second on a CPU.
_EFFICIENCY = 0.25
_SECONDS_TO_START = 15


def seconds_of(job: Job) -> float:
  """What a run has taken, by its records."""
  return sum(
    value
    for record in job.history()
    for key, value in record.items()
    if key.startswith('seconds_')
  )


def num_stages(job: Job, num_samples: int) -> int:
  """How many records a run ends with."""
  if job.row.kind == 'supervised':
    return 1
  warm_up = job.config.train.init == 'self_supervised' and job.row.kind == 'run'
  return config_lib.num_stages(job.config, num_samples) + warm_up


def estimates(
  jobs: Sequence[Job], num_samples: int, num_tests: int
) -> list[float | None]:
  """Seconds of each whole run, on all that this machine has.

  Runs that are done tell how long their like take. Without any, on a CPU, the
  arithmetic of the network does, as a share of a matrix product's; elsewhere it
  is unknown.

  Args:
    jobs: of one data set.
    num_samples: N, training samples.
    num_tests: queries and gallery together.
  """
  work = [_work(job, num_samples, num_tests) for job in jobs]
  done = [
    seconds_of(job) / flops
    for job, flops in zip(jobs, work, strict=True)
    if job.is_done() and seconds_of(job)
  ]
  if done:
    rate = float(np.median(done))
  elif jax.default_backend() == 'cpu':
    rate = 1.0 / (_EFFICIENCY * _flops_of_a_product())
  else:
    return [None] * len(jobs)
  return [_SECONDS_TO_START + rate * flops for flops in work]


def _work(job: Job, num_samples: int, num_tests: int) -> float:
  """Floating-point operations of a run's network."""
  config, runs = job.config, config_lib.num_stages(job.config, num_samples)
  parts = build.Parts(config)
  passes = sum(
    parts.epochs(stage)
    * parts.steps(stage, num_samples)
    * config.train.batch_size
    for stage in range(runs)
  )
  if config.train.init == 'self_supervised':
    passes += 2 * config.train.warmup_epochs * num_samples
  scored = 1 if job.row.kind == 'supervised' else runs
  frames = 1
  embedded = (scored + 1) * num_samples + scored * num_tests
  if find_reader(config.data.name).RELEASE.is_video:
    frames = config.data.num_frames
  return _forward(parts) * frames * (_TRAINING * passes + embedded)


def _forward(parts: build.Parts) -> float:
  """Operations of one image."""
  shapes = parts.variable_shapes
  image = jax.ShapeDtypeStruct((1, *parts.image_size, 3), np.float32)
  lowered = jax.jit(parts.encoder.apply).lower(shapes, image)
  analysis: Any = lowered.cost_analysis()
  return float(analysis['flops'])


def _flops_of_a_product(size: int = 2048) -> float:
  """Operations a second, the best of some products."""
  x = np.ones((size, size), np.float32)
  best = np.inf
  for _ in range(5):
    start = time.perf_counter()
    np.matmul(x, x)
    best = min(best, time.perf_counter() - start)
  return 2.0 * size**3 / best
