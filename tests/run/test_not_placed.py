"""Whole runs in which images wait in no cluster."""

import csv
import json

import numpy as np
import pytest
import runs

from dbc_jax.cluster.cuts import share
from dbc_jax.commands import evaluate
from dbc_jax.run import checkpoint, job, record, restore
from dbc_jax.training import fit
from dbc_jax.training.objectives.camera_proxies import CameraProxies
from dbc_jax.training.objectives.memory import MemoryObjective

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures('one_device')]


def _config(market, **fields):
  config = runs.small_config('market1501', market)
  config.update_from_flattened_dict(
    {
      'train.stage0_epochs': 0,
      'train.num_stages': 3,
      'train.stage_steps': 4,
      'train.images_per_cluster': 2,
      'train.optimizer': 'adam',
      'train.teacher_momentum': 0.9,
      'train.later_learning_rate': 1e-3,
      'memory.update_by': 'hardest',
      'data.crop_padding': 2,
      'data.erasing': 0.5,
      'cluster.criterion': 'average',
      'cluster.cut': 'share',
      'cluster.share': (0.4, 0.8),
      'cluster.min_size': 3,
      'cluster.anew': True,
      **fields,
    }
  )
  return config


@pytest.fixture(scope='module')
def watched(tmp_path_factory, market):
  """A run's workdir, and what its training was given in each stage."""
  workdir = tmp_path_factory.mktemp('run')
  seen = {'drawn': [], 'memories': [], 'traces': 0}
  with pytest.MonkeyPatch.context() as patch:
    runs.one_device(patch)
    draw, start, step = (
      fit.draw_batches,
      MemoryObjective.start,
      MemoryObjective.loss,
    )

    def draw_and_note(labels, **options):
      order = draw(labels, **options)
      seen['drawn'].append((np.array(labels), order))
      return order

    def start_and_note(self, embeddings, labels):
      state = start(self, embeddings, labels)
      seen['memories'].append(np.asarray(state.memory))
      return state

    def loss_and_note(self, *arguments):
      seen['traces'] += 1
      return step(self, *arguments)

    patch.setattr(fit, 'draw_batches', draw_and_note)
    patch.setattr(MemoryObjective, 'start', start_and_note)
    patch.setattr(MemoryObjective, 'loss', loss_and_note)
    job.run(_config(market), workdir)
  return workdir, seen


def _history(workdir):
  lines = (workdir / 'metrics.jsonl').read_text().splitlines()
  return [json.loads(line) for line in lines]


def test_the_share_grows_and_is_recorded(watched):
  history = _history(watched[0])
  assert [r['stage'] for r in history] == [0, 1, 2]
  for each, least in zip(history, (0.4, 0.6, 0.8), strict=True):
    assert least - 1e-6 <= each['placed'] <= 1.0
    assert each['num_clusters'] >= 2
    assert {'silhouette', 'pair_f', 'map'} <= {*each}
    assert 'last_merge_score' not in each
  assert history[0]['placed'] < 1.0


def test_who_is_not_placed_meets_no_loss_and_has_no_row(watched):
  _, seen = watched
  assert len(seen['drawn']) == len(seen['memories']) == 3
  for (labels, order), memory in zip(
    seen['drawn'], seen['memories'], strict=True
  ):
    # As many steps a stage, whoever is placed.
    assert order.shape == (4, 8)
    assert (labels[order] >= 0).all()
    sizes = np.bincount(labels[labels >= 0])
    assert (sizes >= 3).all()
    live = np.any(memory != 0, axis=1)
    assert live.sum() == len(sizes)
  assert any((labels < 0).any() for labels, _ in seen['drawn'])


def test_nothing_compiles_twice(watched):
  # Once to look at the gradient's shape, or just once; not once a stage.
  assert watched[1]['traces'] == 1


def test_files_and_commands_know_who_is_not_placed(watched, capsys):
  workdir, _ = watched
  with (workdir / 'clusters.csv').open(newline='') as file:
    rows = [int(row['cluster']) for row in csv.DictReader(file)]
  assert len(rows) == 30
  run = restore.restore_run(workdir, 'chosen')
  waiting = int((run.labels < 0).sum())
  assert rows.count(-1) == waiting
  # Last, so that the first rows show clusters.
  assert rows[len(rows) - waiting :] == [-1] * waiting
  report = (workdir / 'report.html').read_text()
  assert ('<h3>Not placed</h3>' in report) == (waiting > 0)
  save = workdir / 'features.npz'
  evaluate.main([f'--workdir={workdir}', f'--save={save}'])
  told = capsys.readouterr().out.splitlines()[0]
  count = f'{run.labels.max() + 1} clusters of 30 images'
  assert told.endswith(
    f'{count}, {waiting} of them in none' if waiting else count
  )
  np.testing.assert_array_equal(np.load(save)['train_labels'], run.labels)


