"""A run that is evaluated again: the scores of its history, and its errors."""

import csv
import json
import pathlib
import re
import shutil

import numpy as np
import pytest
import runs
from PIL import Image

from dbc_jax import evaluation
from dbc_jax.commands import evaluate
from dbc_jax.data import load_dataset, load_images
from dbc_jax.run import job, restore
from dbc_jax.run import stage as stage_lib

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures('one_device')]

CONFIG = pathlib.Path(__file__).parents[2] / 'configs' / 'ecluster.py'
SIDES = ('query', 'gallery')


@pytest.fixture(scope='module')
def market(tmp_path_factory):
  """With test images that are hard enough for scores below 100 %."""
  root = runs.write_market(tmp_path_factory.mktemp('market'))
  rng = np.random.default_rng(0)
  for side in ('query', 'bounding_box_test'):
    for path in sorted((root / side).iterdir()):
      noise = Image.fromarray(rng.integers(0, 256, (24, 12, 3), np.uint8))
      with Image.open(path) as image:
        noisy = Image.blend(image, noise, 0.6)
      with path.open('wb') as file:
        noisy.save(file, format='PNG')
  return root


def _config(root):
  config = runs.small_config('market1501', root)
  config.cluster.merge_percent = 0.3  # three stages
  return config


@pytest.fixture(scope='module')
def finished(tmp_path_factory, market):
  """A whole run."""
  folder = tmp_path_factory.mktemp('finished')
  with pytest.MonkeyPatch.context() as monkeypatch:
    runs.one_device(monkeypatch)
    job.run(_config(market), folder)
  return folder


@pytest.fixture
def copy(finished, tmp_path):
  """Of the run, to be changed."""
  return shutil.copytree(finished, tmp_path / 'copy')


def _history(folder):
  lines = (folder / 'metrics.jsonl').read_text().splitlines()
  return [json.loads(line) for line in lines]


def _scores(arrays):
  names = [f'{s}_{what}' for what in ('features', 'pids') for s in SIDES]
  camids = [arrays[f'{side}_camids'] for side in SIDES]
  return evaluation.rank_features(*(arrays[n] for n in names), *camids)


def _table(text):
  """Names and percentages."""
  return dict(re.findall(r'^(\S.*?) +([\d.]+) %$', text, re.M))


def _run(capsys, folder, *options):
  evaluate.main([f'--workdir={folder}', *options])
  return capsys.readouterr().out


def _fails(message, folder, *options):
  with pytest.raises(SystemExit, match=f'^Error: [^\n]*{message}[^\n]*$'):
    evaluate.main([f'--workdir={folder}', *options])


def test_every_saved_stage_scores_as_in_its_history(finished, tmp_path, capsys):
  path = tmp_path / 'f.npz'
  saved = [p.name for p in (finished / 'checkpoints').iterdir()]
  saved = sorted(int(name) for name in saved if name.isdecimal())
  for number in saved:
    record = _history(finished)[number]
    assert 0.0 < record['map'] < 1.0
    out = _run(capsys, finished, f'--stage={number}', f'--save={path}')
    assert out.startswith(
      f'stage {number} of {finished}: small_networks:one_block, '
      f'{record["num_clusters"]} clusters of 30 images\n'
      'market1501: 30 train, 4 query, 12 gallery\n'
    )
    arrays = np.load(path)
    scores = _scores(arrays)
    for key in scores.keys() - {'num_valid_queries'}:
      assert scores[key] == record[key], key
    assert _table(out)['mAP'] == f'{100 * record["map"]:.2f}'
    evaluate.main([f'--features={path}'])
    assert _table(capsys.readouterr().out) == _table(out)
  # The labels are those of the images whose names are beside them.
  scores = evaluation.clustering_scores(
    arrays['train_labels'], [int(n[19:23]) for n in arrays['train_names']]
  )
  assert scores['pair_f'] == record['pair_f'] > 0
  assert arrays['train_features'].shape == (30, 32)


def test_the_options_are_those_of_saved_features(finished, tmp_path, capsys):
  path = tmp_path / 'f.npz'
  options = ['--multi_query', '--query_expansion=2', '--rerank', '--ranks=1,3']
  options += ['--camera_rule=False', f'--per_query={tmp_path}/rows.csv']
  out = _run(capsys, finished, f'--save={path}', *options)
  rows = (tmp_path / 'rows.csv').read_text()
  evaluate.main([f'--features={path}', *options])
  assert _table(capsys.readouterr().out) == _table(out)
  assert (tmp_path / 'rows.csv').read_text() == rows
  assert rows.startswith('query_index,pid,')  # Of several images each.
  assert [*_table(out)][:2] == ['rank-1', 'rank-3']


