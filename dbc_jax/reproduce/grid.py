"""Runs the jobs of an experiment side by side, and shows how far they are."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any, NoReturn

from tqdm import tqdm

from dbc_jax.devices import limits
from dbc_jax.reporting import format_record
from dbc_jax.reporting.time_to_go import duration
from dbc_jax.reproduce.jobs import Job

# A run keeps its images, and some hundred MB of programs and workspace.
_GB_OF_A_RUN = 2.0
PREALLOCATE = 'XLA_PYTHON_CLIENT_PREALLOCATE'
_POLL_SECONDS = 1.0
# In the new process, before anything there makes threads of its own.
_RUN = (
  'import runpy; '
  "runpy.run_module('dbc_jax.reproduce.worker', run_name='__main__')"
)
# Of a GPU's memory, what its workers share.
_MEMORY_SHARE = 0.9


def check_workers(asked: int) -> tuple[int, str]:
  """How many runs this machine can have side by side.

  Returns:
    As many as asked, or fewer; and why fewer, or ''.
  """
  cores, free = len(_cores()), limits.free_memory()
  memory = float('inf') if free is None else free / 1e9
  if asked > cores:
    return cores, f'this machine has {cores} cores for --workers={asked}'
  fit = max(1, int(memory / _GB_OF_A_RUN))
  if asked > fit:
    return fit, f'{memory:.0f} GB of memory are free for --workers={asked}'
  return asked, ''


def run_all(
  jobs: Sequence[Job],
  estimates: Sequence[float | None],
  counts: Sequence[int],
  *,
  workers: int,
  keep_stages: bool,
) -> list[Job]:
  """Runs what is not done.

  Args:
    jobs: all of them.
    estimates: seconds of each on the whole machine, None where unknown.
    counts: how many records each ends with.
    workers: how many run side by side, each on its share of the cores.
    keep_stages: whether features and clusters of every stage are kept.

  Returns:
    Those that failed; `log.txt` in the workdir of each says why.
  """
  queue = [job for job in jobs if not job.is_done()]
  cores = _cores()
  failed: list[Job] = []
  running: list[subprocess.Popen[bytes]] = []
  stop, lock = threading.Event(), threading.Lock()

  def work(share: list[int]) -> None:
    while True:
      with lock:
        if stop.is_set() or not queue:
          return
        job = queue.pop(0)
        try:
          process = _start(job, share, workers, keep_stages)
        except OSError as error:
          print(f'{job.workdir}: {error}', file=sys.stderr)
          failed.append(job)
          continue
        running.append(process)
      if process.wait() and not stop.is_set():
        failed.append(job)

  threads = [
    threading.Thread(target=work, args=[cores[i::workers]])
    for i in range(workers)
  ]
  progress = _Progress(jobs, estimates, counts)
  # A batch system's signal ends it as Ctrl-C does.
  handlers = {
    number: signal.signal(number, _interrupt)
    for number in (signal.SIGTERM, signal.SIGHUP)
  }
  try:
    for thread in threads:
      thread.start()
    while any(thread.is_alive() for thread in threads):
      time.sleep(_POLL_SECONDS)
      progress.update()
  except BaseException:
    with lock:
      stop.set()
    for process in running:
      process.terminate()
    raise
  finally:
    for thread in threads:
      if thread.ident is not None:
        thread.join()
    progress.update()
    progress.close()
    for number, handler in handlers.items():
      signal.signal(number, handler)
  return failed


def _interrupt(number: int, frame: Any) -> NoReturn:
  del number, frame
  raise KeyboardInterrupt


def _start(
  job: Job, cores: list[int], workers: int, keep_stages: bool
) -> subprocess.Popen[bytes]:
  job.workdir.mkdir(parents=True, exist_ok=True)
  environment = os.environ | {
    'XLA_PYTHON_CLIENT_MEM_FRACTION': f'{_MEMORY_SHARE / workers:.2f}'
  }
  environment.pop(PREALLOCATE, None)
  pin = ''
  if workers > 1 and hasattr(os, 'sched_setaffinity'):
    pin = f'import os; os.sched_setaffinity(0, {cores}); '
  command = [
    *(sys.executable, '-c', pin + _RUN),
    f'{job.row.config}:{job.dataset}',
    str(job.workdir),
    job.row.kind,
    json.dumps(job.changes),
  ]
  with (job.workdir / 'log.txt').open('a') as log:
    return subprocess.Popen(
      command + ['keep_stages'] * keep_stages,
      stdin=subprocess.DEVNULL,
      stdout=log,
      stderr=log,
      env=environment,
      # Ctrl-C reaches them once, from here, so that they save before they end.
      start_new_session=True,
    )


class _Progress:
  """One bar over all runs; a line for each that ends."""

  def __init__(
    self,
    jobs: Sequence[Job],
    estimates: Sequence[float | None],
    counts: Sequence[int],
  ):
    self._jobs, self._counts = jobs, counts
    # Unknown ones cost alike.
    self._costs = [seconds or 1.0 for seconds in estimates]
    self._told = {job.workdir for job in jobs if job.is_done()}
    self._start, self._before = time.monotonic(), self._work_done()
    self._on_terminal = sys.stderr.isatty()
    self._bar = tqdm(
      total=100,
      disable=not self._on_terminal,
      bar_format='{desc} {percentage:3.0f}% |{bar}| {elapsed}, {postfix} left',
    )

  def _work_done(self) -> float:
    return sum(
      cost * (1.0 if job.is_done() else min(1.0, len(job.history()) / count))
      for job, cost, count in zip(
        self._jobs, self._costs, self._counts, strict=True
      )
    )

  def update(self) -> None:
    """Looks at the workdirs."""
    now, total = self._work_done(), sum(self._costs)
    gained, elapsed = now - self._before, time.monotonic() - self._start
    left = (total - now) * elapsed / gained if gained > 0 else None
    for job in self._jobs:
      if job.workdir in self._told or not job.is_done():
        continue
      self._told.add(job.workdir)
      line = (
        f'{len(self._told)}/{len(self._jobs)} {job.workdir.parent.name}/'
        f'{job.workdir.name}: {format_record(job.history()[-1])}'
      )
      if self._on_terminal:
        self._bar.write(line, file=sys.stderr)
      else:
        line += f'; {duration(left)} left'
        print(line, file=sys.stderr, flush=True)
    self._bar.n = round(100 * now / total)
    self._bar.set_description_str(f'{len(self._told)}/{len(self._jobs)} runs')
    self._bar.set_postfix_str(duration(left))

  def close(self) -> None:
    """Ends the bar."""
    self._bar.close()


def _cores() -> list[int]:
  if hasattr(os, 'sched_getaffinity'):
    return sorted(os.sched_getaffinity(0))
  return [*range(os.cpu_count() or 1)]
