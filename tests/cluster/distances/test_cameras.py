"""Centring of cameras: against plain loops, and what must not matter."""

import cluster_oracles as oracles
import numpy as np
import pytest

from dbc_jax.cluster import center_cameras

CAMIDS = np.random.default_rng(0).integers(1, 5, 40)


def test_equals_the_definition():
  x = oracles.unit_features(40, 6, seed=1)
  got = center_cameras(x, CAMIDS)
  assert isinstance(got, np.ndarray)
  assert got.dtype == np.float32
  for i in range(40):
    own = [x[j].astype(np.float64) for j in range(40) if CAMIDS[j] == CAMIDS[i]]
    y = x[i] - sum(own) / len(own)
    np.testing.assert_allclose(got[i], y / np.sqrt(y @ y), atol=1e-6)


def test_one_camera():
  x = oracles.unit_features(40, 6, seed=2).astype(np.float64)
  expected = x - x.mean(axis=0)
  expected /= np.linalg.norm(expected, axis=1, keepdims=True)
  got = center_cameras(x, np.full(40, 7))
  np.testing.assert_allclose(got, expected, atol=1e-6)


def test_takes_out_what_a_camera_adds_to_all_its_images():
  x = oracles.unit_features(40, 6, seed=3).astype(np.float64)
  shift = np.random.default_rng(4).normal(size=(5, 6))[CAMIDS]
  np.testing.assert_allclose(
    center_cameras(x + shift, CAMIDS), center_cameras(x, CAMIDS), atol=1e-6
  )


@pytest.mark.parametrize('copies', [1, 3, 7])
def test_of_a_camera_of_a_single_picture_the_mean_of_all_is_taken(copies):
  # The mean of three equal float64 numbers need not be that number.
  x = np.random.default_rng(5).normal(size=(40, 6))
  x[:copies] = x[0]
  camids = CAMIDS.copy()
  camids[:copies] = 9
  with pytest.warns(UserWarning, match=f'camids: {copies} rows are the mean'):
    got = center_cameras(x, camids)
  expected = x[0] - x.mean(axis=0)
  expected /= np.linalg.norm(expected)
  np.testing.assert_allclose(got[:copies], np.tile(expected, (copies, 1)))
  np.testing.assert_allclose(np.linalg.norm(got[copies:], axis=1), 1, atol=1e-6)


def test_pictures_alone_before_their_cameras_stay_apart():
  x = oracles.unit_features(42, 16, seed=8)
  x[41] = -x[40]
  camids = np.append(np.arange(40) % 2, [7, 8])
  with pytest.warns(UserWarning, match='camids: 2 rows'):
    got = center_cameras(x, camids)
  assert np.linalg.norm(got[40] - got[41]) > 1.9


def test_order_and_numbers_do_not_matter():
  x = oracles.unit_features(40, 6, seed=6)
  shuffle = np.random.default_rng(7).permutation(40)
  got = center_cameras(x, CAMIDS)
  np.testing.assert_allclose(
    center_cameras(x[shuffle], CAMIDS[shuffle]), got[shuffle], atol=1e-6
  )
  np.testing.assert_array_equal(center_cameras(x, 100 - 3 * CAMIDS), got)


def test_leaves_its_arguments_alone():
  x = np.random.default_rng(8).normal(size=(40, 6))
  before = x.copy()
  center_cameras(x, CAMIDS)
  np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize(
  ('camids', 'message'),
  [
    (CAMIDS[:39], r'camids: got shape \(39,\), expected \(40,\)'),
    (None, r'camids: got None'),
    (CAMIDS.astype(float), r'camids: got dtype float64, expected integers'),
  ],
)
def test_wrong_cameras(camids, message):
  with pytest.raises(ValueError, match=message):
    center_cameras(oracles.unit_features(40, 6, seed=9), camids)
