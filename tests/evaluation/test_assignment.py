"""Images to known clusters, against what double loops say."""

import numpy as np
import pytest

from dbc_jax import cluster
from dbc_jax.evaluation import assignment

CRITERION = cluster.Criterion('average', 0.0)


def _people(count, images, spread, seed, dims=24, start=0):
  """Unit features [count * images, D] of some persons, and who they are."""
  rng = np.random.default_rng(start)
  centres = rng.normal(size=(start + count, dims))[start:]
  x = np.repeat(centres, images, axis=0)
  x += spread * np.random.default_rng(seed).normal(size=x.shape)
  return x.astype(np.float32), np.repeat(np.arange(count), images)


def _to_cluster(image, members):
  gaps = sorted(np.linalg.norm(image - other) for other in members)
  return np.mean(gaps[:5])


def _unit(x):
  x = x.astype(np.float64)
  return x / np.linalg.norm(x, axis=1, keepdims=True)


def test_what_is_learnt_equals_double_loops():
  x, labels = _people(7, 8, 0.7, seed=1)
  labels = np.where(np.arange(len(labels)) % 8 > labels, -1, labels + 3)
  found = assignment.learn_assignment(x, labels)
  unit = _unit(x)
  strangers, inside = [], []
  for i in np.flatnonzero(labels >= 0):
    others = [k for k in np.unique(labels[labels >= 0]) if k != labels[i]]
    strangers.append(
      min(_to_cluster(unit[i], unit[labels == k]) for k in others)
    )
    own = (labels == labels[i]) & (np.arange(len(x)) != i)
    if own.any():
      inside.append(_to_cluster(unit[i], unit[own]))
  np.testing.assert_allclose(found.strangers, np.sort(strangers), atol=1e-6)
  assert found.reach == pytest.approx(np.quantile(inside, 0.95), abs=1e-6)
  assert found.numbers.tolist() == np.unique(labels[labels >= 0]).tolist()

  asked, _ = _people(12, 3, 0.9, seed=2)
  said = found(asked, false_match_rate=0.2)
  limit = found.threshold(0.2)
  rank = int(0.2 * (len(strangers) + 1))
  assert limit == pytest.approx(np.sort(strangers)[rank - 1], abs=1e-6)
  for i, image in enumerate(_unit(asked)):
    near = {k: _to_cluster(image, unit[labels == k]) for k in found.numbers}
    first, second = sorted(near, key=lambda k: near[k])[:2]
    assert (said.nearest[i], said.second[i]) == (first, second)
    assert said.distances[i] == pytest.approx(near[first], abs=1e-6)
    answer = 'known' if near[first] <= limit else 'unsure'
    if near[first] > max(limit, found.reach):
      answer = 'new'
    assert said.answers[i] == answer
    told = found.calibration.probability(near[first])
    assert said.probabilities[i] == pytest.approx(told, abs=1e-6)


@pytest.mark.parametrize('rate', [0.1, 0.02])
def test_strangers_are_called_known_as_rarely_as_promised(rate):
  called = []
  for seed in range(10):
    x, labels = _people(30, 12, 1.2, seed=seed)
    assigner = assignment.learn_assignment(x, labels)
    strangers, _ = _people(30, 12, 1.2, seed=seed + 99, start=30)
    answers = assigner(strangers, false_match_rate=rate).answers
    called.append(np.mean(answers == 'known'))
  assert 0.3 * rate < np.mean(called) < 1.5 * rate


def test_known_persons_are_found_and_strangers_are_grouped():
  x, labels = _people(20, 10, 0.4, seed=0)
  assigner = assignment.learn_assignment(x, labels)
  again, who = _people(20, 4, 0.4, seed=1)
  said = assigner(again)
  assert (said.nearest == who).all()
  assert np.mean(said.answers == 'known') > 0.9
  assert np.median(said.probabilities) > 0.98
  strangers, apart = _people(9, 4, 0.4, seed=2, start=20)
  said = assigner(strangers)
  assert (said.answers == 'new').all()
  assert np.median(said.probabilities) < 0.1
  groups = assigner.group(strangers, CRITERION)
  # Each of one person, and most persons in one.
  pairs = {*zip(groups.tolist(), apart.tolist(), strict=True)}
  assert groups.max() + 1 == len(pairs) <= 13
  assert groups[0] == 0
  assert assigner.group(strangers[:1], CRITERION).tolist() == [0]


def test_groups_are_the_merges_that_stand():
  """Against SciPy's average linkage, cut at the same width."""
  from scipy.cluster.hierarchy import fcluster, linkage

  x, labels = _people(15, 6, 1.0, seed=3)
  assigner = assignment.learn_assignment(x, labels)
  asked, _ = _people(40, 3, 1.0, seed=4)
  groups = assigner.group(asked, CRITERION)
  tree = linkage(_unit(asked), 'average')
  expected = fcluster(tree, assigner.width, 'distance')
  pairs = {*zip(groups.tolist(), expected.tolist(), strict=True)}
  assert len(pairs) == len(np.unique(groups)) == len(np.unique(expected))
  assert 1 < len(pairs) < len(asked)


@pytest.mark.parametrize('count', [48, 97, 160])
def test_the_rate_that_is_asked_for_is_taken(count):
  x, labels = _people(2, (count + 1) // 2, 0.5, seed=0)
  assigner = assignment.learn_assignment(x[:count], labels[:count])
  assert assigner.threshold(1 / (count + 1)) == assigner.strangers[0]
  with pytest.raises(ValueError, match='expected at least') as error:
    assigner.threshold(0.5 / (count + 1))
  asked = str(error.value).split('at least ')[1].split(':')[0]
  assert assigner.threshold(float(asked)) >= assigner.strangers[0]


def test_one_cluster_tells_nothing_of_strangers():
  x, _ = _people(1, 10, 0.5, seed=0)
  labels = np.array([0] * 6 + [-1] * 4)
  with pytest.raises(ValueError, match='labels: got 1 clusters, expected two'):
    assignment.learn_assignment(x, labels)


@pytest.mark.parametrize(
  ('rate', 'message'),
  [
    (0.0, 'expected between 0 and 1'),
    (1e-3, 'false_match_rate: got 0.001, expected at least 0.012'),
  ],
)
def test_a_rate_that_nothing_tells_of_is_refused(rate, message):
  x, labels = _people(8, 10, 0.5, seed=0)
  assigner = assignment.learn_assignment(x, labels)
  with pytest.raises(ValueError, match=message):
    assigner(x, false_match_rate=rate)
  with pytest.raises(ValueError, match='features: expected 24 columns, got 3'):
    assigner(np.ones((2, 3)), false_match_rate=0.1)
