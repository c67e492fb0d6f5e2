"""The processes of one run, on one machine or several.

Started by main; called wherever one process acts for all, or all must agree.
The only use of `jax.distributed`. A single process needs none of it.
"""

import contextlib
import hashlib
import logging
import math
import os
import re
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from dbc_jax.devices import relay

log = logging.getLogger('dbc_jax')

# A process that gives no sign of life for so long is taken for dead by JAX,
# which aborts the others. `peers` is faster, and has better words.
TIMEOUT_SECONDS = 60
# For all of them to come.
MEET_SECONDS = 180.0
# Bytes that one process sends to the others at a time: at first, and at most.
_PACKET, _LARGEST = 2**12, 2**26
# Between two lines that tell of the waiting.
_TELL_SECONDS = 15.0


def start(
  coordinator: str | None,
  num_processes: int | None,
  process_id: int | None,
  *,
  detect: bool,
) -> None:
  """Joins the other processes of a run; to be called before any use of JAX.

  Args:
    coordinator: 'HOST:PORT' of process 0, reached by all.
    num_processes: how many there are.
    process_id: which one this is, from 0.
    detect: whether JAX asks SLURM, the TPU pod or Open MPI for these three.
      Without it and them, this is the only process.

  Raises:
    ValueError: arguments that do not go together, or no connection. Where the
      others do not come, the process ends after `MEET_SECONDS`, with a line.
  """
  given = {
    '--coordinator': coordinator,
    '--num_processes': num_processes,
    '--process_id': process_id,
  }
  missing = [name for name, value in given.items() if value is None]
  if detect and len(missing) < len(given):
    raise ValueError(
      f'--distributed: got {sorted(given.keys() - set(missing))} as well; '
      'leave them out, or --distributed, which finds them by itself'
    )
  if not detect and len(missing) == len(given):
    return
  if not detect:
    if coordinator is None or num_processes is None or process_id is None:
      raise ValueError(
        f'{", ".join(missing)}: got nothing, expected --coordinator, '
        '--num_processes and --process_id together; for one process leave '
        'out all three'
      )
    if not re.fullmatch(r'.+:\d+', coordinator):
      raise ValueError(
        f'--coordinator: got {coordinator!r}, expected HOST:PORT of process 0'
      )
    if not 0 <= process_id < num_processes:
      raise ValueError(
        f'--process_id: got {process_id}, expected 0 to --num_processes - 1 = '
        f'{num_processes - 1}'
      )
  # It would hold SIGTERM back, for a checkpoint in the middle of a stage.
  jax.config.update('jax_enable_preemption_service', False)
  address = coordinator
  if coordinator is not None and process_id:
    address = relay.start(coordinator)
  try:
    with _told_while_waiting(coordinator, process_id):
      jax.distributed.initialize(
        address,
        num_processes,
        process_id,
        cluster_detection_method=None if detect else 'deactivate',
        # Beyond the time after which the process is ended here.
        initialization_timeout=2 * int(MEET_SECONDS),
        heartbeat_timeout_seconds=TIMEOUT_SECONDS,
        shutdown_timeout_seconds=TIMEOUT_SECONDS,
      )
  except ValueError as error:
    raise ValueError(
      f'--distributed: JAX found no SLURM, TPU pod or Open MPI ({error}); '
      'give --coordinator, --num_processes and --process_id instead'
    ) from error
  except RuntimeError as error:
    raise ValueError(
      f'--coordinator: the processes did not find each other ({error}); '
      'check that process 0 can be reached there, that its port is free, and '
      'that all were started'
    ) from error


@contextlib.contextmanager
def _told_while_waiting(
  coordinator: str | None, process_id: int | None
) -> Iterator[None]:
  """Tells of processes that do not come, and ends this one in the end.

  JAX would wait without a word, and then abort with a dump of the stack. It
  waits in compiled code: no exception can end it, nor Ctrl-C.
  """
  met = threading.Event()

  def tell() -> None:
    start = time.monotonic()
    while not met.wait(min(_TELL_SECONDS, MEET_SECONDS / 2)):
      passed = time.monotonic() - start
      missing = _missing(coordinator, process_id)
      if passed >= MEET_SECONDS:
        line = (
          f'Error: --coordinator: {missing} within {MEET_SECONDS:.0f} s; start '
          'all processes, with the same --coordinator and --num_processes, and '
          'check that its port is reached from all machines'
        )
        os.write(2, f'{line}\n'.encode())
        os._exit(1)
      log.warning('%s yet (%.0f of %.0f s)', missing, passed, MEET_SECONDS)

  threading.Thread(target=tell, daemon=True).start()
  before = signal.getsignal(signal.SIGINT)
  is_main = threading.current_thread() is threading.main_thread()
  if is_main and before is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
  try:
    yield
  finally:
    met.set()
    if is_main and before is signal.default_int_handler:
      signal.signal(signal.SIGINT, before)


