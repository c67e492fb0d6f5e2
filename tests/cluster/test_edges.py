"""Numbers at the edges of float32: the right merges, or an error that says."""

import numpy as np
import pytest
from scipy.cluster import hierarchy
from scipy.spatial.distance import pdist, squareform

from dbc_jax.cluster import (
  BottomUpClustering,
  Criterion,
  criterion_matrix,
  jaccard_distances,
  mean_linkage,
  merge_clusters,
  pairwise_distances,
  simplified_silhouettes,
  to_scipy_linkage,
  validity_indices,
)
from dbc_jax.cluster.cuts.cut import floor_share
from dbc_jax.cluster.hierarchy import labels_after
from dbc_jax.devices import mesh

AVERAGE = Criterion('average', 0.0)
NAMES = ('average', 'buc', 'dbc', 'ecluster', 'estat')


def _groups(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
  """Eight groups of five, [40, 16] float64, shuffled; and the group of each."""
  rng = np.random.default_rng(seed)
  truth = rng.permutation(np.repeat(np.arange(8), 5))
  x = rng.normal(size=(8, 16))[truth] + 0.05 * rng.normal(size=(40, 16))
  return x, truth


def _finds(labels: np.ndarray, truth: np.ndarray) -> bool:
  return len(set(zip(labels, truth, strict=True))) == 8 == labels.max() + 1


@pytest.mark.parametrize('name', NAMES)
@pytest.mark.parametrize('exponent', [-98, -60, 60, 98])
@pytest.mark.parametrize('dtype', [np.float32, np.float64])
def test_the_unit_of_features_changes_the_unit_of_scores_alone(
  dtype, exponent, name
):
  x, truth = _groups()
  x = x.astype(dtype)
  plain = merge_clusters(x, np.arange(40), 32, Criterion(name, 0.0))
  scaled = merge_clusters(
    np.ldexp(x, exponent), np.arange(40), 32, Criterion(name, 0.0)
  )
  assert _finds(scaled.labels, truth)
  np.testing.assert_array_equal(scaled.pairs, plain.pairs)
  np.testing.assert_array_equal(scaled.scores, np.ldexp(plain.scores, exponent))


def test_deviations_are_in_the_unit_of_the_features():
  x, _ = _groups()
  weight = 1e-3
  plain = merge_clusters(x, np.arange(40), 38, Criterion('ecluster', weight))
  scaled = merge_clusters(
    x * 2.0**40, np.arange(40), 38, Criterion('ecluster', weight * 2.0**-40)
  )
  np.testing.assert_array_equal(scaled.pairs, plain.pairs)


@pytest.mark.parametrize('budget', [None, 0.1])
def test_an_offset_of_all_features_changes_nothing(budget):
  x, _ = _groups()
  # What float64 keeps of them beside the offset.
  x = (x + 1e7) - 1e7
  moved = x + 1e7
  np.testing.assert_allclose(
    pairwise_distances(moved), squareform(pdist(x)), rtol=3e-7
  )
  got = merge_clusters(
    moved, np.arange(40), 38, AVERAGE, memory_budget_gb=budget
  )
  expected = merge_clusters(x, np.arange(40), 38, AVERAGE)
  np.testing.assert_array_equal(got.pairs, expected.pairs)
  labels = np.arange(40) // 5
  assert validity_indices(moved, labels) == pytest.approx(
    validity_indices(x, labels), rel=1e-5
  )


@pytest.mark.parametrize('scale', [1e-30, 1e30])
def test_neighbourhoods_and_validity_do_not_depend_on_the_unit(scale):
  x, truth = _groups()
  x = x.astype(np.float32)
  np.testing.assert_allclose(
    jaccard_distances(x * np.float32(scale), k1=6, k2=3),
    jaccard_distances(x, k1=6, k2=3),
    atol=1e-5,
  )
  assert validity_indices(x * np.float32(scale), truth) == pytest.approx(
    validity_indices(x, truth), rel=1e-4
  )


@pytest.mark.parametrize('scale', [1e-200, 1e200])
def test_silhouettes_do_not_depend_on_the_unit(scale):
  x, truth = _groups()
  expected = simplified_silhouettes(x, truth)
  np.testing.assert_allclose(simplified_silhouettes(x * scale, truth), expected)
  np.testing.assert_allclose(
    simplified_silhouettes(x + 1e7, truth), expected, rtol=1e-6, atol=1e-6
  )


@pytest.mark.parametrize(
  ('scale', 'criterion'),
  [
    (1e100, AVERAGE),
    (1e-100, AVERAGE),
    (1e30, Criterion('dbc', 0.0, squared=True)),
  ],
)
def test_distances_that_float32_does_not_hold_are_refused(scale, criterion):
  x = _groups()[0] * scale
  with pytest.raises(ValueError, match=r'^features: .*divide all features'):
    merge_clusters(x, np.arange(40), 32, criterion)


def test_scores_that_float32_does_not_hold_are_refused():
  x = _groups()[0] * 1e20
  for merge in ('sequential', 'ranked'):
    criterion = Criterion('ecluster', 1.0, merge=merge)
    with pytest.raises(ValueError, match=r'^reg_weight: got scores beyond'):
      merge_clusters(x, np.arange(40) // 2, 10, criterion)
  with pytest.raises(ValueError, match=r'^reg_weight: got scores beyond'):
    criterion_matrix(criterion, x, np.arange(40) // 2, 20)


def test_a_weight_beyond_all_scores_is_refused_at_once():
  with pytest.raises(ValueError, match=r'^reg_weight: got 1e[+]300'):
    Criterion('average', 1e300)


@pytest.mark.parametrize(
  ('scale', 'message'), [(1e-60, 'multiply'), (1e60, 'divide')]
)
def test_given_distances_that_float32_does_not_hold_are_refused(scale, message):
  given = squareform(pdist(_groups()[0])) * scale
  with pytest.raises(ValueError, match=f'^distances: .*{message}'):
    merge_clusters(None, np.arange(40), 3, AVERAGE, distances=given)


def test_tiny_distances_have_to_be_symmetric_too():
  given = squareform(pdist(_groups()[0])) * 1e-9
  merge_clusters(None, np.arange(40), 3, AVERAGE, distances=given)
  given[0, 1] *= 2
  with pytest.raises(ValueError, match='symmetric'):
    merge_clusters(None, np.arange(40), 3, AVERAGE, distances=given)


def test_the_advice_on_a_rounded_diagonal_helps():
  x = _groups()[0].astype(np.float32)
  x /= np.linalg.norm(x, axis=1, keepdims=True)
  given = np.sqrt(np.maximum(2 - 2 * x @ x.T, 0))
  given = (given + given.T) / 2
  np.fill_diagonal(given, 5e-4)
  with pytest.raises(ValueError, match=r'np\.fill_diagonal\(distances, 0\)'):
    merge_clusters(None, np.arange(40), 3, AVERAGE, distances=given)
  np.fill_diagonal(given, 0)
  merge_clusters(None, np.arange(40), 3, AVERAGE, distances=given)
  with pytest.raises(ValueError, match='not similarities'):
    merge_clusters(None, np.arange(40), 3, AVERAGE, distances=x @ x.T + 2)


def test_a_distance_matrix_is_no_features():
  given = squareform(pdist(_groups()[0])).astype(np.float32)
  with pytest.raises(ValueError, match=r'^features: .*distances='):
    merge_clusters(given, np.arange(40), 3, AVERAGE)
  with pytest.raises(ValueError, match=r'^features: got a symmetric matrix'):
    jaccard_distances(given)
  with pytest.raises(ValueError, match="metric='precomputed'"):
    BottomUpClustering(3).fit(given)


def test_outliers_start_as_clusters_of_their_own():
  x, truth = _groups()
  outlier = np.random.default_rng(1).random(40) < 0.3
  labels = np.where(outlier, -1, truth)
  assert len(np.unique(labels)) == 9
  apart = labels.copy()
  apart[outlier] = 8 + np.arange(outlier.sum())
  got = merge_clusters(x, labels, outlier.sum(), AVERAGE)
  expected = merge_clusters(x, apart, outlier.sum(), AVERAGE)
  np.testing.assert_array_equal(got.labels, expected.labels)
  np.testing.assert_array_equal(got.pairs, expected.pairs)
  assert _finds(got.labels, truth)
  # What the message of the others advises does the same.
  with pytest.raises(ValueError, match='labels: got -1') as error:
    mean_linkage(pairwise_distances(x), labels, 9)
  advice = str(error.value).split(' by ')[1].split(', or')[0]
  exec(advice, {'np': np, 'labels': labels})
  np.testing.assert_array_equal(labels, apart)


def test_real_numbers_are_wanted():
  for wrong in (np.ones((3, 2)) + 1j, np.array([['1', '2']] * 3)):
    with pytest.raises(ValueError, match='expected real numbers'):
      merge_clusters(wrong, np.arange(3), 1, AVERAGE)


def test_equal_features_have_no_validity():
  with pytest.raises(ValueError, match=r'^features: all 12 rows are equal'):
    validity_indices(np.ones((12, 4)), np.arange(12) // 3)


@pytest.mark.parametrize('sample_size', [0, -1, 2.5])
def test_a_sample_has_samples(sample_size):
  x, truth = _groups()
  with pytest.raises(ValueError, match=r'^sample_size: got'):
    validity_indices(x, truth, sample_size=sample_size)


def test_neighbourhoods_of_all_are_refused():
  with pytest.raises(ValueError, match=r'^k2: got 6 for 5 samples'):
    jaccard_distances(_groups()[0][:5])


def test_without_a_budget_the_device_decides(monkeypatch):
  x, _ = _groups()
  expected = merge_clusters(x, np.arange(40), 38, AVERAGE)
  assert expected.engine == 'dense'
  needed = 8 * 3 * 40 * 512 + 4 * 40 * 16 + 200 * 40
  monkeypatch.setattr(mesh, 'device_memory', lambda: needed * 1.251)
  got = merge_clusters(x, np.arange(40), 38, AVERAGE)
  assert got.engine == 'matrix_free'
  np.testing.assert_array_equal(got.pairs, expected.pairs)
  with pytest.raises(ValueError, match=r'memory_budget_gb: .*no budget'):
    merge_clusters(
      x, np.arange(40), 3, AVERAGE, distances=pairwise_distances(x)
    )


@pytest.mark.parametrize('heights', ['order', 'score'])
def test_a_tree_of_some_merges_is_cut_and_drawn_where_they_ended(heights):
  x = np.random.default_rng(0).normal(size=(1500, 4))
  got = merge_clusters(x, np.arange(1500), 100, AVERAGE)
  tree = to_scipy_linkage(got, heights=heights)
  assert hierarchy.is_valid_linkage(tree)
  drawn = hierarchy.dendrogram(tree, no_plot=True)
  assert sorted(drawn['leaves']) == list(range(1500))
  last = tree[:100, 2].max()
  for cut in (
    hierarchy.fcluster(tree, last, 'distance'),
    hierarchy.fcluster(tree, 1400, 'maxclust'),
  ):
    pairs = set(zip(cut, got.labels, strict=True))
    assert len(pairs) == 1400 == len(set(cut))


@pytest.mark.parametrize('num_merges', [-1, 4])
def test_a_tree_is_not_cut_below_its_merges(num_merges):
  x, _ = _groups()
  pairs = merge_clusters(x, np.arange(40), 3, AVERAGE).pairs
  with pytest.raises(ValueError, match=r'^num_merges: got .* 0\.\.3'):
    labels_after(pairs, np.arange(40), num_merges)


def test_shares_are_decimal():
  for count in (100, 1000, 12936):
    for percent in range(1, 100):
      assert floor_share(percent / 100, count) == percent * count // 100
