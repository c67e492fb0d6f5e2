"""A checkpoint within a stage, or within the warm-up."""

import logging
import pathlib
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from dbc_jax.devices import interrupts, processes
from dbc_jax.run.checkpoint import CheckpointStore
from dbc_jax.run.selection import Stage

log = logging.getLogger('dbc_jax')


class Moment(NamedTuple):
  """Where the training of a stage stands, between two steps.

  Attributes:
    state: the `TrainState`.
    steps: of the stage, done.
    sums: of the current epoch so far: losses, accuracies, and of how many
      steps.
    seconds: of training the stage.
    images_per_second: of it.
  """

  state: Any
  steps: int
  sums: tuple[float, float, int] = (0.0, 0.0, 0)
  seconds: float = 0.0
  images_per_second: float = 0.0


# All of it that is no array.
_FACTS = Moment._fields[1:]


class Saved(NamedTuple):
  """What is known of a stage that was interrupted.

  Attributes:
    moment: with the arrays of its state by their paths, of all but the key.
    labels: [N] int32 that the stage trains on.
    history: records of the stages before.
  """

  moment: Moment
  labels: np.ndarray
  history: list[dict[str, Any]]


class WithinStore:
  """The latest moment of the stage that is being trained."""

  def __init__(
    self,
    folder: pathlib.Path,
    minutes: float,
    facts: dict[str, Any],
    check: Callable[[], None] = lambda: None,
  ):
    """Opens nothing yet.

    Args:
      folder: of the checkpoints.
      minutes: between two of them.
      facts: what says of which run they are.
      check: raises where the folder is another run's by now; called before
        anything is written.
    """
    self._check = check
    self._folder = folder
    self._minutes = minutes
    self._facts = facts
    self._store: CheckpointStore | None = None
    self._last = time.monotonic()
    self._known: tuple[Stage, int] | None = None

  def find(self, stage: Stage) -> Saved | None:
    """What there is of a stage; anything else is deleted."""
    self._last, self._known = time.monotonic(), None
    if not self._folder.is_dir():
      return None
    store = self._opened()
    records, _ = store.whole()
    for number, record in sorted(records.items(), reverse=True):
      if record['stage'] == stage:
        store.keep_only({number})
        arrays = store.restore_as_saved(number)
        self._known = stage, record['steps']
        facts = {name: record[name] for name in _FACTS}
        facts['sums'] = (*record['sums'],)  # JSON has lists.
        moment = Moment(arrays['state'], **facts)
        return Saved(moment, arrays['labels'], record['history'])
    self.clear()
    return None

  def offer(
    self,
    stage: Stage,
    moment: Moment,
    labels: np.ndarray,
    history: list[dict[str, Any]],
  ) -> None:
    """Saves a moment if it is time to, or if a signal ends the run.

    All processes have to call it at the same moments.

    Raises:
      Interrupted: a signal came, to any process; the moment is saved.
    """
    is_due = time.monotonic() - self._last >= 60 * self._minutes
    # 1: it is due; above: a signal, whose number is one less.
    own = interrupts.asked() + 1 if interrupts.asked() else int(is_due)
    wanted = processes.largest(own)
    is_new = moment.steps and self._known != (stage, moment.steps)
    if wanted and is_new:
      self._save(stage, moment, labels, history)
    if wanted > 1:
      where = f'step {moment.steps} of stage {stage}' if moment.steps else ''
      raise interrupts.Interrupted(wanted - 1, where or 'the last checkpoint')

  def clear(self) -> None:
    """Deletes what there is: its stage is done."""
    self._last, self._known = time.monotonic(), None
    if self._folder.is_dir():
      self._check()
      self._opened().keep_only(set())

  def _opened(self) -> CheckpointStore:
    self._store = self._store or CheckpointStore(self._folder)
    return self._store

  def _save(
    self,
    stage: Stage,
    moment: Moment,
    labels: np.ndarray,
    history: list[dict[str, Any]],
  ) -> None:
    self._check()
    store = self._opened()
    number = max(store.stages(), default=-1) + 1
    record = {name: getattr(moment, name) for name in _FACTS}
    record |= {'stage': stage, 'history': history}
    store.save(
      number,
      {'state': arrays_of(moment.state), 'labels': labels},
      self._facts | record,
    )
    store.check(number)  # Before the one before it goes.
    store.keep_only({number})
    self._last, self._known = time.monotonic(), (stage, moment.steps)
    log.info('stage %s: saved at step %d', stage, moment.steps)


def arrays_of(state: Any) -> dict[str, np.ndarray]:
  """The arrays of a `TrainState` by their paths, but for the run's key.

  An empty one is left out: a checkpoint holds none.
  """
  leaves = jax.tree_util.tree_leaves_with_path(state._replace(rng=None))
  return {
    jax.tree_util.keystr(path): np.asarray(leaf)
    for path, leaf in leaves
    if np.size(leaf)
  }


def with_arrays(state: Any, arrays: dict[str, np.ndarray]) -> Any:
  """A `TrainState` with the arrays that `arrays_of` gave.

  Raises:
    ValueError: they are not those of such a state; names one.
  """
  expected = arrays_of(state)
  for name in sorted(expected.keys() | arrays.keys()):
    found, wanted = (
      f'{x[name].dtype}{list(x[name].shape)}' if name in x else None
      for x in (arrays, expected)
    )
    if found != wanted:
      raise ValueError(f'{name} is {found}, expected {wanted}')
  filled = jax.tree_util.tree_map_with_path(
    lambda path, leaf: arrays.get(jax.tree_util.keystr(path), leaf),
    state._replace(rng=None),
  )
  return filled._replace(rng=state.rng)
