"""What the command prints, draws and returns for good and for bad copies."""

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import runs
from PIL import Image

from dbc_jax.commands import check_data
from dbc_jax.data.synthetic import video as video_lib

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture
def out(tmp_path) -> pathlib.Path:
  return tmp_path / 'new' / 'out'


@pytest.fixture
def crops(tmp_path) -> pathlib.Path:
  """Eight images, two of which are equal."""
  images = runs.make_images(8, 4)
  images[5] = images[2]
  names = [f'{i // 4}/{i}.png' for i in range(8)]
  return runs.write_images(tmp_path / 'crops', names, images)


def check(capsys, out, dataset: str, *arguments) -> tuple[int, str, str]:
  status = check_data.main([f'--dataset={dataset}', f'--out={out}', *arguments])
  printed = capsys.readouterr()
  return status, printed.out, printed.err


def test_a_test_set_alone(crops, out, capsys) -> None:
  write_csv(crops, ['0/0.png,1,1,query', '1/4.png,2,1,gallery'])
  status, text, _ = check(
    capsys, out, 'folder', f'--root={crops}', '--csv=list.csv'
  )
  assert status == 0
  assert 'No training images: it can be scored, and not trained on.' in text


def write_csv(crops: pathlib.Path, rows: list[str]) -> None:
  header = 'path,camid,pid,split'
  (crops / 'list.csv').write_text('\n'.join([header, *rows]) + '\n')


def test_reduced_market1501(tmp_path, out, capsys, recwarn) -> None:
  root = runs.write_market(tmp_path / 'market')
  status, text, _ = check(capsys, out, 'market1501', f'--root={root}')
  assert status == 1
  assert not recwarn.list
  lines = text.splitlines()
  assert lines[0] == f'market1501 in {root}'
  assert lines[1].startswith(f'Warning: {root} differs from the official')
  assert text.count('differs from the official') == 1
  cells = [line.split() for line in lines]
  assert ['images', '30', '4', '12'] in cells
  assert ['training', 'images', '30', '12,936', 'differs'] in cells
  assert 'Training images per identity: 5 to 5, median 5, mean 5.0' in text
  assert 'Identities both in training and in test: none' in text
  assert 'All 46 images can be read.' in text
  assert 'Size (height x width): 24 x 12, all' in text
  assert lines[-1] == 'Wrong: see the warning above'
  with Image.open(out / 'market1501_identities.png') as figure:
    pixels = np.asarray(figure.convert('RGB'))
  # Blue bars, on white.
  assert (pixels[..., 2] > pixels[..., 0].astype(int) + 50).mean() > 0.01
  assert (pixels == 255).all(-1).mean() > 0.5


def test_sizes_of_a_reader_elsewhere_are_shown(
  tmp_path, crops, out, capsys, monkeypatch
) -> None:
  (tmp_path / 'elsewhere').mkdir()
  (tmp_path / 'elsewhere' / 'mine.py').write_text("""
from dbc_jax.data.readers import folder
from dbc_jax.data.readers.release import Release

RELEASE = Release(title='Mine', sizes={'training images': 9, 'cats': 2})
load = folder.load
""")
  monkeypatch.syspath_prepend(tmp_path)
  status, text, _ = check(capsys, out, 'elsewhere.mine', f'--root={crops}')
  assert status == 0
  cells = [line.split() for line in text.splitlines()]
  assert ['training', 'images', '8', '9', 'differs'] in cells
  assert ['cats', '0', '2', 'differs'] in cells


def test_a_program_reads_what_was_found(crops, out, capsys, tmp_path) -> None:
  write_csv(
    crops, ['0/0.png,1,1,query', '1/4.png,2,1,gallery', '0/2.png,1,3,train']
  )
  (crops / '1/4.png').write_bytes(b'no image')
  path = tmp_path / 'found.json'
  for _ in range(2):  # A second time it is replaced.
    status, text, _ = check(
      capsys,
      out,
      'folder',
      f'--root={crops}',
      '--csv=list.csv',
      f'--json={path}',
    )
    assert status == 1
    assert f'{path}: written' in text
  found = json.loads(path.read_text())
  assert found['wrong'] == ['unreadable images: 1']
  assert found['root'] == str(crops)
  assert found['unit'] == 'images'
  splits = found['splits']
  assert {name: x['samples'] for name, x in splits.items()} == {
    'train': 1,
    'query': 1,
    'gallery': 1,
  }
  assert splits['train']['persons'] == [3]
  assert splits['gallery']['cameras'] == {'2': 1}
  assert found['queries']['matched'] == 1
  assert found['per_person']['test'] == [2]
  (fault,) = found['pixels']['unreadable']
  assert '4.png' in fault
  height, width = runs.make_images(1, 1).shape[1:3]
  assert found['pixels']['sizes'] == [
    {'height': height, 'width': width, 'files': 2}
  ]
  status, *_ = check(
    capsys,
    out,
    'folder',
    f'--root={crops}',
    '--decode=False',
    f'--json={path}',
  )
  assert (status, json.loads(path.read_text())['pixels']) == (0, None)


def test_folder_without_identities_is_fine(crops, out, capsys) -> None:
  status, text, _ = check(capsys, out, 'folder', f'--root={crops}')
  assert status == 0
  assert 'No identities: it can be trained on, and nothing is scored.' in text
  assert 'equal pixels: 1 (2 images)\n  0/2.png = 1/5.png\n' in text
  assert text.endswith('\nOK\n')
  assert not list(out.iterdir())


@pytest.mark.parametrize('flag', ['--tracklets', '--tracklets=True'])
def test_folders_as_tracklets(crops, out, capsys, flag: str) -> None:
  status, text, _ = check(capsys, out, 'folder', f'--root={crops}', flag)
  cells = [line.split() for line in text.splitlines()]
  assert status == 0
  assert ['tracklets', '2'] in cells
  assert ['frames', '8'] in cells
  assert ['shortest', 'tracklet', '4'] in cells
  assert ['longest', '4'] in cells


