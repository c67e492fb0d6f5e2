"""All shots, single shots and per-query measures, against plain loops."""

import numpy as np
import pytest

from dbc_jax.evaluation import evaluate_ranking, rank_features, similarity

RANKS = (1, 2, 5, 10)


def random_case(seed, queries=30, gallery=60, people=8, dimensions=6):
  """Features, pids and camids with junk, and queries without a match."""
  rng = np.random.default_rng(seed)
  return (
    rng.standard_normal((queries, dimensions)),
    rng.standard_normal((gallery, dimensions)),
    rng.integers(1, people + 3, queries),
    rng.integers(-1, people + 1, gallery),
    rng.integers(0, 3, queries),
    rng.integers(0, 3, gallery),
  )


def cosine_distances(queries, gallery):
  x, y = (f / np.linalg.norm(f, axis=1)[:, None] for f in (queries, gallery))
  return 1 - x @ y.T


def candidates(case):
  """Of each query: its distances to valid entries, their pids, and its pid."""
  queries, gallery, query_pids, gallery_pids, query_camids, gallery_camids = (
    case
  )
  distances = cosine_distances(queries, gallery)
  for q, pid in enumerate(query_pids):
    own = (gallery_pids == pid) & (gallery_camids == query_camids[q])
    valid = (gallery_pids != -1) & ~own
    yield distances[q, valid], gallery_pids[valid], pid


@pytest.mark.parametrize('chunk_size', [None, 4])
@pytest.mark.parametrize('seed', range(3))
def test_all_shots(seed, chunk_size):
  case = random_case(seed)
  curves = []
  for distances, pids, pid in candidates(case):
    matches = distances[pids == pid]
    if len(matches):
      others = distances[pids != pid]
      ranks = [1 + (others < match).sum() for match in matches]
      curves.append([[rank <= k for k in RANKS] for rank in ranks])
  expected = np.mean([np.mean(curve, axis=0) for curve in curves], axis=0)
  scores = rank_features(
    *case, ranks=RANKS, protocol='allshots', chunk_size=chunk_size
  )
  assert [scores[f'rank{k}'] for k in RANKS] == pytest.approx(expected)
  assert scores['map'] == rank_features(*case)['map']


def test_single_shots_approach_their_expectation():
  case = random_case(0, queries=300, gallery=90)
  expected = []
  for distances, pids, pid in candidates(case):
    others = set(pids) - {pid}
    matches = distances[pids == pid]
    if len(matches):
      # First in a random gallery if of no identity a nearer image is drawn.
      expected.append(
        np.mean(
          [
            np.prod([(distances[pids == p] >= match).mean() for p in others])
            for match in matches
          ]
        )
      )
  got = [
    rank_features(*case, protocol='cuhk03', seed=seed)['rank1']
    for seed in range(4)
  ]
  assert len(set(got)) == 4
  # 400 galleries for 250 queries; the same number of hits by chance.
  assert np.mean(got) == pytest.approx(np.mean(expected), abs=0.01)


def test_single_shots_of_single_images_are_the_plain_curve():
  rng = np.random.default_rng(1)
  pids = rng.permutation(40)
  case = (rng.random((40, 4)), rng.random((40, 4)), pids, np.arange(40))
  for rank in (1, 5, 40):
    options = {'ranks': (rank,), 'camera_rule': False}
    single = rank_features(*case, None, None, protocol='cuhk03', **options)
    assert single == pytest.approx(rank_features(*case, None, None, **options))


def test_single_shots_settle_ties_by_index():
  ids = [1], [2, 1, 3], [0], [1, 1, 1]
  scores = evaluate_ranking(
    [[0.5, 0.5, 0.5]], *ids, ranks=(1, 2), protocol='cuhk03'
  )
  assert (scores['rank1'], scores['rank2']) == (0, 1)


def test_single_shots_depend_on_the_seed_alone():
  case = random_case(3)
  options = {'protocol': 'cuhk03', 'seed': 5}
  scores = rank_features(*case, **options)
  assert rank_features(*case, chunk_size=7, **options) == scores
  distances = cosine_distances(*case[:2])
  assert evaluate_ranking(distances, *case[2:], **options) == scores
  with pytest.raises(ValueError, match='has 9 identities'):
    rank_features(*case, ranks=(10,), **options)


@pytest.mark.parametrize('protocol', ['market1501', 'cuhk03', 'allshots'])
def test_measures_of_each_query(protocol):
  case = random_case(2)
  scores = rank_features(*case, protocol=protocol, per_query=True)
  valid = scores['query_index']
  assert len(valid) == scores['num_valid_queries'] < 30
  for row, query in enumerate(valid):
    alone = [
      side[[query]] if i % 2 == 0 else side for i, side in enumerate(case)
    ]
    own = rank_features(*alone)
    assert scores['ap'][row] == own['map']
    assert scores['inp'][row] == own['minp']
    assert own[f'rank{20}'] == (scores['first_rank'][row] <= 20)
  for mean, each in (('map', 'ap'), ('minp', 'inp')):
    assert scores[mean] == pytest.approx(scores[each].mean(), abs=1e-12)
  if protocol == 'market1501':
    assert scores['rank5'] == (scores['first_rank'] <= 5).mean()


def near_duplicates(seed):
  """Features of five people, so alike that float32 products cannot rank them.

  Junk takes no part, and neither does the camera rule.
  """
  rng = np.random.default_rng(seed)
  bases = rng.random((5, 512))
  pids = rng.integers(0, 5, 40), rng.integers(0, 5, 300)
  # Half of the images show another person's base: then the order within a
  # base decides.
  shown = [np.where(rng.random(len(p)) < 0.5, p, (p + 1) % 5) for p in pids]
  features = [
    bases[each] + 1e-3 * rng.standard_normal((len(each), 512)) for each in shown
  ]
  return *features, *pids, None, None


@pytest.mark.parametrize('all_exact', [True, False, None])
def test_order_is_that_of_float64(all_exact, monkeypatch):
  if all_exact is not None:
    monkeypatch.setattr(similarity, 'many', lambda *sizes: all_exact)
  queries, gallery, *ids = near_duplicates(0)
  distances = cosine_distances(queries, gallery)
  expected = evaluate_ranking(distances, *ids, camera_rule=False)
  scores = rank_features(queries, gallery, *ids, camera_rule=False)
  assert scores == pytest.approx(expected, abs=1e-12)
  single = cosine_distances(*(f.astype(np.float32) for f in (queries, gallery)))
  rough = evaluate_ranking(single, *ids, camera_rule=False)
  assert rough['map'] != pytest.approx(expected['map'], abs=1e-6)


def test_errors_of_products_stay_within_the_tolerance():
  # All of one sign, so that sums and their roundings are as large as they get.
  rng = np.random.default_rng(0)
  for dimensions in (1, 8, 100, 2048):
    features = similarity.checked_features(rng.random((200, dimensions)), 'x')
    exact = similarity.exact_block(features, slice(None), features)
    error = np.abs(features.unit @ features.unit.T - exact).max()
    assert 2 * error < similarity.tolerance(features)
