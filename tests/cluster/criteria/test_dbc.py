"""DBC's dispersion matrix, Eq. 3-5."""

import cluster_oracles as oracles
import numpy as np
import pytest

from dbc_jax.cluster import Criterion, dispersion_matrix, mean_linkage


@pytest.mark.parametrize('intra', ['sum', 'mean'])
@pytest.mark.parametrize('reg_weight', [0.0, 0.1, 0.5])
def test_equals_the_definition(intra, reg_weight):
  x = oracles.unit_features(30, 6, seed=0)
  dist = oracles.distances(x)
  labels = oracles.random_labels(30, 9, seed=1)
  expected = oracles.score_matrix(
    Criterion('dbc', reg_weight, intra=intra), dist, x, labels
  )
  got = dispersion_matrix(
    mean_linkage(dist, labels, 9),
    np.bincount(labels),
    reg_weight=reg_weight,
    intra=intra,
  )
  got = np.array(got)
  np.testing.assert_array_equal(got, got.T)
  np.fill_diagonal(got, np.inf)
  np.testing.assert_allclose(got, expected, atol=1e-5)


def test_two_singletons_have_no_dispersion_of_their_own():
  linkage = np.array([[0.0, 0.7], [0.7, 0.0]])
  got = dispersion_matrix(linkage, np.ones(2), reg_weight=5.0)
  np.testing.assert_allclose(got, linkage, atol=1e-7)


def test_wrong_intra():
  with pytest.raises(ValueError, match="intra: got 'median'"):
    dispersion_matrix(np.eye(2), [1, 1], reg_weight=0.1, intra='median')
