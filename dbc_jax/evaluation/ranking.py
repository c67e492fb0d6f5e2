"""CMC and both mean average precisions of the single-query re-ID protocol.

Called by the driver after each stage and by the evaluation command.
"""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike

from dbc_jax.evaluation.truth import (
  Truth,
  checked_ranks,
  checked_truth,
  why_no_match,
)

# Similarities are rounded to this many decimals, so that equal features tie
# exactly, whatever the order in which BLAS happened to sum them up.
_DECIMALS = 12
# A chunk of similarities holds at most this many float64 values (64 MiB).
_CHUNK_VALUES = 2**23


def evaluate_ranking(
  distances: ArrayLike,
  query_pids: ArrayLike,
  gallery_pids: ArrayLike,
  query_camids: ArrayLike | None,
  gallery_camids: ArrayLike | None,
  *,
  ranks: Sequence[int] = (1, 5, 10, 20),
  camera_rule: bool = True,
  protocol: str = 'market1501',
  seed: int = 0,
) -> dict[str, float]:
  """CMC and mAP of a distance matrix under the single-query protocol.

  For each query the gallery is sorted by distance, ties by gallery index.
  Entries of junk (pid -1) are dropped, and so are entries of the query's own
  identity seen by the query's own camera (the camera rule). Pid 0 is a pid
  like any other: where it marks distractors, no query has it. A query left
  without a match counts nowhere. With the R matches of a query at the ranks
  r_1 < ... < r_R,

      rank-k     = share of queries with r_1 <= k
      map        = mean over queries of (1/R) sum_i i / r_i
      map_trapz  = mean over queries of (1/R) sum_i (p_i + i / r_i) / 2

  where p_i = (i - 1) / (r_i - 1) is the precision one rank earlier, and 1 at
  the top. `map` is the step sum that newer papers report, `map_trapz` the
  trapezoid of the official Market-1501 code, BUC and DBC. The two differ by
  up to a point: never compare one with the other.

  Args:
    distances: [Q, G] real, no NaN. Smaller is nearer, in any unit.
    query_pids: [Q] integers.
    gallery_pids: [G] integers, -1 for junk.
    query_camids: [Q] integers; may be None if `camera_rule` is False.
    gallery_camids: [G] integers, or None likewise.
    ranks: where to read the CMC curve. Beyond the end of the gallery it stays
      at its last value.
    camera_rule: whether to apply the camera rule. Switch it off for data of
      a single camera.
    protocol: 'market1501'.
    seed: of protocols that draw a gallery at random; 'market1501' does not.

  Returns:
    'rank1' and so on for each of `ranks`, 'map' and 'map_trapz', as fractions
    in [0, 1], and 'num_valid_queries', the number of queries with a match.

  Raises:
    ValueError: shapes that disagree, NaN, an unknown protocol, or no query
      with a match.

  Source: Zheng et al., Scalable Person Re-identification (ICCV 2015), sec. 4;
    the evaluation code published with it for `map_trapz`.
  """
  distances = np.asarray(distances)
  if distances.ndim != 2:
    raise ValueError(f'distances: expected [Q, G], got {distances.shape}.')
  ranks = checked_ranks(ranks, protocol)
  truth = checked_truth(
    distances.shape,
    (query_pids, gallery_pids),
    (query_camids, gallery_camids) if camera_rule else None,
  )

  def rows() -> Iterator[np.ndarray]:
    for query, row in enumerate(distances):
      if np.isnan(row).any():
        raise ValueError(
          f'distances: row {query} holds NaN; check the features.'
        )
      yield row[truth.kept]

  return _scores(rows(), truth, ranks)


