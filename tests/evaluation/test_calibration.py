"""Pair calibration against Bayes' rule, brute force, and on new persons."""

import itertools

import numpy as np
import pytest

from dbc_jax.evaluation import calibrate_pairs, calibration, similarity

AT_THEIR_WORD = {'leeway': 1}


def unit(rows):
  return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def sphere(rng, *shape):
  return unit(rng.standard_normal(shape))


def blobs(rng, persons, images, spread, dim=16):
  """`images` of each of `persons`, around directions drawn at random."""
  centres = sphere(rng, persons, 1, dim)
  rows = centres + spread / dim**0.5 * rng.standard_normal(
    (persons, images, dim)
  )
  return unit(rows.reshape(-1, dim)), np.repeat(np.arange(persons), images)


def distances(features):
  first, second = np.triu_indices(len(features), 1)
  return np.linalg.norm(features[first] - features[second], axis=1)


def test_probability_is_bayes_rule_for_two_gaussians():
  # Pairs of one cluster have cosines ~ N(m, 1/D) by construction; those of
  # independent directions in D dimensions are N(0, 1/D), but for O(1/D).
  rng, dim, mean = np.random.default_rng(0), 400, 0.15
  left = sphere(rng, 3000, dim)
  noise = rng.standard_normal(left.shape)
  across = unit(noise - (noise * left).sum(1, keepdims=True) * left)
  cosine = rng.normal(mean, dim**-0.5, (3000, 1))
  right = cosine * left + np.sqrt(1 - cosine**2) * across
  got = calibrate_pairs(
    np.concatenate([left, right]),
    np.tile(np.arange(3000), 2),
    **AT_THEIR_WORD,
    num_pairs=50_000,
  )
  cosines = np.linspace(-0.1, 0.3, 41)
  for prior in (0.5, 0.01):
    ratio = np.exp(dim * (mean * cosines - mean**2 / 2)) * prior / (1 - prior)
    np.testing.assert_allclose(
      got.probability(np.sqrt(2 - 2 * cosines), prior=prior),
      ratio / (1 + ratio),
      atol=0.03,
    )


@pytest.mark.parametrize('rate', [0.0123, 0.05, 0.3])
def test_threshold_is_the_exact_quantile(rate):
  features, labels = blobs(np.random.default_rng(1), 9, 5, 1.0)
  got = calibrate_pairs(7 * features, labels, **AT_THEIR_WORD).threshold(rate)
  first, second = np.triu_indices(len(labels), 1)
  apart = distances(features)[labels[first] != labels[second]]
  allowed = [d for d in apart if np.mean(apart < d) <= rate]
  assert got == pytest.approx(max(allowed), abs=1e-7)


def test_pairs_are_each_once_and_draws_are_even():
  labels = np.array([2, 0, 2, 1, 2, 0, 2])
  rng = np.random.default_rng(0)
  pairs = np.stack(calibration._pairs_inside(labels, 100, rng), 1)
  expected = {
    frozenset(pair)
    for pair in itertools.combinations(range(7), 2)
    if labels[pair[0]] == labels[pair[1]]
  }
  assert len(pairs) == len(expected)
  assert {*map(frozenset, pairs.tolist())} == expected

  labels = np.repeat(np.arange(40), np.arange(1, 41))
  drawn = np.stack(calibration._pairs_inside(labels, 9000, rng), 1)
  assert (labels[drawn[:, 0]] == labels[drawn[:, 1]]).all()
  assert (drawn[:, 0] != drawn[:, 1]).all()
  sizes = np.arange(1, 41)
  share = sizes * (sizes - 1) / (sizes * (sizes - 1)).sum()
  counts = np.bincount(labels[drawn[:, 0]], minlength=40)
  # Five standard deviations of a binomial count.
  assert (abs(counts - 9000 * share) <= 5 * np.sqrt(9000 * share) + 1).all()


