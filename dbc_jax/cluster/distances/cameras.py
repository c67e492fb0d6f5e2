"""Centring of cameras: takes out of features what a camera's images share."""

import warnings

import numpy as np
from jax.typing import ArrayLike

from dbc_jax import values
from dbc_jax.cluster import checks


def center_cameras(features: ArrayLike, camids: ArrayLike) -> np.ndarray:
  """Features less the mean of their camera, scaled to unit length.

      y_i = x_i - mean {x_j: camid_j = camid_i},      out_i = y_i / ||y_i||

  A row that is its camera's mean, as that of a camera with a single image,
  has no direction left. From such a row the mean of all rows is taken, and a
  warning counts them. If it is that, too, it becomes zero.

  Args:
    features: [N, D] floating point.
    camids: [N] integer. Camera of each sample; which numbers does not matter.

  Returns:
    [N, D] float32, rows of unit length or zero. A NumPy array.

  Raises:
    ValueError: features are not [N, D] or not finite; camids are of another
      length or no integers.

  Source: this project; the first moment of what batch normalisation per camera
    takes out (Zhuang et al., Rethinking the distribution gap of person
    re-identification with camera-based batch normalization, ECCV 2020).
  """
  features = checks.check_features(features)
  camids = values.integers(camids, 'camids', len(features), 'one camera')
  out = features.astype(np.float64)
  for camid in np.unique(camids):
    own = camids == camid
    out[own] -= out[own].mean(axis=0)
  lengths = np.linalg.norm(out, axis=1, keepdims=True)
  # What rounding leaves of a mean must not be scaled up to a direction.
  norms = np.linalg.norm(features.astype(np.float64), axis=1, keepdims=True)
  lost = lengths <= 1e-12 * norms
  if lost.any():
    warnings.warn(
      f'camids: {int(lost.sum())} rows are the mean of their camera, as where '
      'it has a single image; the mean of all rows is taken from them instead',
      stacklevel=2,
    )
    rows = lost[:, 0]
    out[rows] = features[rows] - features.mean(axis=0, dtype=np.float64)
    lengths = np.linalg.norm(out, axis=1, keepdims=True)
    lost = lengths <= 1e-12 * norms
  return np.where(lost, 0, out / np.where(lost, 1, lengths)).astype(np.float32)
