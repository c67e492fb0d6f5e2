"""Ranking against a protocol written as plain loops, and closed forms."""

import tracemalloc

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from dbc_jax.evaluation import evaluate_ranking, rank_features

RANKS = (1, 5, 10, 20)


def protocol_in_loops(
  distances,
  query_pids,
  gallery_pids,
  query_camids,
  gallery_camids,
  rule=True,
  left_out=(),
):
  """The protocol read aloud, one gallery entry after another."""
  cmc, step, trapezoid, inp = [], [], [], []
  for q, row in enumerate(distances):
    order = sorted(range(len(row)), key=lambda g: (row[g], g))
    hits = []
    for g in order:
      if gallery_pids[g] == -1 or (q, g) in left_out:
        continue
      same = gallery_pids[g] == query_pids[q]
      if rule and same and gallery_camids[g] == query_camids[q]:
        continue
      hits.append(same)
    if not any(hits):
      continue
    good, found, old_recall, old_precision = sum(hits), 0, 0.0, 1.0
    ap = ap_trapz = 0.0
    for place, hit in enumerate(hits):
      found += hit
      recall, precision = found / good, found / (place + 1)
      ap += (recall - old_recall) * precision
      ap_trapz += (recall - old_recall) * (old_precision + precision) / 2
      old_recall, old_precision = recall, precision
    cmc.append([any(hits[:k]) for k in RANKS])
    step.append(ap)
    trapezoid.append(ap_trapz)
    inp.append(good / (max(np.flatnonzero(hits)) + 1))
  scores = dict(
    zip([f'rank{k}' for k in RANKS], np.mean(cmc, axis=0), strict=True)
  )
  return scores | {
    'map': np.mean(step),
    'map_trapz': np.mean(trapezoid),
    'minp': np.mean(inp),
    'num_valid_queries': len(step),
  }


def random_case(seed, queries=30, gallery=60, people=8, levels=None):
  """Distances and ids with junk, distractors and queries without a match."""
  rng = np.random.default_rng(seed)
  distances = rng.random((queries, gallery))
  if levels is not None:  # Few distinct values: ties everywhere.
    distances = np.floor(distances * levels) / levels
  query_pids = rng.integers(1, people + 3, queries)
  gallery_pids = rng.integers(-1, people + 1, gallery)
  cameras = rng.integers(0, 3, queries), rng.integers(0, 3, gallery)
  return distances, query_pids, gallery_pids, *cameras


@pytest.mark.parametrize('rule', [True, False])
@pytest.mark.parametrize('levels', [None, 10, 2, 1])
@pytest.mark.parametrize('seed', range(5))
def test_agrees_with_plain_loops(seed, levels, rule):
  case = random_case(seed, levels=levels)
  scores = evaluate_ranking(*case, camera_rule=rule)
  expected = protocol_in_loops(*case, rule)
  assert scores == pytest.approx(expected, abs=1e-12)
  assert 0 < scores['num_valid_queries'] < 30


def some_pairs(seed, queries, gallery, count):
  rng = np.random.default_rng(seed)
  return np.stack(
    [rng.integers(0, queries, count), rng.integers(0, gallery, count)], axis=1
  )


@pytest.mark.parametrize('rule', [True, False])
@pytest.mark.parametrize('levels', [None, 10, 1])
@pytest.mark.parametrize('seed', range(5))
def test_what_is_left_out_agrees_with_plain_loops(seed, levels, rule):
  case = random_case(seed, levels=levels)
  pairs = some_pairs(seed, 30, 60, 300)
  out = {(q, g) for q, g in pairs.tolist()}
  scores = evaluate_ranking(*case, camera_rule=rule, left_out=pairs)
  expected = protocol_in_loops(*case, rule, out)
  assert scores == pytest.approx(expected, abs=1e-12)
  assert scores != pytest.approx(protocol_in_loops(*case, rule), abs=1e-6)


