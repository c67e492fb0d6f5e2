"""A whole grid of small runs: resumed, refused, and what it leaves."""

import csv
import json
import pathlib
import re
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest
import runs
import small_networks

from dbc_jax.commands import reproduce
from dbc_jax.data import GroundTruth
from dbc_jax.devices import limits
from dbc_jax.reproduce import cost, grid
from dbc_jax.reproduce.experiments import parse_changes, rows_of
from dbc_jax.reproduce.jobs import make_job
from dbc_jax.run import cost as run_cost

pytestmark = pytest.mark.slow

TESTS = pathlib.Path(__file__).parents[1]
FIELDS = [
  f'--config.model.name={small_networks.NAME}',
  '--config.data.stored_size=(24, 12)',
  '--config.data.image_size=(24, 12)',
  '--config.train.batch_size=8',
  '--config.train.stage0_epochs=2',
  '--config.train.drop_epoch=1',
  '--config.train.stage_epochs=1',
  '--config.cluster.merge_percent=0.3',
]


@pytest.fixture(scope='module')
def market(tmp_path_factory):
  return runs.write_market(tmp_path_factory.mktemp('market'))


@pytest.fixture(autouse=True)
def modules_of_tests(monkeypatch):
  """The runs are processes of their own, and name a network of the tests."""
  monkeypatch.setenv('PYTHONPATH', str(TESTS))


def arguments(market, workdir, experiment, *more, fields=FIELDS):
  return [
    f'--experiment={experiment}',
    '--dataset',
    'market1501,small',
    f'--root={market}',
    f'--workdir={workdir}',
    '--seeds=1',
    *more,
    *fields,
  ]


@pytest.fixture(scope='module')
def finished(market, tmp_path_factory):
  """The leak's four rows and one of E-cluster, with their stages."""
  workdir = tmp_path_factory.mktemp('grid')
  with pytest.MonkeyPatch.context() as patch:
    patch.setenv('PYTHONPATH', str(TESTS))
    reproduce.main(arguments(market, workdir, 'leak', '--keep_stages'))
    reproduce.main(
      arguments(
        market,
        workdir,
        'criteria',
        '--rows=ecluster-0.9,supervised',
        '--keep_stages',
        '--workers=1',
      )
    )
  return workdir


def folders(workdir):
  return {path.parent.name for path in workdir.glob('runs/*/*/done.json')}


def records(run):
  lines = (run / 'metrics.jsonl').read_text().splitlines()
  return [json.loads(line) for line in lines]


def test_every_row_has_its_run_and_says_what_it_ran_on(finished):
  home = finished / 'runs' / 'market1501-small'
  assert folders(finished) == {
    *(
      f'leak-{memory}_{order}-seed0'
      for memory in ('true', 'stale')
      for order in ('hashed', 'sorted')
    ),
    'ecluster-0.9-seed0',
    'supervised-seed0',
  }
  about = json.loads((home / 'supervised-seed0' / 'done.json').read_text())
  assert set(about) == {'device', 'cores', 'jax', 'dbc_jax', 'date'}
  # 30 images, 9 merges: trained at 30, 21 and 12 clusters.
  plain = records(home / 'ecluster-0.9-seed0')
  assert [r['num_clusters'] for r in plain] == [30, 21, 12]
  # As many epochs, in one stage of the true persons.
  (supervised,) = records(home / 'supervised-seed0')
  assert supervised['num_clusters'] == 6
  assert supervised['pair_f'] == 1.0


def test_only_stale_rows_and_orders_change_a_run(finished):
  home = finished / 'runs' / 'market1501-small'
  losses = {
    kind: [r['loss'] for r in records(home / f'leak-{kind}-seed0')]
    for kind in ('true_hashed', 'stale_hashed', 'true_sorted', 'stale_sorted')
  }
  for order in ('hashed', 'sorted'):
    true, stale = losses[f'true_{order}'], losses[f'stale_{order}']
    # Stage 0 comes before any merging.
    assert true[0] == stale[0]
    assert true[1] != stale[1]
  assert losses['true_hashed'] != losses['true_sorted']


