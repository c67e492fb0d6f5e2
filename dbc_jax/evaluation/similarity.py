"""Cosine similarities: float32 products, and float64 where it must be exact."""

import dataclasses

import numpy as np
from numpy.typing import ArrayLike

from dbc_jax import values

# Exact similarities are rounded to this many decimals, so that equal features
# tie, whatever the order in which their products were summed up.
_DECIMALS = 12
# Rows that are converted to float64 at once.
_BLOCK = 1024


@dataclasses.dataclass(frozen=True)
class Features:
  """Checked features: [N, D] as given, norms [N], unit rows in float32.

  A row of zeros has the norm 1: it stays zero, and equally far from all.
  """

  given: np.ndarray
  norms: np.ndarray
  unit: np.ndarray

  def __len__(self) -> int:
    return len(self.given)

  def take(self, rows: np.ndarray) -> 'Features':
    """The rows of these ascending indices; nothing is copied if it is all."""
    if len(rows) == len(self):
      return self
    return Features(self.given[rows], self.norms[rows], self.unit[rows])

  def exact(self, rows: slice | np.ndarray) -> np.ndarray:
    """Unit rows in float64."""
    return self.given[rows] / self.norms[rows, None]


def checked_features(features: ArrayLike, name: str) -> Features:
  """Raises a ValueError unless they are [N, D], N and D >= 1, and finite."""
  features = values.reals(features, name)
  if features.ndim != 2 or 0 in features.shape:
    raise ValueError(
      f'{name}: got shape {features.shape}, expected [N, D], neither of them '
      '0; stack the feature vectors, one a row.'
    )
  if features.dtype not in (np.float32, np.float64):
    features = features.astype(np.float64)
  norms = np.empty(len(features))
  unit = np.empty(features.shape, np.float32)
  for start in range(0, len(features), _BLOCK):
    block = slice(start, start + _BLOCK)
    rows = features[block].astype(np.float64)
    norms[block] = np.linalg.norm(rows, axis=1)
    norms[block][norms[block] == 0] = 1
    with np.errstate(invalid='ignore'):  # These are refused below.
      unit[block] = rows / norms[block, None]
  # A norm is finite only if all of its row is.
  bad = np.flatnonzero(~np.isfinite(norms))
  if len(bad):
    raise ValueError(
      f'{name}: {len(bad)} of {len(features)} rows hold NaN or infinity, '
      f'the first is row {bad[0]}; the network that made them has diverged.'
    )
  return Features(features, norms, unit)


def checked_sides(
  query_features: ArrayLike, gallery_features: ArrayLike
) -> tuple[Features, Features]:
  """Both, checked; raises a ValueError, too, unless their dimensions agree."""
  queries = checked_features(query_features, 'query_features')
  gallery = checked_features(gallery_features, 'gallery_features')
  dimensions = [side.given.shape[1] for side in (queries, gallery)]
  if dimensions[0] != dimensions[1]:
    raise ValueError(
      f'query_features have {dimensions[0]} dimensions, '
      f'gallery_features {dimensions[1]}; they must agree.'
    )
  return queries, gallery


def tolerance(features: Features) -> np.float32:
  """Gap beyond which two float32 products are surely in the right order.

  Each of D additions of a product rounds by 2^-24 at most, relative to a sum
  within [-1, 1]. As roundings are as often up as down, the two errors together
  have a standard deviation below a third of 2^-24 sqrt(D); six of them are
  allowed. The rest is for inputs that were rounded to float32.
  """
  dimensions = features.given.shape[1]
  return np.float32((5 + 2 * dimensions**0.5) * 2.0**-24)


def exact_pairs(
  queries: Features, query: int, gallery: Features, entries: np.ndarray
) -> np.ndarray:
  """Similarities [E] float64 of one query to some entries of the gallery."""
  unit = queries.given[query] / queries.norms[query]
  products = np.einsum('ed,d->e', gallery.given[entries], unit)
  return np.round(products / gallery.norms[entries], _DECIMALS)


def exact_block(
  queries: Features, rows: slice, gallery: Features
) -> np.ndarray:
  """Similarities [B, G] float64 of some queries to all of the gallery."""
  left = queries.exact(rows)
  out = np.empty((len(left), len(gallery)))
  for start in range(0, len(gallery), _BLOCK):
    block = slice(start, start + _BLOCK)
    np.matmul(left, gallery.exact(block).T, out=out[:, block])
  return np.round(out, _DECIMALS, out=out)


def nearest(
  queries: Features, gallery: Features, count: int, chunk_values: int = 2**23
) -> tuple[np.ndarray, np.ndarray]:
  """The most similar `count` of the gallery, and the least similarity.

  [Q, count] int32, the nearest first, ties by gallery index; and [Q] float32.
  `chunk_values` similarities in float32 are held at once.
  """
  found = np.empty((len(queries), count), np.int32)
  least = np.empty(len(queries), np.float32)
  margin = tolerance(queries)
  chunk = max(1, chunk_values // len(gallery))
  for start in range(0, len(queries), chunk):
    block = slice(start, start + chunk)
    rows = queries.unit[block] @ gallery.unit.T
    least[block] = rows.min(axis=1)
    # The smallest of those that are in.
    limits = np.partition(rows, -count, axis=1)[:, -count] - margin
    exact = None
    for i, row in enumerate(rows):
      entries = np.flatnonzero(row >= limits[i])
      if many(len(entries) - count, len(row)):
        if exact is None:
          exact = exact_block(queries, block, gallery)
        values = exact[i, entries]
      else:
        values = exact_pairs(queries, start + i, gallery, entries)
      order = np.argsort(-values, kind='stable')[:count]
      found[start + i] = entries[order]
  return found, least


def many(pairs: int, gallery_size: int) -> bool:
  """Whether pairs are so many that a float64 product of all is cheaper."""
  return pairs > gallery_size // 32