@pytest.mark.parametrize('chunk_size', [None, 7])
@pytest.mark.parametrize('alike', [False, True])
def test_leave_one_out_of_features_agrees_with_plain_loops(chunk_size, alike):
  """Queries are in the gallery, some twice, under any identity."""
  (
    _,
    gallery,
    *_,
  ) = feature_case(3)
  rng = np.random.default_rng(3)
  gallery[10] = gallery[0]
  if alike:  # So near each other that float32 cannot order them.
    gallery[20:40] = gallery[1] + 1e-9 * gallery[20:40]
  pids = rng.integers(-1, 6, len(gallery))
  places = np.arange(0, len(gallery), 2)
  queries = gallery[places]
  pairs = np.argwhere((queries[:, None] == gallery[None]).all(axis=-1))
  assert len(pairs) > len(places)
  unit = gallery.astype(np.float64)
  unit /= np.linalg.norm(unit, axis=1)[:, None]
  distances = -np.round(unit[places] @ unit.T, 12)
  ids = pids[places], pids, None, None
  scores = rank_features(
    queries,
    gallery,
    *ids,
    camera_rule=False,
    chunk_size=chunk_size,
    left_out=pairs,
  )
  out = {(q, g) for q, g in pairs.tolist()}
  expected = protocol_in_loops(distances, *ids, False, out)
  assert scores == pytest.approx(expected, abs=1e-12)
  allshots = [
    rank_features(
      queries,
      gallery,
      *ids,
      camera_rule=False,
      protocol=protocol,
      left_out=pairs,
    )
    for protocol in ('allshots', 'cuhk03')
  ]
  assert all(x['map'] == pytest.approx(expected['map']) for x in allshots)


def test_nothing_but_itself_in_the_gallery():
  features = np.eye(3)
  pids = np.arange(3)
  with pytest.raises(ValueError, match=r'is left out as the same image; it '):
    rank_features(
      features,
      features,
      pids,
      pids,
      None,
      None,
      camera_rule=False,
      left_out=np.stack([pids, pids], axis=1),
    )


@pytest.mark.parametrize(
  ('pairs', 'found'),
  [
    ([[0, 3]], 'pairs of 3 queries and 3'),
    ([0, 1], r'\[P, 2\]'),
    ([[0.5, 1]], 'integers'),
  ],
)
def test_pairs_that_are_none(pairs, found):
  ids = [np.arange(3)] * 4
  with pytest.raises(ValueError, match=f'left_out: expected .*{found}'):
    evaluate_ranking(np.eye(3), *ids, left_out=pairs)


@pytest.mark.parametrize('seed', range(5))
def test_map_is_sklearns_average_precision(seed):
  distances, query_pids, gallery_pids, *cameras = random_case(seed)
  scores = evaluate_ranking(
    distances, query_pids, gallery_pids, *cameras, camera_rule=False
  )
  clean = gallery_pids != -1
  expected = [
    average_precision_score(gallery_pids[clean] == pid, -row[clean])
    for pid, row in zip(query_pids, distances, strict=True)
    if pid in gallery_pids[clean]
  ]
  assert scores['map'] == pytest.approx(np.mean(expected), abs=1e-12)


def one_query(hits, **options):
  """Scores of one query (pid 1) whose gallery, in order, is as `hits` say."""
  size = len(hits)
  pids = np.where(hits, 1, 2)
  return evaluate_ranking(
    np.arange(size)[None], [1], pids, [0], np.ones(size, int), **options
  )


def test_two_averages_in_closed_form():
  scores = one_query([1, 0, 1])
  assert scores['map'] == pytest.approx((1 + 2 / 3) / 2)  # 0.8333
  assert scores['map_trapz'] == pytest.approx((1 + (1 / 2 + 2 / 3) / 2) / 2)
  assert round(scores['map_trapz'], 4) == 0.7917
  perfect = one_query([1, 1, 0])
  assert perfect['map'] == perfect['map_trapz'] == perfect['rank1'] == 1


def test_default_ranks_may_lie_beyond_the_gallery_and_given_ones_not():
  assert [one_query([0, 0, 1])[f'rank{k}'] for k in RANKS] == [0, 1, 1, 1]
  scores = one_query([0, 0, 1], ranks=(1, 2, 3))
  assert [scores[f'rank{k}'] for k in (1, 2, 3)] == [0, 0, 1]
  with pytest.raises(ValueError, match=r'ranks: got 5, but .* 3 entries'):
    one_query([0, 0, 1], ranks=(1, 5))


