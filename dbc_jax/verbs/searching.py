"""Search: the images of a gallery that are nearest to a query."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from dbc_jax import values
from dbc_jax.evaluation import PairCalibration, calibrate_pairs

# Similarities that are held at once.
_BLOCK_ENTRIES = 2**24
# Beyond those asked for: float32 may order equal ones otherwise.
_SPARE = 16


class Match(NamedTuple):
  """One image of a gallery.

  Attributes:
    index: which one.
    distance: Euclidean, of unit features; in [0, 2].
    probability: that both show one person; None without a calibration.
  """

  index: int
  distance: float
  probability: float | None


def search(
  queries: np.ndarray,
  gallery: np.ndarray,
  *,
  top: int = 20,
  calibration: PairCalibration | None = None,
  prior: float = 0.5,
) -> list[list[Match]]:
  """The nearest images of each query, exactly.

  Args:
    queries: [Q, D] float32, rows of unit length.
    gallery: [G, D] likewise.
    top: how many of each.
    calibration: of `calibrate_pairs`, for probabilities.
    prior: of these: the share of pairs that show one person.

  Returns:
    Of each query its matches, nearest first; equally near ones by index.

  Raises:
    ValueError: an empty gallery, or features of another width.
  """
  queries, gallery = _unit(queries, 'queries'), _unit(gallery, 'gallery')
  if not len(gallery):
    raise ValueError('gallery: got no rows, expected one or more')
  if queries.shape[1] != gallery.shape[1]:
    raise ValueError(
      f'queries: got {queries.shape[1]} dimensions, and the gallery has '
      f'{gallery.shape[1]}; both must be of one network'
    )
  top = values.whole(top, 'top', 1)
  if calibration is not None and not isinstance(calibration, PairCalibration):
    raise ValueError(
      f'calibration: got {calibration!r}, expected what calibrate_pairs returns'
    )
  found = []
  for ids, distances in nearest(queries, gallery, top):
    probabilities: list[float | None] = [None] * len(ids)
    if calibration is not None:
      told = calibration.probability(distances, prior=prior)
      probabilities = [float(value) for value in told]
    found.append(
      [
        Match(int(i), float(d), p)
        for i, d, p in zip(ids, distances, probabilities, strict=True)
      ]
    )
  return found


def _unit(features: np.ndarray, name: str) -> np.ndarray:
  """Features [N, D] float32, checked."""
  found = values.reals(features, name).astype(np.float32, copy=False)
  if found.ndim != 2:
    raise ValueError(f'{name}: got shape {found.shape}, expected [N, D].')
  # Rounding, and rows of zeros, which are equally far from all.
  lengths = np.linalg.norm(found.astype(np.float64), axis=1)
  bad = np.flatnonzero(~((np.abs(lengths - 1) < 1e-3) | (lengths == 0)))
  if len(bad):
    raise ValueError(
      f'{name}: row {bad[0]} has the length {lengths[bad[0]]:.4g}, expected 1: '
      'divide each row by its length'
    )
  return found


def nearest(
  queries: np.ndarray, gallery: np.ndarray, top: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
  """Of each query the indices and distances of the `top` nearest rows."""
  top = min(top, len(gallery))
  wide = min(top + _SPARE, len(gallery))
  length = max(1, _BLOCK_ENTRIES // len(gallery))
  for start in range(0, len(queries), length):
    block = queries[start : start + length]
    similarities = block @ gallery.T
    some = np.argpartition(-similarities, wide - 1, axis=1)[:, :wide]
    for row, ids in zip(block, some, strict=True):
      ids = np.sort(ids)
      differences = gallery[ids].astype(np.float64) - row
      distances = np.linalg.norm(differences, axis=1)
      order = np.argsort(distances, kind='stable')[:top]
      yield ids[order], distances[order]


def calibration_of(
  features: np.ndarray, labels: np.ndarray, *, num_pairs: int = 1_000_000
) -> tuple[PairCalibration, float] | None:
  """What distances say, by the clusters of a run; and a prior.

  Args:
    features: [N, D] of its training images.
    labels: [N] their clusters; -1 for one in none.
    num_pairs: that are looked at, as of `calibrate_pairs`.

  Returns:
    The calibration, and the share of pairs inside clusters; None where the
    clusters are too few to learn from.
  """
  sizes = np.bincount(labels[labels >= 0])
  count = int((labels >= 0).sum())
  inside, pairs = (sizes * (sizes - 1)).sum(), count * (count - 1)
  if not 0 < inside < pairs:
    return None
  try:
    learned = calibrate_pairs(features, labels, num_pairs=num_pairs)
    return learned, float(inside / pairs)
  except ValueError:
    return None
