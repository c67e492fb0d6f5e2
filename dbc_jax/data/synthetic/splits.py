"""Who of a synthetic data set is seen where, and in which split."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from dbc_jax.data.samples import (
  DISTRACTOR_PID,
  JUNK_PID,
  SPLITS,
  Loaded,
  Samples,
  assemble,
)
from dbc_jax.data.synthetic import camera, clock
from dbc_jax.data.synthetic.world import CLOCK, PIDS, TEST, TRAIN, World

_MAX_PID = 1500


@dataclasses.dataclass(frozen=True)
class Plan:
  """What tells one synthetic set, made of samples, from another."""

  unit: str  # 'images' or 'tracklets': the options are named by it.
  train_mean: int  # Samples per training identity.
  train_limits: tuple[int, int]  # Fewest and most of one.
  test_limits: tuple[int, int]  # Those of a test identity; at least 4.
  num_distractors: int  # Persons without a query.
  distractor_samples: int  # Of each of them.
  num_junk: int  # Samples of bad crops.
  # From the number of samples that one camera takes of a person, the fewest
  # that may be cut off first, and a generator, to the number of consecutive
  # images of each sighting.
  cut: Callable[[int, int, np.random.Generator], list[int]]
  # From the images of one sighting, in order of time, to samples.
  develop: Callable[[list[np.ndarray]], list[np.ndarray]]
  # From a world, a person, a camera and a number to a sample of junk.
  spoil: Callable[[World, int, int, int], np.ndarray]
  # From names and samples to what a reader gives.
  collect: Callable[[Sequence[str], Sequence[np.ndarray]], Samples]
  # From the cameras and the lengths of a person's samples, the size of the
  # training set and a generator to their first and last frames [n, 2]; None
  # where samples have no moment.
  schedule: (
    Callable[[list[int], list[int], int, np.random.Generator], np.ndarray]
    | None
  ) = None
  # Standard deviation of the logarithm of the samples of a training identity,
  # before the limits; real sets are skewed (Market-1501: 2 to 72, mean 17).
  train_skew: float = 0.9


def draw(
  plan: Plan, seed: int, num_train: int, num_test_identities: int
) -> Loaded:
  """Draws a whole data set.

  Of each test identity one sample a camera is a query, and the rest, with at
  least one of the same camera, is in the gallery.

  Args, Returns, Raises: as `load` of `images`, whose options have the plan's
  unit in their names.
  """
  for name, value, least in (
    ('seed', seed, 0),
    (f'num_train_{plan.unit}', num_train, 2 * plan.train_mean),
    ('num_test_identities', num_test_identities, 2),
  ):
    if value < least:
      raise ValueError(f'{name} is {value}; give at least {least}')
  world = World(seed)
  counts = long_tail(
    num_train,
    plan.train_mean,
    *plan.train_limits,
    plan.train_skew,
    world.rng(TRAIN),
  )
  num_train_identities = len(counts)
  if num_train_identities + num_test_identities > _MAX_PID:
    raise ValueError(
      f'num_train_{plan.unit}={num_train} and num_test_identities='
      f'{num_test_identities} need over {_MAX_PID} identities; lower them'
    )
  pids = 1 + world.rng(PIDS).permutation(_MAX_PID)

  # Samples with their pids and camids.
  drawn = {name: [] for name in SPLITS}
  spans = []
  for person, count in enumerate(counts):
    rng = world.rng(TRAIN, person)
    samples, camids = zip(
      *_visits(plan, world, person, count, rng, 1), strict=True
    )
    for sample, camid in zip(samples, camids, strict=True):
      drawn['train'].append((sample, pids[person], camid))
    if plan.schedule:
      lengths = [len(sample) for sample in samples]
      own = world.rng(CLOCK, person)
      spans.append(plan.schedule([*camids], lengths, num_train, own))

  num_known = num_train_identities + num_test_identities
  fewest, most = plan.test_limits
  for person in range(num_train_identities, num_known):
    rng = world.rng(TEST, person)
    count = int(rng.integers(fewest, most + 1))
    queried = set()
    for sample, camid in _visits(plan, world, person, count, rng, 2):
      split = 'gallery' if camid in queried else 'query'
      queried.add(camid)
      drawn[split].append((sample, pids[person], camid))
  for person in range(num_known, num_known + plan.num_distractors):
    rng, count = world.rng(TEST, person), plan.distractor_samples
    for sample, camid in _visits(plan, world, person, count, rng, 1):
      drawn['gallery'].append((sample, DISTRACTOR_PID, camid))
  for index in range(plan.num_junk):
    person = num_train_identities + index % num_test_identities
    camid = index % len(camera.CAMERAS)
    sample = plan.spoil(world, person, camid, index)
    drawn['gallery'].append((sample, JUNK_PID, camid))

  rng = world.rng(PIDS, 1)
  parts, frames = [], None
  for split, rows in drawn.items():
    order = rng.permutation(len(rows))
    if spans and split == 'train':
      frames = np.concatenate(spans)[order]
    samples, *truth = zip(*(rows[i] for i in order), strict=True)
    # Names tell the position alone: training must not learn the truth there.
    suffix = '.png' if plan.unit == 'images' else ''
    names = [f'{split}/{i:06d}{suffix}' for i in range(len(rows))]
    parts.append((plan.collect(names, samples), *np.array(truth, np.int32)))
  times = None if frames is None else frames / clock.FRAMES_PER_SECOND
  return assemble(*parts, frames=frames, times=times)


def long_tail(
  total: int,
  mean: int,
  fewest: int,
  most: int,
  skew: float,
  rng: np.random.Generator,
) -> list[int]:
  """Samples of each identity: skewed, summing to `total`, at least 2 `mean`."""
  num_identities = max(round(total / mean), 2)
  weights = np.exp(skew * rng.standard_normal(num_identities))
  spare = total - fewest * num_identities
  counts = fewest + np.floor(spare * weights / weights.sum()).astype(int)
  counts = np.minimum(counts, most)
  # What rounding and the upper limit took away goes to the rarest.
  while counts.sum() < total:
    counts[np.argmin(counts)] += 1
  return counts.tolist()


def _visits(
  plan: Plan,
  world: World,
  person: int,
  count: int,
  rng: np.random.Generator,
  least: int,
) -> Iterator[tuple[np.ndarray, int]]:
  """A person's samples and their camids, in sightings by two to five cameras.

  Each camera has `least` or more of them; `count` is at least 2, and 2 `least`.
  """
  most = min(len(camera.CAMERAS), count // max(least, 2))
  num_cameras = int(rng.integers(2, most + 1)) if most > 2 else 2
  camids = rng.permutation(len(camera.CAMERAS))[:num_cameras]
  shares = np.full(num_cameras, least)
  extra = rng.integers(0, num_cameras, count - shares.sum())
  shares = shares + np.bincount(extra, minlength=num_cameras)
  for camid, share in zip(camids.tolist(), shares.tolist(), strict=True):
    for visit, length in enumerate(plan.cut(share, least, rng)):
      for sample in plan.develop(world.film(person, camid, visit, length)):
        yield sample, camid
