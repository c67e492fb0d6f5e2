"""Seconds and bytes; called by the other benchmarks."""

import contextlib
import pathlib
import shutil
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax

_BROWSERS = ('chromium', 'chromium-browser', 'google-chrome')


def medians(
  calls: dict[str, Callable[[], object]], repeats: int
) -> dict[str, float]:
  """Seconds of each call, taking turns; the first turn is not counted."""
  seconds: dict[str, list[float]] = {name: [] for name in calls}
  for turn in range(repeats + 1):
    for name, call in calls.items():
      start = time.perf_counter()
      jax.block_until_ready(call())
      if turn:
        seconds[name].append(time.perf_counter() - start)
  return {name: statistics.median(values) for name, values in seconds.items()}


class Peak:
  """Peak memory of this process since this was made; Linux only."""

  def __init__(self):
    pathlib.Path('/proc/self/clear_refs').write_text('5')  # Resets the peak.
    self._before = _status('VmRSS')

  def increase(self) -> int:
    """Bytes over what the process had before."""
    return self.process() - self._before

  def process(self) -> int:
    """Bytes of the whole process."""
    return _status('VmHWM')


@contextlib.contextmanager
def chromium() -> Iterator[Any]:
  """A Chromium of Playwright, or None where there is none."""
  try:
    from playwright import sync_api
  except ImportError:
    print("no browser: pip install 'dbc_jax[browser]'")
    yield None
    return
  own = next(filter(None, map(shutil.which, _BROWSERS)), None)
  with sync_api.sync_playwright() as started:
    try:
      browser = started.chromium.launch(
        executable_path=own, args=['--no-sandbox']
      )
    except sync_api.Error as error:
      print(f'no browser: {str(error).splitlines()[0]}')
      yield None
      return
    yield browser
    browser.close()


def _status(field: str) -> int:
  for line in pathlib.Path('/proc/self/status').read_text().splitlines():
    if line.startswith(field):
      return 1024 * int(line.split()[1])
  raise ValueError(f'{field} is not in /proc/self/status')
