"""How long a run will take, before any of it is done."""

import time
from typing import Any

import jax
import numpy as np

from dbc_jax.data import find_reader
from dbc_jax.data.pipeline import LoadedDataset
from dbc_jax.reporting.time_to_go import duration
from dbc_jax.run import config as config_lib
from dbc_jax.run.build import Parts

# A pass with its gradient costs three forward passes.
_TRAINING = 3
# Of a matrix product's arithmetic, what a whole run has per second on a CPU.
_EFFICIENCY = 0.25
SECONDS_TO_START = 15
# A run of fewer passes is over before it is worth a word.
_FEW_IMAGES = 20_000


def describe(parts: Parts, data: LoadedDataset) -> str:
  """'... roughly 6 min ...' on a CPU; '' elsewhere, or of a short run."""
  tests = (data.query, data.gallery) if data.truth.can_evaluate else ()
  num_tests = sum(len(split) for split in tests if split is not None)
  images = images_of(parts, len(data.train), num_tests)
  if images < _FEW_IMAGES or jax.default_backend() != 'cpu':
    return ''
  seconds = flops_of_an_image(parts) * images * seconds_per_flop()
  return (
    f'all of it takes roughly {duration(SECONDS_TO_START + seconds)} on this '
    'CPU, by the arithmetic of its network; the time to go follows as soon as '
    'it is measured'
  )


def images_of(
  parts: Parts, num_samples: int, num_tests: int, *, scored: int | None = None
) -> float:
  """Images that pass forward through a run's network, or cost as much.

  Args:
    parts: of the run.
    num_samples: N, training samples.
    num_tests: queries and gallery together.
    scored: stages that are scored; all, by default.
  """
  config = parts.config
  num_stages = config_lib.num_stages(config, num_samples)
  trained = sum(
    parts.epochs(stage)
    * parts.steps(stage, num_samples)
    * config.train.batch_size
    for stage in range(num_stages)
  )
  if config.train.init == 'self_supervised':
    trained += 2 * config.train.warmup_epochs * num_samples
  scored = num_stages if scored is None else scored
  embedded = (scored + 1) * num_samples + scored * num_tests
  is_video = find_reader(config.data.name).RELEASE.is_video
  frames = config.data.num_frames if is_video else 1
  return frames * (_TRAINING * trained + embedded)


def flops_of_an_image(parts: Parts) -> float:
  """Floating-point operations of one forward pass."""
  image = jax.ShapeDtypeStruct((1, *parts.image_size, 3), np.float32)
  lowered = jax.jit(parts.encoder.apply).lower(parts.variable_shapes, image)
  analysis: Any = lowered.cost_analysis()
  return float(analysis['flops'])


def seconds_per_flop() -> float:
  """Of a run on this CPU, as a share of what a matrix product reaches."""
  return 1.0 / (_EFFICIENCY * _flops_of_a_product())


def _flops_of_a_product(size: int = 2048) -> float:
  """Operations a second, the best of some products."""
  x = np.ones((size, size), np.float32)
  best = np.inf
  for _ in range(5):
    start = time.perf_counter()
    np.matmul(x, x)
    best = min(best, time.perf_counter() - start)
  return 2.0 * size**3 / best
