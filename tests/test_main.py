"""The command as a user types it, in a process of its own."""

import os
import pathlib
import subprocess
import sys

import pytest
import runs

pytestmark = pytest.mark.slow

ROOT = pathlib.Path(__file__).parents[1]


def _command(*arguments, cwd, through=()):
  environment = {k: v for k, v in os.environ.items() if k != 'XLA_FLAGS'}
  environment['PYTHONPATH'] = str(ROOT)
  environment['XDG_CACHE_HOME'] = str(cwd / 'cache')
  # By default only programs that took a while to compile are kept.
  environment['JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS'] = '0'
  return subprocess.run(
    [*through, sys.executable, '-m', 'dbc_jax.main', *arguments],
    cwd=cwd,
    env=environment,
    capture_output=True,
    text=True,
    timeout=300,
    check=False,
  )


def test_folder_run_by_its_default_workdir(tmp_path):
  names = [f'{i}.png' for i in range(24)]
  runs.write_images(tmp_path / 'crops', names, runs.make_images(24, 6))
  result = _command(
    f'--config={ROOT}/configs/ecluster.py:folder,small',
    '--config.data.root=crops',
    '--config.data.image_size=(24,12)',
    '--config.data.stored_size=(24,12)',
    '--config.train.batch_size=8',
    '--config.train.stage0_epochs=1',
    '--config.train.stage_epochs=1',
    '--config.cluster.merge_percent=0.4',
    cwd=tmp_path,
  )
  assert result.returncode == 0, result.stderr
  # 24 images, 9 merges: trained at 24 and 15 clusters.
  assert 'stage 1: 15 clusters' in result.stderr
  assert 'no identities' in result.stderr
  workdir = tmp_path / 'runs' / 'ecluster-folder-small'
  assert (workdir / 'clusters.csv').exists()
  assert 'kept stage 1 (chosen without labels' in result.stdout
  # Programs, for the next run.
  assert any((tmp_path / 'cache' / 'dbc_jax' / 'programs').iterdir())
  # Not on a terminal: log lines and no bar.
  assert '\r' not in result.stderr
  assert '%|' not in result.stderr


def test_a_bad_value_is_one_clear_line(tmp_path):
  result = _command(
    f'--config={ROOT}/configs/dbc.py:market1501',
    '--config.data.root=nowhere',
    cwd=tmp_path,
  )
  assert result.returncode == 1
  lines = result.stderr.strip().splitlines()
  assert lines[-1].startswith('Error: ')
  assert 'nowhere' in lines[-1]
  assert 'Traceback' not in result.stderr
  assert not (tmp_path / 'runs').exists()


@pytest.mark.skipif(os.name == 'nt', reason='has no limit of a file')
@pytest.mark.parametrize('kilobytes', [2, 200])
def test_a_disk_without_room_is_one_line_and_the_run_goes_on(
  kilobytes, tmp_path
):
  names = [f'{i}.png' for i in range(24)]
  runs.write_images(tmp_path / 'crops', names, runs.make_images(24, 6))
  flags = [
    '--config=ecluster:folder,small',
    '--config.data.root=crops',
    '--config.data.image_size=(24,12)',
    '--config.data.stored_size=(24,12)',
    '--config.model.name=resnet_tiny',
    '--config.train.batch_size=8',
    '--config.train.stage0_epochs=1',
    '--config.train.stage_epochs=1',
    '--config.cluster.merge_percent=0.4',
    '--nocompilation_cache',
  ]
  # A file that may not grow is as a disk that is full.
  limit = ('bash', '-c', f'ulimit -f {kilobytes}; exec "$@"', '-')
  result = _command(*flags, cwd=tmp_path, through=limit)
  assert result.returncode == 1
  assert 'Traceback' not in result.stderr
  last = result.stderr.splitlines()[-1]
  assert last.startswith('Error: workdir: ')
  assert 'make room for it' in last
  result = _command(*flags, cwd=tmp_path)
  assert result.returncode == 0, result.stderr


def test_unknown_data_set_after_the_colon(tmp_path):
  result = _command(f'--config={ROOT}/configs/buc.py:marx', cwd=tmp_path)
  assert result.returncode == 1
  assert result.stderr.startswith("Error: got 'marx' after the colon")
  assert 'market1501' in result.stderr
  assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize('name', ['dbc', 'configs/dbc.py'])
def test_a_config_is_found_by_its_name_from_any_folder(name, tmp_path):
  result = _command(
    '--config', f'{name}:market1501', '--config.data.root=no', cwd=tmp_path
  )
  assert result.returncode == 1
  assert 'market1501' in result.stderr.splitlines()[-1]
  assert 'config of that name' not in result.stderr


def test_a_misspelt_field_gets_the_nearest_name(tmp_path):
  result = _command('--config=dbc', '--config.train.batch_sice=8', cwd=tmp_path)
  assert result.returncode == 1
  assert result.stderr == (
    'Error: --config.train.batch_sice: there is no such field; did you mean '
    'train.batch_size?\n'
  )


def test_a_misspelt_config_gets_the_nearest_name(tmp_path):
  result = _command('--config=beest:demo', cwd=tmp_path)
  assert result.returncode == 1
  assert result.stderr == (
    'Error: --config: there is no file beest, and no config of that name; did '
    'you mean best? There are best, buc, dbc, ecluster, estat, pretrained\n'
  )


@pytest.mark.parametrize(
  ('flags', 'told'),
  [
    (
      ['--config=dbc', '--config.train.batch_size=8.5'],
      "--config.train.batch_size: got '8.5', expected a whole number",
    ),
    (
      ['--config=dbc', '--config.camera_rule=no'],
      "--config.camera_rule: got 'no', expected True or False",
    ),
    (
      ['--config=dbc', '--seed=1'],
      '--seed: there is no such flag; did you mean --config.seed?',
    ),
    (
      ['--config=dbc', '--wrokdir=a'],
      '--wrokdir: there is no such flag; did you mean --workdir?',
    ),
    (
      ['a folder', '--config=dbc'],
      "got 'a folder', expected flags alone; --help lists them",
    ),
    (
      ['--config=dbc', '--config.data.root=~nobody-here/x'],
      "data.root: got '~nobody-here/x', Could not determine home directory.",
    ),
    (
      ['--config=~nobody-here/x.py'],
      "--config: got '~nobody-here/x.py', Could not determine home directory.",
    ),
    (
      ['--workdir=a'],
      '--config: got none, expected such as --config=best:folder,small',
    ),
  ],
)
def test_a_slip_of_the_command_line_is_one_line(flags, told, tmp_path):
  result = _command(*flags, cwd=tmp_path)
  assert (result.returncode, result.stderr) == (1, f'Error: {told}\n')