def test_rows_of_queries_name_their_files(finished, market, tmp_path, capsys):
  path = tmp_path / 'rows.csv'
  _run(capsys, finished, f'--per_query={path}')
  with path.open(newline='') as file:
    rows = [*csv.DictReader(file)]
  dataset, _ = load_dataset('market1501', market)
  names = {int(row['query_index']): row['query'] for row in rows}
  assert names == dict(enumerate(dataset.query.names))


def test_the_runs_own_camera_rule_is_the_default(copy, capsys):
  assert 'camera rule on' in _run(capsys, copy)
  _edit(copy, camera_rule=False)
  assert 'camera rule off' in _run(capsys, copy)
  assert 'camera rule on' in _run(capsys, copy, '--camera_rule=True')


def test_stages_by_name(finished, capsys):
  history = _history(finished)
  best = max(history, key=lambda record: record['map'])['stage']
  assert f'stage {best} of' in _run(capsys, finished, '--stage=oracle')
  assert 'stage 2 of' in _run(capsys, finished, '--stage=last')
  assert restore.restore_run(finished).stage in (0, 1, 2)


def test_an_unfinished_run_has_its_stages_so_far(
  market, tmp_path, monkeypatch, capsys
):
  run = stage_lib.StageRunner.run

  def run_or_stop(self, number, state, data):
    if number:
      raise KeyboardInterrupt
    return run(self, number, state, data)

  with monkeypatch.context() as patch:
    patch.setattr(stage_lib.StageRunner, 'run', run_or_stop)
    with pytest.raises(KeyboardInterrupt):
      job.run(_config(market), tmp_path)
  table = _table(_run(capsys, tmp_path))
  assert table['mAP'] == f'{100 * _history(tmp_path)[0]["map"]:.2f}'
  _fails(
    'stage: got 1, but .* has checkpoints of 0 alone', tmp_path, '--stage=1'
  )


def test_stages_that_cannot_be_had(copy):
  for path in (copy / 'checkpoints').iterdir():
    if path.name.isdecimal() and path.name != '2':
      shutil.rmtree(path)
  _fails(
    'stage: got 0, but .*copy has checkpoints of 2 alone',
    copy,
    '--stage=0',
  )
  _fails(
    "stage: got 'best', expected a number or one of .*'oracle'",
    copy,
    '--stage=best',
  )
  shutil.rmtree(copy / 'checkpoints' / '2')
  _fails('workdir: .*copy has no checkpoint; wait', copy)


def test_moved_files(copy, market, tmp_path, capsys):
  expected = _table(_run(capsys, copy))
  _edit(copy, data={'root': str(tmp_path / 'gone')})
  _fails('gone does not exist', copy)
  assert _table(_run(capsys, copy, f'--root={market}')) == expected


def test_other_training_images(finished, tmp_path):
  root = runs.write_market(tmp_path / 'data')
  first, second, *_ = sorted((root / 'bounding_box_train').iterdir())
  first.write_bytes(second.read_bytes())
  _fails(
    'not the training images of the run. Name .*--root',
    finished,
    f'--root={root}',
  )


def test_another_data_set_by_the_runs_network(
  finished, market, tmp_path, capsys
):
  """The same queries and gallery, listed in a CSV, in front of others."""
  expected = _table(_run(capsys, finished))
  dataset, truth = load_dataset('market1501', market)
  names = [f'{i}.png' for i in range(10)]
  root = runs.write_images(
    tmp_path / 'other', names, runs.make_images(10, 5, seed=9)
  )
  rows = ['path,camid,pid,split', *(f'{name},0,9,train' for name in names)]
  for side in SIDES:
    samples = getattr(dataset, side)
    names = [f'{side}/{i}.png' for i in range(len(samples))]
    runs.write_images(root, names, load_images(samples))
    ids = (getattr(truth, f'{side}_{what}') for what in ('camids', 'pids'))
    rows += [f'{n},{c},{p},{side}' for n, c, p in zip(names, *ids, strict=True)]
  (root / 'list.csv').write_text('\n'.join(rows))
  options = [f'--config={CONFIG}:folder', f'--root={root}']
  out = _run(
    capsys,
    finished,
    *options,
    '--config.data.csv=list.csv',
    f'--save={tmp_path}/f.npz',
  )
  assert 'folder: 10 train, 4 query, 12 gallery' in out
  assert _table(out) == expected
  arrays = np.load(tmp_path / 'f.npz')
  # The run has no clusters of these images.
  assert 'train_labels' not in arrays
  assert len(arrays['train_names']) == 10