def test_falls_with_distance_and_takes_a_prior():
  features, labels = blobs(np.random.default_rng(2), 16, 8, 1.0)
  got = calibrate_pairs(features, labels)
  grid = np.linspace(0, 2, 200).reshape(2, 100)
  even = got.probability(grid)
  assert even.shape == grid.shape
  assert (np.diff(even.ravel()) < 0).all()
  assert even.min() >= 0
  assert even.max() <= 1
  rare = got.probability(grid, prior=0.2)
  np.testing.assert_allclose(rare, even * 0.25 / (even * 0.25 + 1 - even))
  rates = [0.01, 0.02, 0.1, 0.5]
  thresholds = [got.threshold(rate) for rate in rates]
  assert thresholds == sorted(thresholds)


def test_depends_on_the_seed_alone():
  features, labels = blobs(np.random.default_rng(3), 30, 8, 1.2)
  options = {**AT_THEIR_WORD, 'num_pairs': 3000}
  first, again, renamed, other = (
    calibrate_pairs(features, names, **options, seed=seed)
    for names, seed in (
      (labels, 0),
      (labels, 0),
      (3 * labels + 5, 0),
      (labels, 1),
    )
  )
  for same in (again, renamed):
    assert (first.offset, first.slope) == (same.offset, same.slope)
    np.testing.assert_array_equal(first.different, same.different)
  assert first.slope != other.slope
  assert len(first.different) <= 3000


def test_clusters_that_do_not_overlap_stay_finite():
  features, labels = blobs(np.random.default_rng(4), 6, 6, 0.01)
  got = calibrate_pairs(features, labels, **AT_THEIR_WORD)
  assert np.isfinite([got.offset, got.slope]).all()
  near, far = got.probability([0.0, got.different[0]])
  assert near > 0.95
  assert far < 0.05


def test_leeway_keeps_pairs_of_two_and_adds_the_widest_inside():
  features, labels = blobs(np.random.default_rng(5), 16, 8, 1.0)
  plain, wider = (
    calibrate_pairs(features, labels, leeway=leeway).different
    for leeway in (1, 1.125)
  )
  assert np.isin(plain, wider).all()
  # Two merges of the 16 clusters of 8 are taken back: 13 to 32 pairs.
  assert 13 <= len(wider) - len(plain) <= 32


def test_leeway_takes_back_half_of_the_merges_at_most():
  features, labels = blobs(np.random.default_rng(8), 4, 4, 1.0)
  fine = calibration._finer(
    similarity.checked_features(features, 'features'), labels, 100.0
  )
  assert len(np.unique(fine)) == 4 + (16 - 4) // 2
  assert all(len(np.unique(labels[fine == part])) == 1 for part in fine)


def test_serves_new_persons_better_than_clusters_at_their_word():
  rng, dim = np.random.default_rng(6), 16

  def draw(persons):
    """Four images of each of the two looks that a person has."""
    centres = sphere(rng, persons, 1, 1, dim)
    looks = centres + sphere(rng, persons, 2, 1, dim)
    images = looks + 0.5 * sphere(rng, persons, 2, 4, dim)
    return unit(images.reshape(-1, dim)), np.repeat(np.arange(persons), 8)

  features, _ = draw(16)
  # Clusters found the looks, and no person.
  labels = np.repeat(np.arange(32), 4)
  new, persons = draw(60)
  first, second = np.triu_indices(len(new), 1)
  same = persons[first] == persons[second]

  def loss(**options):
    got = calibrate_pairs(features, labels, **options)
    p = got.probability(distances(new))
    return -np.log(p[same]).mean() - np.log(1 - p[~same]).mean()

  believed = loss(**AT_THEIR_WORD)
  # Saying 0.5 of every pair would lose this much.
  assert believed > 2 * np.log(2)
  assert loss() < 0.7 * 2 * np.log(2)


