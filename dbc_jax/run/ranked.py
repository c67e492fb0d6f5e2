"""What a few queries find, for the report."""

from collections.abc import Callable
from typing import Any

import numpy as np

from dbc_jax import reporting
from dbc_jax.data import GroundTruth
from dbc_jax.data.pipeline import LoadedDataset

_NUM_QUERIES, _NUM_FOUND = 8, 10
_SEED = 0


def rank(
  embed: Callable[..., tuple[np.ndarray, np.ndarray]],
  variables: dict[str, Any],
  data: LoadedDataset,
  camera_rule: bool,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """The first places of a few queries, none without identities.

  They are drawn at random, always the same, from those that have something to
  find. Junk is left out, and with the rule what is of the query's identity and
  camera.

  Args:
    embed: of a run's parts.
    variables: of its network.
    data: with its truth.
    camera_rule: whether matches from a query's own camera are left out.

  Returns:
    Rows of the queries [q] int32, and of the gallery what each finds [q, 10]
    int32, the nearest first, -1 where there is nothing left; its distances
    [q, 10] float32.
  """
  truth = data.truth
  chosen = []
  if data.query is not None and data.gallery is not None:
    assert truth.query_pids is not None
    order = np.random.default_rng(_SEED).permutation(len(truth.query_pids))
    for query in order.tolist():
      if _matches(truth, query, camera_rule)[1].any():
        chosen.append(query)
      if len(chosen) == _NUM_QUERIES:
        break
  found = np.full((len(chosen), _NUM_FOUND), -1, np.int32)
  distances = np.zeros(found.shape, np.float32)
  rows = np.array(chosen, np.int32)
  if not chosen:
    return rows, found, distances
  assert data.query is not None
  own = truth.query_camids
  with reporting.busy('embedding queries and gallery'):
    queries, _ = embed(
      variables, data.query.subset(rows), None if own is None else own[rows]
    )
    gallery, _ = embed(variables, data.gallery, truth.gallery_camids)
  for i, (query, feature) in enumerate(zip(chosen, queries, strict=True)):
    counts, _ = _matches(truth, query, camera_rule)
    own_distances = np.linalg.norm(gallery - feature, axis=1)
    own_distances[~counts] = np.inf
    best = np.argsort(own_distances, kind='stable')[
      : min(_NUM_FOUND, sum(counts))
    ]
    found[i, : len(best)] = best
    distances[i, : len(best)] = own_distances[best]
  return rows, found, distances


def are_of(queries: np.ndarray, found: np.ndarray, data: LoadedDataset) -> bool:
  """Whether rows that `rank` returned once can be those of a data set."""
  lengths = [
    0 if split is None else len(split) for split in (data.query, data.gallery)
  ]
  if not len(queries):
    return not all(lengths)
  return queries.max() < lengths[0] and found.max() < lengths[1]


def as_lists(
  queries: np.ndarray,
  found: np.ndarray,
  distances: np.ndarray,
  data: LoadedDataset,
  camera_rule: bool,
) -> list[reporting.RankedList]:
  """What `rank` returned, with pictures, and right or wrong."""
  lists = []
  for query, rows, apart in zip(
    queries.tolist(), found, distances, strict=True
  ):
    assert data.query is not None
    assert data.gallery is not None
    _, right = _matches(data.truth, query, camera_rule)
    lists.append(
      reporting.RankedList(
        data.names['query'][query],
        data.query.image(query),
        [
          reporting.Found(
            data.names['gallery'][row],
            data.gallery.image(row),
            float(distance),
            bool(right[row]),
          )
          for row, distance in zip(rows.tolist(), apart, strict=True)
          if row >= 0
        ],
        int(right.sum()),
      )
    )
  return lists


def _matches(
  truth: GroundTruth, query: int, camera_rule: bool
) -> tuple[np.ndarray, np.ndarray]:
  """Which of the gallery [G] bool count for a query, and which are right."""
  assert truth.query_pids is not None
  assert truth.gallery_pids is not None
  same = truth.gallery_pids == truth.query_pids[query]
  counts = truth.gallery_pids >= 0
  if camera_rule and truth.query_camids is not None:
    counts &= ~(same & (truth.gallery_camids == truth.query_camids[query]))
  return counts, same & counts
