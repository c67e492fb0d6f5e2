"""Same person or not: what a distance says, calibrated on clusters alone."""

import dataclasses
import math

import numpy as np
from numpy.typing import ArrayLike
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.optimize import minimize

from dbc_jax import values
from dbc_jax.evaluation import similarity
from dbc_jax.evaluation.truth import checked_ids
from dbc_jax.labels import apart

# Pairs that must lie below a threshold, for it to mean anything.
_FEWEST = 10
# Values of features that are held at once, for either side of the pairs.
_CHUNK_VALUES = 2**22


@dataclasses.dataclass(frozen=True, eq=False)
class PairCalibration:
  """What the distance of two images says; made by `calibrate_pairs`.

  Attributes:
    offset: a of `probability`.
    slope: b of `probability`, positive.
    different: [M] float64, ascending. Distances of pairs of two clusters.
  """

  offset: float
  slope: float
  different: np.ndarray

  def probability(
    self, distances: ArrayLike, *, prior: float = 0.5
  ) -> np.ndarray:
    """Probability that two images show the same person.

        p = 1 / (1 + exp(-(a + b cos) - log(prior / (1 - prior))))

    with cos = 1 - d^2 / 2. It falls with the distance.

    Args:
      distances: any shape, d: Euclidean distances of L2-normalised features.
      prior: share of same-person pairs among those that are asked about, in
        (0, 1). The default treats both answers alike. For an image and a
        gallery of G, each person in it once, it is 1 / G.

    Returns:
      float64 of the same shape, in [0, 1].

    Raises:
      ValueError: distances that are not in [0, 2], or a prior out of range.
    """
    distances = values.reals(distances, 'distances').astype(np.float64)
    # Rounding in float32 can leave the distance of opposites above 2.
    inside = (distances >= 0) & (distances <= 2 + 1e-6)
    if not inside.all():
      raise ValueError(
        f'distances: got {distances[~inside].flat[0]}, expected 0 to 2: '
        'Euclidean distances of L2-normalised features.'
      )
    check_inside('prior', prior)
    cosines = 1 - distances**2 / 2
    logits = self.offset + self.slope * cosines + math.log(prior / (1 - prior))
    # As tanh, it cannot overflow.
    return (1 + np.tanh(logits / 2)) / 2

  def threshold(self, false_match_rate: float) -> float:
    """The distance below which two images are called the same person.

    It is the largest that no more than this share of the pairs of two clusters
    lies below.

    Args:
      false_match_rate: share of all pairs of two persons, in (0, 1).

    Returns:
      A Euclidean distance of L2-normalised features.

    Raises:
      ValueError: a rate out of range, or so low that fewer than 10 of the
        pairs would decide; says which is the lowest.
    """
    check_inside('false_match_rate', false_match_rate)
    # In binary 0.29 times 100 is a little less than 29.
    below = int(round(false_match_rate * len(self.different), 6))
    if below < _FEWEST:
      raise ValueError(
        f'false_match_rate: got {false_match_rate:g}, expected at least '
        f'{_FEWEST / len(self.different):.3g}, as there are '
        f'{len(self.different)} pairs of different clusters and {_FEWEST} must '
        'lie below; ask for a higher rate, or calibrate on more images or by a '
        'higher num_pairs.'
      )
    return float(self.different[below])


