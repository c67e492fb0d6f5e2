"""Whole runs: outputs, resumption, and that nothing but pixels matters."""

import csv
import json
import shutil
import threading
import types

import numpy as np
import pytest
import runs

from dbc_jax import FeatureExtractor, reporting
from dbc_jax.cluster import simplified_silhouettes
from dbc_jax.run import build, checkpoint, job, record, selection
from dbc_jax.run import stage as stage_lib
from dbc_jax.training import optim

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures('one_device')]


@pytest.fixture(scope='module')
def straight(tmp_path_factory, market):
  """A whole uninterrupted run."""
  workdir = tmp_path_factory.mktemp('straight')
  with pytest.MonkeyPatch.context() as monkeypatch:
    runs.one_device(monkeypatch)
    job.run(runs.small_config('market1501', market), workdir)
  return workdir


NAN_RATES = (np.nan, np.nan)


def _history(workdir):
  lines = (workdir / 'metrics.jsonl').read_text().splitlines()
  return [json.loads(line) for line in lines]


def _clusters(workdir):
  with (workdir / 'clusters.csv').open(newline='') as file:
    return {row['path']: int(row['cluster']) for row in csv.DictReader(file)}


def _last_arrays(workdir):
  store = checkpoint.CheckpointStore(workdir / 'checkpoints')
  return store.restore_as_saved(store.latest_stage())


def _assert_equal_trees(a, b):
  import jax

  jax.tree.map(np.testing.assert_array_equal, a, b)


def test_stages_follow_algorithm_1(straight):
  history = _history(straight)
  # 30 images, 6 merges: trained while more than 6 clusters are left.
  assert [r['num_clusters'] for r in history] == [30, 24, 18, 12]
  assert [r['stage'] for r in history] == [0, 1, 2, 3]
  for key in ('seconds_cluster', 'stage_agreement', 'last_merge_score'):
    assert [key in r for r in history] == [True] * 3 + [False], key
  assert [r['stage'] for r in history if 'merge_gap' in r] == [1, 2]
  arrays = _last_arrays(straight)
  assert arrays['labels'].max() + 1 == 12
  np.testing.assert_array_equal(arrays['labels'], arrays['next_labels'])


def test_records_hold_every_documented_key(straight):
  keys = (
    'stage num_clusters loss rank1 rank5 rank10 rank20 map map_trapz pair_f '
    'ari nmi silhouette dispersion_validity neighbour_f view_agreement '
    'singletons seconds_train seconds_embed seconds_evaluate seconds_measure'
  )
  for each in _history(straight):
    assert set(keys.split()) <= set(each)
    assert 0.0 < each['map'] <= 1.0
  # Of the labels trained on: all alone.
  assert _history(straight)[0]['pair_f'] == 0.0


def test_result_is_the_stage_chosen_without_labels(straight):
  history, clusters = _history(straight), _clusters(straight)
  chosen = selection.select(history)
  assert len(clusters) == 30
  count = history[chosen.chosen]['num_clusters']
  assert len(set(clusters.values())) == count
  kept = (straight / 'checkpoints').iterdir()
  assert {p.name for p in kept if p.is_dir()} == set(map(str, chosen[:3]))


def test_all_outputs_lie_in_the_workdir(straight):
  for name in ('config.json', 'report.html', 'tensorboard', 'checkpoints'):
    assert (straight / name).exists(), name
  config = json.loads((straight / 'config.json').read_text())
  assert config['train']['batch_size'] == 8


def _saved_features(workdir):
  with np.load(workdir / 'features.npz', allow_pickle=False) as file:
    return dict(file)