def test_tie_goes_to_the_lower_gallery_index():
  cameras = [0], [1, 1]
  first = evaluate_ranking([[0.5, 0.5]], [1], [1, 2], *cameras)
  second = evaluate_ranking([[0.5, 0.5]], [1], [2, 1], *cameras)
  assert (first['rank1'], second['rank1']) == (1, 0)


def test_each_rule_alone():
  def rank1(pids, cameras, **options):
    distances = [np.arange(len(pids))]
    return evaluate_ranking(distances, [1], pids, [0], cameras, **options)[
      'rank1'
    ]

  # A wrong entry in front counts; junk in front does not.
  assert rank1([2, 1], [1, 1]) == 0
  assert rank1([-1, 1], [1, 1]) == 1
  # A distractor counts as wrong, also in the query's camera.
  assert rank1([0, 1], [0, 1]) == 0
  # The query's identity in its own camera is no hit, unless the rule is off.
  assert rank1([1, 2, 1], [0, 1, 1]) == 0
  assert rank1([1, 2, 1], [0, 1, 1], camera_rule=False) == 1


def test_pid_0_is_a_person_where_queries_have_it():
  scores = evaluate_ranking([[0.1, 0.2]], [0], [0, 1], [0], [1, 1])
  assert scores['rank1'] == 1


def feature_case(seed, dimensions=5):
  _, *ids = random_case(seed)
  rng = np.random.default_rng(seed)
  features = [
    rng.standard_normal((len(pids), dimensions)).astype(np.float32)
    for pids in ids[:2]
  ]
  return *features, *ids


@pytest.mark.parametrize('chunk_size', [None, 1, 7, 30, 1000])
def test_features_rank_like_their_distances(chunk_size):
  queries, gallery, *ids = feature_case(0)
  x, y = (
    f.astype(np.float64) / np.linalg.norm(f.astype(np.float64), axis=1)[:, None]
    for f in (queries, gallery)
  )
  distances = np.linalg.norm(x[:, None] - y[None], axis=-1)
  scores = rank_features(queries, gallery, *ids, chunk_size=chunk_size)
  assert scores == evaluate_ranking(distances, *ids)


@pytest.mark.parametrize('chunk_size', [1, 3, 30])
@pytest.mark.parametrize('size', [60, 61, 62, 63])
def test_equal_features_tie_in_any_chunk(size, chunk_size):
  # Four rows, copied many times. BLAS sums the last few columns of a product
  # in another order than the rest, so copies come out unequal in rounding.
  rng = np.random.default_rng(size)
  rows, copies = rng.standard_normal((4, 513)), np.arange(size) % 4
  queries = rng.standard_normal((30, 513))
  x, y = (f / np.linalg.norm(f, axis=1)[:, None] for f in (queries, rows))
  distances = np.linalg.norm(x[:, None] - y[None], axis=-1)[:, copies]
  ids = rng.integers(0, 4, 30), rng.integers(0, 4, size)
  cameras = np.zeros(30, int), np.ones(size, int)
  scores = rank_features(
    queries, rows[copies], *ids, *cameras, chunk_size=chunk_size
  )
  assert scores == evaluate_ranking(distances, *ids, *cameras)


@pytest.mark.parametrize('chunk_size', [None, 10])
def test_memory_is_that_of_a_chunk(chunk_size, monkeypatch):
  monkeypatch.setattr('dbc_jax.evaluation.ranking._CHUNK_VALUES', 10 * 4000)
  rng = np.random.default_rng(0)
  queries, gallery = rng.random((1000, 2)), rng.random((4000, 2))
  pids, cameras = np.zeros(4000, int), np.arange(4000)
  pids[100:] = 1
  tracemalloc.start()
  rank_features(
    queries,
    gallery,
    pids[:1000],
    pids,
    cameras[:1000] - 1,
    cameras,
    chunk_size=chunk_size,
  )
  _, peak = tracemalloc.get_traced_memory()
  tracemalloc.stop()
  # The whole matrix has 32 MB, a chunk of ten queries 0.32 MB.
  assert peak < 4e6


