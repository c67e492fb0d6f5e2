"""Which known cluster an image belongs to, if any, by clusters alone."""

import dataclasses
import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike
from scipy.cluster.hierarchy import linkage

from dbc_jax import cluster, values
from dbc_jax.evaluation import similarity
from dbc_jax.evaluation.calibration import (
  PairCalibration,
  check_inside,
  checked_labels,
  fit,
)
from dbc_jax.labels import NOT_PLACED

KNOWN, NEW, UNSURE = 'known', 'new', 'unsure'

# Images of a cluster that speak for it: its nearest. docs/use.md has the study.
_NEAREST = 5
# Of the images of known persons, this share may be called new.
_FALSE_NEWS = 0.05
# Share of the known clusters that new ones may be as wide as.
_NARROWER = 0.75
# Similarities that are held at once.
_BLOCK_ENTRIES = 2**24


@dataclasses.dataclass(frozen=True, eq=False)
class Assigned:
  """What is said of M images.

  Attributes:
    answers: [M] str, KNOWN, NEW or UNSURE.
    nearest: [M] int64, the nearest cluster, whatever the answer.
    second: [M] int64, the one after it.
    distances: [M] float64, to the nearest.
    probabilities: [M] float64, that an image is of the nearest.
  """

  answers: np.ndarray
  nearest: np.ndarray
  second: np.ndarray
  distances: np.ndarray
  probabilities: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class Assigner:
  """Clusters that images are assigned to; made by `learn_assignment`.

  Attributes:
    unit: [n, D] float32, unit rows of the images in clusters, one cluster
      after another.
    sizes: [K] int, of the clusters.
    numbers: [K] int64, the label of each.
    strangers: [n] float64, ascending. Of each image, the distance to the
      nearest cluster but its own.
    reach: the distance to its own cluster that 5 % of the images exceed.
    width: the mean distance between the halves of a cluster, which one in
      four exceeds.
    calibration: of the distance to a cluster, an image's own against a
      stranger's nearest.
  """

  unit: np.ndarray
  sizes: np.ndarray
  numbers: np.ndarray
  strangers: np.ndarray
  reach: float
  width: float
  calibration: PairCalibration

  def threshold(self, false_match_rate: float) -> float:
    """The distance up to which an image is called known.

    With each cluster left out in turn its images are those of strangers. Of n
    such distances, the k-th smallest is taken, k = floor(rate (n + 1)): the
    next image of a stranger lies below it with probability k / (n + 1), as far
    as strangers are like the persons of the clusters.

    Args:
      false_match_rate: share of the images of persons in no cluster that may be
        called known, in (0, 1).

    Raises:
      ValueError: a rate out of range, or below 1 / (n + 1).
    """
    check_inside('false_match_rate', false_match_rate)
    count = len(self.strangers)
    # Rounded first: 1 / 49 of 49 is 1.
    rank = math.floor(round(false_match_rate * (count + 1), 6))
    if rank < 1:
      least = math.ceil(1e4 / (count + 1)) / 1e4
      raise ValueError(
        f'false_match_rate: got {false_match_rate:g}, expected at least '
        f'{least:g}: {count} images in clusters tell of no rarer mistake; ask '
        'for a higher rate.'
      )
    return float(self.strangers[rank - 1])

  def __call__(
    self, features: ArrayLike, *, false_match_rate: float = 0.01
  ) -> Assigned:
    """Assigns images.

    The distance to a cluster is the mean of those to its five nearest images,
    or to all, if it has fewer. Up to `threshold` an image is KNOWN. Beyond
    that, and beyond `reach`, it is NEW. Between the two it is UNSURE.

    Probabilities are those of the calibration, where a stranger is as likely as
    not.

    Args:
      features: [M, D] real and finite; they are L2-normalised here.
      false_match_rate: as of `threshold`.

    Raises:
      ValueError: as `threshold`, features of another width or not finite.
    """
    limit = self.threshold(false_match_rate)
    checked = similarity.checked_features(features, 'features')
    if checked.unit.shape[1] != self.unit.shape[1]:
      raise ValueError(
        f'features: expected {self.unit.shape[1]} columns, got '
        f'{checked.unit.shape[1]}; both must be of one network.'
      )
    two = np.empty((2, len(checked)), np.int64)
    near = np.empty(len(checked))
    for rows, distances in _to_clusters(checked.unit, self.unit, self.sizes):
      order = np.argsort(distances, axis=1, kind='stable')[:, :2]
      two[0, rows], two[1, rows] = order[:, 0], order[:, -1]
      near[rows] = distances.min(axis=1)
    answers = np.where(near > max(limit, self.reach), NEW, UNSURE)
    answers[near <= limit] = KNOWN
    nearest, second = self.numbers[two]
    told = self.calibration.probability(near)
    return Assigned(answers, nearest, second, near, told)

  def place(
    self,
    features: ArrayLike,
    criterion: cluster.Criterion,
    *,
    false_match_rate: float = 0.01,
    first_new: int = 0,
  ) -> tuple[Assigned, np.ndarray]:
    """Assigns images, and clusters those that are new among themselves.

    Args:
      features, false_match_rate: as of `__call__`.
      criterion: as of `group`.
      first_new: the number of the first new cluster.

    Returns:
      What is said of each, and its cluster [M] int64; -1 for UNSURE.

    Raises:
      ValueError: as `__call__`.
    """
    said = self(features, false_match_rate=false_match_rate)
    clusters = np.where(said.answers == KNOWN, said.nearest, NOT_PLACED)
    new = np.flatnonzero(said.answers == NEW)
    if len(new):
      groups = self.group(np.asarray(features)[new], criterion)
      clusters[new] = first_new + groups
    return said, clusters

  def group(
    self, features: ArrayLike, criterion: cluster.Criterion
  ) -> np.ndarray:
    """Clusters images among themselves, as wide as the known clusters.

    They are merged one pair after another by a criterion, and each merge
    stands whose two sides are no farther apart than `width`, in the mean over
    their pairs, and were made by merges that stand.

    Args:
      features: [M, D]; they are L2-normalised here.
      criterion: of the merges, on Euclidean distances.

    Returns:
      [M] int32, contiguous from 0 in the order of their first images.
    """
    checked = similarity.checked_features(features, 'features')
    count = len(checked)
    if count == 1:
      return np.zeros(1, np.int32)
    pairs = cluster.merge_clusters(
      checked.unit, np.arange(count, dtype=np.int32), count - 1, criterion
    ).pairs
    members: list[np.ndarray | None] = [np.array([i]) for i in range(count)]
    found = np.arange(count)
    for first, second in pairs.tolist():
      one, other = members[first], members[second]
      together = None
      if one is not None and other is not None:
        gaps = _to_distances(checked.unit[one] @ checked.unit[other].T)
        if gaps.mean() <= self.width:
          together = np.concatenate([one, other])
          found[together] = together.min()
      members.append(together)
    return np.unique(found, return_inverse=True)[1].astype(np.int32)


