"""What is told of a run before any work: of its data and of its config."""

import logging
from typing import Any

import numpy as np

from dbc_jax import data as data_lib
from dbc_jax import evaluation
from dbc_jax.data.pipeline import LoadedDataset
from dbc_jax.run.config import Config

# Pictures are squeezed into a shape that is so many times as long, or as wide.
_SQUEEZED = 1.5

log = logging.getLogger('dbc_jax')


def check_matches(
  truth: data_lib.GroundTruth,
  camera_rule: bool,
  left_out: np.ndarray | None = None,
) -> None:
  """Raises now, and not after stage 0, if no query can have a match.

  Warns where fewer than half can.

  Args:
    truth: of the data set.
    camera_rule: whether matches from a query's own camera are left out.
    left_out: [P, 2], queries and entries of the gallery that are.
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
      left_out=left_out,
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


def tell(config: Config, data: LoadedDataset) -> None:
  """Warns of what looks odd in the data, and in the config for them."""
  tell_of_images(config, data)
  tell_of_network(config)
  tell_of_cameras(config, data.truth)
  tell_of_neighbours(config.cluster, len(data.train))


def tell_of_images(config: Config, data: LoadedDataset) -> None:
  """Warns of odd images, and of a size or shape that is not theirs."""
  for note in data.notes:
    log.warning('%s', note)
  if data.shape is None:
    return
  kept, seen = tuple(config.data.stored_size), tuple(config.data.image_size)
  names = 'data.stored_size and data.image_size'
  smaller = any(
    mine < wanted and mine < given
    for mine, wanted, given in zip(kept, seen, data.shape, strict=True)
  )
  sizes = [f'{high} x {wide}' for high, wide in (data.shape, kept, seen)]
  how = 'the images are {} (height x width, medians), kept at {}, and the '
  how = (how + 'network sees {}').format(*sizes)
  if smaller:
    log.warning(
      '%s: so it sees less than the files hold; set data.stored_size to at '
      'least data.image_size',
      how,
    )
  tall = [high / wide for high, wide in (data.shape, kept, seen)]
  if max(tall) > _SQUEEZED * min(tall):
    log.warning('%s: they are squeezed; set %s to their shape', how, names)


def check_leave_one_out(config: Config, data: LoadedDataset) -> None:
  """As `check_matches`, once it is known which images are equal; says how many.

  Raises:
    ValueError: as there.
  """
  if not config.leave_one_out or not data.truth.can_evaluate:
    return
  if not len(data.copies):
    log.warning(
      'leave_one_out: no query has an image of equal pixels in the gallery; '
      'nothing is left out'
    )
    return
  log.info(
    'leave_one_out: %d of %d queries are ranked without their equals in the '
    'gallery',
    len(np.unique(data.copies[:, 0])),
    len(data.names['query']),
  )
  check_matches(data.truth, config.camera_rule, data.copies)


def tell_of_network(config: Config) -> None:
  """Warns of parts that stay, or nearly stay, as random as they began."""
  if config.train.init != 'random':
    return
  frozen, rate = config.model.frozen_stages, config.train.backbone_multiplier
  if frozen > 0:
    log.warning(
      'model.frozen_stages: %d, with train.init=random: the stem and %d block '
      'groups keep random weights to the end; set it to 0, or train.init to a '
      'file of pre-trained weights',
      frozen,
      frozen,
    )
  if rate < 1:
    log.warning(
      'train.backbone_multiplier: %g, with train.init=random: random weights '
      'learn %s; set it to 1, or train.init to a file of pre-trained weights',
      rate,
      f'at {rate:g} times the rate' if rate > 0 else 'nothing',
    )


def tell_of_cameras(config: Config, truth: data_lib.GroundTruth) -> None:
  """Warns of cameras whose mean is that of a single image."""
  camids = truth.train_camids
  if not config.cluster.camera_centring or camids is None:
    return
  counts = np.unique(camids, return_counts=True)[1]
  alone = int((counts == 1).sum())
  if not alone:
    return
  log.warning(
    'data.use_cameras: %d of %d cameras have a single training image; from '
    'these the mean of all images is taken out, and not their own%s',
    alone,
    len(counts),
    '. Most cameras have one: set data.use_cameras to False'
    if 2 * alone > len(counts)
    else '',
  )


def tell_of_neighbours(fields: Any, num_samples: int) -> None:
  """Warns of Jaccard distances by the neighbourhood of all images."""
  if fields.distance == 'jaccard' and fields.jaccard_k1 >= num_samples:
    log.warning(
      'cluster.jaccard_k1: got %d for %d training images, which means all of '
      'them: distances then tell little; lower it to some more than a person '
      'has images',
      fields.jaccard_k1,
      num_samples,
    )
