"""Runs that normalise by camera: resumed exactly, read back, told."""

import json

import jax
import numpy as np
import pytest
import runs

from dbc_jax import FeatureExtractor, evaluation
from dbc_jax.run import checkpoint, extractor, job, restore
from dbc_jax.training.camera_statistics import KEY

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures('one_device')]


def _config(market, **fields):
  config = runs.small_config('market1501', market)
  config.update_from_flattened_dict(
    {
      'data.use_cameras': 'auto',
      'data.camera_statistics': True,
      'train.stage0_epochs': 0,
      'train.num_stages': 3,
      'train.teacher_momentum': 0.9,
      'cluster.cut': 'geometric',
      'cluster.anew': True,
    }
    | fields
  )
  return config


def test_statistics_are_saved_and_resumed_and_read_back(market, tmp_path):
  straight, twice = tmp_path / 'straight', tmp_path / 'twice'
  job.run(_config(market), straight)

  runs.run_until(2, _config(market), twice)
  job.run(_config(market), twice)
  job.run(_config(market), twice)
  stores = [
    checkpoint.CheckpointStore(each / 'checkpoints').restore_as_saved(2)
    for each in (straight, twice)
  ]
  jax.tree.map(np.testing.assert_array_equal, *stores)

  restored = restore.restore_run(straight, '2')
  np.testing.assert_array_equal(
    restored.variables[KEY]['camids'], np.unique(stores[0][KEY]['camids'])
  )
  data = restore.load_data(
    restored.parts.config, restored.digest, identities=True, cameras=True
  )
  arrays = restore.extract_arrays(restored, data, ('query', 'gallery'))
  scores = evaluation.rank_features(
    *(
      arrays[f'{split}_{what}']
      for what in ('features', 'pids', 'camids')
      for split in ('query', 'gallery')
    )
  )
  lines = (straight / 'metrics.jsonl').read_text().splitlines()
  assert scores['map'] == pytest.approx(json.loads(lines[2])['map'], abs=1e-6)


def test_without_cameras_nothing_is_normalised_by_them(
  market, tmp_path, caplog
):
  fields = {'train.num_stages': 1, 'data.use_cameras': 'False'}
  with caplog.at_level('INFO', 'dbc_jax'):
    job.run(_config(market, **fields), tmp_path / 'off')
  assert any('camera_statistics: without effect' in x for x in caplog.messages)
  fields['data.camera_statistics'] = False
  job.run(_config(market, **fields), tmp_path / 'plain')
  stores = [
    checkpoint.CheckpointStore(tmp_path / each / 'checkpoints')
    for each in ('off', 'plain')
  ]
  jax.tree.map(
    np.testing.assert_array_equal,
    *(store.restore_as_saved(0) for store in stores),
  )


@pytest.fixture(scope='module')
def by_camera(tmp_path_factory, market):
  """A run that normalised by camera."""
  workdir = tmp_path_factory.mktemp('by_camera')
  with pytest.MonkeyPatch.context() as monkeypatch:
    runs.one_device(monkeypatch)
    job.run(_config(market, **{'train.num_stages': 1}), workdir)
  return workdir


def test_an_extractor_knows_the_cameras_of_the_run(
  by_camera, market, monkeypatch
):
  embed = FeatureExtractor.from_workdir(by_camera)
  parts, digest = embed.run.parts, embed.run.digest
  data = restore.load_data(parts.config, digest, identities=True, cameras=True)
  paths = [f'{market}/{name}' for name in data.names['train']]
  camids = data.truth.train_camids
  expected, _ = parts.embed(embed.run.variables, data.train, camids)
  np.testing.assert_array_equal(embed(paths, camids.tolist()), expected)
  assert np.abs(embed(paths) - expected).max() > 1e-3
  # A new camera with the images of a known one is like that one.
  first = camids == camids.min()
  renamed = np.where(first, 99, camids)
  few = embed(paths, renamed)
  monkeypatch.setattr(extractor, 'FEWEST_OF_A_CAMERA', 1)
  np.testing.assert_allclose(embed(paths, renamed), expected, atol=1e-6)
  # With few images it has the statistics of all.
  np.testing.assert_allclose(few[first], embed(paths)[first], atol=1e-6)
  np.testing.assert_allclose(few[~first], expected[~first], atol=1e-6)
  for cameras in ([1], ['a'] * len(paths), camids / 2):
    with pytest.raises(ValueError, match=r'^cameras: got '):
      embed(paths, cameras)