def _missing(coordinator: str | None, process_id: int | None) -> str:
  """Who has not come, as far as it can be known from here."""
  others = 'other processes have not come'
  if coordinator is None or not process_id:
    return others
  host, _, port = coordinator.rpartition(':')
  try:
    socket.create_connection((host.strip('[]'), int(port)), 5).close()
  except (OSError, OverflowError):
    return f'process 0 has not answered at {coordinator}'
  return f'process 0 is at {coordinator}, but {others}'


def count() -> int:
  """How many there are."""
  return jax.process_count()


def own_number() -> int:
  """Which one this is, from 0."""
  return jax.process_index()


def is_first() -> bool:
  """Whether this is the one that writes files and reports."""
  return jax.process_index() == 0


def from_first(tree: Any) -> Any:
  """What the first process has, in all of them.

  Args:
    tree: of arrays, in every process of the same shapes and dtypes.
  """
  if count() == 1:
    return tree
  return multihost_utils.broadcast_one_to_all(tree)


def bytes_of_first(given: np.ndarray) -> np.ndarray:
  """What the first process gives, in all of them.

  Args:
    given: [n] array, of any length in the first, and of no meaning elsewhere.

  Returns:
    [m] uint8.
  """
  given = given.view(np.uint8)
  if count() == 1:
    return given
  # Most are short: their length and all of them go at once.
  packet = np.zeros(_PACKET, np.uint8)
  packet[:8] = np.frombuffer(len(given).to_bytes(8, 'little'), np.uint8)
  begin = given[: _PACKET - 8]
  packet[8 : 8 + len(begin)] = begin
  packet = np.asarray(from_first(packet))
  found = np.empty(int.from_bytes(packet[:8].tobytes(), 'little'), np.uint8)
  done = min(len(found), _PACKET - 8)
  found[:done] = packet[8 : 8 + done]
  while done < len(found):
    # Of a few sizes, as each is a program of its own.
    rest = len(found) - done
    part = np.zeros(min(_LARGEST, 2 ** (rest - 1).bit_length()), np.uint8)
    begin = given[done : done + len(part)]
    part[: len(begin)] = begin
    sent = np.asarray(from_first(part))[:rest]
    found[done : done + len(sent)] = sent
    done += len(sent)
  return found


def text_of_first(text: str) -> str:
  """What the first process says, in all of them."""
  own = np.frombuffer(text.encode(errors='backslashreplace'), np.uint8)
  return bytes_of_first(own).tobytes().decode()


def gather(tree: Any) -> Any:
  """The rows of all processes, in their order, in each of them.

  Args:
    tree: of arrays [n, ...], in every process of the same shapes.

  Returns:
    Tree of NumPy arrays [count() n, ...].
  """
  if count() == 1:
    return jax.device_get(tree)
  return multihost_utils.process_allgather(tree, tiled=True)


def gather_rows(
  rows: np.ndarray, lengths: np.ndarray | None = None
) -> np.ndarray:
  """`gather` of several rows of each process, bit for bit; [n, ...] here.

  Args:
    rows: of this process.
    lengths: how many each process has, if all of them know.
  """
  if count() == 1:
    return rows
  width = rows.dtype.itemsize * math.prod(rows.shape[1:])
  sizes = None if lengths is None else width * lengths
  parts = gather_bytes(rows.tobytes(), sizes)
  together = np.concatenate([np.frombuffer(x, rows.dtype) for x in parts])
  return together.reshape(-1, *rows.shape[1:])


def share_rows(
  part: Callable[[int, int], np.ndarray], total: int
) -> np.ndarray:
  """The rows that `part(start, stop)` returns, of a range of 0..total each.

  To be called in all processes, each of which computes those of its range.
  """
  bounds = total * np.arange(count() + 1) // count()
  number = own_number()
  return gather_rows(part(int(bounds[number]), int(bounds[number + 1])))


def gather_bytes(own: bytes, sizes: np.ndarray | None = None) -> list[bytes]:
  """What each process says, in their order, in each of them.

  Args:
    own: what this one says.
    sizes: how many bytes each says, if all of them know.
  """
  if count() == 1:
    return [own]
  counts = gather(np.array([len(own)])) if sizes is None else sizes
  rows = np.zeros((1, max(1, counts.max())), np.uint8)
  rows[0, : len(own)] = np.frombuffer(own, np.uint8)
  return [
    row[:size].tobytes() for row, size in zip(gather(rows), counts, strict=True)
  ]


def largest(value: int) -> int:
  """Waits for all processes, and returns the largest of what they have."""
  return int(gather(np.array([value])).max())


def check_same(what: str, text: str) -> None:
  """Waits for all processes, and compares what they have.

  Raises:
    ValueError: in all of them, if the text differs in any.
  """
  digest = hashlib.blake2b(text.encode(), digest_size=16).digest()
  digests = gather(np.frombuffer(digest, np.uint8)[None])
  others = np.flatnonzero((digests != digests[0]).any(axis=1))
  if len(others):
    raise ValueError(
      f'{what}: process {others[0]} has another than process 0; start all '
      'processes with the same arguments, on the same files'
    )


def wait_for_all() -> None:
  """Returns when every process has come here."""
  if count() > 1:
    multihost_utils.sync_global_devices('dbc_jax')
