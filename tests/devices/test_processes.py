"""Several processes: equal to one, one set of files, and a peer that dies."""

import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import first_steps
import jax
import numpy as np
import pytest
import runs
import small_networks

from dbc_jax.devices import mesh, processes

pytestmark = pytest.mark.slow

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(scope='module')
def launch(tmp_path_factory):
  """Starts two processes of two devices each."""
  environment = os.environ | {
    'PATH': f'{pathlib.Path(sys.executable).parent}:{os.environ["PATH"]}',
    'PYTHONPATH': f'{ROOT}:{ROOT / "tests"}',
    'JAX_COMPILATION_CACHE_DIR': str(tmp_path_factory.mktemp('cache')),
    # Most of the time would go into optimising what runs for seconds.
    'XLA_FLAGS': '--xla_backend_optimization_level=0',
  }

  def start(*arguments):
    return subprocess.Popen(
      [ROOT / 'launch' / 'multiprocess_cpu.sh', '2', '2', *arguments],
      env=environment,
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
    )

  return start


@pytest.fixture(scope='module')
def arguments(tmp_path_factory):
  """Of nine stages of a second or less."""
  root = runs.write_market(tmp_path_factory.mktemp('market'))
  return [
    f'--config={ROOT}/configs/dbc.py:market1501,small',
    f'--config.data.root={root}',
    '--config.data.stored_size=(24,12)',
    '--config.data.image_size=(24,12)',
    f'--config.model.name={small_networks.NAME}',
    '--config.model.embedding_dim=16',
    '--config.extract_batch_size=8',
    '--config.train.batch_size=8',
    '--config.train.stage0_epochs=1',
    '--config.train.stage_epochs=1',
    '--config.cluster.merge_percent=0.1',
  ]


def test_two_processes_equal_one(launch, tmp_path, monkeypatch):
  process = launch(ROOT / 'tests' / 'first_steps.py', tmp_path)
  devices = jax.local_devices()[:4]
  monkeypatch.setattr(mesh, 'devices', lambda: devices)
  one = first_steps.compute()
  _, errors = process.communicate(timeout=300)
  assert process.returncode == 0, errors
  first, second = (np.load(tmp_path / f'{i}.npz') for i in range(2))
  assert str(first['mismatch']).startswith('data: process 1 has another')
  for key in first.files:
    if not key.endswith(('/blocks', '/decoded')):
      np.testing.assert_array_equal(first[key], second[key], err_msg=key)
  for kind in ('kept', 'streamed'):
    key = f'{kind}/metrics'
    np.testing.assert_allclose(first[key][0], one[key][0], rtol=1e-6)
    for part in ('features', 'metrics', 'params', 'batch_stats', 'objective'):
      key = f'{kind}/{part}'
      # Far below what a sum in place of a mean does (training/test_step.py).
      np.testing.assert_allclose(
        first[key], one[key], rtol=1e-5, atol=1e-6, err_msg=key
      )
  for kind in ('merges', 'matrix_free', 'jaccard', 'scores'):
    np.testing.assert_array_equal(first[kind], one[kind], err_msg=kind)
  # The second begins with a block of the first, where a cluster spans two.
  for kind, twice in {'matrix_free': 1, 'jaccard': 0}.items():
    parts = [int(each[f'{kind}/blocks']) for each in (first, second)]
    assert sum(parts) == one[f'{kind}/blocks'] + twice
    assert min(parts) > 0.3 * sum(parts)
  # Each decodes its half of the images, and has the pixels of all.
  count = 26
  for kind in ('kept', 'streamed'):
    for part in ('loaded', 'fingerprint', 'told'):
      key = f'{kind}/{part}'
      np.testing.assert_array_equal(first[key], one[key], err_msg=key)
    assert one[f'{kind}/loaded'].shape == (count - 1, 24, 12, 3)
    assert one[f'{kind}/told'].tolist() == ['24.png: damaged']
    assert one[f'{kind}/decoded'].tolist() == [*range(count)]
    decoded = [each[f'{kind}/decoded'].tolist() for each in (first, second)]
    assert decoded == [[*range(13)], [*range(13, count)]]
  assert not [*tmp_path.glob('dbc_jax-*')]
  assert len(first['apart/decoded']) == len(second['apart/decoded']) == count
  assert str(first['other pixels']) == (
    'data: 2 of 26 images are others for process 1 than for process 0, the '
    'first: 5.png; start all processes on the same files'
  )
  assert str(first['other names']) == (
    'data: the processes have other files: process 0 has 0 7.png, and 1 has '
    'not; start all processes on the same files'
  )
  # Two batches of 8 and a half one, of which this process has its half.
  assert (
    first['streamed/read to extract'] == 16 < one['streamed/read to extract']
  )


