"""What a run says of its data and its config before any work."""

import numpy as np
import pytest

from dbc_jax.data import GroundTruth
from dbc_jax.run import start_checks


def _truth(valid: int) -> GroundTruth:
  """Eight queries of camera 1; so many have a match under camera 2."""
  pids = np.arange(8)
  return GroundTruth(
    query_pids=pids,
    query_camids=np.full(8, 1),
    gallery_pids=pids,
    gallery_camids=np.where(pids < valid, 2, 1),
  )


@pytest.mark.parametrize(('valid', 'told'), [(1, True), (3, True), (4, False)])
def test_few_queries_that_count_are_told(caplog, valid, told):
  start_checks.check_matches(_truth(valid), camera_rule=True)
  assert (f'only {valid} of the 8 queries can be scored' in caplog.text) == told


def test_without_the_camera_rule_all_count(caplog):
  start_checks.check_matches(_truth(1), camera_rule=False)
  assert not caplog.text