def calibrate_pairs(
  features: ArrayLike,
  labels: ArrayLike,
  *,
  leeway: float = 3.0,
  apart: ArrayLike | None = None,
  num_pairs: int = 1_000_000,
  seed: int = 0,
) -> PairCalibration:
  """Learns what distances mean from clusters; nothing else is known.

  Pairs inside a cluster stand for one person, and pairs of two clusters for
  two. Taken at their word clusters mislead: they were made from these very
  distances, so that far pairs of one person and near pairs of two are missing.
  Therefore their number K is believed but for a factor. Pairs of one person are
  those inside K / `leeway` clusters, which Ward's method makes of the means of
  the given ones; pairs of two persons are those between K `leeway` clusters,
  for which the last merges of Ward's method inside the given ones are taken
  back. What is together in the first and apart in the second counts as both.

      log (p(d | same) / p(d | different)) = a + b cos,  cos = 1 - d^2 / 2

  is fitted by logistic regression, both sides of equal weight, with Platt's
  targets, which keep it finite where the two do not overlap. Memory is that of
  the pairs, and 4 n^2 bytes for n the larger of K and the largest cluster.

  Where pairs of two persons are known, as by tracklets that overlap, the
  probability is fitted to them and to the pairs inside the clusters as they are
  given. Thresholds stay those of the leeway: few such pairs would tell no low
  rate.

  docs/same_person.md has what `leeway` was chosen by.

  Args:
    features: [N, D] real and finite; they are L2-normalised here.
    labels: [N] integers, the cluster of each image; -1 for one in none.
    leeway: at least 1, which takes the clusters as they are. Never more than
      half of the merges inside clusters are taken back.
    apart: [P, 2] integers, rows of two persons for sure; 10 or more, or None.
    num_pairs: how many are looked at, of all and of those of one person, at
      least 10. If there are more, so many are drawn, with replacement.
    seed: of the draw, not negative.

  Returns:
    A PairCalibration.

  Raises:
    ValueError: features that are not finite, labels of another length or below
      -1, no cluster of two images, a single cluster, clusters whose pairs are
      no nearer than others, `apart` of fewer than 10 pairs or of no rows, or a
      setting out of range.

  Source: Platt, Probabilistic Outputs for Support Vector Machines (1999), for
    the targets; Ward, Hierarchical Grouping (1963). The leeway is this
    project's.
  """
  checked = similarity.checked_features(features, 'features')
  labels = checked_labels(labels, len(checked))
  leeway = values.number(leeway, 'leeway', 1, math.inf)
  num_pairs = values.whole(num_pairs, 'num_pairs', _FEWEST)
  seed = values.whole(seed, 'seed', 0)
  rng = np.random.default_rng(seed)
  known = None if apart is None else _checked_apart(apart, len(labels))
  coarse = _coarser(checked, labels, 1 if known is not None else leeway)
  same = _distances(checked, *_pairs_inside(coarse, num_pairs, rng))
  fine = _finer(checked, labels, leeway)
  first, second = _pairs_inside(np.zeros_like(labels), num_pairs, rng)
  parted = fine[first] != fine[second]
  different = np.sort(_distances(checked, first[parted], second[parted]))
  sure = different
  if known is not None:
    sure = _distances(checked, known[:, 0], known[:, 1])
  offset, slope = fit(1 - same**2 / 2, 1 - sure**2 / 2)
  return PairCalibration(offset, slope, different)


def checked_labels(labels: ArrayLike, size: int) -> np.ndarray:
  """Labels as [N], contiguous from 0."""
  labels = checked_ids(labels, size, 'labels')
  found, labels = np.unique(apart(labels), return_inverse=True)
  if len(found) == size:
    raise ValueError(
      f'labels: each of the {size} clusters has one image, expected some of '
      'two or more; take a later stage, after merges.'
    )
  if len(found) == 1:
    raise ValueError(
      f'labels: all {size} images are in one cluster, expected two or more; '
      'take an earlier stage.'
    )
  return labels


def _checked_apart(apart: ArrayLike, size: int) -> np.ndarray:
  pairs = np.asarray(apart)
  if (
    pairs.ndim != 2
    or pairs.shape[1] != 2
    or not np.issubdtype(pairs.dtype, np.integer)
    or len(pairs) < _FEWEST
  ):
    raise ValueError(
      f'apart: got {pairs.dtype} {list(pairs.shape)}, expected integers [P, 2] '
      f'of {_FEWEST} pairs or more; leave it out where there are fewer.'
    )
  inside = (pairs >= 0) & (pairs < size)
  if not inside.all() or (pairs[:, 0] == pairs[:, 1]).any():
    raise ValueError(
      f'apart: expected pairs of two rows of 0..{size - 1}, got '
      f'{pairs[~inside.all(1) | (pairs[:, 0] == pairs[:, 1])][0].tolist()}.'
    )
  return pairs


def check_inside(name: str, value: float) -> None:
  """Raises ValueError unless it is a number in (0, 1)."""
  if not 0 < values.number(value, name, 0, 1) < 1:
    raise ValueError(f'{name}: got {value}, expected between 0 and 1.')


