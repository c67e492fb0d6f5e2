"""How long runs take: an estimate before any is done, and their own after."""

from collections.abc import Sequence

import jax
import numpy as np

from dbc_jax.reproduce.jobs import Job
from dbc_jax.run import build, cost
from dbc_jax.run import config as config_lib


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
    rate = cost.seconds_per_flop()
  else:
    return [None] * len(jobs)
  return [cost.SECONDS_TO_START + rate * flops for flops in work]


def _work(job: Job, num_samples: int, num_tests: int) -> float:
  """Floating-point operations of a run's network."""
  parts = build.Parts(job.config)
  scored = 1 if job.row.kind == 'supervised' else None
  images = cost.images_of(parts, num_samples, num_tests, scored=scored)
  return cost.flops_of_an_image(parts) * images
