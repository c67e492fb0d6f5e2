"""What the page needs of the run itself: features, network, merging.

A page opens before they are there. They come from a thread, and whoever needs
them waits.
"""

import collections
import concurrent.futures
import contextlib
import dataclasses
import functools
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dbc_jax.review.collection import Collection
from dbc_jax.run.corrections import Correction

# Questions that are looked for at a time, and left when more are.
_QUESTIONS, _FEW = 50, 10
# That a calibration is learned from, which takes a second.
_PAIRS = 100_000
# Larger clusters are looked at by so many of their images.
_MOST_IMAGES = 1000

Pair = tuple[int, int, float | None]
Match = tuple[int, float, float | None]


@dataclasses.dataclass(frozen=True, eq=False)
class _Known:
  """What was loaded, in the order of the page's rows.

  Attributes:
    extractor: of the kept stage.
    features: [N, D] float32, rows of unit length.
    ids: [N] int, the number of each image's cluster; -1 for one in none.
    aliases: of tracklets the paths of their first frames.
    order: [N] int, the row of each image of the run, in its order.
    workdir: of the run.
  """

  extractor: Any
  features: np.ndarray
  ids: np.ndarray
  aliases: dict[str, str]
  order: np.ndarray
  workdir: Path

  @functools.cached_property
  def labels(self) -> np.ndarray:
    """Contiguous [N]; -1 for an image in none."""
    _, labels = np.unique(self.ids, return_inverse=True)
    return np.where(self.ids < 0, -1, labels - int((self.ids < 0).any()))

  @functools.cached_property
  def calibration(self) -> Any:
    """And a prior, or None."""
    from dbc_jax.verbs.searching import calibration_of

    return calibration_of(self.features, self.labels, num_pairs=_PAIRS)

  @functools.cached_property
  def ruled(self) -> np.ndarray:
    """Pairs [P, 2] of rows that the run's rules keep apart.

    Raises:
      ValueError: as `reclustering.ruled_of`.
    """
    from dbc_jax.verbs import reclustering

    return self.order[reclustering.ruled_of(self.workdir, self.extractor.run)]

  @functools.cached_property
  def heights(self) -> dict[int, float]:
    """Of each cluster how far apart the sides of its last merge are."""
    return _heights(self.features, self.ids)


def load_run(
  workdir: Path, root: str | None
) -> tuple[Any, np.ndarray, Sequence[str]]:
  """The network of a run's kept stage, features [N, D] and names of images.

  Args:
    workdir: of the run.
    root: where its images are, if they moved.

  Raises:
    ValueError: no run, or images that are needed and are not there.
  """
  from dbc_jax.run.extractor import FeatureExtractor
  from dbc_jax.verbs import embedding

  extractor = FeatureExtractor.from_workdir(workdir)
  own = embedding.of_run(extractor, workdir, root=root)
  return extractor, own.features, own.names