def test_each_process_decodes_its_own_rows(monkeypatch):
  """Process 1 of 2, of two devices each, has the second half of a batch."""

  class Device:
    def __init__(self, process_index):
      self.process_index = process_index

  devices = [Device(i // 2) for i in range(4)]
  monkeypatch.setattr(mesh, 'devices', lambda: devices)
  monkeypatch.setattr(jax, 'process_index', lambda: 1)
  rows = mesh.own_rows((np.arange(8), np.arange(16).reshape(8, 2)))
  np.testing.assert_array_equal(rows[0], [4, 5, 6, 7])
  np.testing.assert_array_equal(rows[1], np.arange(8, 16).reshape(4, 2))
  batches = np.arange(16).reshape(2, 8)
  np.testing.assert_array_equal(mesh.own_rows(batches, axis=1), batches[:, 4:])


def _kill(workdir, process_id):
  """As the kernel does that runs out of memory."""
  for path in pathlib.Path('/proc').glob('[0-9]*/cmdline'):
    try:
      words = path.read_bytes().decode().split('\0')
    except OSError:  # It has ended meanwhile.
      continue
    if (
      f'--workdir={workdir}' in words and f'--process_id={process_id}' in words
    ):
      os.kill(int(path.parent.name), signal.SIGKILL)
      return
  raise AssertionError(f'no process {process_id} of {workdir}')


def test_a_dead_process_ends_all_and_a_restart_goes_on(
  launch, arguments, tmp_path
):
  command = [*arguments, f'--workdir={tmp_path}']
  process = launch(*command)
  deadline = time.monotonic() + 300
  # What is written last of a stage.
  while not [*tmp_path.glob('tensorboard/*')]:
    assert process.poll() is None, process.stderr.read()
    assert time.monotonic() < deadline
    time.sleep(0.1)
  _kill(tmp_path, 1)
  _, errors = process.communicate(timeout=60)
  assert process.returncode == 128 + signal.SIGKILL
  assert 'the same command goes on after the last complete stage' in errors
  assert not (tmp_path / 'features.npz').exists()

  process = launch(*command)
  output, errors = process.communicate(timeout=300)
  assert process.returncode == 0, errors
  assert 'resuming after stage' in errors
  # Of what all processes do, the first one tells.
  assert errors.count('stage 8: 6 clusters') == 1
  assert not re.search('process 1: .*stage', errors)
  assert output.count('chosen without labels: the latest') == 1
  lines = (tmp_path / 'metrics.jsonl').read_text().splitlines()
  records = [json.loads(line) for line in lines]
  assert [r['num_clusters'] for r in records] == list(range(30, 3, -3))
  assert all(np.isfinite(list(r.values())).all() for r in records)
  # One a start.
  assert len(list((tmp_path / 'tensorboard').glob('events*'))) == 2
  for name in ('config.json', 'clusters.csv', 'report.html'):
    assert (tmp_path / name).exists()


def test_more_devices_than_a_batch_has_rows(launch, arguments, tmp_path):
  process = launch(
    *arguments, '--config.train.batch_size=2', f'--workdir={tmp_path / "run"}'
  )
  _, errors = process.communicate(timeout=60)
  assert process.returncode == 1
  assert (
    'Error: train.batch_size: got 2, expected a positive multiple of the 4 '
    'devices of 2 processes'
  ) in errors
  assert not (tmp_path / 'run').exists()


@pytest.mark.parametrize(
  ('given', 'message'),
  [
    (('host:1', 2, None, False), r'^--process_id: got nothing'),
    ((None, None, 1, False), r'^--coordinator, --num_processes: got nothing'),
    (('host:1', 2, 2, False), r'--process_id: got 2, expected 0 to .* = 1'),
    (('host', 2, 0, False), r"--coordinator: got 'host', expected HOST:PORT"),
    (('host:1', 2, 0, True), r"--distributed: got \['--coordinator', .*leave"),
  ],
)
def test_flags_that_do_not_go_together(given, message):
  *values, detect = given
  with pytest.raises(ValueError, match=message):
    processes.start(*values, detect=detect)


def test_a_single_process_starts_nothing():
  processes.start(None, None, None, detect=False)
  assert processes.count() == 1
  assert processes.is_first()


def test_nothing_to_detect(tmp_path):
  result = subprocess.run(
    [
      *(sys.executable, '-m', 'dbc_jax.main', '--distributed'),
      f'--config={ROOT}/configs/dbc.py',
      f'--workdir={tmp_path / "run"}',
    ],
    cwd=ROOT,
    capture_output=True,
    text=True,
    timeout=60,
    check=False,
  )
  assert result.returncode == 1
  last = result.stderr.strip().splitlines()[-1]
  assert last.startswith('Error: --distributed: JAX found no SLURM')
