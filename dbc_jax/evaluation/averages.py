"""Means of features: of a person's queries, and of a query and its nearest."""

import numpy as np
from numpy.typing import ArrayLike

from dbc_jax import values
from dbc_jax.evaluation import similarity
from dbc_jax.evaluation.truth import checked_ids


def pool_queries(
  features: ArrayLike, pids: ArrayLike, camids: ArrayLike
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """One query of all that show an identity in a camera ("multi-query").

  The mean of the L2-normalised features, normalised again.

  Args:
    features: [Q, D] real and finite.
    pids: [Q] integers.
    camids: [Q] integers.

  Returns:
    Features [P, D] float32, and pids and camids [P], of the P pairs of
    identity and camera, sorted by pid, then camid.

  Raises:
    ValueError: lengths that disagree, or features that are not finite.

  Source: Zheng et al., Scalable Person Re-identification (ICCV 2015), sec. 4,
    for queries of a camera that are averaged.
  """
  checked = similarity.checked_features(features, 'features')
  ids = [
    checked_ids(each, len(checked), name)
    for each, name in ((pids, 'pids'), (camids, 'camids'))
  ]
  pairs, group = np.unique(np.stack(ids, 1), axis=0, return_inverse=True)
  # Added row by row in float64, for each group in the order of its rows.
  sums = np.zeros((len(pairs), checked.unit.shape[1]))
  np.add.at(sums, group, checked.unit)
  return _unit(sums), pairs[:, 0], pairs[:, 1]


def expand_queries(
  query_features: ArrayLike,
  gallery_features: ArrayLike,
  *,
  k: int,
  alpha: float = 0.0,
) -> np.ndarray:
  """Each query averaged with its nearest k of the gallery.

      x' = x + sum over the k most similar y of max(x.y, 0)^alpha y

  L2-normalised, as are x and y. alpha = 0 weighs all alike, which is average
  query expansion; the higher, the less do doubtful ones count.

  Args:
    query_features: [Q, D] real and finite.
    gallery_features: [G, D] likewise.
    k: how many of the gallery, 1..G.
    alpha: exponent of their weights, at least 0.

  Returns:
    [Q, D] float32, of unit length.

  Raises:
    ValueError: features that are not finite or differ in dimension, or a
      setting out of range.

  Source: Chum et al., Total Recall (ICCV 2007), for the average; Radenovic et
    al., Fine-tuning CNN Image Retrieval (TPAMI 2018), for alpha.
  """
  queries, gallery = similarity.checked_sides(query_features, gallery_features)
  k = values.whole(k, 'k', 1, len(gallery))
  alpha = values.number(alpha, 'alpha', 0, np.inf)
  sums = queries.unit.astype(np.float64)
  ranks, _ = similarity.nearest(queries, gallery, k)
  for query, entries in enumerate(ranks):
    near = gallery.unit[entries]
    weights = np.maximum(near @ queries.unit[query], 0) ** alpha
    sums[query] += weights @ near
  return _unit(sums)


def _unit(rows: np.ndarray) -> np.ndarray:
  norms = np.linalg.norm(rows, axis=1, keepdims=True)
  return (rows / np.where(norms > 0, norms, 1)).astype(np.float32)