def test_the_student_is_kept_beside_its_teacher(watched):
  store = checkpoint.CheckpointStore(watched[0] / 'checkpoints')
  arrays = store.restore_as_saved(2)
  teacher, student = arrays['params'], arrays['student']['params']
  kernel = teacher['backbone']['stem_conv']['kernel']
  assert np.abs(kernel - student['backbone']['stem_conv']['kernel']).max() > 0


def test_resuming_is_exact(watched, market, tmp_path):
  runs.run_until(2, _config(market), tmp_path)
  job.run(_config(market), tmp_path)
  stores = [
    checkpoint.CheckpointStore(each / 'checkpoints').restore_as_saved(2)
    for each in (watched[0], tmp_path)
  ]
  import jax

  jax.tree.map(np.testing.assert_array_equal, *stores)


def test_a_cut_that_leaves_nothing_is_told_and_changes_nothing(
  market, tmp_path, caplog
):
  nothing = {'cluster.cut': 'dbscan', 'cluster.eps': 1e-6}
  config = _config(market, **nothing, **{'train.num_stages': 1})
  with caplog.at_level('WARNING', 'dbc_jax'):
    job.run(config, tmp_path)
  told = [r.getMessage() for r in caplog.records]
  assert any('dbscan leaves 0 clusters of 30 images' in line for line in told)
  assert _history(tmp_path)[0]['num_clusters'] == 30


def test_few_clusters_for_a_batch_are_told(market, tmp_path, caplog):
  config = _config(
    market,
    **{
      'train.images_per_cluster': 1,
      'train.num_stages': 1,
      'cluster.share': (0.3, 0.3),
    },
  )
  with caplog.at_level('WARNING', 'dbc_jax'):
    job.run(config, tmp_path)
  told = [r.getMessage() for r in caplog.records]
  assert any('fewer than the 8 that a batch has places' in x for x in told)


@pytest.mark.parametrize('cut', ['papers', 'share', 'hdbscan'])
def test_clusters_may_grow_from_stage_to_stage(cut, market, tmp_path):
  """Not anew: who is placed stays so, and whoever waits may join."""
  config = _config(
    market,
    **{'cluster.cut': cut, 'cluster.anew': False, 'cluster.merge_percent': 0.2},
  )
  config.train.images_per_cluster = 0
  job.run(config, tmp_path)
  labels = [
    restore.restore_run(tmp_path, str(stage)).labels
    for stage in (0, 1, 2)
    if (tmp_path / 'checkpoints' / str(stage)).exists()
  ]
  assert len(labels) >= 1
  if cut == 'papers':
    counts = [r['num_clusters'] for r in _history(tmp_path)]
    assert counts == [24, 18, 12]
    assert 'placed' not in _history(tmp_path)[0]


@pytest.mark.parametrize(
  'fields',
  [
    {},
    {'cluster.cut': 'dbscan', 'cluster.anew': False},
    {'cluster.cut': 'papers', 'train.num_stages': 0, 'cluster.anew': False},
  ],
)
def test_a_number_of_clusters_that_is_known_ends_the_run(
  fields, market, tmp_path
):
  config = _config(
    market,
    **{'cluster.num_clusters': 13, 'cluster.merge_percent': 0.3, **fields},
  )
  config.train.images_per_cluster = 0
  job.run(config, tmp_path)
  history = _history(tmp_path)
  if config.cluster.cut == 'papers':
    # 30 images, 9 merges a stage, the last ones fewer.
    assert [r['num_clusters'] for r in history] == [21, 13]
  assert [r.get('asked_clusters') for r in history][-2:] == [None, 13]
  kept = restore.restore_run(tmp_path)
  assert kept.stage == len(history) - 1
  # Every image is in one.
  np.testing.assert_array_equal(np.unique(kept.labels), np.arange(13))
  with (tmp_path / 'clusters.csv').open() as file:
    assert len({row['cluster'] for row in csv.DictReader(file)}) == 13


def test_silhouette_counts_who_is_not_placed_as_nothing():
  rng = np.random.default_rng(0)
  features = rng.normal(size=(40, 6)).astype(np.float32)
  labels = np.repeat(np.arange(4), 10).astype(np.int32)
  features += 4 * np.eye(6, dtype=np.float32)[labels]
  whole = record.measure(features[:30], labels[:30])
  some = record.measure(features, np.where(labels < 3, labels, -1))
  assert some['placed'] == 0.75
  assert some['silhouette'] == pytest.approx(0.75 * whole['silhouette'])
  assert some['num_clusters'] == 3
  assert some['largest_share'] == 0.25


