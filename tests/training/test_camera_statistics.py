"""Statistics of cameras: against all images at once, and what they are for."""

import jax
import numpy as np
import pytest
import small_networks

from dbc_jax import models
from dbc_jax.data import augment
from dbc_jax.data.frames import ResidentFrames
from dbc_jax.data.split import Split
from dbc_jax.devices import mesh
from dbc_jax.training import camera_statistics, embed
from dbc_jax.training.camera_statistics import KEY

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures('one_device')]

_SIZE = (16, 8)


def _images(count, seed=0):
  rng = np.random.default_rng(seed)
  coarse = rng.integers(60, 180, (count, 4, 2, 3))
  return np.kron(coarse, np.ones((1, 4, 4, 1))).astype(np.uint8)


@pytest.fixture(scope='module')
def network():
  encoder = models.create_encoder(
    small_networks.NAME,
    head_layers=1,
    embedding_dim=8,
    axis_name=mesh.AXIS_NAME,
  )
  variables = jax.jit(encoder.init)(
    jax.random.key(0), np.zeros((1, *_SIZE, 3), np.float32)
  )
  return encoder, jax.tree.map(np.asarray, dict(variables))


def _split(images):
  return Split(ResidentFrames(images), np.arange(len(images)))


def test_they_are_those_of_a_batch_of_all_images(network):
  encoder, variables = network
  images, camids = _images(24), np.arange(24) % 3
  estimate = camera_statistics.make_estimator(
    encoder, image_size=_SIZE, batch_size=8
  )
  got = estimate(variables, _split(images), camids)
  np.testing.assert_array_equal(got[KEY]['camids'], [0, 1, 2])
  alone = models.create_encoder(
    small_networks.NAME, head_layers=1, embedding_dim=8
  )
  for camid in range(3):
    own = augment.resize(images[camids == camid], _SIZE)
    _, mutated = alone.apply(
      variables,
      own,
      train=True,
      rngs={'dropout': jax.random.key(1)},
      mutable=['batch_stats'],
    )
    expected = jax.tree.map(
      lambda new, old: old + 10 * (new - old),
      mutated['batch_stats'],
      variables['batch_stats'],
    )
    row = jax.tree.map(lambda x, c=camid: x[c], got[KEY]['batch_stats'])
    jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-4),
      row,
      jax.tree.map(np.asarray, expected),
    )


def test_several_batches_count_together_and_few_images_repeat(network):
  encoder, variables = network
  images = _images(12)
  estimate = camera_statistics.make_estimator(
    encoder, image_size=_SIZE, batch_size=4
  )
  camids = np.array([0] * 8 + [1] * 3 + [2])
  got = estimate(variables, _split(images), camids)[KEY]['batch_stats']
  # Before the first layer nothing is normalised, so batches say all there is.
  one = camera_statistics.make_estimator(
    encoder, image_size=_SIZE, batch_size=8
  )
  all_at_once = one(variables, _split(images[:8]), camids[:8])[KEY]
  first, expected = (
    stats['backbone']['stem_bn'] for stats in (got, all_at_once['batch_stats'])
  )
  np.testing.assert_allclose(first['mean'][0], expected['mean'][0], rtol=1e-3)
  np.testing.assert_allclose(first['var'][0], expected['var'][0], rtol=1e-3)
  assert all(np.isfinite(x).all() for x in jax.tree.leaves(got))
  assert all(len(x) == 3 for x in jax.tree.leaves(got))


def test_each_image_is_normalised_by_its_camera(network):
  encoder, variables = network
  plain = _images(20)
  # A camera of another light: the same images, darker.
  tinted = (plain * 0.5 + 20).astype(np.uint8)
  images, camids = np.concatenate([plain, tinted]), np.repeat([4, 7], 20)
  order = np.random.default_rng(1).permutation(40)
  split = Split(ResidentFrames(images), order)
  camids = camids[order]
  estimate = camera_statistics.make_estimator(
    encoder, image_size=_SIZE, batch_size=20
  )
  known = estimate(variables, split, camids)
  extract = embed.make_extractor(
    encoder, image_size=_SIZE, batch_size=8, max_frames=1
  )
  without = extract(known, split)[0]
  np.testing.assert_array_equal(without, extract(variables, split)[0])

  def by_camera(camids):
    by = camera_statistics.extract_by_camera
    return by(extract, known, split, camids)[0]

  features = by_camera(camids)
  for row, camid in enumerate((4, 7)):
    stats = jax.tree.map(lambda x, r=row: x[r], known[KEY]['batch_stats'])
    own = variables | {'batch_stats': stats}
    expected = extract(own, split.subset(np.flatnonzero(camids == camid)))[0]
    np.testing.assert_allclose(features[camids == camid], expected, atol=1e-6)
  # A camera that was never seen has the statistics of all.
  np.testing.assert_array_equal(by_camera(np.full(40, 9)), without)

  def gap(features):
    rows = np.empty_like(features)
    rows[order] = features
    return np.linalg.norm(rows[:20] - rows[20:], axis=1).mean()

  assert gap(features) < 0.5 * gap(without)


def test_some_tracklets_of_a_split():
  frames = np.arange(9, dtype=np.uint8)[:, None, None, None]
  frames = np.broadcast_to(frames, (9, 4, 2, 3)).copy()
  order = np.array([8, 7, 6, 5, 4, 3, 2, 1, 0])
  split = Split(ResidentFrames(frames), order, np.array([0, 2, 5, 9]))
  some = split.subset(np.array([2, 0, 2]))
  got = [
    (owners.tolist(), np.asarray(images).reshape(-1, 24)[: len(owners), 0])
    for owners, _, images in some.frame_batches(10, max_frames=4)
  ]
  assert got[0][0] == [0, 0, 0, 0, 1, 1, 2, 2, 2, 2]
  np.testing.assert_array_equal(got[0][1], [3, 2, 1, 0, 8, 7, 3, 2, 1, 0])
