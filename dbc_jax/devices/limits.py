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
  found = [limit for limit, _ in _limits(root)]
  # Not on every system.
  with contextlib.suppress(AttributeError, OSError, ValueError):
    found.append(os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE'))
  return min(found, default=None)


def free_memory(root: Path = Path('/')) -> int | None:
  """Bytes that programs can still have; None where nothing is known.

  Args:
    root: as of `host_memory`.
  """
  found = [limit - used for limit, used in _limits(root)]
  with contextlib.suppress(OSError):
    for line in (root / 'proc/meminfo').read_text().splitlines():
      if line.startswith('MemAvailable:'):
        found.append(int(line.split()[1]) * 1024)
  if not found:
    with contextlib.suppress(AttributeError, OSError, ValueError):
      pages = os.sysconf('SC_AVPHYS_PAGES')
      found.append(pages * os.sysconf('SC_PAGE_SIZE'))
  return max(0, min(found)) if found else None


def _limits(root: Path) -> list[tuple[int, int]]:
  """Of the control groups of this process, and what each has taken.

  Files in memory that can go count as free.
  """
  try:
    lines = (root / 'proc/self/cgroup').read_text().splitlines()
  except (OSError, ValueError):
    lines = []
  folders = []
  for line in lines:
    _, controllers, path = (*line.split(':', 2), '', '')[:3]
    if not controllers:
      home, names = root / 'sys/fs/cgroup', ('memory.max', 'memory.current')
    elif 'memory' in controllers.split(','):
      home = root / 'sys/fs/cgroup/memory'
      names = 'memory.limit_in_bytes', 'memory.usage_in_bytes'
    else:
      continue
    # A group is bound by all that it lies in. Within a container the path may
    # be that of the host, and the container's own group is at the top.
    own = Path(path.lstrip('/'))
    folders += [(home / part, *names) for part in (own, *own.parents)]
  found = []
  for folder, limit, used in folders:
    try:
      most, now = int((folder / limit).read_text()), _number(folder / used)
    except (OSError, ValueError):  # 'max': no limit.
      continue
    if most > 0:
      found.append((most, max(0, now - _number(folder / 'memory.stat'))))
  return found


def _number(file: Path) -> int:
  """What a file says; of memory.stat, of files that nobody uses now."""
  try:
    words = file.read_text().split()
  except OSError:
    return 0
  if len(words) == 1:
    return int(words[0])
  for name in ('total_inactive_file', 'inactive_file'):
    if name in words:
      return int(words[words.index(name) + 1])
  return 0
