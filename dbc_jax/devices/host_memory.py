"""What the C library does with memory that a step has freed.

By default glibc gives large blocks back to the system, and the next step pays
for every page of 4 KB anew. Kept, and in pages of 2 MB, they cost nothing: a
small network trains a third faster. The process keeps its peak, which is
higher, too (docs/performance.md).
"""

import ctypes
import os
import platform

from dbc_jax.devices import limits

_SETTINGS = ('GLIBC_TUNABLES', 'LD_PRELOAD')
# malloc.h and sys/mman.h of Linux.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX, _ARENA_MAX = -1, -2, -4, -8
_MADV_HUGEPAGE = 14
_HUGE_PAGE = 2**21
_MOST = 2**31 - _HUGE_PAGE  # what a C int holds
_BLOCK = 2**30


def keep_freed_memory() -> bool:
  """Lets this process keep what it frees, in huge pages where it can.

  For a process that trains on a CPU, before it takes much memory. It reserves
  addresses, not memory. Where the user has set how memory is allocated, or the
  C library is another, it changes nothing.

  Returns:
    Whether it has changed anything.
  """
  is_set = any(
    name in _SETTINGS or name.startswith('MALLOC_') for name in os.environ
  )
  if is_set or platform.libc_ver()[0] != 'glibc':
    return False
  c = ctypes.CDLL(None)
  # One heap for all threads, which never shrinks and holds blocks of any size.
  for option, value in (
    (_ARENA_MAX, 1),
    (_MMAP_MAX, 0),
    (_TRIM_THRESHOLD, _MOST),
    (_TOP_PAD, _MOST),
  ):
    c.mallopt(option, value)
  c.malloc.restype = c.sbrk.restype = ctypes.c_void_p
  c.malloc.argtypes, c.free.argtypes = [ctypes.c_size_t], [ctypes.c_void_p]
  c.sbrk.argtypes = [ctypes.c_ssize_t]
  c.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
  # The heap grows now, by half of the memory there is, so that all of it can be
  # asked for in huge pages. Nothing is written there yet.
  start = c.sbrk(0)
  size = (limits.host_memory() or 0) // 2
  blocks = [c.malloc(_BLOCK) for _ in range(size // _BLOCK)]
  start = -(-start // _HUGE_PAGE) * _HUGE_PAGE
  end = c.sbrk(0)
  if end > start:  # A system without huge pages refuses, and no harm is done.
    c.madvise(start, end - start, _MADV_HUGEPAGE)
  for block in blocks:
    c.free(block)
  return True
