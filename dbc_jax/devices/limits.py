"""How much of the host's memory this process may take."""

import contextlib
import os
from pathlib import Path


def host_memory(root: Path = Path('/')) -> int | None:
  """Bytes that the machine has, or fewer where a control group says so.

  Containers and jobs of a cluster are given a part of a machine. Beyond it they
  are killed without a word.

  Args:
    root: below which /proc and /sys are.

  Returns:
    The smallest of all that is known; None where nothing is.
  """
  found = [*_limits(root)]
  # Not on every system.
  with contextlib.suppress(AttributeError, OSError, ValueError):
    found.append(os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE'))
  return min(found, default=None)


def free_memory() -> int | None:
  """Bytes that programs can still have, of `host_memory`; None: unknown."""
  found = [host_memory()]
  with contextlib.suppress(OSError):
    for line in Path('/proc/meminfo').read_text().splitlines():
      if line.startswith('MemAvailable:'):
        found.append(int(line.split()[1]) * 1024)
  if len(found) == 1:
    with contextlib.suppress(AttributeError, OSError, ValueError):
      pages = os.sysconf('SC_AVPHYS_PAGES')
      found.append(pages * os.sysconf('SC_PAGE_SIZE'))
  return min((each for each in found if each is not None), default=None)


def _limits(root: Path) -> list[int]:
  """Of the control groups of this process, of either version."""
  try:
    lines = (root / 'proc/self/cgroup').read_text().splitlines()
  except (OSError, ValueError):
    lines = []
  folders = []
  for line in lines:
    _, controllers, path = (*line.split(':', 2), '', '')[:3]
    if not controllers:
      home, name = root / 'sys/fs/cgroup', 'memory.max'
    elif 'memory' in controllers.split(','):
      home, name = root / 'sys/fs/cgroup/memory', 'memory.limit_in_bytes'
    else:
      continue
    # A group is bound by all that it lies in. Within a container the path may
    # be that of the host, and the container's own group is at the top.
    own = Path(path.lstrip('/'))
    folders += [home / part / name for part in (own, *own.parents)]
  found = []
  for file in folders:
    try:
      found.append(int(file.read_text()))
    except (OSError, ValueError):  # 'max': no limit.
      continue
  return [limit for limit in found if limit > 0]