@pytest.mark.parametrize('how', ['csv', 'folders'])
def test_a_test_set_without_training_images(
  finished, market, tmp_path, capsys, how
):
  expected = _table(_run(capsys, finished))
  root = shutil.copytree(market, tmp_path / 'test')
  shutil.rmtree(root / 'bounding_box_train')
  options = [f'--root={root}']
  if how == 'csv':
    dataset, truth = load_dataset('market1501', market)
    rows = ['path,camid,pid,split']
    for side in SIDES:
      names = dataset.of(side).names
      pids, camids = truth.of(side)
      rows += [
        f'{n},{c},{p},{side}'
        for n, c, p in zip(names, camids, pids, strict=True)
      ]
    (root / 'list.csv').write_text('\n'.join(rows))
    options += [f'--config={CONFIG}:folder', '--config.data.csv=list.csv']
  out = _run(capsys, finished, *options)
  assert ': 4 query, 12 gallery' in out
  assert _table(out) == expected
  # With the run's own data set by name, nothing else could be saved.
  if how == 'csv':
    out = _run(capsys, finished, *options, f'--save={tmp_path}/f.npz')
    assert _table(out) == expected
    assert 'train_features' not in np.load(tmp_path / 'f.npz')
  else:
    _fails('not the training images', finished, *options, '--save=f.npz')


def test_without_identities_features_are_saved_alone(
  finished, tmp_path, capsys
):
  root = runs.write_images(
    tmp_path / 'crops', ['a.png', 'b.png'], runs.make_images(2, 2)
  )
  options = [f'--config={CONFIG}:folder', f'--root={root}']
  _fails('folder: no identities of .*--save=F.npz', finished, *options)
  out = _run(capsys, finished, *options, f'--save={tmp_path}/f.npz')
  assert 'nothing is scored' in out
  assert not _table(out)
  arrays = np.load(tmp_path / 'f.npz')
  assert sorted(arrays['train_names']) == ['a.png', 'b.png']
  np.testing.assert_allclose(
    np.linalg.norm(arrays['train_features'], axis=1), 1.0, rtol=1e-5
  )


@pytest.mark.parametrize(
  ('text', 'message'),
  [
    (None, r'workdir: .*config\.json does not exist; name the --workdir'),
    ('{', r'config\.json: expected JSON, '),
    ('{"data": {"csv": ""}}', r'lacks seed, .*data\.name, .*another version'),
  ],
)
def test_folders_that_are_no_run(text, message, tmp_path):
  if text is not None:
    (tmp_path / 'config.json').write_text(text)
  _fails(message, tmp_path)
  assert not (tmp_path / 'checkpoints').exists()


@pytest.mark.parametrize(
  ('options', 'message'),
  [
    (['--save=none/f.npz'], '--save: no folder none'),
    (
      ['--config=none.py:folder'],
      'there is no file none.py, and no config of that',
    ),
    ([f'--config={CONFIG}:market'], "got 'market' after the colon"),
    ([f'--config={CONFIG}:market1501'], 'needs the folder of its files'),
    ([f'--config={runs.__file__}'], 'runs.py has no get_config'),
    (['--config.data.identities_seed=1'], 'with data.num_identities=0'),
  ],
)
def test_bad_options(options, message, finished):
  _fails(message, finished, *options)


def test_options_of_a_run_need_one(tmp_path):
  with pytest.raises(SystemExit, match='stage is read with --workdir only'):
    evaluate.main([f'--features={tmp_path}/f.npz', '--stage=last'])


def _edit(folder, **changes):
  """Changes config.json."""
  path = folder / 'config.json'
  config = json.loads(path.read_text())
  for key, value in changes.items():
    config[key] = config[key] | value if isinstance(value, dict) else value
  path.write_text(json.dumps(config))
