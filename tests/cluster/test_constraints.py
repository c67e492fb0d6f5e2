"""Must-links and cannot-links: brute force, the tree, and what is refused."""

import dataclasses
import itertools

import cluster_oracles as oracles
import jax
import numpy as np
import pytest
from scipy.cluster import hierarchy

from dbc_jax.cluster import (
  Criterion,
  Engine,
  choose_engine,
  merge_clusters,
  to_scipy_linkage,
)
from dbc_jax.cluster.engines import choice, dense
from dbc_jax.cluster.hierarchy import labels_after
from dbc_jax.devices import mesh

NUM_SAMPLES, NUM_UNITED = 14, 9
AVERAGE = Criterion('average', 0.0)
BUC = Criterion('buc', 0.0)
# A thousand of each engine, over all criteria.
TRIALS = -(-1000 // len(oracles.CRITERIA))


@pytest.fixture(params=['dense', 'matrix_free'])
def engine(request, monkeypatch):
  """Merging by this engine, on one device."""
  name = request.param
  monkeypatch.setattr(mesh, 'devices', lambda: jax.local_devices()[:1])

  def chosen(criterion, shape, num_clusters, **_):
    slots = shape[0] if name == 'dense' else num_clusters
    return Engine(name, 'a test', slots)

  monkeypatch.setattr(choice, 'choose_engine', chosen)
  return name


def unite(labels, must_link):
  """Labels after must-links, each cluster in the place of its lowest."""
  labels = labels.copy()
  for _, (i, j) in itertools.product(range(len(must_link)), must_link):
    low, high = sorted((labels[i], labels[j]))
    labels[labels == high] = low
  return np.unique(labels, return_inverse=True)[1]


@dataclasses.dataclass
class Trial:
  """Features, starting clusters and links, drawn from a seed."""

  seed: int

  def __post_init__(self):
    rng = np.random.default_rng(self.seed)
    self.x = oracles.unit_features(NUM_SAMPLES, 3, self.seed)
    count = rng.integers(NUM_UNITED, NUM_SAMPLES + 1)
    self.labels = oracles.random_labels(NUM_SAMPLES, count, self.seed)
    must = []
    # As many clusters each time, so that few programs are compiled.
    while (united := unite(self.labels, must)).max() >= NUM_UNITED:
      must.append(rng.integers(0, NUM_SAMPLES, 2).tolist())
      if unite(self.labels, must).max() < NUM_UNITED - 1:
        must.pop()
    self.must_link, self.united = must, united
    links = rng.integers(0, NUM_SAMPLES, (rng.integers(0, 25), 2))
    self.cannot_link = links[united[links[:, 0]] != united[links[:, 1]]]
    self.num_merges = int(rng.integers(1, count))

  def merge(self, criterion, **given):
    return merge_clusters(
      self.x,
      self.labels,
      self.num_merges,
      criterion,
      must_link=self.must_link,
      cannot_link=self.cannot_link,
      **given,
    )

  def violations(self, result):
    """Links that the labels do not keep."""
    labels = result.labels
    parted = sum(labels[i] != labels[j] for i, j in self.must_link)
    return parted + sum(labels[i] == labels[j] for i, j in self.cannot_link)


def brute_force(trial, criterion, dist, x):
  return oracles.brute_force_merge(
    criterion,
    dist,
    x,
    trial.united,
    min(trial.num_merges, NUM_UNITED - 1),
    trial.cannot_link,
  )


@pytest.mark.parametrize(
  'criterion',
  [
    *oracles.EACH[:1],
    *oracles.slow(*(c for c in oracles.CRITERIA if c != oracles.EACH[0])),
  ],
  ids=oracles.name_of,
)
def test_equals_brute_force(engine, criterion):
  open_orders = ended = 0
  start = oracles.CRITERIA.index(criterion) * TRIALS
  for seed in range(start, start + TRIALS):
    trial = Trial(seed)
    got = trial.merge(criterion)
    assert got.engine == engine
    assert trial.violations(got) == 0
    dist = oracles.distances(trial.x, criterion.squared)
    labels, pairs, scores, lead = brute_force(trial, criterion, dist, trial.x)
    if lead < 1e-5:
      open_orders += 1
      continue
    np.testing.assert_array_equal(got.pairs, np.reshape(pairs, (-1, 2)))
    np.testing.assert_allclose(got.scores, scores, atol=1e-5)
    np.testing.assert_array_equal(got.labels, labels)
    ended += len(pairs) < min(trial.num_merges, NUM_UNITED - 1)
  assert open_orders < TRIALS / 10
  assert ended > 0


def test_equal_scores_go_to_the_lowest_pair_that_may_merge(engine):
  for seed in range(TRIALS):
    trial = Trial(seed)
    rng = np.random.default_rng(seed)
    # Whole numbers on a line: distances are exact and few, often zero.
    values = rng.integers(0, 30 if seed % 2 else 4, NUM_SAMPLES)
    trial.x = values[:, None].astype(np.float32)
    got = trial.merge(BUC)
    dist = oracles.distances(trial.x)
    labels, pairs, scores, _ = brute_force(trial, BUC, dist, trial.x)
    np.testing.assert_array_equal(got.pairs, np.reshape(pairs, (-1, 2)))
    np.testing.assert_array_equal(got.scores, np.float32(scores))
    np.testing.assert_array_equal(got.labels, labels)
    assert trial.violations(got) == 0


def ranked_by_brute_force(trial, criterion):
  """Labels and scores by one walk over all pairs of the united clusters."""
  dist = oracles.distances(trial.x, criterion.squared)
  matrix = oracles.score_matrix(criterion, dist, trial.x, trial.united)
  ranking = sorted(
    (matrix[a, b], a, b)
    for a, b in itertools.combinations(range(NUM_UNITED), 2)
  )
  live, scores = np.arange(NUM_UNITED), []
  for score, *pair in ranking:
    low, high = sorted(live[pair])
    skipped = not criterion.rule.follows and [low, high] != pair
    clusters = [np.flatnonzero(live[trial.united] == c) for c in (low, high)]
    if len(scores) == trial.num_merges or low == high or skipped:
      continue
    if any(oracles.holds({*link}, *clusters) for link in trial.cannot_link):
      continue
    live[live == high] = low
    scores.append(score)
  gaps = np.diff([score for score, *_ in ranking])
  labels = np.unique(live, return_inverse=True)[1][trial.united]
  return labels, scores, gaps.min()


@pytest.mark.slow
@pytest.mark.parametrize(
  'criterion', oracles.with_slow_marks(oracles.CRITERIA), ids=oracles.name_of
)
def test_ranked_equals_brute_force(criterion):
  criterion = dataclasses.replace(criterion, merge='ranked')
  open_orders = ended = 0
  start = oracles.CRITERIA.index(criterion_of(criterion)) * TRIALS
  for seed in range(start, start + TRIALS):
    trial = Trial(seed)
    got = trial.merge(criterion)
    assert trial.violations(got) == 0
    labels, scores, gap = ranked_by_brute_force(trial, criterion)
    if gap < 1e-6:
      open_orders += 1
      continue
    np.testing.assert_array_equal(got.labels, labels)
    np.testing.assert_allclose(got.scores, scores, atol=1e-5)
    ended += len(scores) < min(trial.num_merges, NUM_UNITED - 1)
  assert open_orders < TRIALS / 10
  assert ended > 0


def criterion_of(ranked):
  return dataclasses.replace(ranked, merge='sequential')


def test_a_chain_of_must_links_is_one_cluster(engine):
  x = oracles.unit_features(NUM_SAMPLES, 3, seed=1)
  chain = np.column_stack([np.arange(5, 10), np.arange(6, 11)])[::-1]
  got = merge_clusters(x, np.arange(NUM_SAMPLES), 1, AVERAGE, must_link=chain)
  # In SciPy's numbering: the union of all before, and the next.
  expected = [[5, 6], [7, 14], [8, 15], [9, 16], [10, 17]]
  np.testing.assert_array_equal(got.united, expected)
  start = labels_after(got.united, np.arange(NUM_SAMPLES), len(got.united))
  np.testing.assert_array_equal(start, [*range(5), *[5] * 6, 6, 7, 8])
  alone = merge_clusters(x, start, 1, AVERAGE)
  for field in ('labels', 'pairs', 'scores'):
    np.testing.assert_array_equal(getattr(got, field), getattr(alone, field))


def test_must_links_may_leave_a_single_cluster(engine):
  x = oracles.unit_features(4, 3, seed=2)
  chain = [[0, 1], [1, 2], [3, 3], [3, 0]]
  got = merge_clusters(x, np.arange(4), 2, AVERAGE, must_link=chain)
  assert got.labels.tolist() == [0] * 4
  assert got.pairs.shape == (0, 2)
  assert got.united.tolist() == [[0, 1], [2, 4], [3, 5]]
  assert to_scipy_linkage(got, heights='score').shape == (0, 4)


@pytest.mark.parametrize('criterion', [BUC, Criterion('dbc', 0.1)])
def test_it_ends_where_all_pairs_are_forbidden(engine, criterion):
  x = oracles.unit_features(NUM_SAMPLES, 3, seed=3)
  every = list(itertools.combinations(range(NUM_SAMPLES), 2))
  labels = np.arange(NUM_SAMPLES)
  criteria = [criterion]
  if engine == 'dense':
    criteria.append(dataclasses.replace(criterion, merge='ranked'))
  for each in criteria:
    got = merge_clusters(x, labels, 5, each, cannot_link=every)
    np.testing.assert_array_equal(got.labels, labels)
    assert got.pairs.shape == (0, 2)
    tree = to_scipy_linkage(got, heights='score')
    assert hierarchy.is_valid_linkage(tree, throw=True)
    # All but one.
    got = merge_clusters(x, labels, 5, each, cannot_link=every[:-1])
    assert got.pairs.tolist() == [[NUM_SAMPLES - 2, NUM_SAMPLES - 1]]


def test_the_tree_is_scipys_and_cuts_to_our_labels(engine):
  for seed in range(30):
    trial = Trial(seed)
    got = trial.merge(AVERAGE)
    start = labels_after(got.united, trial.labels, len(got.united))
    np.testing.assert_array_equal(start, trial.united)
    tree = to_scipy_linkage(got)
    assert hierarchy.is_valid_linkage(tree, throw=True)
    assert tree.shape == (NUM_UNITED - 1, 4)
    done = len(got.pairs)
    for count in range(done + 1):
      cut = hierarchy.fcluster(tree, NUM_UNITED - count, 'maxclust')[start]
      labels = labels_after(got.pairs, start, count)
      size = len(set(zip(cut, labels, strict=True)))
      assert size == NUM_UNITED - count == len(set(cut))
    np.testing.assert_array_equal(labels, got.labels)


def test_given_distances_and_samples_of_no_cluster():
  dist = np.random.default_rng(4).random((NUM_SAMPLES, NUM_SAMPLES))
  dist = np.triu(dist, 1) + np.triu(dist, 1).T
  labels = np.array([-1, 0, 1, -1, 0, *range(2, 11)])
  links = {'must_link': [[0, 3]], 'cannot_link': [[0, 1], [13, 4], [2, 3]]}
  got = merge_clusters(None, labels, 11, AVERAGE, distances=dist, **links)
  united = np.array([11, 0, 1, 11, 0, *range(2, 11)])
  expected = oracles.brute_force_merge(
    AVERAGE, dist, np.zeros((NUM_SAMPLES, 1)), united, 11, links['cannot_link']
  )
  np.testing.assert_array_equal(got.labels, expected[0])
  np.testing.assert_array_equal(got.pairs, expected[1])


def test_halving_the_matrix_keeps_the_links(monkeypatch):
  x = oracles.unit_features(61, 6, seed=5)
  links = np.random.default_rng(5).integers(0, 61, (90, 2))
  links = links[links[:, 0] != links[:, 1]]
  criterion = Criterion('ecluster', 0.9)
  expected = merge_clusters(x, np.arange(61), 60, criterion, cannot_link=links)
  monkeypatch.setattr(dense, '_SMALLEST', 4)
  got = merge_clusters(x, np.arange(61), 60, criterion, cannot_link=links)
  for field in ('labels', 'pairs', 'scores'):
    np.testing.assert_array_equal(getattr(got, field), getattr(expected, field))
  assert len(got.pairs) < 60
  # As with a GPU, whose matrix is merged on the host.
  host = jax.devices()[3]
  monkeypatch.setattr(
    mesh, 'for_small_steps', lambda tree: jax.device_put(tree, host)
  )
  elsewhere = merge_clusters(x, np.arange(61), 60, criterion, cannot_link=links)
  np.testing.assert_array_equal(elsewhere.pairs, expected.pairs)


def test_a_true_budget_counts_the_links():
  x = oracles.unit_features(60, 6, seed=6)
  criterion = Criterion('ecluster', 0.9)
  links = [[i, j] for i in range(30) for j in range(31, 60)]
  expected = merge_clusters(x, np.arange(60), 50, criterion, cannot_link=links)
  with pytest.raises(ValueError, match='at least') as error:
    choose_engine(criterion, x.shape, 60, memory_budget_gb=1e-9)
  least = float(str(error.value).split('at least ')[1].split(' ')[0])
  with pytest.raises(ValueError, match=r'^memory_budget_gb: got'):
    merge_clusters(
      x,
      np.arange(60),
      50,
      criterion,
      cannot_link=links,
      memory_budget_gb=1.001 * least,
    )
  got = merge_clusters(
    x,
    np.arange(60),
    50,
    criterion,
    cannot_link=links,
    memory_budget_gb=least + 70e-9 * len(links),
  )
  assert (expected.engine, got.engine) == ('dense', 'matrix_free')
  np.testing.assert_array_equal(got.pairs, expected.pairs)


@pytest.mark.slow
def test_engines_agree_beyond_one_block(monkeypatch):
  x = oracles.unit_features(1300, 8, seed=9)
  labels = oracles.random_labels(1300, 900, seed=9)
  rng = np.random.default_rng(9)
  links = {
    'must_link': rng.integers(0, 650, (100, 2)),
    'cannot_link': rng.integers([0, 650], [650, 1300], (400, 2)),
  }
  apart = labels[links['cannot_link']]
  links['cannot_link'] = links['cannot_link'][apart[:, 0] != apart[:, 1]]
  criterion = Criterion('estat', 0.1)
  expected = merge_clusters(x, labels, 60, criterion, **links)

  def chosen(criterion, shape, num_clusters, **_):
    return Engine('matrix_free', 'a test', num_clusters)

  monkeypatch.setattr(choice, 'choose_engine', chosen)
  got = merge_clusters(x, labels, 60, criterion, **links)
  np.testing.assert_array_equal(got.pairs, expected.pairs)
  np.testing.assert_array_equal(got.labels, expected.labels)
  for i, j in links['must_link']:
    assert got.labels[i] == got.labels[j]
  for i, j in links['cannot_link']:
    assert got.labels[i] != got.labels[j]


def test_no_links_are_none(engine):
  x = oracles.unit_features(NUM_SAMPLES, 3, seed=7)
  expected = merge_clusters(x, np.arange(NUM_SAMPLES), 9, AVERAGE)
  loops = dense.merge_loop._cache_size()
  for empty in ([], np.zeros((0, 2), int), None):
    got = merge_clusters(
      x,
      np.arange(NUM_SAMPLES),
      9,
      AVERAGE,
      must_link=empty,
      cannot_link=empty,
    )
    for a, b in zip(got, expected, strict=True):
      np.testing.assert_array_equal(a, b)
  assert got.united.shape == (0, 2)
  assert dense.merge_loop._cache_size() == loops


def test_scores_beyond_float32_are_no_lack_of_pairs(engine):
  x = oracles.unit_features(NUM_SAMPLES, 3, seed=8)
  labels = np.arange(NUM_SAMPLES) // 2
  criterion = Criterion('ecluster', 1e30)
  x = 1e10 * x
  with pytest.raises(ValueError, match=r'^reg_weight: got scores beyond 3e38'):
    merge_clusters(x, labels, 6, criterion, cannot_link=[[0, 3]])


@pytest.mark.parametrize('field', ['must_link', 'cannot_link'])
@pytest.mark.parametrize(
  ('links', 'message'),
  [
    ([0, 1], r'got shape \(2,\), expected \[P, 2\]'),
    ([[0, 1, 2]], r'got shape \(1, 3\), expected \[P, 2\]'),
    ([[0, 1], [2]], r'got rows of several lengths, expected \[P, 2\]'),
    ([[0.0, 1.0]], 'got dtype float64, expected integers'),
    ([[True, False]], 'got dtype bool, expected integers'),
    ([['a', 'b']], 'got dtype <U1, expected integers'),
    ([[0, 1], [3, 6]], r'row 1 has samples 3 and 6, expected those of 0\.\.5'),
    ([[-1, 2]], r'row 0 has samples -1 and 2, expected those of 0\.\.5'),
  ],
)
def test_wrong_links(field, links, message):
  with pytest.raises(ValueError, match=f'^{field}: {message}') as error:
    merge_clusters(np.eye(6), np.arange(6), 1, AVERAGE, **{field: links})
  assert '\n' not in str(error.value)


@pytest.mark.parametrize(
  ('labels', 'must', 'cannot', 'message'),
  [
    (range(6), [], [[0, 1], [2, 2]], 'row 1 links sample 2 with itself'),
    (
      [0, 1, 1, 2, 3, 1],
      [],
      [[0, 1], [2, 5]],
      'row 1 has samples 2 and 5, which labels put into one cluster, 1;',
    ),
    (
      range(6),
      [[3, 4], [0, 1], [2, 0], [1, 3], [1, 3]],
      [[0, 5], [2, 4]],
      r'row 1 has samples 2 and 4, which must_link puts into one cluster by '
      r'its rows \[2, 1, 3, 0\];',
    ),
    (
      # The middle of the chain is a cluster that labels say.
      [0, 1, 1, 2, 3, 4],
      [[4, 5], [2, 3], [0, 1]],
      [[3, 0]],
      r'row 0 .* by its rows \[1, 2\];',
    ),
  ],
)
def test_links_that_contradict(labels, must, cannot, message):
  with pytest.raises(ValueError, match=f'^cannot_link: {message}') as error:
    merge_clusters(
      np.eye(6),
      np.array(labels),
      1,
      AVERAGE,
      must_link=must,
      cannot_link=cannot,
    )
  assert '\n' not in str(error.value)