def test_tables_figures_and_page(finished):
  page = (finished / 'leak-market1501-small.html').read_text()
  assert 'memory of the clusters before, hashed order' in page
  assert '24 x 12, from random weights, batch 8' in page
  for name in ('leak-market1501-small-stages.svg',):
    assert f'src="{name}"' in page
    assert (finished / name).read_text().startswith('<?xml')
  with (finished / 'criteria-market1501-small.csv').open() as file:
    rows = [*csv.DictReader(file)]
  assert [row['row'] for row in rows] == [*['ecluster-0.9'] * 3, 'supervised']
  assert [row['stage'] for row in rows] == ['0', '1', '2', '0']
  assert sum(row['is_chosen'] == '1' for row in rows) == 2
  home = finished / 'runs' / 'market1501-small'
  for row, record in zip(
    rows, records(home / 'ecluster-0.9-seed0'), strict=False
  ):
    assert float(row['map']) == pytest.approx(record['map'], abs=1e-4)


def test_stages_are_kept_as_the_run_had_them(finished):
  run = finished / 'runs' / 'market1501-small' / 'ecluster-0.9-seed0'
  history = records(run)
  for record in history:
    with np.load(run / 'stages' / f'{record["stage"]}.npz') as file:
      labels, features = file['labels'], file['features']
    assert labels.max() + 1 == record['num_clusters']
    np.testing.assert_allclose(
      np.linalg.norm(features.astype(np.float32), axis=1), 1.0, atol=1e-3
    )
  # The chosen stage's are the run's own.
  with np.load(run / 'features.npz') as file:
    chosen, stage = file['features'], str(file['stage'])
  with np.load(run / 'stages' / f'{stage}.npz') as file:
    np.testing.assert_array_equal(file['features'], chosen)


def test_what_is_done_is_not_run_again(finished, market, monkeypatch, capsys):
  monkeypatch.setattr(grid, '_start', None)
  reproduce.main(arguments(market, finished, 'leak'))
  assert 'order by identity' in capsys.readouterr().out


def test_rows_alone_keep_the_others_in_the_table(
  finished, market, monkeypatch, capsys
):
  monkeypatch.setattr(grid, '_start', None)
  reproduce.main(
    arguments(
      market, finished, 'criteria', '--rows=supervised', '--keep_stages'
    )
  )
  shown = capsys.readouterr()
  assert 'kept no stages' not in shown.err
  with (finished / 'criteria-market1501-small.csv').open() as file:
    rows = {row['row'] for row in csv.DictReader(file)}
  assert rows == {'ecluster-0.9', 'supervised'}


def test_rows_leave_out_what_sets_a_given_field(market, tmp_path, capsys):
  # Another row of it sets cluster.merge_percent, which FIELDS give.
  given = arguments(market, tmp_path, 'merge_percent', '--dry_run')
  with pytest.raises(SystemExit, match='leave the row out by --rows'):
    reproduce.main(given)
  reproduce.main([*given, '--rows=ecluster-0.9'])
  lines = capsys.readouterr().out.splitlines()
  assert lines[1].startswith('market1501-small/ecluster-0.9-seed0 ')
  assert '1 runs, about ' in lines[-1]


def test_stages_that_were_not_kept_are_told(
  finished, market, tmp_path, monkeypatch, capsys
):
  monkeypatch.setattr(grid, '_start', None)
  shutil.copytree(finished, tmp_path / 'copy')
  (folder,) = (tmp_path / 'copy').glob('runs/*/ecluster-0.9-seed0')
  shutil.rmtree(folder / 'stages')
  reproduce.main(
    arguments(
      market,
      tmp_path / 'copy',
      'criteria',
      '--rows=ecluster-0.9,supervised',
      '--keep_stages',
    )
  )
  assert f'1 runs are done and kept no stages, the first {folder}' in (
    capsys.readouterr().err
  )


def test_sigterm_ends_the_runs_too_and_they_save(market, tmp_path):
  fields = [
    x.replace('stage0_epochs=2', 'stage0_epochs=100000') for x in FIELDS
  ]
  command = [sys.executable, '-m', 'dbc_jax.commands.reproduce']
  command += arguments(
    market, tmp_path, 'stages', '--rows=dbc-0.1', fields=fields
  )
  with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
    log = tmp_path / 'runs' / 'market1501-small' / 'dbc-0.1-seed0' / 'log.txt'
    while not (log.exists() and 'epoch' in log.read_text()):
      assert process.poll() is None
      time.sleep(0.2)
    process.terminate()
    assert process.stderr is not None
    told = process.stderr.read()
  assert process.returncode == 1
  assert told.endswith('The same command goes on with what is left.\n')
  assert 'Traceback' not in told
  # It has ended by itself: its last line says where it goes on.
  last = log.read_text().rstrip().splitlines()[-1]
  assert re.match(r'Ended by SIGTERM. .* stage 0', last)


