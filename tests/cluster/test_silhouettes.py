"""Tests of the silhouette by means, against a plain loop."""

import numpy as np
import pytest

from dbc_jax.cluster import silhouettes, simplified_silhouettes


def by_loop(features: np.ndarray, labels: np.ndarray) -> np.ndarray:
  features = features.astype(np.float64)
  result = np.full(len(labels), np.nan)
  for i, own in enumerate(labels):
    if own < 0:
      continue
    others = [j for j in range(len(labels)) if labels[j] == own and j != i]
    rest = {k for k in labels if k >= 0 and k != own}
    if not others or not rest:
      result[i] = 0.0
      continue
    a = np.linalg.norm(features[i] - features[others].mean(axis=0))
    b = min(
      np.linalg.norm(features[i] - features[labels == k].mean(axis=0))
      for k in rest
    )
    result[i] = (b - a) / max(a, b)
  return result


@pytest.mark.parametrize('num_clusters', [1, 2, 9, 50])
@pytest.mark.parametrize('entries', [2**24, 30])
def test_it_is_that_of_a_plain_loop(num_clusters, entries, monkeypatch):
  monkeypatch.setattr(silhouettes, '_BLOCK_ENTRIES', entries)
  rng = np.random.default_rng(num_clusters)
  labels = rng.permutation(np.arange(70) % (num_clusters + 1)) - 1
  features = rng.standard_normal((num_clusters + 1, 6))[labels]
  features = (features + rng.standard_normal((70, 6))).astype(np.float32)
  found = simplified_silhouettes(features, labels)
  np.testing.assert_allclose(found, by_loop(features, labels), atol=1e-12)
  # The order of samples, and the numbers of clusters, say nothing.
  order = rng.permutation(70)
  other = np.where(labels < 0, -1, num_clusters - 1 - labels)
  np.testing.assert_allclose(
    simplified_silhouettes(features[order], other[order]),
    found[order],
    atol=1e-12,
  )


def test_equal_samples_are_in_doubt_and_far_ones_are_not():
  features = np.array([[0.0, 0], [0, 0], [0, 0], [0, 0]])
  labels = np.array([0, 0, 1, 1])
  np.testing.assert_array_equal(simplified_silhouettes(features, labels), 0)
  features[2:] = 3e4
  np.testing.assert_array_equal(simplified_silhouettes(features, labels), 1)


def test_nobody_is_placed():
  features = np.zeros((3, 2))
  assert np.isnan(simplified_silhouettes(features, np.full(3, -1))).all()


def test_bad_input_is_named():
  features = np.zeros((3, 2))
  with pytest.raises(ValueError, match='labels'):
    simplified_silhouettes(features, np.array([0, 2, 2]))
  with pytest.raises(ValueError, match='labels'):
    simplified_silhouettes(features, np.array([0, 1]))
  features[0, 0] = np.nan
  with pytest.raises(ValueError, match='features: row 0'):
    simplified_silhouettes(features, np.array([0, 1, 1]))