def rank_features(
  query_features: ArrayLike,
  gallery_features: ArrayLike,
  query_pids: ArrayLike,
  gallery_pids: ArrayLike,
  query_camids: ArrayLike | None,
  gallery_camids: ArrayLike | None,
  *,
  chunk_size: int | None = None,
  ranks: Sequence[int] = (1, 5, 10, 20),
  camera_rule: bool = True,
  protocol: str = 'market1501',
  seed: int = 0,
) -> dict[str, float]:
  """`evaluate_ranking` of features, without ever holding Q x G distances.

  Features are L2-normalised here, so that ||x - y||^2 = 2 - 2 x.y: the order
  by Euclidean distance is the order by falling dot product, and no distance
  is computed. Products are float64 and rounded to 12 decimals, so equal
  features tie exactly (the lower gallery index comes first) and the result
  does not depend on `chunk_size`.

  Args:
    query_features: [Q, D] real and finite. A row of zeros stays zero: it is
      equally far from everything.
    gallery_features: [G, D] likewise.
    query_pids, gallery_pids, query_camids, gallery_camids: as in
      `evaluate_ranking`.
    chunk_size: queries per product; None takes what fits into 64 MiB.
    ranks, camera_rule, protocol, seed: as in `evaluate_ranking`.

  Returns:
    As `evaluate_ranking`.

  Raises:
    ValueError: as `evaluate_ranking`, and for features that are not finite or
      differ in dimension.
  """
  queries = _normalized(query_features, 'query_features')
  gallery = _normalized(gallery_features, 'gallery_features')
  if queries.shape[1] != gallery.shape[1]:
    raise ValueError(
      f'query_features have {queries.shape[1]} dimensions, '
      f'gallery_features {gallery.shape[1]}; they must agree.'
    )
  ranks = checked_ranks(ranks, protocol)
  truth = checked_truth(
    (len(queries), len(gallery)),
    (query_pids, gallery_pids),
    (query_camids, gallery_camids) if camera_rule else None,
  )
  gallery = gallery[truth.kept]
  if chunk_size is None:
    chunk_size = max(1, _CHUNK_VALUES // len(gallery))
  elif chunk_size < 1:
    raise ValueError(f'chunk_size: expected at least 1, got {chunk_size}.')

  def rows() -> Iterator[np.ndarray]:
    for start in range(0, len(queries), chunk_size):
      similarity = queries[start : start + chunk_size] @ gallery.T
      yield from -np.round(similarity, _DECIMALS)

  return _scores(rows(), truth, ranks)


def _scores(
  rows: Iterable[np.ndarray], truth: Truth, ranks: Sequence[int]
) -> dict[str, float]:
  """Scores from one row of distances to the kept gallery for each query."""
  first_hits, step_sums, trapezoids = [], [], []
  for query, row in enumerate(rows):
    matches = truth.gallery_pids == truth.query_pids[query]
    if truth.query_camids is not None:
      same_camera = truth.gallery_camids == truth.query_camids[query]
      candidates = ~(matches & same_camera)
      row, matches = row[candidates], matches[candidates]
    if not matches.any():
      continue
    position = _positions(row, np.flatnonzero(matches))
    found = np.arange(1, len(position) + 1)
    precision = found / (position + 1)
    before = np.where(position, (found - 1) / np.maximum(position, 1), 1.0)
    first_hits.append(position[0])
    step_sums.append(precision.mean())
    trapezoids.append((precision + before).mean() / 2)
  if not first_hits:
    raise ValueError(why_no_match(truth))
  first_hits = np.array(first_hits)
  return {
    **{f'rank{k}': float((first_hits < k).mean()) for k in ranks},
    'map': float(np.mean(step_sums)),
    'map_trapz': float(np.mean(trapezoids)),
    'num_valid_queries': len(first_hits),
  }


def _positions(row: np.ndarray, matches: np.ndarray) -> np.ndarray:
  """0-based places of `matches` in the stable order of `row`, ascending."""
  # Sorting values alone is several times faster than a stable argsort; the
  # rare ties are then settled by counting equals of lower index.
  ordered = np.sort(row)
  values = row[matches]
  places = np.searchsorted(ordered, values)
  equals = np.searchsorted(ordered, values, side='right') - places
  for i in np.flatnonzero(equals > 1):
    places[i] += np.count_nonzero(row[: matches[i]] == values[i])
  return np.sort(places)


def _normalized(features: ArrayLike, name: str) -> np.ndarray:
  features = np.asarray(features, np.float64)
  if features.ndim != 2:
    raise ValueError(f'{name}: expected [N, D], got {features.shape}.')
  bad = np.flatnonzero(~np.isfinite(features).all(axis=1))
  if len(bad):
    raise ValueError(
      f'{name}: {len(bad)} of {len(features)} rows hold NaN or infinity, '
      f'the first is row {bad[0]}; the network that made them has diverged.'
    )
  norms = np.linalg.norm(features, axis=1, keepdims=True)
  return features / np.where(norms > 0, norms, 1)
