"""The hashed order: the same for every given order, another for each seed."""

import numpy as np

from dbc_jax.data import pipeline


def test_order_depends_on_content_and_seed_alone():
  rng = np.random.default_rng(0)
  images = rng.integers(0, 256, (50, 4, 2, 3), np.uint8)
  shuffle = rng.permutation(50)
  order, digest = pipeline.content_order(images, 0)
  order_shuffled, digest_shuffled = pipeline.content_order(images[shuffle], 0)
  np.testing.assert_array_equal(images[order], images[shuffle][order_shuffled])
  assert digest == digest_shuffled
  assert sorted(order) == list(range(50))
  other, other_digest = pipeline.content_order(images, 1)
  assert (other != order).any() and other_digest != digest


def test_digest_notices_one_pixel():
  images = np.zeros((3, 4, 2, 3), np.uint8)
  changed = images.copy()
  changed[1, 0, 0, 0] = 1
  assert (
    pipeline.content_order(images, 0)[1]
    != pipeline.content_order(changed, 0)[1]
  )


def test_order_is_uncorrelated_with_the_given_one():
  images = np.arange(400, dtype=np.uint16).view(np.uint8).reshape(400, 1, 1, 2)
  order, _ = pipeline.content_order(np.repeat(images, 3, axis=-1), 0)
  correlation = np.corrcoef(order, np.arange(400))[0, 1]
  assert abs(correlation) < 0.2  # 4 standard deviations
