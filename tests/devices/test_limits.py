"""The memory of a machine, and what a container has of it."""

import os

import pytest

from dbc_jax.devices import limits, mesh

ALL = os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')


def _host(root, **files):
  for name, text in files.items():
    path = root / name.replace('__', '/')
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
  return limits.host_memory(root)


def test_a_machine_alone(tmp_path):
  assert limits.host_memory(tmp_path) == ALL


@pytest.mark.parametrize(
  ('group', 'files', 'expected'),
  [
    ('0::/\n', {'sys/fs/cgroup/memory.max': '2000\n'}, 2000),
    ('0::/\n', {'sys/fs/cgroup/memory.max': 'max\n'}, ALL),
    # The smallest of a group and those around it.
    (
      '0::/job/step\n',
      {
        'sys/fs/cgroup/job/memory.max': '3000\n',
        'sys/fs/cgroup/job/step/memory.max': 'max\n',
      },
      3000,
    ),
    (
      '4:cpu:/x\n7:memory:/x\n',
      {'sys/fs/cgroup/memory/x/memory.limit_in_bytes': '4000\n'},
      4000,
    ),
    # Of another controller, or no limit: more than there is.
    (
      '7:memory:/\n',
      {'sys/fs/cgroup/memory/memory.limit_in_bytes': f'{2**63 - 4096}\n'},
      ALL,
    ),
  ],
)
def test_a_control_group_bounds_it(tmp_path, group, files, expected):
  files = {name.replace('/', '__'): text for name, text in files.items()}
  assert _host(tmp_path, proc__self__cgroup=group, **files) == expected


def test_what_a_group_has_taken_is_not_free(tmp_path):
  files = {
    'proc/self/cgroup': '0::/job\n',
    'proc/meminfo': 'MemTotal: 9 kB\nMemAvailable:   8 kB\n',
    'sys/fs/cgroup/job/memory.max': '5000\n',
    'sys/fs/cgroup/job/memory.current': '3000\n',
    # Files that are read and not needed any more can go.
    'sys/fs/cgroup/job/memory.stat': 'anon 2000\ninactive_file 800\n',
  }
  assert _host(tmp_path, **{k.replace('/', '__'): x for k, x in files.items()})
  assert limits.free_memory(tmp_path) == 5000 - 3000 + 800
  (tmp_path / 'sys/fs/cgroup/job/memory.max').write_text('max\n')
  assert limits.free_memory(tmp_path) == 8 * 1024


def test_the_choices_are_made_by_it(monkeypatch):
  monkeypatch.setattr(limits, 'host_memory', lambda: 12345)
  assert mesh.device_memory() == 12345


def test_free_memory_is_a_part_of_all_memory():
  free = limits.free_memory()
  assert free is not None
  assert 0 < free <= limits.host_memory()
