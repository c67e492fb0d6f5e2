"""Tests of the label-free indices, against scikit-learn and plain loops."""

import tracemalloc

import numpy as np
import pytest
from sklearn import metrics

from dbc_jax.cluster import (
  choose_clustering,
  jaccard_distances,
  jaccard_similarities,
  validity,
  validity_indices,
)


def make_clusters(
  rng: np.random.Generator, num_samples: int, num_clusters: int
) -> tuple[np.ndarray, np.ndarray]:
  features = rng.standard_normal((num_samples, 7))
  labels = rng.permutation(np.arange(num_samples) % num_clusters)
  centres = rng.standard_normal((num_clusters, 7))
  features = (0.5 * features + centres[labels]).astype(np.float32)
  return features, labels


def leave_out(labels: np.ndarray, count: int) -> np.ndarray:
  """So many of the first samples in no cluster; the others' contiguous."""
  labels = labels.copy()
  labels[:count] = -1
  return np.unique(labels, return_inverse=True)[1] - (count > 0)


@pytest.mark.parametrize('num_clusters', [2, 13, 400, 699, 700])
def test_silhouette_of_all_samples_is_scikit_learns(num_clusters):
  features, labels = make_clusters(np.random.default_rng(0), 700, num_clusters)
  expected = 0.0
  if num_clusters < 700:
    expected = metrics.silhouette_score(features.astype(np.float64), labels)
  found = validity_indices(features, labels)['silhouette']
  assert found == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize('num_clusters', [2, 13, 60])
def test_dispersion_validity_is_that_of_plain_loops(num_clusters):
  features, labels = make_clusters(np.random.default_rng(1), 60, num_clusters)
  ratios = []
  for c in range(num_clusters):
    linkage = [
      np.mean(
        [
          np.linalg.norm(x - y)
          for x in features[labels == c]
          for y in features[labels == s]
        ]
      )
      for s in range(num_clusters)
    ]
    others = [linkage[s] for s in range(num_clusters) if s != c]
    ratios.append(linkage[c] / min(others))
  found = validity_indices(features, labels)['dispersion_validity']
  assert found == pytest.approx(np.mean(ratios), abs=1e-5)


@pytest.mark.parametrize('waiting', [0, 20])
@pytest.mark.parametrize('num_clusters', [2, 13, 60])
def test_neighbour_f_is_the_pair_f_against_the_20_nearest(
  num_clusters, waiting
):
  features, labels = make_clusters(np.random.default_rng(6), 60, num_clusters)
  labels = leave_out(labels, waiting)
  clusters, neighbours = set(), set()
  for i in range(60):
    distances = np.linalg.norm(features - features[i], axis=1)
    distances[i] = np.inf
    neighbours |= {(i, j) for j in np.argsort(distances)[:20]}
    clusters |= {
      (i, j) for j in range(60) if labels[i] == labels[j] >= 0 and i != j
    }
  expected = 2 * len(clusters & neighbours) / (len(clusters) + len(neighbours))
  found = validity_indices(features, labels)['neighbour_f']
  assert found == pytest.approx(expected)


def test_a_sample_in_no_cluster_counts_nothing_in_the_silhouette():
  features, labels = make_clusters(np.random.default_rng(9), 200, 13)
  labels = leave_out(labels, 50)
  placed = labels >= 0
  views = features[:30] + 0.1, features[:30] - 0.1
  expected = validity_indices(features[placed], labels[placed], views)
  found = validity_indices(features, labels, views)
  assert found['silhouette'] == pytest.approx(0.75 * expected['silhouette'])
  for key in ('dispersion_validity', 'view_agreement'):
    assert found[key] == expected[key]


def test_neighbour_f_of_a_sample_keeps_to_the_same_images():
  """So that stages of a run differ by their clusters, not by the draw."""
  features, labels = make_clusters(np.random.default_rng(8), 900, 30)
  whole, sampled = [], []
  for merges in range(6):
    merged = np.unique(np.maximum(labels, merges), return_inverse=True)[1]
    whole.append(validity_indices(features, merged)['neighbour_f'])
    sampled.append(
      validity_indices(features, merged, sample_size=300)['neighbour_f']
    )
  np.testing.assert_allclose(sampled, whole, rtol=0.1)
  np.testing.assert_allclose(np.diff(sampled), np.diff(whole), atol=2e-3)


