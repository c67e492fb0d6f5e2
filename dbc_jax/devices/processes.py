"""The processes of one run, on one machine or several.

Started by main; called wherever one process acts for all, or all must agree.
The only use of `jax.distributed`. A single process needs none of it.
"""

import hashlib
import re
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

# When a process dies, the others have ended after about this time.
TIMEOUT_SECONDS = 30


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
    ValueError: arguments that do not go together, or no connection.
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
  try:
    jax.distributed.initialize(
      coordinator,
      num_processes,
      process_id,
      cluster_detection_method=None if detect else 'deactivate',
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


def count() -> int:
  """How many there are."""
  return jax.process_count()


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


def text_of_first(text: str) -> str:
  """What the first process says, in all of them; of 2,000 bytes at most."""
  if count() == 1:
    return text
  given = np.zeros(2000, np.uint8)
  own = text.encode(errors='backslashreplace')[: len(given)]
  given[: len(own)] = np.frombuffer(own, np.uint8)
  return bytes(from_first(given)).rstrip(b'\0').decode(errors='replace')


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
