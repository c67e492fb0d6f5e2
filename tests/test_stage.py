"""What a stage merges by: the config's distance, and cameras only if asked."""

import json

import jax
import numpy as np
import pytest
import runs

from dbc_jax import cluster, driver, models, parallel, stage

CAMIDS = np.arange(30) % 3
LABELS = np.arange(30, dtype=np.int32)


def _features() -> np.ndarray:
  x = np.random.default_rng(0).normal(size=(30, 8))
  x += 2 * np.eye(8)[CAMIDS]  # Cameras stand apart.
  return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def _runner(**fields):
  config = runs.small_config('folder', '')
  config.cluster.update(fields)
  criterion = stage.make_criterion(config.cluster)
  encoder = models.create_encoder(**config.model, axis_name=parallel.AXIS_NAME)
  return stage.StageRunner(config, encoder, criterion, 9, 4), criterion


@pytest.mark.parametrize('centring', [False, True])
@pytest.mark.parametrize('distance', ['euclidean', 'jaccard'])
def test_merges_by_the_distance_of_the_config(distance, centring):
  runner, criterion = _runner(
    distance=distance, camera_centring=centring, jaccard_k1=8, jaccard_k2=3
  )
  x = _features()
  got = runner.merge(x, np.ones_like(x), LABELS, CAMIDS)
  if centring:
    x = cluster.center_cameras(x, CAMIDS)
  dist = None
  if distance == 'jaccard':
    dist = cluster.jaccard_distances(x, k1=8, k2=3)
  expected = cluster.merge_clusters(x, LABELS, 9, criterion, distances=dist)
  np.testing.assert_array_equal(got, expected.labels)


def test_centring_is_of_the_embeddings_where_those_are_clustered():
  runner, criterion = _runner(camera_centring=True, features='embedding')
  x = _features()
  got = runner.merge(np.ones((30, 3), np.float32), x, LABELS, CAMIDS)
  x = cluster.center_cameras(x, CAMIDS)
  expected = cluster.merge_clusters(x, LABELS, 9, criterion)
  np.testing.assert_array_equal(got, expected.labels)


def test_cameras_change_the_merges_only_where_asked():
  x = _features()
  plain, _ = _runner()
  centred, _ = _runner(camera_centring=True)
  without = plain.merge(x, x, LABELS)
  np.testing.assert_array_equal(plain.merge(x, x, LABELS, CAMIDS), without)
  assert (centred.merge(x, x, LABELS, CAMIDS) != without).any()


@pytest.mark.parametrize('centring', [False, True])
def test_a_run_hands_over_cameras_only_where_asked(
  centring, tmp_path, monkeypatch
):
  runs.one_device(monkeypatch)
  config = runs.small_config('market1501', runs.write_market(tmp_path / 'data'))
  config.cluster.criterion = 'average'
  config.cluster.reg_weight = 0.002
  config.cluster.distance = 'jaccard'
  config.cluster.jaccard_k1 = 8
  config.cluster.camera_centring = centring
  given = []
  merge = stage.StageRunner.merge

  def record(self, features, embeddings, labels, camids=None):
    given.append(camids)
    return merge(self, features, embeddings, labels, camids)

  monkeypatch.setattr(stage.StageRunner, 'merge', record)
  driver.run(config, tmp_path / 'run')
  lines = (tmp_path / 'run' / 'metrics.jsonl').read_text().splitlines()
  counts = [json.loads(line)['num_clusters'] for line in lines]
  assert counts == [30, 24, 18, 12]
  assert len(given) == 3
  if centring:
    # Ten images from each of three cameras, in the hashed order.
    for camids in given:
      np.testing.assert_array_equal(np.bincount(camids), [0, 10, 10, 10])
      np.testing.assert_array_equal(camids, given[0])
  else:
    assert given == [None] * 3
  assert not jax.config.jax_enable_x64


def test_centring_without_cameras_ends_before_any_work(tmp_path):
  names = [f'{i}.png' for i in range(30)]
  root = runs.write_images(tmp_path / 'data', names, runs.make_images(30, 6))
  config = runs.small_config('folder', root)
  config.cluster.camera_centring = True
  with pytest.raises(
    ValueError, match=r'cluster\.camera_centring: got True, but folder has no'
  ):
    driver.run(config, tmp_path / 'run')
  assert not (tmp_path / 'run').exists()