def test_scale_of_features_plays_no_part_and_zero_rows_are_kept():
  queries, gallery, *ids = feature_case(2)
  scores = rank_features(queries, gallery, *ids)
  assert rank_features(7 * queries, gallery / 3, *ids) == scores
  rank_features(np.zeros_like(queries), gallery, *ids)


@pytest.mark.parametrize(
  ('change', 'message'),
  [
    ({0: np.zeros(3)}, r'distances: expected \[Q, G\]'),
    ({0: np.full((30, 60), np.nan)}, 'row 0 holds NaN'),
    ({0: np.zeros((0, 60)), 1: [], 3: []}, 'There are 0 queries'),
    ({1: np.ones(29, int)}, r'query_pids: got shape \(29,\), expected \(30,\)'),
    ({2: np.ones(60)}, r'gallery_pids: got dtype float64, expected integers'),
    ({4: np.ones((60, 1), int)}, 'gallery_camids: got shape .* expected'),
    ({3: None}, 'query_camids: got None; .* camera_rule=False'),
    ({2: np.full(60, -1)}, 'every entry is junk'),
    ({1: np.full(30, 99)}, 'None of the identities of the 30 queries'),
    ({3: np.ones(30, int), 4: np.ones(60, int)}, 'camera_rule=False'),
  ],
)
def test_errors_name_the_input(change, message):
  case = list(random_case(0))
  for position, value in change.items():
    case[position] = value
  with pytest.raises(ValueError, match=message):
    evaluate_ranking(*case)


def test_settings_are_checked():
  case = random_case(0)
  with pytest.raises(ValueError, match=r"'duke', expected one of market1501"):
    evaluate_ranking(*case, protocol='duke')
  for ranks in ((0, 1), ()):
    with pytest.raises(ValueError, match=r'^ranks: got (0|none), expected'):
      evaluate_ranking(*case, ranks=ranks)


def test_features_are_checked():
  queries, gallery, *ids = feature_case(0)
  with pytest.raises(ValueError, match='5 dimensions, gallery_features 4'):
    rank_features(queries, gallery[:, :4], *ids)
  with pytest.raises(ValueError, match='chunk_size'):
    rank_features(queries, gallery, *ids, chunk_size=0)
  with pytest.raises(
    ValueError, match=r'^query_features: got shape .*\[N, D\]'
  ):
    rank_features(queries[0], gallery, *ids)
  gallery[3, 1] = np.nan
  with pytest.raises(ValueError, match=r'gallery_features: 1 of 60 .* row 3'):
    rank_features(queries, gallery, *ids)


def test_no_cameras_are_needed_without_the_rule():
  distances, query_pids, gallery_pids, *cameras = random_case(0)
  assert evaluate_ranking(
    distances, query_pids, gallery_pids, None, None, camera_rule=False
  ) == evaluate_ranking(
    distances, query_pids, gallery_pids, *cameras, camera_rule=False
  )


def test_equal_features_get_no_scores():
  same = np.ones((6, 3), np.float32)
  pids, cameras = np.arange(6) % 2, np.zeros(6, int)
  with pytest.raises(ValueError, match=r'^gallery_features: all 6 rows'):
    rank_features(same, same, pids, pids, cameras, cameras + 1)


def test_the_advice_without_the_camera_rule_leaves_a_query_out_of_its_own():
  rng = np.random.default_rng(0)
  features, pids = rng.normal(size=(12, 8)), np.arange(12) // 2
  cameras = np.zeros(12, int)
  with pytest.raises(ValueError, match='give each image a camera of its own'):
    rank_features(features, features, pids, pids, cameras, cameras)
  alone = np.arange(12)
  scores = rank_features(features, features, pids, pids, alone, alone)
  unit = features / np.linalg.norm(features, axis=1, keepdims=True)
  own = np.argsort(-(unit @ unit.T), axis=1, kind='stable')
  assert (own[:, 0] == alone).all()
  assert scores['rank1'] == np.mean(pids[own[:, 1]] == pids)