def test_features_are_those_of_the_chosen_stage(straight, tmp_path):
  saved = _saved_features(straight)
  extractor = FeatureExtractor.from_workdir(straight)
  root = extractor.run.parts.config.data.root
  order = [int(i) for i in np.argsort(saved['paths'])]
  found = extractor([f'{root}/{path}' for path in saved['paths'][order]])
  assert found.shape == (30, saved['features'].shape[1])
  np.testing.assert_allclose(saved['features'][order], found, atol=2e-3)
  assert str(saved['stage']) == str(extractor.run.stage)
  assert str(saved['digest']) == extractor.run.digest
  # A row of clusters.csv tells of the same image.
  clusters = _clusters(straight)
  labels = np.array([clusters[path] for path in saved['paths']])
  np.testing.assert_array_equal(labels, extractor.run.labels)
  silhouettes = simplified_silhouettes(saved['features'], labels)
  with (straight / 'clusters.csv').open(newline='') as file:
    rows = {row['path']: row['silhouette'] for row in csv.DictReader(file)}
  expected = {
    str(path): f'{value:.3f}'
    for path, value in zip(saved['paths'], silhouettes, strict=True)
  }
  assert rows == expected
  report = (straight / 'report.html').read_text()
  assert 'How sure the clusters are' in report
  assert 'not finished' not in report
  # What the four queries find, on the page and in its script the images.
  assert report.count('<img class="query"') == 4
  assert '"root":"file:///' in report
  # Lost, cut off, or of another stage: embedded anew, to the same bytes.
  workdir = tmp_path / 'copy'
  shutil.copytree(straight, workdir)
  config = extractor.run.parts.config
  path = workdir / 'features.npz'
  for spoil in (
    path.unlink,
    lambda: path.write_bytes(path.read_bytes()[:200]),
    lambda: np.savez(path, **saved | {'stage': np.array('warmup')}),
  ):
    spoil()
    job.run(config, workdir)
    for key, value in _saved_features(workdir).items():
      np.testing.assert_array_equal(value, saved[key], err_msg=key)


def test_tensorboard_reads_the_run(straight):
  """By its own readers: scalars, sizes, and all that its projector shows."""
  pytest.importorskip('tensorboard')
  from tensorboard.backend.event_processing import (
    data_provider,
    event_accumulator,
    plugin_event_multiplexer,
  )
  from tensorboard.plugins import base_plugin
  from tensorboard.plugins.projector import projector_plugin
  from werkzeug import test, wrappers

  folder = str(straight / 'tensorboard')
  events = event_accumulator.EventAccumulator(folder, {'histograms': 0})
  events.Reload()
  history = _history(straight)
  found = {x.step: x.value for x in events.Scalars('retrieval/map')}
  expected = {record['stage']: record['map'] for record in history}
  assert found == pytest.approx(expected)
  sizes = events.Histograms('clusters/sizes')
  assert [(x.step, x.histogram_value.num) for x in sizes] == [
    (record['stage'], record['num_clusters']) for record in history
  ]
  assert {x.histogram_value.sum for x in sizes} == {30}
  runs_of = plugin_event_multiplexer.EventMultiplexer()
  runs_of.AddRunsFromDirectory(folder)
  runs_of.Reload()
  provider = data_provider.MultiplexerDataProvider(runs_of, folder)
  plugin = projector_plugin.ProjectorPlugin(
    base_plugin.TBContext(logdir=folder, data_provider=provider)
  )

  def get(route: str) -> bytes:
    client = test.Client(plugin.get_plugin_apps()[route], wrappers.Response)
    return client.get('/', query_string={'run': '.', 'name': 'features'}).data

  saved = _saved_features(straight)
  rows = np.frombuffer(get('/tensor'), np.float32).reshape(30, -1)
  np.testing.assert_array_equal(rows.astype(np.float16), saved['features'])
  head, *lines = get('/metadata').decode().splitlines()
  assert head == 'path\tcluster\tcamera\tidentity'
  clusters = _clusters(straight)
  for path, line in zip(saved['paths'], lines, strict=True):
    own = path.rpartition('/')[2]
    camera, pid = int(own[6]), int(own[:4])
    assert line == f'{path}\t{clusters[path]}\t{camera}\t{pid}'
  assert get('/sprite_image').startswith(b'\x89PNG')


@pytest.mark.parametrize('where', ['within stage 2', 'after saving stage 1'])
def test_interrupted_and_resumed_equals_straight(
  where, straight, market, tmp_path, monkeypatch, caplog
):
  config = runs.small_config('market1501', market)
  with monkeypatch.context() as patch:
    if where == 'within stage 2':
      measure = record.measure

      def measure_or_stop(features, labels, views):
        if labels.max() + 1 == 18:
          raise KeyboardInterrupt
        return measure(features, labels, views)

      patch.setattr(record, 'measure', measure_or_stop)
    else:
      write = reporting.write_metrics

      def write_or_stop(workdir, history):
        if len(history) == 2:
          raise KeyboardInterrupt
        write(workdir, history)

      patch.setattr(reporting, 'write_metrics', write_or_stop)
    with pytest.raises(KeyboardInterrupt):
      job.run(config, tmp_path)
  assert not (tmp_path / 'features.npz').exists()
  page = (tmp_path / 'report.html').read_text()
  assert 'The run is not finished' in page
  with caplog.at_level('INFO', logger='dbc_jax'):
    job.run(config, tmp_path)
  assert 'resuming after stage 1' in caplog.text
  assert 'an earlier build' not in caplog.text

  _assert_equal_trees(_last_arrays(tmp_path), _last_arrays(straight))
  assert _clusters(tmp_path) == _clusters(straight)
  for resumed, expected in zip(
    _history(tmp_path), _history(straight), strict=True
  ):
    for key in expected:
      if not key.startswith(('seconds', 'images_per')):
        assert resumed[key] == expected[key], key


