"""Merges clusters as a config asks.

The config's fields choose what is clustered, by which distance, criterion and
engine; the mathematics is in `dbc_jax.cluster`.
"""

import contextlib
import dataclasses
import logging
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from dbc_jax import cluster
from dbc_jax.cluster import cuts
from dbc_jax.cluster.linked import (
  Links,
  heed_links,
  labels_of_count,
  regrouping,
)
from dbc_jax.devices import helpers, mesh, processes
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


@contextlib.contextmanager
def _named() -> Iterator[None]:
  """Has a budget that is too small told by the names of a config."""
  try:
    yield
  except ValueError as error:
    if not str(error).startswith('memory_budget_gb'):
      raise
    text = str(error).replace('(k1)', '(cluster.jaccard_k1)')
    raise ValueError(f'cluster.{text}') from error


@dataclasses.dataclass(frozen=True)
class _Samples:
  """What is merged, and what is known of pairs.

  Attributes:
    features: [N, D].
    criterion: what to merge by.
    given: the base distances, if not those of the features: `distances` or
      `similarities`, as `merge_clusters` takes them.
    links: rows of one cluster, and of two.
    progress: as of `merge_clusters`.
  """

  features: np.ndarray
  criterion: cluster.Criterion
  given: dict[str, Any] = dataclasses.field(default_factory=dict)
  links: Links | None = None
  progress: Callable[[int, int], None] | None = None

  def heed(self, labels: np.ndarray) -> np.ndarray:
    """Labels [N], -1 or not, changed where the links contradict them."""
    if not self.links:
      return labels
    regroup = regrouping(self.features, self.criterion, **self.given)
    return heed_links(labels, self.links, regroup)

  def alone(self) -> np.ndarray:
    """Every sample a cluster of its own.

    Those of must-links unite after the merges: two that unite first would be
    far from the clusters of both.
    """
    return np.arange(len(self.features), dtype=np.int32)


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
        jaccard=self._fields.distance == 'jaccard' and self._goes_sparse(),
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
    links: Links | None = None,
    progress: Callable[[int, int], None] | None = None,
  ) -> tuple[np.ndarray, np.ndarray]:
    """What the first process computes with help of the others, in all of them.

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
      links: which hold in the labels before and after; the first process's.
      progress: as of `merge_clusters`.

    Returns:
      Labels [N] after it, and the scores of the first and the last merge [2]
      float32: NaN where the cut does not stop at a number of merges.
    """

    def merged() -> tuple[np.ndarray, np.ndarray]:
      chosen = self.chosen(features, embeddings)
      samples = self._samples(chosen, camids, links, progress)
      before = samples.heed(labels)
      found, scores = self._place(samples, before, number, count)
      if found.max() < 1:
        log.warning(
          'cluster.cut: %s leaves %d clusters of %d images; the clusters stay '
          'as they were',
          self._fields.cut,
          found.max() + 1,
          len(found),
        )
        return before, unknown
      return found, np.asarray(scores)[[0, -1]] if len(scores) else unknown

    unknown = np.full(2, np.nan, np.float32)
    return helpers.lead(merged, (labels, unknown))

  def chosen(self, features: Any, embeddings: Any) -> Any:
    """Of the two, what the config clusters by."""
    by_embedding = self._fields.features == 'embedding'
    return embeddings if by_embedding else features

  def heed(
    self, features: np.ndarray, labels: np.ndarray, links: Links | None
  ) -> np.ndarray:
    """Labels [N] in which links hold, changed nowhere else; in all processes.

    Args:
      features: [N, D]; a cluster that links take apart is split by them.
      labels: [N] int32; -1 for a sample that is not placed.
      links: the first process's count.
    """
    if processes.is_first():
      labels = _Samples(features, self._criterion, links=links).heed(labels)
    return processes.from_first(labels)

  def again(
    self,
    chosen: np.ndarray,
    wanted: int,
    number: int,
    count: int,
    camids: np.ndarray | None = None,
    links: Links | None = None,
  ) -> np.ndarray:
    """A clustering of a run once more, from single samples.

    Where the cut places every sample it ends at as many clusters as there were.

    Args:
      chosen: [N, D], what the config clusters by.
      wanted: how many clusters it gave.
      number, count, camids, links: as of `__call__`.

    Returns:
      [N] int32, contiguous, or -1.
    """
    samples = self._samples(chosen, camids, links)
    start = samples.alone()
    asked = self._fields.num_clusters and number == count - 1
    if asked or self._fields.cut in ('papers', 'geometric'):
      return self._merge_to(samples, start, wanted).labels
    return self._place(samples, start, number, count).labels

  def _samples(
    self,
    chosen: np.ndarray,
    camids: np.ndarray | None,
    links: Links | None,
    progress: Callable[[int, int], None] | None = None,
  ) -> _Samples:
    fields = self._fields
    if fields.camera_centring:
      assert camids is not None
      with warnings.catch_warnings():
        # Told once, before the run.
        warnings.filterwarnings('ignore', 'camids: .* mean of their camera')
        chosen = cluster.center_cameras(chosen, camids)
    given: dict[str, Any] = {}
    if fields.distance == 'jaccard':
      counts = {'k1': fields.jaccard_k1, 'k2': fields.jaccard_k2}
      with warnings.catch_warnings():
        warnings.filterwarnings('ignore', 'k1: .* means all')
        if self.engine(chosen.shape, len(chosen)).name == 'sparse':
          with _named():
            given['similarities'] = cluster.jaccard_similarities(
              chosen, **counts, memory_budget_gb=self._budget()
            )
        else:
          given['distances'] = cluster.jaccard_distances(chosen, **counts)
    return _Samples(chosen, self._criterion, given, links, progress)

  def _place(
    self, samples: _Samples, labels: np.ndarray, number: int, count: int
  ) -> cuts.Placed:
    fields = self._fields
    start = apart(labels).astype(np.int32)
    if fields.anew:
      start = samples.alone()

    def distances() -> Any:
      given = samples.given.get('distances')
      if given is None:
        return cluster.pairwise_distances(samples.features)
      return given

    def merge(num_merges: int, distances: Any = None) -> cluster.MergeResult:
      given = samples.given if distances is None else {'distances': distances}
      return self._merge(samples, start, num_merges, given)

    wanted = fields.num_clusters
    if wanted and number == count - 1:
      if start.max() + 1 < wanted:
        start = samples.alone()
      return self._merge_to(samples, start, wanted)
    similarities = samples.given.get('similarities')
    placed = self._cut(
      cuts.Task(start, number, count, distances, merge, similarities)
    )
    return placed._replace(labels=samples.heed(placed.labels))

  def _merge_to(
    self, samples: _Samples, start: np.ndarray, wanted: int
  ) -> cuts.Placed:
    """Labels [N] of so many clusters, in which the links hold.

    Must-links unite clusters after the merges, so that fewer are needed. Where
    no number of merges gives so many, they are the next fewer that there are;
    where cannot-links leave no more merges, they are more.
    """
    merges = int(start.max()) + 1 - wanted
    if merges < 1:
      return cuts.Placed(samples.heed(start), np.zeros(0, np.float32))
    result = self._merge(samples, start, merges, samples.given)
    scores = np.asarray(result.scores)
    if not samples.links:
      return cuts.Placed(result.labels, scores)

    labels, few = labels_of_count(result.pairs, start, wanted, samples.heed)
    if labels.max() + 1 != wanted:
      log.warning(
        'corrections and rules: there are %d clusters with them, in place of '
        '%d',
        labels.max() + 1,
        wanted,
      )
    return cuts.Placed(labels, scores[:few])

  def _merge(
    self,
    samples: _Samples,
    start: np.ndarray,
    num_merges: int,
    given: dict[str, Any],
  ) -> cluster.MergeResult:
    """Merges clusters that hold no cannot-link, and keeps them so."""
    cannot = None
    if samples.links:
      cannot = samples.links.cannot
      # Those that must-links united before are fewer than the schedule says.
      num_merges = min(num_merges, int(start.max()))
      if num_merges < 1:
        none = np.zeros((0, 2), np.int32)
        scores = np.zeros(0, np.float32)
        return cluster.MergeResult(start, none, scores, self._engine, none)
    with _named():
      result = cluster.merge_clusters(
        samples.features,
        start,
        num_merges,
        self._criterion,
        **given,
        cannot_link=cannot,
        memory_budget_gb=self._budget(),
        progress=samples.progress,
      )
    if result.engine != self._engine:
      self.engine(samples.features.shape, int(start.max()) + 1)
    return result

  def _reads_distances(self) -> bool:
    return getattr(self._cut, 'reads_distances', True)

  def _goes_sparse(self) -> bool:
    """Whether the cut does without a matrix of Jaccard distances."""
    return not self._reads_distances() or getattr(
      self._cut, 'reads_similarities', False
    )

  def _budget(self) -> float | None:
    """In 1e9 bytes: the config's, else half of what the device has.

    Of all it has, and not of what is free, so that the same machine always
    chooses the same engine. None where that is not known.
    """
    if self._fields.memory_budget_gb:
      return self._fields.memory_budget_gb
    memory = mesh.device_memory()
    return None if memory is None else memory / 2e9
