"""Exact search, against a plain sort."""

import numpy as np
import pytest

from dbc_jax.verbs import search, searching


def unit(rng, count, width=8):
  x = rng.standard_normal((count, width)).astype(np.float32)
  return x / np.linalg.norm(x, axis=1, keepdims=True)


@pytest.mark.parametrize('entries', [2**24, 100])
@pytest.mark.parametrize('top', [1, 7, 60, 99])
def test_matches_are_those_of_a_plain_sort(top, entries, monkeypatch):
  monkeypatch.setattr(searching, '_BLOCK_ENTRIES', entries)
  rng = np.random.default_rng(0)
  queries, gallery = unit(rng, 9), unit(rng, 60)
  # Equal images tie, and the first of them comes first.
  gallery[41] = gallery[7]
  gallery[3] = queries[2]
  found = search(queries, gallery, top=top)
  for query, matches in zip(queries.astype(np.float64), found, strict=True):
    distances = np.linalg.norm(gallery - query, axis=1)
    order = np.argsort(distances, kind='stable')[:top]
    assert [match.index for match in matches] == order.tolist()
    np.testing.assert_allclose(
      [match.distance for match in matches], distances[order], atol=1e-12
    )
    assert all(match.probability is None for match in matches)
  assert found[2][0].index == 3
  assert found[2][0].distance == 0


def test_probabilities_are_the_calibrations():
  rng = np.random.default_rng(1)
  centres = unit(rng, 12)
  labels = np.repeat(np.arange(12), 9)
  features = centres[labels] + 0.15 * rng.standard_normal((108, 8))
  features /= np.linalg.norm(features, axis=1, keepdims=True)
  features = features.astype(np.float32)
  labels[::20] = -1
  calibration, prior = searching.calibration_of(features, labels)
  sizes = np.bincount(labels[labels >= 0])
  count = (labels >= 0).sum()
  assert prior == pytest.approx(
    np.sum(sizes * (sizes - 1)) / (count * (count - 1))
  )
  found = search(
    features[:5], features, top=30, calibration=calibration, prior=prior
  )
  for matches in found:
    distances = [match.distance for match in matches]
    expected = calibration.probability(distances, prior=prior)
    assert [match.probability for match in matches] == expected.tolist()
    assert matches[0].probability > matches[-1].probability


@pytest.mark.parametrize('labels', [[0, 1, 2, 3], [0, 0, 0, 0], [-1] * 4])
def test_clusters_that_teach_nothing_give_no_calibration(labels):
  features = unit(np.random.default_rng(2), 4)
  assert searching.calibration_of(features, np.array(labels)) is None


def test_bad_input_is_named():
  rng = np.random.default_rng(3)
  with pytest.raises(ValueError, match='gallery: got no rows'):
    search(unit(rng, 2), np.zeros((0, 8), np.float32))
  with pytest.raises(ValueError, match='8 dimensions, and the gallery has 4'):
    search(unit(rng, 2), unit(rng, 2, 4))