def test_evaluation_beside_the_merging_changes_nothing(
  straight, market, tmp_path, monkeypatch
):
  evaluate, measure = record.evaluate, record.measure
  measured = threading.Event()

  def evaluate_late(*arguments):
    assert measured.wait(timeout=60)
    measured.clear()
    return evaluate(*arguments)

  def measure_first(*arguments):
    measured.set()
    return measure(*arguments)

  # As on a GPU; for this choice alone, as the training is to round alike.
  gpu = types.SimpleNamespace(host_is_device=lambda: False)
  monkeypatch.setattr(stage_lib, 'mesh', gpu)
  monkeypatch.setattr(record, 'evaluate', evaluate_late)
  monkeypatch.setattr(record, 'measure', measure_first)
  job.run(runs.small_config('market1501', market), tmp_path)
  assert _clusters(tmp_path) == _clusters(straight)
  for got, expected in zip(_history(tmp_path), _history(straight), strict=True):
    assert [*got] == [*expected]
    for key in got:
      if not key.startswith(('seconds', 'images_per')):
        assert got[key] == expected[key], key


def test_finished_run_says_so_and_trains_nothing(
  straight, market, monkeypatch, capsys, caplog
):
  before = _history(straight)
  # Nothing is trained, nor even embedded.
  monkeypatch.setattr(stage_lib.StageRunner, 'run', None)
  monkeypatch.setattr(build.Parts, 'extract', None)
  with caplog.at_level('INFO', logger='dbc_jax'):
    job.run(runs.small_config('market1501', market), straight)
  assert 'finished before' in caplog.text
  assert str(straight / 'clusters.csv') in capsys.readouterr().out
  assert _history(straight) == before


def test_scrambled_identities_in_file_names_change_nothing(straight, tmp_path):
  pids = np.random.default_rng(3).permutation(np.arange(30) % 6 + 1)
  root = runs.write_market(tmp_path / 'data', train_pids=pids)
  job.run(runs.small_config('market1501', root), tmp_path / 'run')
  _assert_equal_trees(_last_arrays(tmp_path / 'run'), _last_arrays(straight))


def test_permuted_and_renamed_files_give_the_same_clusters(tmp_path):
  images = runs.make_images(30, 6)
  shuffle = np.random.default_rng(4).permutation(30)
  first = [f'id{i % 6}/{i:03d}.png' for i in range(30)]
  second = [f'{"xyz"[i % 3]}/{i * 37 % 101:03d}_{i}.png' for i in range(30)]
  partitions = []
  for run, (names, order) in enumerate(
    [(first, np.arange(30)), (second, shuffle)]
  ):
    root = runs.write_images(tmp_path / f'data{run}', names, images[order])
    workdir = tmp_path / f'run{run}'
    job.run(runs.small_config('folder', root, 'ecluster'), workdir)
    clusters = _clusters(workdir)
    labels = np.empty(30, int)
    labels[order] = [clusters[name] for name in names]
    partitions.append(labels)
  np.testing.assert_array_equal(*partitions)
  _assert_equal_trees(
    _last_arrays(tmp_path / 'run0'), _last_arrays(tmp_path / 'run1')
  )


def test_without_identities_the_last_stage_is_the_result(tmp_path, caplog):
  root = runs.write_images(
    tmp_path / 'data',
    [f'{i}.png' for i in range(30)],
    runs.make_images(30, 6),
  )
  with caplog.at_level('INFO', logger='dbc_jax'):
    job.run(runs.small_config('folder', root), tmp_path / 'run')
  assert 'no identities' in caplog.text
  history = _history(tmp_path / 'run')
  scores = {'map', 'rank1', 'pair_f', 'seconds_evaluate'}
  assert not scores & set(history[-1])
  assert len(set(_clusters(tmp_path / 'run').values())) == 12


