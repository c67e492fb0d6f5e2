"""How many samples the identities of a synthetic data set get.

Run by pytest. The rest is tested with the two data sets.
"""

import dataclasses

import numpy as np
import pytest

from benchmarks import synthetic_sets
from dbc_jax.data.synthetic import images
from dbc_jax.data.synthetic import splits as splits_lib


@pytest.mark.parametrize(
  ('mean', 'fewest', 'most'), [(9, 3, 72), (5, 2, 30)], ids=['images', 'video']
)
@pytest.mark.parametrize('total', [28, 60, 333, 2000])
def test_long_tail_sums_to_the_total(
  total: int, mean: int, fewest: int, most: int
) -> None:
  rng = np.random.default_rng(0)
  counts = splits_lib.long_tail(total, mean, fewest, most, 0.9, rng)
  assert sum(counts) == total
  assert fewest <= min(counts)
  assert max(counts) <= most
  assert abs(len(counts) * mean - total) <= mean


@pytest.mark.parametrize('name', synthetic_sets.SYNTHETIC)
def test_the_sets_of_the_studies_are_what_they_say(name: str) -> None:
  plan = dataclasses.replace(images.PLAN, **synthetic_sets.SYNTHETIC[name])
  counts = splits_lib.long_tail(
    1000,
    plan.train_mean,
    *plan.train_limits,
    plan.train_skew,
    np.random.default_rng(0),
  )
  identities = {'few': 50, 'many': 200}.get(name, 111)
  assert len(counts) == identities
  spread = max(counts) - min(counts)
  assert (spread <= 1) == (name == 'balanced')
  assert (spread > 40) == (name in ('few', 'skewed'))
