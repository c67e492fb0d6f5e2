"""CMC, both mean average precisions and mINP of re-ID protocols."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike

from dbc_jax import values
from dbc_jax.evaluation import similarity
from dbc_jax.evaluation.measures import (
  Collector,
  GalleryDraws,
  Scores,
  places,
  places_without,
)
from dbc_jax.evaluation.similarity import Features
from dbc_jax.evaluation.truth import (
  Truth,
  check_settings,
  checked_ranks,
  checked_truth,
)

# Rows of the queries of a range.
_Part = Callable[[int, int], np.ndarray]
# A chunk of similarities holds at most this many values (32 MiB of float32).
_CHUNK_VALUES = 2**23


def _all_at_once(part: _Part, count: int) -> np.ndarray:
  return part(0, count)


def evaluate_ranking(
  distances: ArrayLike,
  query_pids: ArrayLike,
  gallery_pids: ArrayLike,
  query_camids: ArrayLike | None,
  gallery_camids: ArrayLike | None,
  *,
  ranks: Sequence[int] | None = None,
  camera_rule: bool = True,
  protocol: str = 'market1501',
  seed: int = 0,
  per_query: bool = False,
  left_out: ArrayLike | None = None,
) -> Scores:
  """CMC, mAP and mINP of a distance matrix.

  For each query the gallery is sorted by distance, ties by gallery index.
  Entries of junk (pid -1) are dropped, and so are entries of the query's own
  identity seen by the query's own camera (the camera rule). Pid 0 is a pid
  like any other: where it marks distractors, no query has it. A query left
  without a match counts nowhere. With the R matches of a query at the ranks
  r_1 < ... < r_R,

      map        = mean over queries of (1/R) sum_i i / r_i
      map_trapz  = mean over queries of (1/R) sum_i (p_i + i / r_i) / 2
      minp       = mean over queries of R / r_R

  where p_i = (i - 1) / (r_i - 1) is the precision one rank earlier, and 1 at
  the top. `map` is the step sum that newer papers report, `map_trapz` the
  trapezoid of the official Market-1501 code, BUC and DBC. The two differ by
  up to a point: never compare one with the other. Rank-k depends on the
  protocol:

      market1501  share of queries with r_1 <= k
      allshots    mean over queries of the share of matches with
                  r_i - i + 1 <= k: each match is sought as if it were the
                  only one, the others taken out of its way
      cuhk03      share of r <= k in 100 galleries that hold one entry of each
                  identity, drawn at random; r is the rank of the match drawn
                  for the query. The same galleries serve all queries

  Only rank-k depends on it: the averages are of the whole gallery throughout.

  Args:
    distances: [Q, G] real, no NaN. Smaller is nearer, in any unit.
    query_pids: [Q] integers.
    gallery_pids: [G] integers, -1 for junk.
    query_camids: [Q] integers; may be None if `camera_rule` is False.
    gallery_camids: [G] integers, or None likewise.
    ranks: where to read the CMC curve, none beyond the gallery. None takes 1,
      5, 10 and 20, where the curve of a smaller gallery stays at its last
      value.
    camera_rule: whether to apply the camera rule. Switch it off for data of
      a single camera.
    protocol: 'market1501', 'cuhk03' or 'allshots'.
    seed: of the galleries of 'cuhk03'; the others draw nothing.
    per_query: whether to return the measures of each query as well.
    left_out: [P, 2] integers, a query and an entry of the gallery by their
      places. For that query the gallery is without that entry, whoever it
      shows: leave-one-out, where queries are in the gallery themselves.

  Returns:
    'rank1' and so on for each of `ranks`, 'map', 'map_trapz' and 'minp', as
    fractions in [0, 1], and 'num_valid_queries', V, of queries with a match.
    With `per_query` also arrays [V] of these: 'query_index', 'first_rank'
    (r_1, in the whole gallery), 'ap' (of `map`) and 'inp'.

  Raises:
    ValueError: shapes that disagree, NaN, an unknown protocol, a rank beyond
      the gallery, or no query with a match.

  Source: Zheng et al., Scalable Person Re-identification (ICCV 2015), sec. 4;
    the evaluation code published with it for `map_trapz`; Li et al., DeepReID
    (CVPR 2014), sec. 6, for single shots, with the camera rule and the mAP of
    torchreid; Open-ReID's `cmc` without `first_match_break` for all shots; Ye
    et al., Deep Learning for Person Re-identification (TPAMI 2021), for mINP.
  """
  check_settings(protocol, camera_rule, seed, per_query)
  distances = values.reals(distances, 'distances')
  if distances.ndim != 2:
    raise ValueError(
      f'distances: expected [Q, G], got shape {distances.shape}.'
    )
  truth = checked_truth(
    distances.shape,
    (query_pids, gallery_pids),
    (query_camids, gallery_camids) if camera_rule else None,
    left_out,
  )
  ranks = checked_ranks(ranks, protocol, truth)

  def rows() -> Iterator[np.ndarray]:
    for query, row in enumerate(distances):
      if np.isnan(row).any():
        raise ValueError(
          f'distances: row {query} holds NaN; check the features.'
        )
      yield row[truth.kept]

  collector = Collector(protocol, ranks)
  _collect_rows(collector, rows(), truth, protocol, seed)
  return collector.scores(truth, per_query)


def rank_features(
  query_features: ArrayLike,
  gallery_features: ArrayLike,
  query_pids: ArrayLike,
  gallery_pids: ArrayLike,
  query_camids: ArrayLike | None,
  gallery_camids: ArrayLike | None,
  *,
  chunk_size: int | None = None,
  ranks: Sequence[int] | None = None,
  camera_rule: bool = True,
  protocol: str = 'market1501',
  seed: int = 0,
  per_query: bool = False,
  left_out: ArrayLike | None = None,
  over: Callable[[_Part, int], np.ndarray] = _all_at_once,
) -> Scores:
  """`evaluate_ranking` of features, without ever holding Q x G distances.

  Features are L2-normalised here, so that ||x - y||^2 = 2 - 2 x.y: the order
  by Euclidean distance is the order by falling dot product, and no distance
  is computed. Products are float32; what comes closer to an entry of the
  query's identity than these can tell is computed again in float64 and
  rounded to 12 decimals. So the order is that of float64, equal features tie
  exactly (the lower gallery index comes first), and the result does not
  depend on `chunk_size`.

  Args:
    query_features: [Q, D] real and finite. A row of zeros stays zero: it is
      equally far from everything.
    gallery_features: [G, D] likewise.
    query_pids, gallery_pids, query_camids, gallery_camids: as in
      `evaluate_ranking`.
    chunk_size: queries per product; None takes what fits into 32 MiB.
    ranks, camera_rule, protocol, seed, per_query, left_out: as in
      `evaluate_ranking`.
    over: `over(part, Q)` returns the rows that `part(start, stop)` returns for
      ranges of 0..Q, one below the other: so several processes can share the
      queries. The protocol 'cuhk03' does not ask for it.

  Returns:
    As `evaluate_ranking`.

  Raises:
    ValueError: as `evaluate_ranking`, and for features that are not finite,
      differ in dimension or are all equal.
  """
  check_settings(protocol, camera_rule, seed, per_query)
  queries, gallery = similarity.checked_sides(query_features, gallery_features)
  truth = checked_truth(
    (len(queries), len(gallery)),
    (query_pids, gallery_pids),
    (query_camids, gallery_camids) if camera_rule else None,
    left_out,
  )
  if len(gallery) > 1 and _all_equal(queries, gallery):
    raise ValueError(
      f'gallery_features: all {len(gallery)} rows are equal to each other and '
      'to the queries, expected rows that differ: no order of them means '
      'anything; look at the network that made them.'
    )
  ranks = checked_ranks(ranks, protocol, truth)
  gallery = gallery.take(truth.kept)
  if chunk_size is None:
    chunk_size = max(1, _CHUNK_VALUES // len(gallery))
  chunk_size = values.whole(chunk_size, 'chunk_size', 1)
  collector = Collector(protocol, ranks)
  if protocol == 'cuhk03':
    rows = itertools.chain.from_iterable(
      -similarity.exact_block(queries, slice(i, i + chunk_size), gallery)
      for i in range(0, len(queries), chunk_size)
    )
    _collect_rows(collector, rows, truth, protocol, seed)
  else:

    def part(start: int, stop: int) -> np.ndarray:
      own = Collector(protocol, ranks)
      starts = range(start, stop, chunk_size)
      _collect_products(own, queries, gallery, truth, starts)
      return own.rows()

    collector.take(over(part, len(queries)))
  return collector.scores(truth, per_query)


def _all_equal(queries: Features, gallery: Features) -> bool:
  first = gallery.given[0]
  return bool((queries.given == first).all() and (gallery.given == first).all())


def _without(row: np.ndarray, truth: Truth, query: int) -> np.ndarray:
  """Distances in which what is not ranked lies behind all that is."""
  out = truth.not_ranked(query)
  if not len(out):
    return row
  row = row.astype(np.result_type(row, np.float32))
  row[out] = np.inf
  return row


def _collect_rows(
  collector: Collector,
  rows: Iterable[np.ndarray],
  truth: Truth,
  protocol: str,
  seed: int,
) -> None:
  """Collects from one row of distances to the kept gallery for each query."""
  draws = GalleryDraws(truth, seed) if protocol == 'cuhk03' else None
  for query, row in enumerate(rows):
    own, removed = truth.own(query)
    if removed.all():
      continue
    row = _without(row, truth, query)
    hits = draws.hits(query, row, own[~removed]) if draws else None
    collector.add(query, places_without(places(row, own), removed), hits)


def _collect_products(
  collector: Collector,
  queries: Features,
  gallery: Features,
  truth: Truth,
  starts: range,
) -> None:
  """The same from features, in float32 as far as that is sure."""
  margin = similarity.tolerance(queries)
  for start in starts:
    block = slice(start, min(start + starts.step, starts.stop))
    rows = queries.unit[block] @ gallery.unit.T
    np.negative(rows, out=rows)
    exact = None
    for i, row in enumerate(rows):
      own, removed = truth.own(start + i)
      if removed.all():
        continue
      row = _without(row, truth, start + i)
      order, values = np.argsort(row), row[own]
      ordered = row[order]
      first = np.searchsorted(ordered, values - margin)
      end = np.searchsorted(ordered, values + margin, side='right')
      unsure = np.flatnonzero(end - first > 1)
      if similarity.many((end - first)[unsure].sum(), len(row)):
        if exact is None:
          exact = -similarity.exact_block(queries, block, gallery)
        first = places(_without(exact[i], truth, start + i), own)
      elif len(unsure):
        # Between the exact ones the others stay where they are.
        close = np.concatenate([order[first[j] : end[j]] for j in unsure])
        row = row.astype(np.float64)
        row[close] = -similarity.exact_pairs(queries, start + i, gallery, close)
        first = places(row, own)
      collector.add(start + i, places_without(first, removed))