def learn_assignment(features: ArrayLike, labels: ArrayLike) -> Assigner:
  """Learns from clusters how near their images lie, and those of others.

  Args:
    features: [N, D] real and finite; they are L2-normalised here.
    labels: [N] integers, the cluster of each image; -1 for one in none.

  Raises:
    ValueError: as `calibrate_pairs`.

  Source: conformal prediction for the threshold (Vovk, Gammerman and Shafer,
    Algorithmic Learning in a Random World, 2005); leaving whole clusters out,
    and the rest, are this project's.
  """
  checked = similarity.checked_features(features, 'features')
  labels = values.integers(labels, 'labels', len(checked), 'one cluster')
  checked_labels(labels, len(checked))
  rows = np.argsort(labels, kind='stable')
  rows = rows[labels[rows] >= 0]
  numbers, own, sizes = np.unique(
    labels[rows], return_inverse=True, return_counts=True
  )
  if len(numbers) < 2:
    raise ValueError(
      f'labels: got {len(numbers)} clusters, expected two or more: strangers '
      'are learnt from the others.'
    )
  unit = checked.unit[rows]
  strangers = np.empty(len(unit))
  for some, distances in _to_clusters(unit, unit, sizes):
    distances[np.arange(len(distances)), own[some]] = np.inf
    strangers[some] = distances.min(axis=1)
  inside, widths = [], []
  for group in np.split(unit, np.cumsum(sizes)[:-1]):
    if len(group) > 1:
      inside.append(_to_others(group))
      widths.append(linkage(group.astype(np.float64), 'average')[-1, 2])
  strangers, own = np.sort(strangers), np.concatenate(inside)
  calibration = PairCalibration(
    *fit(1 - own**2 / 2, 1 - strangers**2 / 2), strangers
  )
  return Assigner(
    unit,
    sizes,
    numbers.astype(np.int64),
    strangers,
    float(np.quantile(own, 1 - _FALSE_NEWS)),
    float(np.quantile(widths, _NARROWER)),
    calibration,
  )


def _to_others(group: np.ndarray) -> np.ndarray:
  """Of each image of a cluster, the distance to it without that image."""
  distances = _to_distances(group @ group.T)
  np.fill_diagonal(distances, np.inf)
  count = min(_NEAREST, len(group) - 1)
  return np.partition(distances, count - 1, axis=1)[:, :count].mean(axis=1)


def _to_distances(similarities: np.ndarray) -> np.ndarray:
  """Euclidean distances float64 of unit rows."""
  return np.sqrt(np.maximum(2 - 2 * similarities.astype(np.float64), 0))


def _to_clusters(
  asked: np.ndarray, unit: np.ndarray, sizes: np.ndarray
) -> Iterator[tuple[slice, np.ndarray]]:
  """Of blocks of rows that are asked about, distances [B, K] to clusters.

  Args:
    asked: [M, D] float32, unit rows.
    unit: [n, D] float32, those of the clusters, one cluster after another.
    sizes: [K] int, of the clusters.
  """
  length = max(1, _BLOCK_ENTRIES // len(unit))
  ends = np.cumsum(sizes)
  for start in range(0, len(asked), length):
    rows = slice(start, start + length)
    distances = _to_distances(asked[rows] @ unit.T)
    found = np.empty((len(distances), len(sizes)))
    for k, (size, end) in enumerate(zip(sizes, ends, strict=True)):
      own = distances[:, end - size : end]
      if size > _NEAREST:
        own = np.partition(own, _NEAREST - 1, axis=1)[:, :_NEAREST]
      found[:, k] = own.mean(axis=1)
    yield rows, found
