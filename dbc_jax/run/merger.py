"""Merges clusters as a config asks.

The config's fields choose what is clustered, by which distance, criterion and
engine; the mathematics is in `dbc_jax.cluster`.
"""

import logging
from typing import Any

import numpy as np

from dbc_jax import cluster
from dbc_jax.devices import mesh, processes

log = logging.getLogger('dbc_jax')


def make_criterion(fields: Any) -> cluster.Criterion:
  """The criterion that a config's `cluster` fields describe.

  Raises:
    ValueError: a value that it does not take; names the config's field.
  """
  try:
    return cluster.Criterion(
      fields.criterion,
      fields.reg_weight,
      intra=fields.intra,
      update=fields.intra_update,
      ssd=fields.ssd,
      merge=fields.merge,
      squared=fields.squared,
    )
  except ValueError as error:
    field, _, rest = str(error).partition(':')
    field = {'name': 'criterion', 'update': 'intra_update'}.get(field, field)
    raise ValueError(f'cluster.{field}:{rest}') from error


class Merger:
  """What a config's `cluster` fields say about merging."""

  def __init__(self, fields: Any):
    """Checks the criterion.

    Raises:
      ValueError: as `make_criterion`.
    """
    self._fields = fields
    self._criterion = make_criterion(fields)
    self._engine = ''

  def engine(self, shape: tuple[int, int], num_clusters: int) -> cluster.Engine:
    """The engine for features of this shape; logged when it is another one.

    Raises:
      ValueError: the memory budget is too small for what the config asks.
    """
    try:
      engine = cluster.choose_engine(
        self._criterion,
        shape,
        num_clusters,
        given_distances=self._fields.distance == 'jaccard',
        memory_budget_gb=self._budget(),
      )
    except ValueError as error:
      raise ValueError(f'cluster.{error}') from error
    if engine.name != self._engine:
      log.info(
        'merging %d clusters with the %s engine: %s',
        num_clusters,
        engine.name.replace('_', '-'),
        engine.reason,
      )
      self._engine = engine.name
    return engine

  def __call__(
    self,
    features: np.ndarray,
    embeddings: np.ndarray,
    labels: np.ndarray,
    num_merges: int,
    camids: np.ndarray | None = None,
  ) -> tuple[np.ndarray, np.ndarray]:
    """What the first process computes, in all of them.

    Args:
      features: [N, D].
      embeddings: [N, E].
      labels: [N], before the merges.
      num_merges: m, how many.
      camids: [N], where their centring is on.

    Returns:
      Labels [N] after the merges, and the scores [m] float32 of the merges.
    """
    scores = np.zeros(num_merges, np.float32)
    if processes.is_first():
      labels, _, scores, _ = self._merge(
        features, embeddings, labels, num_merges, camids
      )
    return processes.from_first((labels, scores))

  def chosen(self, features: Any, embeddings: Any) -> Any:
    """Of the two, what the config clusters by."""
    by_embedding = self._fields.features == 'embedding'
    return embeddings if by_embedding else features

  def _merge(
    self,
    features: np.ndarray,
    embeddings: np.ndarray,
    labels: np.ndarray,
    num_merges: int,
    camids: np.ndarray | None,
  ) -> cluster.MergeResult:
    fields = self._fields
    chosen = self.chosen(features, embeddings)
    if fields.camera_centring:
      assert camids is not None
      chosen = cluster.center_cameras(chosen, camids)
    distances = None
    if fields.distance == 'jaccard':
      distances = cluster.jaccard_distances(
        chosen, k1=fields.jaccard_k1, k2=fields.jaccard_k2
      )
    result = cluster.merge_clusters(
      chosen,
      labels,
      num_merges,
      self._criterion,
      distances=distances,
      memory_budget_gb=self._budget(),
    )
    if result.engine != self._engine:
      self.engine(chosen.shape, int(labels.max()) + 1)
    return result

  def _budget(self) -> float | None:
    """In 1e9 bytes: the config's, else half of what the device has.

    Of all it has, and not of what is free, so that the same machine always
    chooses the same engine. None where that is not known.
    """
    if self._fields.memory_budget_gb:
      return self._fields.memory_budget_gb
    memory = mesh.device_memory()
    return None if memory is None else memory / 2e9