def test_of_few_samples_all_are_neighbours():
  features, labels = make_clusters(np.random.default_rng(7), 10, 2)
  found = validity_indices(features, labels)['neighbour_f']
  assert found == pytest.approx(2 * 40 / (90 + 40))


def test_a_sample_is_near_the_whole_and_depends_on_its_seed_alone():
  features, labels = make_clusters(np.random.default_rng(2), 3000, 300)
  whole = validity_indices(features, labels)
  sample, again, other = (
    validity_indices(features, labels, sample_size=900, seed=seed)
    for seed in (0, 0, 1)
  )
  assert sample == again != other
  assert sample != whole
  for key, value in whole.items():
    assert sample[key] == pytest.approx(value, abs=0.03)


def test_order_of_samples_and_names_of_clusters_do_not_matter():
  rng = np.random.default_rng(3)
  features, labels = make_clusters(rng, 200, 20)
  order, names = rng.permutation(200), rng.permutation(20)
  found = validity_indices(features[order], names[labels[order]])
  for key, value in validity_indices(features, labels).items():
    assert found[key] == pytest.approx(value, abs=1e-6)


def test_duplicates_are_no_division_by_zero():
  features = np.repeat(np.eye(3, dtype=np.float32)[:2], 4, axis=0)
  labels = np.arange(8) // 2
  found = validity_indices(features, labels)
  assert found.pop('neighbour_f') > 0.0
  assert found == {'silhouette': 0.0, 'dispersion_validity': 0.0}


def test_views_agree_where_both_are_nearest_to_one_mean():
  rng = np.random.default_rng(5)
  features, labels = make_clusters(rng, 60, 9)
  first, second = (features[:25] + rng.normal(size=(25, 7)) for _ in range(2))
  means = [features[labels == c].mean(axis=0) for c in range(9)]
  same = 0
  for pair in zip(first, second, strict=True):
    near = [np.argmin([np.linalg.norm(x - m) for m in means]) for x in pair]
    same += near[0] == near[1]
  found = validity_indices(features, labels, (first, second))
  assert found['view_agreement'] == pytest.approx(same / 25)
  assert 5 < same < 25


def test_similarities_in_place_of_distances_tell_the_same_and_choose_alike():
  features, labels = make_clusters(np.random.default_rng(10), 400, 40)
  counts = {'k1': 12, 'k2': 3}
  distances = np.asarray(jaccard_distances(features, **counts))
  similarities = jaccard_similarities(features, **counts)
  of_matrix, of_pairs = [], []
  for num_clusters in (40, 20, 10, 3):
    merged = leave_out(labels % num_clusters, 15)
    of_matrix.append(validity_indices(None, merged, distances=distances))
    of_pairs.append(validity_indices(None, merged, similarities=similarities))
    assert of_pairs[-1] == pytest.approx(of_matrix[-1], abs=1e-5)
  assert len({round(each['silhouette'], 3) for each in of_matrix}) == 4
  assert choose_clustering(of_pairs) == choose_clustering(of_matrix)
  with pytest.raises(ValueError, match='similarities: got them together'):
    validity_indices(
      None, labels, distances=distances, similarities=similarities
    )


def test_a_large_cluster_is_looked_at_in_parts(monkeypatch):
  features, labels = make_clusters(np.random.default_rng(11), 3000, 40)
  labels = np.maximum(labels - 20, 0)  # Half of all are in one.
  whole = validity_indices(features, labels)
  monkeypatch.setattr(validity, '_BLOCK_ENTRIES', 2**16)
  tracemalloc.start()
  parts = validity_indices(features, labels)
  peak = tracemalloc.get_traced_memory()[1]
  tracemalloc.stop()
  assert parts == pytest.approx(whole, abs=1e-6)
  # The rows of that cluster alone have 18 MB.
  assert peak < 4e6


def test_bad_input_is_named():
  features, labels = make_clusters(np.random.default_rng(4), 10, 3)
  with pytest.raises(ValueError, match='labels: got a single cluster'):
    validity_indices(features, np.zeros(10, int))
  with pytest.raises(ValueError, match='labels: got shape'):
    validity_indices(features, labels[1:])
  for views in ((features, features[:4]), (features[:, :3],) * 2):
    with pytest.raises(ValueError, match=r'views: got shapes .* two \[M, 7\]'):
      validity_indices(features, labels, views)
  features[3] = np.nan
  with pytest.raises(ValueError, match='features: row 3'):
    validity_indices(features, labels)
