"""The bar of a training, with its mean loss and speed; a sign of other work."""

import contextlib
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Self

import tqdm

from dbc_jax.reporting.record import Stage
from dbc_jax.reporting.time_to_go import RunClock

log = logging.getLogger('dbc_jax')

# Seconds before work that has no bar says what it is.
_PATIENCE = 3.0
# Between two lines of a log that say how far it has come.
_TELL_SECONDS = 60.0
_COUNTED = (
  '{desc} {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{elapsed}{postfix}]'
)


class _Count:
  """How far some work has come, as it says itself, and how fast."""

  def __init__(self) -> None:
    self.done = self.total = 0
    self._first: tuple[int, float] | None = None
    self._rate = 0.0

  def __call__(self, done: int, total: int) -> None:
    now = time.monotonic()
    self._first = self._first or (done, now)
    if now > self._first[1]:
      self._rate = (done - self._first[0]) / (now - self._first[1])
    self.done, self.total = done, total

  @property
  def rate(self) -> str:
    """Such as '3.1/s', of all that were counted."""
    return f'{self._rate:,.1f}/s'


@contextlib.contextmanager
def busy(what: str) -> Iterator[Callable[[int, int], None]]:
  """Says what is done, if that takes seconds.

  On a terminal it counts them until it is done, elsewhere it logs one line.
  Work that calls what this yields, with how much is done of how much, has a bar
  on a terminal, and elsewhere a line a minute.
  """
  done, count = threading.Event(), _Count()

  def watch() -> None:
    if done.wait(_PATIENCE):
      return
    if not sys.stderr.isatty():
      log.info('%s ...', what)
      while not done.wait(_TELL_SECONDS):
        if count.total:
          log.info(
            '%s: %s', what, f'{count.done:,} of {count.total:,}, {count.rate}'
          )
      return
    with tqdm.tqdm(
      desc=what,
      bar_format='{desc} [{elapsed}]',
      leave=False,
      dynamic_ncols=True,
      delay=1e-9,  # It draws nothing until its clock is set.
    ) as bar:
      bar.start_t -= _PATIENCE
      bar.refresh()
      while not done.wait(1.0):
        if count.total:
          bar.bar_format = _COUNTED
          bar.total, bar.n = count.total, count.done
          bar.set_postfix_str(count.rate, refresh=False)
        bar.refresh()

  watcher = threading.Thread(target=watch, daemon=True)
  watcher.start()
  try:
    yield count
  finally:
    done.set()
    watcher.join()


class StageProgress:
  """Context manager: a bar on a terminal, else only the two numbers.

  Attributes:
    name: 'stage 3', or 'warm-up'.
    enabled: whether there is a bar.
    epoch_loss, epoch_accuracy: means of the current epoch so far; NaN before
      any step.
    images_per_second: since the stage began, compilation included; 0 before
      any step.
  """

  def __init__(
    self,
    stage: Stage,
    num_stages: int,
    num_epochs: int,
    steps_per_epoch: int,
    batch_size: int,
    enabled: bool | None = None,
    clock: RunClock | None = None,
  ) -> None:
    """Shows nothing yet.

    `stage` may be the warm-up, `num_stages` are of the whole run, counted from
    0, `num_epochs` of this stage, `batch_size` images of a step, over all
    devices. `enabled` is whether to draw; None asks whether stderr is a
    terminal. `clock` is of the whole run; without one, the time to go is that
    of this training.
    """
    # Over the number of the last stage, since log lines count from 0 as well.
    self._stage = stage
    self.name = self._prefix = 'warm-up'
    if isinstance(stage, int):
      self.name = f'stage {stage}'
      self._prefix = f'{self.name}/{max(stage, num_stages - 1)}'
    self._num_epochs = num_epochs
    self._num_steps = num_epochs * steps_per_epoch
    self._batch_size = batch_size
    self.enabled = sys.stderr.isatty() if enabled is None else enabled
    self._clock = clock or RunClock({stage: 1.0})
    self._bar: tqdm.tqdm | None = None
    self._start = self._last = time.monotonic()
    self._before = self._steps = 0
    self._epoch = -1
    self._epoch_steps = 0
    self._sums = [0.0, 0.0]

  def __enter__(self) -> Self:
    self._start = self._last = time.monotonic()
    self._clock.begin(self._stage)
    if self.enabled:
      self._bar = tqdm.tqdm(
        total=self._num_steps,
        desc=self._prefix,
        unit='step',
        leave=False,
        dynamic_ncols=True,
        # Our own images/s stands in for tqdm's steps/s, and the time to go of
        # the run for that of the stage.
        bar_format=_COUNTED,
      )
    return self

  def __exit__(self, *error: object) -> None:
    self._clock.end()
    if self._bar is not None:
      self._bar.close()

  def resume(self, steps: int, sums: tuple[float, float, int]) -> None:
    """Takes up a stage at a step, with the `sums` of the epoch it is in."""
    each = self._num_steps // self._num_epochs
    # After the last step of an epoch the sums are still its own.
    self._epoch = max(0, steps - 1) // each if sums[2] else -1
    self._sums, self._epoch_steps = [sums[0], sums[1]], sums[2]
    self._before = steps
    self._clock.resume(steps / self._num_steps)
    if self._bar is not None:
      self._bar.update(steps)

  def update(self, epoch: int, loss: float, accuracy: float) -> None:
    """Counts one step, of an epoch within the stage, from 0."""
    if epoch != self._epoch:
      self._epoch, self._epoch_steps, self._sums = epoch, 0, [0.0, 0.0]
    self._steps += 1
    self._epoch_steps += 1
    self._sums[0] += loss
    self._sums[1] += accuracy
    self._last = time.monotonic()
    share = (self._before + self._steps) / self._num_steps
    self._clock.count(share, epoch)
    if self._bar is not None:
      # tqdm draws at most ten times a second, by itself, within update().
      self._bar.set_description(
        f'{self._prefix} epoch {epoch + 1}/{self._num_epochs}', refresh=False
      )
      self._bar.set_postfix_str(
        f'loss {self.epoch_loss:.2f}, {self.images_per_second:.0f} images/s'
        + self._to_go(),
        refresh=False,
      )
      self._bar.update()

  def describe(self) -> str:
    """The current epoch in a line of a log."""
    return (
      f'{self.name} epoch {self._epoch + 1}/{self._num_epochs}: '
      f'loss {self.epoch_loss:.2f}, '
      f'accuracy {100 * self.epoch_accuracy:.0f} %, '
      f'{self.images_per_second:.0f} images/s' + self._to_go()
    )

  def _to_go(self) -> str:
    text = self._clock.describe()
    return f', {text}' if text else ''

  @property
  def sums(self) -> tuple[float, float, int]:
    """Of losses and accuracies of the current epoch, and of how many steps."""
    return self._sums[0], self._sums[1], self._epoch_steps

  @property
  def epoch_loss(self) -> float:
    return self._mean(0)

  @property
  def epoch_accuracy(self) -> float:
    return self._mean(1)

  def _mean(self, which: int) -> float:
    if not self._epoch_steps:
      return float('nan')
    return self._sums[which] / self._epoch_steps

  @property
  def images_per_second(self) -> float:
    if not self._steps:
      return 0.0
    seconds = max(self._last - self._start, 1e-9)
    return self._steps * self._batch_size / seconds
