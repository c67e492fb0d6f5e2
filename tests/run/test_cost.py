"""What is said of the time at the start of a run."""

import jax
import numpy as np
import pytest

from dbc_jax.configs import best
from dbc_jax.run import build, cost


@pytest.fixture(name='parts')
def _parts():
  config = best.get_config('folder,small')
  with config.unlocked():  # As `build.with_cameras` resolves it.
    del config.data['use_cameras']
    config.data.use_cameras = False
  return build.Parts(config)


def test_images_are_those_of_all_stages_and_the_warm_up(parts):
  train = parts.config.train
  batches = sum(parts.epochs(i) * parts.steps(i, 500) for i in range(16))
  trained = batches * train.batch_size + 2 * train.warmup_epochs * 500
  assert cost.images_of(parts, 500, 40) == 3 * trained + 17 * 500 + 16 * 40
  assert cost.images_of(parts, 500, 40, scored=1) == 3 * trained + 2 * 500 + 40


def test_operations_of_a_convolution_are_counted(parts):
  # The stem alone: 3x3x3 products a pixel and channel, each with its sum.
  height, width = parts.image_size
  channels = parts.variable_shapes['params']['backbone']['stem_conv'][
    'kernel'
  ].shape[-1]
  stem = 2 * 27 * channels * height * width
  assert stem < cost.flops_of_an_image(parts) < 100 * stem


def test_time_is_told_where_it_is_long(parts, monkeypatch):
  monkeypatch.setattr(cost, '_flops_of_a_product', lambda: 2e11)

  class Data:
    truth = type('Truth', (), {'can_evaluate': False})
    query = gallery = None

    def __init__(self, count):
      self.train = np.zeros(count)

  assert cost.describe(parts, Data(20)) == ''
  told = cost.describe(parts, Data(2568))
  assert told.startswith('all of it takes roughly 11 min on this CPU')
  monkeypatch.setattr(jax, 'default_backend', lambda: 'gpu')
  assert cost.describe(parts, Data(2568)) == ''