def test_a_dry_run_runs_nothing(market, tmp_path, monkeypatch, capsys):
  monkeypatch.setattr(grid, '_start', None)
  reproduce.main(arguments(market, tmp_path, 'ablation', '--dry_run'))
  lines = capsys.readouterr().out.splitlines()
  assert len(lines) == 8
  assert lines[1].startswith('market1501-small/buc-0-seed0 ')
  assert '6 runs, about ' in lines[-1]
  assert not (tmp_path / 'runs').exists()


def test_other_fields_are_refused_by_name(finished, market, monkeypatch):
  monkeypatch.setattr(grid, '_start', None)
  fields = [x.replace('stage_epochs=1', 'stage_epochs=2') for x in FIELDS]
  with pytest.raises(SystemExit, match='stage_epochs: 1 there, 2 given'):
    reproduce.main(arguments(market, finished, 'leak', fields=fields))


@pytest.mark.parametrize(
  ('more', 'message'),
  [
    (['--config.train.batch_sice=8'], 'did you mean train.batch_size'),
    (['--config.train.batch_size=x'], "got 'x', expected a whole number"),
    (['--config.train.batch_size=-8'], 'train.batch_size'),
    (['--rows=buc-0,bcu'], 'got bcu, expected some of buc-0, buc-0.003'),
    (['--dataset', 'demo', 'mars'], 'These can still run: --dataset demo$'),
    (['--dataset', 'marx'], 'after the colon'),
  ],
)
def test_bad_input_is_one_line(more, message, market, tmp_path):
  with pytest.raises(SystemExit, match=message) as error:
    reproduce.main([*arguments(market, tmp_path, 'ablation'), *more])
  assert str(error.value).startswith('Error: ')
  assert '\n' not in str(error.value)
  assert not (tmp_path / 'runs').exists()


def test_a_run_that_fails_is_named_and_the_others_go_on(
  market, tmp_path, capsys
):
  fields = [*FIELDS, '--config.train.later_learning_rate=1e30']
  with pytest.raises(SystemExit, match=r'1 runs failed.*log\.txt'):
    reproduce.main(
      arguments(market, tmp_path, 'stages', '--rows=dbc-0.1', fields=fields)
    )
  log = tmp_path / 'runs' / 'market1501-small' / 'dbc-0.1-seed0' / 'log.txt'
  assert 'Error: stage 1' in log.read_text()
  # Rates are as they should be: the same folder refuses them, with the reason.
  with pytest.raises(SystemExit, match='later_learning_rate: 1e'):
    reproduce.main(arguments(market, tmp_path, 'stages', '--rows=dbc-0.1'))


def test_fewer_cores_or_memory_mean_fewer_workers(monkeypatch):
  monkeypatch.setattr(grid, '_cores', lambda: [0, 1, 2])
  monkeypatch.setattr(limits, 'free_memory', lambda: 100.0e9)
  assert grid.check_workers(3) == (3, '')
  assert grid.check_workers(8) == (
    3,
    'this machine has 3 cores for --workers=8',
  )
  monkeypatch.setattr(limits, 'free_memory', lambda: 5.0e9)
  assert grid.check_workers(3)[0] == 2
  monkeypatch.setattr(limits, 'free_memory', lambda: 0.5e9)
  assert grid.check_workers(1)[0] == 1


def test_estimates_follow_passes_until_a_run_tells_more(
  finished, market, tmp_path, monkeypatch
):
  monkeypatch.setattr(run_cost, '_flops_of_a_product', lambda: 1e9)
  (row,) = (x for x in rows_of('stages', {}) if x.name == 'ecluster-0.9')

  def estimate(epochs, folder=tmp_path):
    changes = parse_changes([x.removeprefix('--config.') for x in FIELDS])
    changes |= {'train.stage0_epochs': 2 * epochs, 'train.stage_epochs': epochs}
    changes['data.root'] = str(market)
    job = make_job(row, 'market1501,small', 0, folder, changes, GroundTruth())
    (seconds,) = cost.estimates([job], 30, 16)
    return job, seconds

  one, two, three = (estimate(k)[1] for k in (1, 2, 3))
  assert two - one == pytest.approx(three - two)
  assert two > one > 0
  # That run is done: its like takes as long.
  job, seconds = estimate(1, finished / 'runs')
  assert job.is_done()
  assert seconds == pytest.approx(cost.seconds_of(job), abs=20)
  assert cost.seconds_of(job) == pytest.approx(
    sum(
      value
      for record in job.history()
      for key, value in record.items()
      if key.startswith('seconds_')
    )
  )