def test_other_settings_need_another_workdir(straight, market):
  config = runs.small_config('market1501', market)
  config.train.batch_size = 4
  with pytest.raises(
    ValueError, match=r'workdir: .*train\.batch_size: 8 there, 4 given'
  ):
    job.run(config, straight)


def test_other_images_need_another_workdir(straight, tmp_path, monkeypatch):
  root = runs.write_market(tmp_path / 'data')
  name = 'bounding_box_train/0001_c1s1_000000_00.jpg'
  image = np.zeros((*runs.SHAPE, 3), np.uint8)
  runs.write_images(tmp_path, ['black.png'], [image])
  (root / name).write_bytes((tmp_path / 'black.png').read_bytes())
  config = runs.small_config('market1501', root)
  with pytest.raises(
    ValueError, match='1 of 30 training images differ: bounding'
  ):
    job.run(config, straight)


def test_nan_loss_names_stage_and_step_and_keeps_the_checkpoint(
  market, tmp_path, monkeypatch
):
  schedule = optim.learning_rates

  def diverging(number, epoch, **fields):
    return NAN_RATES if number == 1 else schedule(number, epoch, **fields)

  monkeypatch.setattr(optim, 'learning_rates', diverging)
  # Stage 0 takes 2 epochs of 3 steps, 0 to 5.
  with pytest.raises(
    FloatingPointError, match=r'stage 1, epoch 0, step 6: the loss is nan'
  ):
    job.run(runs.small_config('market1501', market), tmp_path)
  store = checkpoint.CheckpointStore(tmp_path / 'checkpoints')
  assert store.latest_stage() == 0
  assert store.read_record(0)['history'][0]['num_clusters'] == 30


def test_nan_weights_of_a_last_step_are_noticed(tmp_path, monkeypatch):
  # One step a stage: its loss itself is still that of good weights.
  root = runs.write_images(
    tmp_path / 'data', [f'{i}.png' for i in range(10)], runs.make_images(10, 5)
  )
  config = runs.small_config('folder', root)
  config.train.stage0_epochs = 1
  monkeypatch.setattr(optim, 'learning_rates', lambda *_, **__: NAN_RATES)
  with pytest.raises(
    FloatingPointError, match=r'stage 0, epoch 0, step 0: .*nan.*Nothing'
  ):
    job.run(config, tmp_path / 'run')


def test_failed_before_any_checkpoint_another_config_may_follow(
  market, tmp_path, monkeypatch
):
  config = runs.small_config('market1501', market)
  with monkeypatch.context() as patch:
    patch.setattr(optim, 'learning_rates', lambda *_, **__: NAN_RATES)
    with pytest.raises(FloatingPointError):
      job.run(config, tmp_path)
  config.train.batch_size = 10
  config.cluster.merge_percent = 0.4
  job.run(config, tmp_path)
  assert len(_history(tmp_path)) == 2


def test_leftovers_of_a_killed_save_are_ignored(straight, market, tmp_path):
  shutil.copytree(straight, tmp_path, dirs_exist_ok=True)
  last = tmp_path / 'checkpoints' / '3'
  last.rename(last.with_name('3.orbax-checkpoint-tmp'))
  job.run(runs.small_config('market1501', market), tmp_path)
  _assert_equal_trees(_last_arrays(tmp_path), _last_arrays(straight))


def test_moved_data_resumes_by_its_images(straight, market, tmp_path, capsys):
  shutil.copytree(market, tmp_path / 'elsewhere')
  config = runs.small_config('market1501', tmp_path / 'elsewhere')
  job.run(config, straight)
  assert 'kept stage' in capsys.readouterr().out


def test_crops_of_several_sizes(tmp_path):
  images = runs.make_images(12, 4)
  cut = [image[: 24 - i, : 12 - i % 3] for i, image in enumerate(images)]
  names = [f'{i}.png' for i in range(12)]
  root = runs.write_images(tmp_path / 'data', names, cut)
  config = runs.small_config('folder', root)
  config.cluster.merge_percent = 0.4
  job.run(config, tmp_path / 'run')
  assert len(_clusters(tmp_path / 'run')) == 12


def test_log_lines_tell_the_epochs_where_there_is_no_terminal(
  market, tmp_path, caplog
):
  config = runs.small_config('market1501', market)
  config.cluster.merge_percent = 0.5
  with caplog.at_level('INFO', logger='dbc_jax'):
    job.run(config, tmp_path)
  assert 'stage 0 epoch 2/2: loss' in caplog.text
  assert 'images/s' in caplog.text
  assert 'nothing will be merged' in caplog.text
