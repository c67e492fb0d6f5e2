"""What is told of a run before any work: of its data and of its config."""

import logging

import numpy as np

from dbc_jax import data as data_lib
from dbc_jax import evaluation

log = logging.getLogger('dbc_jax')


def check_matches(truth: data_lib.GroundTruth, camera_rule: bool) -> None:
  """Raises now, and not after stage 0, if no query can have a match.

  Warns where fewer than half can.
  """
  if truth.query_pids is None or truth.gallery_pids is None:
    return
  try:
    scores = evaluation.evaluate_ranking(
      # No memory, whatever its size.
      np.broadcast_to(0.0, (len(truth.query_pids), len(truth.gallery_pids))),
      truth.query_pids,
      truth.gallery_pids,
      truth.query_camids,
      truth.gallery_camids,
      camera_rule=camera_rule,
    )
  except ValueError as error:
    how = ' (--config.camera_rule=False)' if 'camera_rule' in str(error) else ''
    raise ValueError(f'{error}{how}') from error
  valid, given = int(scores['num_valid_queries']), len(truth.query_pids)
  if 2 * valid < given:
    log.warning(
      'only %d of the %d queries can be scored: the others have no match in '
      'the gallery%s',
      valid,
      given,
      ' under another camera (camera_rule)' if camera_rule else '',
    )