def test_unreadable_files_are_all_counted(tmp_path, out, capsys) -> None:
  names = [f'{i:02}.png' for i in range(14)]
  crops = runs.write_images(tmp_path / 'in', names, runs.make_images(14, 2))
  for name in names[1:13]:
    (crops / name).write_bytes(b'')
  Image.new('RGB', (20, 30)).save(crops / '13.png')
  status, text, _ = check(capsys, out, 'folder', f'--root={crops}')
  assert status == 1
  assert '12 of 14 images cannot be read:\n  01.png: empty file\n' in text
  assert '  10.png: empty file\n  ...\n' in text
  assert '11.png' not in text
  assert 'smallest 24 x 12, largest 30 x 20' in text
  assert text.endswith(
    '\nWrong: unreadable images: 12; images of a single colour: 1\n'
  )
  status, text, _ = check(
    capsys, out, 'folder', f'--root={crops}', '--decode=False'
  )
  assert status == 0
  assert text.endswith('\nOK, but for the pixels: nothing was decoded\n')


@pytest.mark.parametrize(
  ('rows', 'status', 'expected'),
  [
    (
      ['0/2.png,1,5,query', '0/3.png,1,5,gallery'],
      1,
      'match in the gallery: 0 of 1. Person there only under the camera of '
      'the query: 1. The camera rule leaves these out; to count them, score '
      'with --config.camera_rule=False.\n',
    ),
    (
      ['0/2.png,1,5,query', '0/3.png,2,6,gallery'],
      1,
      'gallery: 0 of 1. Person not in the gallery: 1.\n',
    ),
    (
      ['0/2.png,1,5,query', '0/3.png,2,5,gallery', '1/4.png,1,8,query'],
      0,
      'gallery: 1 of 2. Person not in the gallery: 1.\n',
    ),
  ],
)
def test_queries_without_a_match(
  crops, out, capsys, rows: list[str], status: int, expected: str
) -> None:
  write_csv(crops, ['0/0.png,1,,', '0/1.png,1,3,', *rows])
  got, text, _ = check(
    capsys, out, 'folder', f'--root={crops}', '--csv=list.csv'
  )
  assert got == status
  assert expected in text
  last = 'Wrong: no query has a match' if status else 'OK'
  assert text.endswith(f'\n{last}\n')
  cells = [line.split() for line in text.splitlines()]
  assert ['unknown', '(pid', '-1)', '1', '0', '0'] in cells


def test_shared_identities_and_no_cameras(crops, out, capsys) -> None:
  rows = ['0/0.png,,3,', '0/1.png,,3,query', '0/2.png,,3,gallery']
  write_csv(crops, rows)
  status, text, _ = check(
    capsys, out, 'folder', f'--root={crops}', '--csv=list.csv'
  )
  assert status == 1
  assert 'Warning: ' in text
  assert 'both in training and in query' in text
  assert 'Identities both in training and in test: 1, pid 3\n' in text
  assert 'unknown: score with --config.camera_rule=False.\n' in text


def test_demo_video_is_fine(out, capsys, monkeypatch) -> None:
  small = video_lib.load(num_train_tracklets=10, num_test_identities=2)
  monkeypatch.setattr(check_data, 'load_dataset', lambda *_: small)
  status, text, _ = check(capsys, out, 'demo_video')
  assert status == 0
  assert text.startswith('demo_video\n')
  cells = [line.split() for line in text.splitlines()]
  assert ['junk', '(pid', '-1)', '0', '0', '15'] in cells
  assert ['distractors', '(pid', '0)', '0', '0', '40'] in cells
  assert text.endswith('\nOK\n')
  assert (out / 'demo_video_identities.png').exists()


@pytest.mark.parametrize(
  ('arguments', 'expected'),
  [
    ([], '--dataset'),
    (['--dataset=marx'], "Unknown data set 'marx'"),
    (['--dataset=folder'], 'needs the folder of its files'),
    (['--dataset=folder', '--root=nowhere'], 'nowhere does not exist'),
    (['--dataset=demo', '--rot=x'], 'unrecognized arguments: --rot=x'),
    (['--dataset=demo', '--decode=no'], "expected True or False, got 'no'"),
    (['--dataset=market1501', '--root=.', '--csv=x'], 'has no option csv'),
    (['--dataset=demo', '--out=README.md'], 'README.md is a file'),
    (['--dataset=demo', '--json=no/f.json'], '--json: there is no folder'),
  ],
)
def test_bad_arguments_are_one_clear_line(
  capsys, monkeypatch, arguments: list[str], expected: str
) -> None:
  monkeypatch.chdir(ROOT)
  try:
    status = check_data.main(arguments)
  except SystemExit as error:
    status = error.code
  message = capsys.readouterr().err
  assert status == 2
  assert message.startswith('Error: ')
  assert expected in message
  assert message.count('\n') == 1


@pytest.mark.slow
def test_exit_status_of_the_process(crops, tmp_path) -> None:
  (crops / '0/0.png').write_bytes(b'no image')
  environment = os.environ | {'PYTHONPATH': str(ROOT)}
  command = [sys.executable, '-m', 'dbc_jax.commands.check_data']
  result = subprocess.run(
    [*command, '--dataset=folder', '--root=crops'],
    cwd=tmp_path,
    env=environment,
    capture_output=True,
    text=True,
    timeout=60,
    check=False,
  )
  assert result.returncode == 1
  assert result.stdout.endswith('\nWrong: unreadable images: 1\n')
  assert result.stderr == ''  # Not on a terminal: no bar.
