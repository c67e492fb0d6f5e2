"""Memory that processes share, as far as one process alone can show it.

test_processes.py has several.
"""

import errno
import os

import numpy as np
import pytest

from dbc_jax.devices import hosts


@pytest.fixture
def folder(tmp_path, monkeypatch):
  monkeypatch.setattr('tempfile.tempdir', str(tmp_path))
  return tmp_path


def test_one_process_is_one_machine(folder):
  assert hosts.groups() == [[0]]


def test_shared_bytes_can_be_written_and_leave_no_file(folder):
  shared = hosts.shared_bytes(5000, [0])
  np.testing.assert_array_equal(shared, np.zeros(5000, np.uint8))
  shared[4999] = 7
  assert shared[4999] == 7
  assert not [*folder.iterdir()]


def test_a_full_folder_is_one_line(folder, monkeypatch):
  def full(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

  monkeypatch.setattr(os, 'posix_fallocate', full)
  with pytest.raises(ValueError, match=r'^TMPDIR: process 0 finds no room for'):
    hosts.shared_bytes(5000, [0])
  assert not [*folder.iterdir()]
