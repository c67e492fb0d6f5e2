"""How many samples the identities of a synthetic data set get.

Run by pytest. The rest is tested with the two data sets.
"""

import numpy as np
import pytest

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
