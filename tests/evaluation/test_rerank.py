"""Re-ranking against the equations of its paper, one set at a time."""

import numpy as np
import pytest

from dbc_jax.evaluation import (
  evaluate_ranking,
  rank_features,
  rerank_distances,
  similarity,
)


def rerank_by_loops(queries, gallery, k1, k2, distance_weight):
  """Section 3 of the paper, with Python sets."""
  x = np.concatenate([queries, gallery]).astype(np.float64)
  x /= np.linalg.norm(x, axis=1, keepdims=True)
  n = len(x)
  squared = ((x[:, None] - x) ** 2).sum(axis=-1)
  scaled = squared / squared.max(axis=1, keepdims=True)
  ranks = np.argsort(squared, axis=1, kind='stable')

  def reciprocal(i, k):
    return {j for j in ranks[i, : k + 1] if i in ranks[j, : k + 1]}

  vectors = np.zeros((n, n))
  for i in range(n):
    expanded = set(reciprocal(i, k1))
    for j in reciprocal(i, k1):
      candidate = reciprocal(j, round(k1 / 2))
      if 3 * len(candidate & reciprocal(i, k1)) > 2 * len(candidate):
        expanded |= candidate
    for j in expanded:
      vectors[i, j] = np.exp(-scaled[i, j])
    if expanded:  # Else, of equals, so many lie before it that none is its.
      vectors[i] /= vectors[i].sum()
  vectors = np.stack([vectors[ranks[i, :k2]].mean(axis=0) for i in range(n)])
  num_queries = len(queries)
  out = np.empty((num_queries, len(gallery)))
  for q in range(num_queries):
    for g in range(len(gallery)):
      pair = vectors[[q, num_queries + g]]
      jaccard = 1 - pair.min(axis=0).sum() / pair.max(axis=0).sum()
      out[q, g] = (1 - distance_weight) * jaccard + (
        distance_weight * scaled[q, num_queries + g]
      )
  return out


def features(seed, queries=12, gallery=50, people=6):
  rng = np.random.default_rng(seed)
  bases = 1.5 * rng.standard_normal((people, 8))
  pids = rng.integers(0, people, queries), rng.integers(0, people, gallery)
  return [bases[p] + rng.standard_normal((len(p), 8)) for p in pids], pids


@pytest.mark.parametrize(
  ('k1', 'k2', 'distance_weight'),
  [(20, 6, 0.3), (7, 3, 0), (9, 1, 0.5), (1, 2, 0.3), (80, 81, 0.3)],
)
def test_equals_the_paper(k1, k2, distance_weight):
  (queries, gallery), _ = features(k1)
  settings = {'k1': k1, 'k2': k2, 'distance_weight': distance_weight}
  got = rerank_distances(queries, gallery, **settings)
  assert got.dtype == np.float32
  expected = rerank_by_loops(queries, gallery, **settings)
  np.testing.assert_allclose(got, expected, atol=2e-6)


@pytest.mark.parametrize('chunk_values', [1, 50, 200])
@pytest.mark.parametrize('all_exact', [True, False])
def test_chunks_change_nothing(chunk_values, all_exact, monkeypatch):
  (queries, gallery), _ = features(0)
  expected = rerank_distances(queries, gallery)
  monkeypatch.setattr('dbc_jax.evaluation.rerank._CHUNK_VALUES', chunk_values)
  monkeypatch.setattr(similarity, 'many', lambda *sizes: all_exact)
  got = rerank_distances(queries, gallery)
  np.testing.assert_allclose(got, expected, atol=1e-6)


def test_equal_features_take_neighbours_in_order():
  # 15 copies of each of four: more than there are neighbours looked at.
  rng = np.random.default_rng(0)
  rows = rng.standard_normal((4, 9)).repeat(15, axis=0)[rng.permutation(60)]
  got = rerank_distances(rows[:10], rows[10:], k1=5, k2=2)
  expected = rerank_by_loops(rows[:10], rows[10:], 5, 2, 0.3)
  np.testing.assert_allclose(got, expected, atol=2e-6)
  alike = rerank_distances(np.ones((3, 4)), np.ones((9, 4)), k1=3, k2=2)
  np.testing.assert_allclose(alike, 0, atol=1e-6)


def test_it_finds_more_where_people_form_groups():
  sides, pids = features(1, queries=100, gallery=300, people=10)
  ids = (*pids, None, None)
  plain = rank_features(*sides, *ids, camera_rule=False)['map']
  distances = rerank_distances(*sides)
  better = evaluate_ranking(distances, *ids, camera_rule=False)['map']
  assert better > plain + 0.02


@pytest.mark.parametrize(
  ('change', 'message'),
  [
    ({'k1': 0}, 'k1: got 0, expected a whole number of 1'),
    ({'k1': 4, 'k2': 6}, r'k2: got 6, expected a whole number in 1\.\.5'),
    (
      {'distance_weight': 1.5},
      'distance_weight: got 1.5, expected',
    ),
    (
      {'distance_weight': np.nan},
      'distance_weight: got nan, expected',
    ),
    ({'gallery_features': np.ones((3, 5))}, '8 dimensions, gallery_features 5'),
    (
      {'gallery_features': np.diag([1.0] * 7 + [0.0])},
      'gallery_features: row 7 is all zeros',
    ),
    (
      {'query_features': np.full((1, 8), np.nan)},
      'query_features: 1 of 1 rows',
    ),
  ],
)
def test_errors(change, message):
  (queries, gallery), _ = features(0)
  given = {'query_features': queries, 'gallery_features': gallery} | change
  with pytest.raises(ValueError, match=message):
    rerank_distances(**given)