class Background:
  """Loads in a thread, and then answers."""

  def __init__(
    self,
    workdir: Path,
    collection: Collection,
    load: Callable[[], tuple[Any, np.ndarray, Sequence[str]]],
    root: str | None = None,
  ):
    """Starts the thread.

    Args:
      workdir: of a run.
      collection: whose rows are meant.
      load: of `load_run`.
      root: where the run's images are, if they moved.
    """
    self._workdir, self._read, self._root = workdir, load, root
    self._collection = collection
    self._loading: concurrent.futures.Future[_Known] = (
      concurrent.futures.Future()
    )
    self._working = threading.Lock()
    self._queue: collections.deque[Pair] = collections.deque()
    self._looks_ahead = False
    self._cutting = threading.Lock()
    self._trees: dict[bytes, Any] = {}
    threading.Thread(target=self._run, daemon=True).start()

  @property
  def state(self) -> dict[str, Any]:
    """Whether all is there, or why it will not be."""
    if not self._loading.done():
      return {'ready': False, 'fault': None}
    fault = self._loading.exception()
    return {'ready': fault is None, 'fault': fault and str(fault)}

  @property
  def heights(self) -> dict[int, float] | None:
    """See `_Known`; None while they are not known."""
    loading = self._loading
    if not loading.done() or loading.exception():
      return None
    return loading.result().heights

  def _run(self) -> None:
    loading = self._loading
    try:
      loading.set_result(self._load())
    except BaseException as error:  # noqa: BLE001  Whoever waits is told.
      loading.set_exception(error)
      return
    self._look_ahead([])

  def _load(self) -> _Known:
    from dbc_jax.verbs import reclustering

    extractor, given, names = self._read()
    rows = self._collection.row_of
    if sorted(names) != sorted(rows):
      raise ValueError(
        f'workdir: clusters.csv of {self._workdir} lists other images than its '
        'kept stage; `dbc report` writes it anew'
      )
    order = np.array([rows[name] for name in names])
    features = np.empty_like(given)
    features[order] = given
    aliases = reclustering.first_frames(self._workdir)
    ids = self._collection.ids
    return _Known(extractor, features, ids, aliases, order, self._workdir)

  def like(self, row: int, count: int) -> list[Match]:
    """The images nearest to a row: row, distance, probability of one person."""
    known = self._loading.result()
    return self._search(known, known.features[row : row + 1], count)

  def find(self, data: bytes, count: int) -> list[Match]:
    """As `like`, of the bytes of an image.

    Raises:
      ValueError: it is no image.
    """
    from dbc_jax.data.decode import decode_image

    try:
      image = decode_image(data)
    except ValueError as error:
      raise ValueError(f'picture: {error}') from error
    known = self._loading.result()
    return self._search(known, known.extractor([image]), count)

  def _search(
    self, known: _Known, query: np.ndarray, count: int
  ) -> list[Match]:
    from dbc_jax.verbs.searching import search

    calibration, prior = known.calibration or (None, 0.5)
    (found,) = search(
      query, known.features, top=count, calibration=calibration, prior=prior
    )
    return [(x.index, x.distance, x.probability) for x in found]

  def question(
    self,
    corrections: Sequence[Correction],
    unsure: Sequence[tuple[int, int]],
  ) -> Pair | None:
    """The pair of rows whose answer matters most.

    None that was answered, that follows from answers, or that a rule answers.

    Args:
      corrections: what was said.
      unsure: pairs of rows of which nobody can tell.
    """
    from dbc_jax.verbs.questions import Known

    count = len(self._loading.result().ids)
    told = Known(self._links(corrections), unsure, count)
    asked = self._next(told)
    if asked is None:
      with self._working:
        # Another may have found some meanwhile.
        asked = self._next(told)
        if asked is None:
          self._find(corrections, unsure)
          asked = self._next(told)
    elif len(self._queue) < _FEW:
      self._look_ahead(corrections, unsure)
    return asked

  def _next(self, told: Any) -> Pair | None:
    queue = self._queue
    while queue:
      pair = queue[0]
      if not told.answers(*pair[:2]):
        return pair
      queue.popleft()
    return None

  def _links(self, corrections: Sequence[Correction]) -> Any:
    """What answers and rules say of rows."""
    from dbc_jax.run import rules
    from dbc_jax.run.corrections import links

    known = self._loading.result()
    said = links(corrections, self._collection.names, known.aliases)
    return rules.with_rules(said, known.ruled)

  def _look_ahead(
    self,
    corrections: Sequence[Correction],
    unsure: Sequence[tuple[int, int]] = (),
  ) -> None:
    """Finds questions in a thread, unless one does so already."""

    def work() -> None:
      # What is wrong is told when a question is asked for.
      with self._working, contextlib.suppress(ValueError):
        self._find(corrections, unsure)
      self._looks_ahead = False

    if not self._looks_ahead:
      self._looks_ahead = True
      threading.Thread(target=work, daemon=True).start()

  def _find(
    self,
    corrections: Sequence[Correction],
    unsure: Sequence[tuple[int, int]],
  ) -> None:
    from dbc_jax.verbs.questions import least_certain_pairs

    known = self._loading.result()
    _ = known.calibration  # The first search does not wait for it.
    found = least_certain_pairs(
      known.features,
      known.labels,
      self._links(corrections),
      _QUESTIONS,
      asked=unsure,
    )
    self._queue = collections.deque(
      (int(a), int(b), None if np.isnan(p) else float(p))
      for (a, b), p in zip(found.pairs, found.probabilities, strict=True)
    )

  def parts(self, rows: np.ndarray, count: int) -> list[list[int]]:
    """Rows of the parts of a cluster, cut along its own tree.

    The largest part first, and in each part the image nearest to its mean.
    """
    from dbc_jax.verbs import reclustering

    known, rows = self._loading.result(), np.sort(rows)
    key = rows.tobytes()
    with self._cutting:
      if key not in self._trees:
        self._trees = {key: reclustering.own_tree(known.features, rows)}
      found = reclustering.parts_of(self._trees[key], rows, count)
    features = known.features
    return [
      part[np.argsort(-features[part] @ features[part].mean(axis=0))].tolist()
      for part in found
    ]

  def recluster(
    self,
    corrections: Sequence[Correction],
    read: Callable[[], Collection],
  ) -> int:
    """Clusters again, and writes clusters.csv.

    Args:
      corrections: that are heeded.
      read: the clusters, after it.

    Returns:
      How many of them name an image that the run does not have.
    """
    from dbc_jax.verbs import reclustering

    known = self._loading.result()
    with self._working:
      run = known.extractor.run
      found = reclustering.recluster(
        self._workdir, run, [*corrections], root=self._root
      )
      run = run._replace(labels=found.labels)
      loading: concurrent.futures.Future[_Known] = concurrent.futures.Future()
      loading.set_result(
        dataclasses.replace(
          known, extractor=type(known.extractor)(run), ids=read().ids
        )
      )
      self._loading = loading
      self._queue.clear()
    self._look_ahead(corrections)
    return found.unknown


def _heights(features: np.ndarray, ids: np.ndarray) -> dict[int, float]:
  """How far apart the two sides of each cluster's last merge are."""
  from dbc_jax.verbs.reclustering import own_tree

  order = np.argsort(ids, kind='stable')
  numbers, starts = np.unique(ids[order], return_index=True)
  found = {}
  for number, rows in zip(
    numbers.tolist(), np.split(order, starts[1:]), strict=True
  ):
    if number >= 0 and len(rows) > 1:
      some = rows[:: -(-len(rows) // _MOST_IMAGES)]
      found[number] = float(own_tree(features, some)[-1, 2])
  return found