@pytest.mark.parametrize(
  ('fields', 'message'),
  [
    ({'cluster.cut': 'sharp'}, r"cluster\.cut: got 'sharp', expected one of"),
    ({'cluster.share': (0.5, 2.0)}, r'cluster\.share: got \(0\.5, 2\.0\)'),
    ({'cluster.num_clusters': 1}, r'cluster\.num_clusters: got 1, expected at'),
    ({'cluster.num_clusters': 30}, r'num_clusters: got 30, .*the 30 training'),
    (
      {
        'cluster.num_clusters': 9,
        'train.stage0_epochs': 1,
        'train.num_stages': 1,
      },
      r'train\.num_stages: got 1, which is of single images, with cluster\.num',
    ),
    ({'cluster.min_size': 1}, r'cluster\.min_size: got 1, expected at least'),
    ({'train.images_per_cluster': 3}, r'images_per_cluster: got 3.*divisor'),
    ({'train.optimizer': 'adamw'}, r"train\.optimizer: got 'adamw'"),
    ({'memory.update_by': 'all'}, r"memory\.update_by: got 'all'"),
    ({'data.erasing': 1.5}, r'data\.erasing: got 1\.5'),
    ({'data.views': 'soft'}, r"data\.views: got 'soft', expected one of"),
    (
      {'data.views': 'strong', 'data.erasing': 0.5},
      r"data\.views: got 'strong' with data\.crop_padding or data\.erasing",
    ),
    (
      {'train.run_decay': True, 'train.later_decay': True},
      r'train\.run_decay: got True with train\.later_decay=True',
    ),
    (
      {'cluster.merge_percent': 0.5, 'train.num_stages': 0},
      r'stage0_epochs: got 0, .*merge_percent=0\.5 leaves none; lower',
    ),
    (
      {'cluster.cut': 'papers', 'train.num_stages': 9},
      r'train\.num_stages: got 9, expected at most 3 with cluster\.merge_perc',
    ),
  ],
)
def test_bad_values_end_before_any_work(fields, message, market, tmp_path):
  with pytest.raises(ValueError, match=message):
    job.run(_config(market, **fields), tmp_path / 'run')
  assert not (tmp_path / 'run').exists()


def test_the_merges_of_a_share_are_counted():
  # Five samples: 0 and 1 merge, 2 and 3 merge, then those two, then 4 joins.
  pairs = np.array([[0, 1], [2, 3], [5, 6], [4, 7]])
  sizes = np.ones(5, int)
  for wanted, min_size, merges in (
    (0, 2, 0),
    (2, 2, 1),
    (3, 2, 2),
    (4, 3, 3),
    (5, 3, 4),
    (6, 3, 4),
  ):
    assert share.merges_to_place(pairs, sizes, wanted, min_size) == merges


def test_cameras_split_the_rows_of_the_memory(market, tmp_path, monkeypatch):
  """A row for each camera and cluster, where cameras are used."""
  rows = {}
  start = CameraProxies.start_proxies

  def note(self, embeddings, proxies):
    rows[used] = proxies
    return start(self, embeddings, proxies)

  monkeypatch.setattr(CameraProxies, 'start_proxies', note)
  for used in ('auto', 'False'):
    fields = {
      'train.objective': 'camera_proxies',
      'train.num_stages': 1,
      'data.use_cameras': used,
    }
    job.run(_config(market, **fields), tmp_path / used)
    saved = json.loads((tmp_path / used / 'config.json').read_text())
    assert saved['data']['use_cameras'] == str(used == 'auto')
    assert saved['cluster']['camera_centring'] == (used == 'auto')
  assert not rows['False'].groups.any()
  history = _history(tmp_path / 'auto')
  assert rows['auto'].clusters.max() + 1 == history[0]['num_clusters']
  assert rows['auto'].groups.max() + 1 == 3


def test_cameras_that_are_not_there(tmp_path, caplog):
  names = [f'{i}.png' for i in range(30)]
  root = runs.write_images(tmp_path / 'data', names, runs.make_images(30, 6))
  config = runs.small_config('folder', root)
  config.data.use_cameras = 'True'
  with pytest.raises(
    ValueError, match=r'data\.use_cameras: got True, but folder has no cameras'
  ):
    job.run(config, tmp_path / 'run')
  assert not (tmp_path / 'run').exists()
  config.data.use_cameras = 'auto'
  config.cluster.camera_centring = True
  config.train.objective = 'camera_proxies'
  with caplog.at_level('INFO', 'dbc_jax'):
    job.run(config, tmp_path / 'run')
  told = [r.getMessage() for r in caplog.records]
  assert 'data.use_cameras: False, as folder has none' in told
  saved = json.loads((tmp_path / 'run' / 'config.json').read_text())
  assert saved['data']['use_cameras'] == 'False'
  assert not saved['cluster']['camera_centring']
