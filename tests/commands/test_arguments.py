"""What command lines share: faults told in a line, and ~ in each path."""

import argparse
import pathlib
import re
import signal
import subprocess
import sys

import pytest
import runs

from dbc_jax import main
from dbc_jax.commands import arguments

PARSERS = [arguments.path, arguments.folder, main._as_folder]


@pytest.mark.parametrize('parse', PARSERS)
def test_home(parse, tmp_path, monkeypatch):
  monkeypatch.setenv('HOME', str(tmp_path))
  assert parse('~/runs/a') == tmp_path / 'runs' / 'a'
  assert parse('runs/~') == pathlib.Path('runs/~')


@pytest.mark.parametrize('parse', PARSERS)
def test_the_home_of_nobody_is_told(parse):
  with pytest.raises(
    (ValueError, argparse.ArgumentTypeError), match=r"got '~nobody\.here/a'"
  ):
    parse('~nobody.here/a')


@pytest.mark.parametrize('text', ['', 'gs://bucket/run', 's3://bucket/run'])
def test_a_workdir_is_a_folder_of_this_machine(text):
  with pytest.raises(ValueError, match=r'workdir: got .*a folder of this mach'):
    main._as_folder(text)


def test_no_option_of_a_command_takes_a_path_as_it_is():
  for file in (runs.ROOT / 'dbc_jax' / 'commands').glob('*.py'):
    assert not re.search(r'type=(pathlib\.)?Path\b', file.read_text()), file


def test_who_reads_the_output_may_leave():
  # As `dbc search ... | head -1` does.
  lines = (
    'from dbc_jax.commands.arguments import one_line\n'
    'with one_line("", 3):\n  print("a line\\n" * 100_000)'
  )
  with subprocess.Popen(
    [sys.executable, '-c', lines],
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  ) as process:
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline() == 'a line\n'
    process.stdout.close()
    assert process.stderr.read() == ''
  assert process.returncode == 128 + signal.SIGPIPE
