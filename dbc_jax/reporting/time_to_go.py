"""How long a run still takes, by what of it has been measured."""

import time
from collections.abc import Mapping

from dbc_jax.reporting.record import Stage

# Of steps, before their speed counts: so long, and this share of what the first
# of them took, which compiles.
_SECONDS, _SHARE = 1.0, 0.1


class RunClock:
  """The time to go, of a run whose parts train and then do something else.

  Trainings take as long for each unit of their work as the latest that was
  measured; what follows a training takes as long as it last did. Nothing is
  said of what was not measured.
  """

  def __init__(self, work: Mapping[Stage, float]):
    """Nothing has begun.

    Args:
      work: of each part, in order: what its training passes through the
        network, in any unit.
    """
    self._work = dict(work)
    self._current = next(iter(self._work))
    self._rate: float | None = None  # Seconds a unit of work.
    self._rest: float | None = None  # Seconds between two trainings.
    self._ended: float | None = None  # When the latest training ended.
    # The share of the current part that is done, and that was when it began.
    self._share, self._begun, self._epoch = 0.0, 0.0, 0
    self._start = self._last = time.monotonic()
    # When the first step was there, the share of the part by then, its epoch.
    self._first_epoch = 0
    self._first: tuple[float, float] | None = None

  def begin(self, part: Stage) -> None:
    """The training of a part begins."""
    now = time.monotonic()
    if self._ended is not None:
      self._rest, self._ended = now - self._ended, None
    self._current, self._share, self._begun, self._epoch = part, 0.0, 0.0, 0
    self._start = self._last = now
    self._first = None

  def resume(self, share: float) -> None:
    """So much of the part was done before."""
    self._share = self._begun = share

  def count(self, share: float, epoch: int) -> None:
    """A step is there: so much of the part is done, in this epoch of it."""
    if self._first is None:
      self._first, self._first_epoch = (time.monotonic(), share), epoch
    elif epoch > self._epoch == self._first_epoch and not self._is_measured():
      # A device that computes whole epochs hands out all steps at once.
      self._first = self._last, self._share
    self._last, self._share, self._epoch = time.monotonic(), share, epoch
    if self._is_measured():
      since, before = self._first
      self._rate = (self._last - since) / ((share - before) * self._units())

  def end(self) -> None:
    """The training of the part is over."""
    done = self._share - self._begun
    if not self._is_measured() and done:
      self._rate = (self._last - self._start) / (done * self._units())
    self._ended = time.monotonic()

  def describe(self) -> str:
    """'about 3 min to go', or '' where nothing is known, or all is done."""
    if self._rate is None:
      return ''
    parts = [*self._work]
    later = parts[parts.index(self._current) + 1 :]
    seconds = self._rate * sum(self._work[part] for part in later)
    if self._ended is not None:
      rest, count = time.monotonic() - self._ended, len(later)
    else:
      seconds += self._rate * self._units() * (1 - self._share)
      rest, count = self._rest, len(later) + 1
    if not count:
      return ''
    if rest is None:
      return f'about {duration(seconds)} of training to go'
    return f'about {duration(seconds + rest * count)} to go'

  def _units(self) -> float:
    return self._work[self._current]

  def _is_measured(self) -> bool:
    """Whether steps of this part took long enough to tell their speed."""
    if self._first is None or self._share <= self._first[1]:
      return False
    least = max(_SECONDS, _SHARE * (self._first[0] - self._start))
    return self._last - self._first[0] >= least


def duration(seconds: float | None) -> str:
  """'2 h 5 min', '3 min', '40 s', or 'unknown'."""
  if seconds is None:
    return 'unknown'
  if seconds < 90:
    return f'{seconds:.0f} s'
  minutes = round(seconds / 60)
  if minutes < 90:
    return f'{minutes} min'
  return f'{minutes // 60} h {minutes % 60} min'
