"""Where distances come from: features, or a matrix that the caller has.

A source gives tiles of its [N, N] matrix, each [C, B] for C columns and B rows,
to the passes in `panels`. Nothing here is of size [N, N], a given matrix aside.
"""

import dataclasses
import functools
import hashlib
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from dbc_jax import values
from dbc_jax.cluster import checks

# Features up to so large, and down to one by it, are taken as they are.
_ORDINARY = 2.0**30
# So much further from zero than from each other, in squares.
_FAR = 1e6
# Beyond these, float32 does not hold distances, or drops the small ones.
_SMALLEST_SCALE, _LARGEST_SCALE = 2.0**-100, 2.0**110


class EuclideanDistances(NamedTuple):
  """Stands for the distance matrix of features, without holding it.

  `mean_linkage` and `min_linkage` take it in place of a matrix: distances are
  then computed block by block, and nothing of size [N, N] is made.

  Attributes:
    features: [N, D] floating point, taken as they are.
    squared: squared distances.
  """

  features: ArrayLike
  squared: bool = False


@functools.partial(
  jax.tree_util.register_dataclass,
  data_fields=('features', 'norms', 'identity'),
  meta_fields=('squared', 'scale'),
)
@dataclasses.dataclass(frozen=True)
class FeatureSource:
  """Euclidean distances, by float64 Gram matrices of a tile each.

  The Gram matrix ||x||^2 + ||y||^2 - 2 x.y is the only fast way, but it
  cancels: in float32 a distance near zero is off by 4e-4, in float64 by 2e-8.
  Float64 costs twice the time a product, and the passes need only half of the
  products. Recomputing just the small distances in float64 would be no cheaper
  where all are small, as with an untrained network. Exact zeros come from
  comparing which rows are equal.
  """

  features: Array  # [N, D]; of very large or small ones, in another unit
  norms: Array  # [N] float64, squared
  identity: Array  # [N] int32: the first row that holds the same numbers
  squared: bool
  scale: float = 1.0  # What their distances are multiplied by, a power of 2.

  @property
  def num_samples(self) -> int:
    return len(self.features)

  def prepare(self, rows: Array) -> Any:
    """What all tiles of `rows` [B] share."""
    features = jnp.take(self.features, rows, axis=0).astype(jnp.float64)
    return features, self.norms[rows], self.identity[rows]

  def tile(self, prepared: tuple[Array, ...], columns: Array) -> Array:
    """Distances [C, B] float32 between `columns` and the prepared rows."""
    features, norms, identity = self.prepare(columns)
    gram = jnp.matmul(features, prepared[0].T, precision='highest')
    values = norms[:, None] + prepared[1] - 2 * gram
    values = jnp.maximum(values, 0).astype(jnp.float32)
    if not self.squared:
      values = jnp.sqrt(values)
    if self.scale != 1:
      values = values * self.scale
    return jnp.where(identity[:, None] == prepared[2], 0, values)


class MatrixSource(NamedTuple):
  """Distances that the caller computed; its methods as of `FeatureSource`."""

  distances: Array  # [N, N] float32

  @property
  def num_samples(self) -> int:
    return len(self.distances)

  def prepare(self, rows: Array) -> Any:
    return jnp.take(self.distances, rows, axis=0).T

  def tile(self, prepared: Array, columns: Array) -> Array:
    return jnp.take(prepared, columns, axis=0)


Source = FeatureSource | MatrixSource


def plain_features(features: np.ndarray) -> tuple[np.ndarray, float]:
  """Features whose Gram matrix float64 holds, and the unit that was taken out.

  Distances are those of the features, divided by the unit, a power of 2.
  Ordinary features come back as they are. Others are divided where the largest
  is beyond 1e9 or below 1e-9. And where they lie far from zero, and near to
  each other, their middle is subtracted in float64: else it is all that is
  left of a product.

  Args:
    features: [N, D] float32 or float64, checked.
  """
  unit = 1.0
  largest = max(float(features.max()), -float(features.min()))
  if largest > 0 and not 1 / _ORDINARY <= largest <= _ORDINARY:
    exponent = math.frexp(largest)[1]
    features, unit = np.ldexp(features, -exponent), 2.0**exponent
  # Some rows are enough to see whether it has to be, and where the middle is.
  few = features[:: -(-len(features) // 1024)].astype(np.float64)
  middle = np.median(few, axis=0)
  spread = np.sum((few - middle) ** 2, axis=1)
  if spread.any() and middle @ middle > _FAR * np.median(spread[spread > 0]):
    features = features.astype(np.float64) - middle
  return features, unit


def _first_equal_row(features: np.ndarray) -> np.ndarray:
  """[N] int32: for each row, the first row that holds the same numbers."""
  first: dict[bytes, int] = {}
  out = np.empty(len(features), np.int32)
  for i, row in enumerate(features):
    # Adding 0.0 turns -0.0 into 0.0: equal numbers, unequal bytes. A digest of
    # 128 bits stands for the row, which as a key would double the memory.
    digest = hashlib.blake2b((row + 0.0).tobytes(), digest_size=16).digest()
    out[i] = first.setdefault(digest, i)
  return out


@jax.jit
def _squared_norms(features: Array) -> Array:
  return jnp.sum(jnp.square(features.astype(jnp.float64)), axis=1)


def feature_source(
  features: np.ndarray, squared: bool = False
) -> FeatureSource:
  """The source for checked features; to be called in float64 mode.

  Raises:
    ValueError: distances that float32 does not hold.
  """
  plain, unit = plain_features(features)
  scale = unit**2 if squared else unit
  if not _SMALLEST_SCALE <= scale <= _LARGEST_SCALE:
    kind = 'squared distances' if squared else 'distances'
    raise ValueError(
      f'features: got numbers of up to {unit:.1g}, expected {kind} that '
      'float32 holds, so numbers between 1e-30 and 1e30 (1e-15 and 1e15 where '
      'they are squared); divide all features by one number.'
    )
  array = jnp.asarray(plain)
  return FeatureSource(
    features=array,
    norms=_squared_norms(array),
    identity=jnp.asarray(_first_equal_row(features)),
    squared=bool(squared),
    scale=scale,
  )


def as_source(distances: ArrayLike | EuclideanDistances) -> Source:
  """The source of what a caller passed as distances, checked."""
  if isinstance(distances, EuclideanDistances):
    features = checks.check_features(distances.features)
    squared = values.flag(distances.squared, 'squared')
    return feature_source(features, squared)
  return MatrixSource(checks.check_distances(distances))
