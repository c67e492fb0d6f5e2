"""A trace of some training steps, for TensorBoard or Perfetto."""

import logging
import pathlib

import jax

log = logging.getLogger('dbc_jax')

_STEPS = 5


class Profiler:
  """Traces a few steps of the first epoch that this process trains."""

  def __init__(self, folder: pathlib.Path | None):
    """Takes where to write the trace, or None for no trace."""
    self._folder = folder
    self._seen = 0

  @property
  def wanted(self) -> bool:
    """Whether there is still a trace to be taken."""
    return self._folder is not None

  def count(self) -> None:
    """Counts a step; starts and ends the trace on its way.

    The first step, which compiles, is left out.
    """
    if not self.wanted:
      return
    self._seen += 1
    if self._seen == 1:
      jax.profiler.start_trace(str(self._folder))
    elif self._seen == 1 + _STEPS:
      self.finish()

  def finish(self) -> None:
    """Ends the trace, at the latest with the epoch."""
    if self.wanted and self._seen:
      jax.profiler.stop_trace()
      log.info(
        'profile of %d steps: %s (tensorboard --logdir, or ui.perfetto.dev)',
        self._seen - 1,
        self._folder,
      )
      self._folder = None
