"""Tests of the map: who is on it, and that neighbours stay neighbours."""

import numpy as np
import pytest

from dbc_jax.reporting.report import scatter


def test_groups_stay_apart_and_places_are_the_same_again():
  rng = np.random.default_rng(0)
  centres = np.eye(4, 16)[np.arange(80) % 4]
  features = (centres + rng.normal(0, 0.05, (80, 16))).astype(np.float16)
  places = scatter.places_of_map(features)
  np.testing.assert_array_equal(places, scatter.places_of_map(features))
  distances = np.linalg.norm(places[:, None] - places, axis=-1)
  np.fill_diagonal(distances, np.inf)
  assert (distances.argmin(axis=1) % 4 == np.arange(80) % 4).all()
  shown = scatter.to_map(places)
  assert shown.min() == 0
  assert shown.max() == 1000
  # In their proportions, with the shorter side in the middle.
  spans = np.ptp(shown, axis=0)
  assert spans[0] / spans[1] == pytest.approx(
    np.ptp(places[:, 0]) / np.ptp(places[:, 1]), abs=0.01
  )
  assert (shown.min(axis=0) + shown.max(axis=0)).tolist() == pytest.approx(
    [1000, 1000], abs=2
  )


@pytest.mark.parametrize('shape', [(1, 8), (3, 8), (9, 1), (4, 2)])
def test_few_images_and_few_dimensions(shape):
  features = np.random.default_rng(0).normal(size=shape)
  places = scatter.places_of_map(features)
  assert places.shape == (shape[0], 2)
  assert np.isfinite(places).all()


def test_of_many_images_some_are_shown():
  rows = scatter.chosen(10_000)
  assert len(np.unique(rows)) == len(rows) == scatter.MOST
  assert (np.diff(rows) > 0).all()
  np.testing.assert_array_equal(rows, scatter.chosen(10_000))
  assert scatter.chosen(5).tolist() == [0, 1, 2, 3, 4]
