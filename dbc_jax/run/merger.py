"""Merges clusters as a config asks.

The config's fields choose what is clustered, by which distance, criterion and
engine; the mathematics is in `dbc_jax.cluster`.
"""

import logging
import warnings
from typing import Any

import numpy as np

from dbc_jax import cluster
from dbc_jax.cluster import cuts
from dbc_jax.devices import mesh, processes
from dbc_jax.labels import apart

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


def make_cut(fields: Any) -> cuts.Cut:
  """The cut that a config's `cluster` fields describe.

  Raises:
    ValueError: a value that it does not take; names the config's field.
  """
  names = ('merge_percent', 'anew', 'share', 'min_size', 'eps')
  try:
    return cuts.create_cut(fields.cut, **{name: fields[name] for name in names})
  except ValueError as error:
    raise ValueError(f'cluster.{error}') from error


class Merger:
  """What a config's `cluster` fields say about merging, and about whom."""

  def __init__(self, fields: Any):
    """Checks the criterion and the cut.

    Raises:
      ValueError: as `make_criterion` and `make_cut`.
    """
    self._fields = fields
    self._criterion = make_criterion(fields)
    self._cut = make_cut(fields)
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
        given_distances=self._reads_distances()
        or self._fields.distance == 'jaccard',
        memory_budget_gb=self._budget(),
      )
    except ValueError as error:
      hint = ''
      if self._reads_distances():
        hint = (
          f' cluster.cut={self._fields.cut!r} reads the distances of all '
          "pairs; 'papers', 'share' and 'geometric' do not."
        )
      raise ValueError(f'cluster.{error}{hint}') from error
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
    number: int,
    count: int,
    camids: np.ndarray | None = None,
  ) -> tuple[np.ndarray, np.ndarray]:
    """What the first process computes, in all of them.

    Where the number of clusters is known, the last clustering of a run ends
    there, with every sample in one. Where the cut leaves fewer than two, the
    labels stay as they were.

    Args:
      features: [N, D].
      embeddings: [N, E].
      labels: [N] int32, before it; -1 for a sample that is not placed.
      number: of this clustering in the run, from 0.
      count: of clusterings in the run.
      camids: [N], where their centring is on.

    Returns:
      Labels [N] after it, and the scores of the first and the last merge [2]
      float32: NaN where the cut does not stop at a number of merges.
    """
    ends = np.full(2, np.nan, np.float32)
    if processes.is_first():
      found, scores = self._place(
        features, embeddings, labels, number, count, camids
      )
      if found.max() < 1:
        log.warning(
          'cluster.cut: %s leaves %d clusters of %d images; the clusters stay '
          'as they were',
          self._fields.cut,
          found.max() + 1,
          len(found),
        )
      else:
        labels = found
        if len(scores):
          ends = np.asarray(scores)[[0, -1]]
    return processes.from_first((labels, ends))

  def chosen(self, features: Any, embeddings: Any) -> Any:
    """Of the two, what the config clusters by."""
    by_embedding = self._fields.features == 'embedding'
    return embeddings if by_embedding else features

  def _place(
    self,
    features: np.ndarray,
    embeddings: np.ndarray,
    labels: np.ndarray,
    number: int,
    count: int,
    camids: np.ndarray | None,
  ) -> cuts.Placed:
    fields = self._fields
    chosen = self.chosen(features, embeddings)
    if fields.camera_centring:
      assert camids is not None
      with warnings.catch_warnings():
        # Told once, before the run.
        warnings.filterwarnings('ignore', 'camids: .* mean of their camera')
        chosen = cluster.center_cameras(chosen, camids)
    start = apart(labels).astype(np.int32)
    if fields.anew:
      start = np.arange(len(labels), dtype=np.int32)
    given = None
    if fields.distance == 'jaccard':
      given = cluster.jaccard_distances(
        chosen, k1=fields.jaccard_k1, k2=fields.jaccard_k2
      )

    def distances() -> Any:
      return cluster.pairwise_distances(chosen) if given is None else given

    def merge(num_merges: int, distances: Any = given) -> cluster.MergeResult:
      result = cluster.merge_clusters(
        chosen,
        start,
        num_merges,
        self._criterion,
        distances=distances,
        memory_budget_gb=self._budget(),
      )
      if result.engine != self._engine:
        self.engine(chosen.shape, int(start.max()) + 1)
      return result

    wanted = fields.num_clusters
    if wanted and number == count - 1:
      if start.max() + 1 < wanted:
        start = np.arange(len(labels), dtype=np.int32)
      merges = int(start.max()) + 1 - wanted
      if not merges:
        return cuts.Placed(start, np.zeros(0, np.float32))
      result = merge(merges)
      return cuts.Placed(result.labels, np.asarray(result.scores))
    return self._cut(cuts.Task(start, number, count, distances, merge))

  def _reads_distances(self) -> bool:
    return getattr(self._cut, 'reads_distances', True)

  def _budget(self) -> float | None:
    """In 1e9 bytes: the config's, else half of what the device has.

    Of all it has, and not of what is free, so that the same machine always
    chooses the same engine. None where that is not known.
    """
    if self._fields.memory_budget_gb:
      return self._fields.memory_budget_gb
    memory = mesh.device_memory()
    return None if memory is None else memory / 2e9
