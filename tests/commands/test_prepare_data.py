"""The command: what it prints works elsewhere, and its errors are one line."""

import re
import subprocess
import sys

import pytest
import runs

from dbc_jax.commands import prepare_data

# The printed lines, in an interpreter that cannot import this library.
ELSEWHERE = """
import sys
sys.modules['dbc_jax'] = None
{lines}
assert len(train) == 30 and train[0]['image'].shape == (24, 12, 3)
assert train[0]['name'].startswith(b'bounding_box_train/0001_c1s1_')
train = tfds.data_source('market1501', split='train', data_dir={data_dir!r})
assert [each['pid'] for each in train] == 5 * [1] + 5 * [2] + 5 * [3] + \\
  5 * [4] + 5 * [5] + 5 * [6]
assert 'tensorflow' not in sys.modules
"""


def test_printed_lines_read_it_without_this_library(tmp_path, capsys):
  root = runs.write_market(tmp_path / "it's data")
  arguments = ['--dataset=market1501', f'--root={root}']
  prepare_data.main(arguments)
  printed = capsys.readouterr()
  assert re.match(r'Written in \d+ s: ', printed.out)
  assert f' {root}/tfds/market1501/1.0.0\n' in printed.out
  assert '\n30 train, 4 query, 12 gallery; ' in printed.out
  assert 'image/s' not in printed.err  # No bar where there is no terminal.

  prepare_data.main(arguments)
  again = capsys.readouterr().out
  assert again.startswith('Already prepared, and no file has changed: ')
  lines = [line[2:] for line in again.splitlines() if line.startswith('  ')]
  assert len(lines) == 4
  script = ELSEWHERE.format(lines='\n'.join(lines), data_dir=f'{root}/tfds')
  subprocess.run(
    [sys.executable, '-c', script], cwd=tmp_path, check=True, timeout=60
  )


def test_data_dir_is_taken(tmp_path, capsys):
  root = runs.write_images(tmp_path / 'in', ['a.png'], runs.make_images(1, 1))
  prepare_data.main(
    ['--dataset=folder', f'--root={root}', f'--data_dir={tmp_path}/out']
  )
  assert (tmp_path / 'out/folder/1.0.0/dataset_info.json').exists()
  assert not (root / 'tfds').exists()


def test_errors_are_one_line(tmp_path):
  with pytest.raises(SystemExit, match=r'Error: .*no does not exist'):
    prepare_data.main(['--dataset=folder', f'--root={tmp_path}/no'])
  assert list(tmp_path.iterdir()) == []


def test_an_unknown_data_set_gets_those_that_there_are(capsys):
  with pytest.raises(SystemExit, match='2'):
    prepare_data.main(['--dataset=cuhk03', '--root=.'])
  error = capsys.readouterr().err
  assert "choose from 'dukemtmc_reid', 'dukemtmc_videoreid'" in error