def test_cameras_of_a_run_without_them_are_refused(market, tmp_path):
  fields = {'train.num_stages': 1, 'data.use_cameras': 'False'}
  job.run(_config(market, **fields), tmp_path)
  embed = FeatureExtractor.from_workdir(tmp_path)
  with pytest.raises(ValueError, match='has no statistics of cameras'):
    embed(list(runs.make_images(2, 2)), [1, 2])


def test_another_data_set_has_cameras_of_its_own(by_camera, tmp_path):
  root = runs.write_market(tmp_path)
  next((root / 'bounding_box_train').iterdir()).unlink()
  run = restore.restore_run(by_camera)
  config = restore.data_config(run, None, {'root': str(root)})
  data = restore.load_data(config, None, identities=False, cameras=True)
  assert data.digest != run.digest
  arrays = restore.extract_arrays(run, data, ('query', 'gallery'))
  camids = data.truth.gallery_camids
  own = run.parts.with_statistics(run.variables, data.gallery, camids)
  for split in ('query', 'gallery'):
    expected, _ = run.parts.embed(
      own, getattr(data, split), arrays[f'{split}_camids']
    )
    np.testing.assert_array_equal(arrays[f'{split}_features'], expected)
    theirs, _ = run.parts.embed(
      run.variables, getattr(data, split), arrays[f'{split}_camids']
    )
    assert np.abs(theirs - expected).max() > 1e-3


def test_one_camera_alone_is_normalised_like_several(tmp_path):
  names = [f'{i:02d}.png' for i in range(20)]
  root = runs.write_images(tmp_path, names, runs.make_images(20, 5))
  rows = ['path,camid', *(f'{name},4' for name in names)]
  (root / 'list.csv').write_text('\n'.join(rows) + '\n')
  config = _config(root, **{'train.num_stages': 1})
  config.data.name, config.data.csv = 'folder', 'list.csv'
  job.run(config, tmp_path / 'run')
  run = restore.restore_run(tmp_path / 'run')
  assert run.variables[KEY]['camids'].tolist() == [4]
  # Fewer images than a batch of 16 each: they are shown several times.
  rows[1:11] = [row[:-1] + '7' for row in rows[1:11]]
  (root / 'list.csv').write_text('\n'.join(rows) + '\n')
  job.run(config, tmp_path / 'two')
  run = restore.restore_run(tmp_path / 'two')
  assert run.variables[KEY]['camids'].tolist() == [4, 7]


def test_another_data_set_without_a_gallery_takes_no_camera_of_the_run(
  by_camera, tmp_path
):
  names = [f'{i:02d}.png' for i in range(20)]
  root = runs.write_images(tmp_path, names, runs.make_images(20, 5, seed=3))
  rows = ['path,camid', *(f'{name},{i % 3}' for i, name in enumerate(names))]
  (root / 'list.csv').write_text('\n'.join(rows) + '\n')
  run = restore.restore_run(by_camera)
  changes = {'name': 'folder', 'root': str(root), 'csv': 'list.csv'}
  config = restore.data_config(run, None, changes)
  data = restore.load_data(config, None, identities=False, cameras=False)
  assert set(data.truth.train_camids) & set(run.variables[KEY]['camids'])
  arrays = restore.extract_arrays(run, data, ('train',))
  expected, _ = run.parts.extract(run.variables, data.train)
  np.testing.assert_array_equal(arrays['train_features'], expected)