def _coarser(
  checked: similarity.Features, labels: np.ndarray, leeway: float
) -> np.ndarray:
  """Clusters merged by their means; two are left at least."""
  sizes = np.bincount(labels)
  count = max(2, round(len(sizes) / leeway))
  if count == len(sizes):
    return labels
  means = np.zeros((len(sizes), checked.unit.shape[1]))
  np.add.at(means, labels, checked.unit)
  tree = linkage(means / sizes[:, None], 'ward')
  return fcluster(tree, count, 'maxclust')[labels]


def _finer(
  checked: similarity.Features, labels: np.ndarray, leeway: float
) -> np.ndarray:
  """Clusters cut into parts, the widest first."""
  sizes = np.bincount(labels)
  undone = min(
    round(len(sizes) * (leeway - 1)), (len(labels) - len(sizes)) // 2
  )
  rows = np.argsort(labels, kind='stable')
  groups = [g for g in np.split(rows, np.cumsum(sizes)) if len(g) > 1]
  trees = [linkage(checked.exact(group), 'ward') for group in groups]
  heights = np.sort(np.concatenate([tree[:, 2] for tree in trees]))
  # Images that are alone keep their label, so those of parts begin beyond.
  fine, used = labels.copy(), len(sizes)
  for group, tree in zip(groups, trees, strict=True):
    parts = fcluster(tree, heights[-1 - undone], 'distance')
    fine[group] = used + parts
    used += parts.max()
  return fine


def _pairs_inside(
  labels: np.ndarray, num_pairs: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
  """Both ends of all pairs inside clusters, or of so many drawn of them."""
  order = np.argsort(labels, kind='stable')
  sizes = np.bincount(labels).astype(np.int64)
  ends = np.cumsum(sizes * (sizes - 1) // 2)
  # Pairs are numbered cluster by cluster, and in each (1, 0), (2, 0), (2, 1),
  # (3, 0) and so on: a number is enough to draw a pair.
  numbers = np.arange(min(ends[-1], num_pairs))
  if ends[-1] > num_pairs:
    numbers = rng.integers(ends[-1], size=num_pairs)
  cluster = np.searchsorted(ends, numbers, side='right')
  inside = numbers - np.append(0, ends)[cluster]
  later = ((1 + np.sqrt(1 + 8 * inside)) / 2).astype(np.int64)
  earlier = inside - later * (later - 1) // 2
  start = (np.cumsum(sizes) - sizes)[cluster]
  return order[start + later], order[start + earlier]


def _distances(
  checked: similarity.Features, first: np.ndarray, second: np.ndarray
) -> np.ndarray:
  """Euclidean distances [P] float64 of pairs of unit rows."""
  squares = np.empty(len(first))
  chunk = max(1, _CHUNK_VALUES // checked.unit.shape[1])
  for begin in range(0, len(first), chunk):
    part = slice(begin, begin + chunk)
    # Not by cosines, whose rounding the root would blow up near zero.
    gaps = checked.exact(first[part]) - checked.exact(second[part])
    squares[part] = np.einsum('pd,pd->p', gaps, gaps)
  return np.sqrt(squares)


def fit(same: np.ndarray, different: np.ndarray) -> tuple[float, float]:
  """Offset and slope of the log likelihood ratio, from cosines."""
  sides = (
    (same, (len(same) + 1) / (len(same) + 2)),
    (different, 1 / (len(different) + 2)),
  )

  def loss(line: np.ndarray) -> tuple[float, np.ndarray]:
    """Mean cross-entropy of the two sides, and its gradient."""
    value, gradient = 0.0, np.zeros(2)
    for cosines, target in sides:
      logits = line[0] + line[1] * cosines
      value += np.mean(np.logaddexp(0, logits) - target * logits)
      misses = (1 + np.tanh(logits / 2)) / 2 - target
      gradient += misses.mean(), np.mean(misses * cosines)
    return value, gradient

  offset, slope = minimize(loss, np.zeros(2), jac=True, method='BFGS').x
  if not slope > 0:
    raise ValueError(
      'labels: pairs inside these clusters are no nearer than pairs of two, '
      'expected nearer ones; do rows of features and labels belong together?'
    )
  return float(offset), float(slope)