@pytest.mark.parametrize(
  ('labels', 'options', 'message'),
  [
    ([0, 0, 1], {}, r'labels: got shape \(3,\), expected \(4,\)'),
    ([0, 0, -2, 1], {}, 'labels: 1 are below -1'),
    ([0, 1, 2, 3], {}, 'each of the 4 clusters has one image'),
    ([3, 3, 3, 3], {}, 'all 4 images are in one cluster'),
    (
      [0, 0, 1, 1],
      {'leeway': 0.5},
      'leeway: got 0.5, expected a number',
    ),
    (
      [0, 0, 1, 1],
      {'leeway': np.nan},
      'leeway: got nan, expected a number',
    ),
    (
      [0, 0, 1, 1],
      {'num_pairs': 9},
      'num_pairs: got 9, expected a whole num',
    ),
    ([0, 1, 0, 1], AT_THEIR_WORD, 'pairs inside these clusters are no nearer'),
  ],
)
def test_bad_clusters(labels, options, message):
  features = [[1, 0], [1, 0.1], [0, 1], [0, 0.9]]
  with pytest.raises(ValueError, match=message):
    calibrate_pairs(features, np.array(labels), **options)


def test_bad_features():
  features = np.eye(4)
  features[2, 1] = np.nan
  with pytest.raises(ValueError, match='features: 1 of 4 rows hold NaN'):
    calibrate_pairs(features, np.array([0, 0, 1, 1]))


def test_bad_questions():
  features, labels = blobs(np.random.default_rng(7), 5, 4, 1.0)
  got = calibrate_pairs(features, labels, **AT_THEIR_WORD)
  assert len(got.different) == 160
  with pytest.raises(ValueError, match=r'at least 0\.0625, as there are 160'):
    got.threshold(0.06)
  got.threshold(0.0625)
  with pytest.raises(ValueError, match=r'^false_match_rate: got .*, expected'):
    got.threshold(1.0)
  with pytest.raises(
    ValueError, match='prior: got 0, expected between 0 and 1'
  ):
    got.probability(0.5, prior=0)
  for wrong in (-0.1, 2.1, np.nan):
    with pytest.raises(ValueError, match=r'distances: got .* expected 0 to 2'):
      got.probability([0.5, wrong])


def test_the_rate_is_a_decimal_share_of_the_pairs():
  found = calibration.PairCalibration(0.0, 1.0, np.arange(100.0))
  for percent in range(10, 100):
    assert found.threshold(percent / 100) == percent


def test_a_part_of_a_pair_is_none():
  with pytest.raises(ValueError, match=r'^num_pairs: got 10.5, expected'):
    calibrate_pairs(np.eye(6), np.arange(6) // 2, num_pairs=10.5)


def test_pairs_known_to_be_apart_are_fitted_as_they_are():
  x, pids = blobs(np.random.default_rng(0), 12, 8, 0.6)
  rng = np.random.default_rng(1)
  pairs = rng.integers(0, len(x), (400, 2))
  pairs = pairs[pids[pairs[:, 0]] != pids[pairs[:, 1]]]
  got = calibrate_pairs(x, pids, apart=pairs)
  first, second = np.triu_indices(len(x), 1)
  cosines = (x @ x.T)[first, second]
  expected = calibration.fit(
    cosines[pids[first] == pids[second]],
    np.einsum('pd,pd->p', x[pairs[:, 0]], x[pairs[:, 1]]),
  )
  np.testing.assert_allclose([got.offset, got.slope], expected, rtol=1e-5)
  plain = calibrate_pairs(x, pids)
  np.testing.assert_array_equal(got.different, plain.different)
  assert got.slope != plain.slope


@pytest.mark.parametrize(
  ('pairs', 'message'),
  [
    ([[0, 1]] * 9, 'apart: .*10 pairs or more'),
    ([[0.0, 1.0]] * 10, 'apart: .*expected integers'),
    ([[0, 1, 2]] * 10, 'apart: '),
    ([[0, 1]] * 9 + [[0, 96]], r'apart: .*\[0, 96\]'),
    ([[0, 1]] * 9 + [[3, 3]], r'apart: .*\[3, 3\]'),
  ],
)
def test_bad_pairs_apart(pairs, message):
  x, pids = blobs(np.random.default_rng(0), 12, 8, 0.6)
  with pytest.raises(ValueError, match=message):
    calibrate_pairs(x, pids, apart=pairs)
