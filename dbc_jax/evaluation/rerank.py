"""Re-ranking by k-reciprocal neighbours: distances for `evaluate_ranking`."""

import numpy as np
from numpy.typing import ArrayLike

from dbc_jax import values
from dbc_jax.cluster.distances.reciprocal import (
  distances_of_row,
  neighbourhoods,
)
from dbc_jax.evaluation import similarity

# Similarities that are held at once (32 MiB).
_CHUNK_VALUES = 2**23


def rerank_distances(
  query_features: ArrayLike,
  gallery_features: ArrayLike,
  *,
  k1: int = 20,
  k2: int = 6,
  distance_weight: float = 0.3,
) -> np.ndarray:
  """Distances that tell by common neighbours, too, how near two images are.

      d*[q, g] = (1 - lambda) J[q, g] + lambda d[q, g]

  with J the Jaccard distance and d the squared distance over the largest of
  its row, both as in `dbc_jax.cluster.jaccard_distances`, among the queries
  and the gallery taken together. No identity plays a part, so images of junk
  in the gallery are neighbours like any other; leave them out beforehand to
  follow those who do.

  Neighbours are found in chunks and exact (float64, ties to the lowest index,
  queries first). The rest is sparse, but for the result.

  Args:
    query_features: [Q, D] real and finite, no row of zeros. L2-normalised
      here.
    gallery_features: [G, D] likewise.
    k1: neighbours that are looked at, at least 1.
    k2: neighbours whose weights are averaged, 1..k1 + 1.
    distance_weight: lambda, in [0, 1]. 1 leaves the order of plain distances.

  Returns:
    [Q, G] float32 in [0, 1], 4 Q G bytes.

  Raises:
    ValueError: features as described are not what was given; a setting out of
      range.

  Source: Zhong et al., Re-ranking Person Re-identification with k-reciprocal
    Encoding (CVPR 2017), Eq. 12, and the published settings.
  """
  k1 = values.whole(k1, 'k1', 1)
  k2 = values.whole(k2, 'k2', 1, k1 + 1)
  distance_weight = values.number(distance_weight, 'distance_weight', 0, 1)
  everything, num_queries = _joined(query_features, gallery_features)
  features = everything.unit
  ranks, least = similarity.nearest(
    everything, everything, min(k1 + 1, len(everything)), _CHUNK_VALUES
  )
  furthest = 2 - 2 * least
  weights = neighbourhoods(features, ranks, furthest, k1, k2)
  columns = weights[num_queries:].tocsc()
  columns.sort_indices()

  gallery = features[num_queries:]
  out = np.empty((num_queries, len(gallery)), np.float32)
  chunk = max(1, _CHUNK_VALUES // len(gallery))
  for start in range(0, num_queries, chunk):
    rows = slice(start, min(start + chunk, num_queries))
    np.matmul(features[rows], gallery.T, out=out[rows])
    for query in range(rows.start, rows.stop):
      squared = np.maximum(2 - 2 * out[query], 0)
      if furthest[query] > 0:
        squared /= furthest[query]
      jaccard = distances_of_row(query, weights, columns)
      out[query] = (1 - distance_weight) * jaccard + distance_weight * squared
  return out


def _joined(
  query_features: ArrayLike, gallery_features: ArrayLike
) -> tuple[similarity.Features, int]:
  """Queries and gallery as one, checked; and how many queries there are."""
  queries, gallery = similarity.checked_sides(query_features, gallery_features)
  for name, side in (('query', queries), ('gallery', gallery)):
    zeros = np.flatnonzero(~side.unit.any(axis=1))
    if len(zeros):
      raise ValueError(
        f'{name}_features: row {zeros[0]} is all zeros, so it has no '
        f'neighbours; leave out such rows ({len(zeros)}).'
      )
  joined = similarity.Features(
    np.concatenate([queries.given, gallery.given]),
    np.concatenate([queries.norms, gallery.norms]),
    np.concatenate([queries.unit, gallery.unit]),
  )
  return joined, len(queries)
