"""Freed memory stays with a process, unless the user has set it otherwise."""

import os
import subprocess
import sys

import pytest

from dbc_jax.devices import host_memory

_SCRIPT = """
import resource
import numpy as np
from dbc_jax.devices.host_memory import keep_freed_memory

print(keep_freed_memory())
for _ in range(2):  # The first may take pages, the second finds them.
  before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
  np.ones(2**26, np.uint8)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def _run(**environment):
  clean = {
    name: value
    for name, value in os.environ.items()
    if name not in ('GLIBC_TUNABLES', 'LD_PRELOAD')
    and not name.startswith('MALLOC_')
  }
  done = subprocess.run(
    [sys.executable, '-c', _SCRIPT],
    env=clean | environment,
    capture_output=True,
    text=True,
    check=True,
  )
  changed, faults = done.stdout.split()
  return changed == 'True', int(faults)


@pytest.mark.skipif(
  host_memory.platform.libc_ver()[0] != 'glibc',
  reason='what is set is a setting of glibc',
)
def test_what_is_freed_is_not_faulted_in_again():
  changed, faults = _run()
  assert changed
  assert faults < 100  # of 16,384 pages


@pytest.mark.parametrize(
  'setting',
  [
    {'GLIBC_TUNABLES': 'glibc.malloc.check=0'},
    {'MALLOC_ARENA_MAX': '3'},
  ],
)
def test_what_the_user_set_comes_first(setting):
  changed, _ = _run(**setting)
  assert not changed


def test_another_c_library_is_left_alone(monkeypatch):
  for name in list(os.environ):
    if name in ('GLIBC_TUNABLES', 'LD_PRELOAD') or name.startswith('MALLOC_'):
      monkeypatch.delenv(name)
  monkeypatch.setattr(host_memory.platform, 'libc_ver', lambda: ('', ''))
  monkeypatch.setattr(host_memory.ctypes, 'CDLL', None)
  assert not host_memory.keep_freed_memory()
