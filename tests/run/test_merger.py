"""What a stage merges by: the config's distance, and cameras only if asked."""

import json

import jax
import numpy as np
import pytest
import runs

from dbc_jax import cluster
from dbc_jax.cluster.cuts import papers
from dbc_jax.cluster.engines import choice
from dbc_jax.cluster.linked import Links
from dbc_jax.devices import mesh
from dbc_jax.run import job
from dbc_jax.run import merger as merger_lib

CAMIDS = np.arange(30) % 3
LABELS = np.arange(30, dtype=np.int32)


def _features() -> np.ndarray:
  x = np.random.default_rng(0).normal(size=(30, 8))
  x += 2 * np.eye(8)[CAMIDS]  # Cameras stand apart.
  return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def _merger(**fields):
  config = runs.small_config('folder', '')
  config.cluster.merge_percent = 0.3
  config.cluster.update(fields)
  return merger_lib.Merger(config.cluster), merger_lib.make_criterion(
    config.cluster
  )


@pytest.mark.parametrize('centring', [False, True])
@pytest.mark.parametrize('distance', ['euclidean', 'jaccard'])
def test_merges_by_the_distance_of_the_config(distance, centring):
  merger, criterion = _merger(
    distance=distance, camera_centring=centring, jaccard_k1=8, jaccard_k2=3
  )
  x = _features()
  got, scores = merger(x, np.ones_like(x), LABELS, 0, 3, CAMIDS)
  if centring:
    x = cluster.center_cameras(x, CAMIDS)
  dist = None
  if distance == 'jaccard':
    dist = cluster.jaccard_distances(x, k1=8, k2=3)
  expected = cluster.merge_clusters(x, LABELS, 9, criterion, distances=dist)
  np.testing.assert_array_equal(got, expected.labels)
  np.testing.assert_array_equal(scores, expected.scores[[0, -1]])


@pytest.mark.parametrize(
  'fields',
  [
    {'cut': 'papers'},
    {'cut': 'papers', 'num_clusters': 7},
    {'cut': 'dense', 'anew': True, 'min_size': 2},
    {'cut': 'core', 'anew': True, 'min_size': 2},
  ],
)
@pytest.mark.parametrize('linked', [False, True])
def test_many_samples_merge_alike_without_a_matrix(
  fields, linked, monkeypatch, caplog
):
  links = None
  if linked:
    links = Links(np.array([[0, 1]]), np.array([[0, 2], [3, 5], [7, 9]]))
  found = []
  for many in (10**6, 1):
    monkeypatch.setattr(choice, '_MANY', many)
    merger, _ = _merger(
      distance='jaccard', jaccard_k1=6, jaccard_k2=2, **fields
    )
    x = _features()
    caplog.clear()
    with caplog.at_level('INFO'):
      labels, _ = merger(x, x, LABELS, 2, 3, CAMIDS, links)
    found.append(labels)
    assert ('the sparse engine' in caplog.text) == (many == 1)
  np.testing.assert_array_equal(*found)
  assert found[0].max() > 1


def test_a_budget_for_too_few_pairs_names_the_fields_of_the_config(monkeypatch):
  monkeypatch.setattr(choice, '_MANY', 1)
  monkeypatch.setattr(choice, '_BYTES_PER_EDGE', 10**6)
  merger, _ = _merger(distance='jaccard', jaccard_k1=6, memory_budget_gb=0.1)
  x = _features()
  with pytest.raises(
    ValueError,
    match=r'^cluster\.memory_budget_gb: got 0\.1, expected at least 0\.\d+ for '
    r'\d+ pairs .*cluster\.jaccard_k1',
  ):
    merger(x, x, LABELS, 0, 3)


def test_cuts_that_read_all_distances_keep_the_matrix(monkeypatch):
  monkeypatch.setattr(choice, '_MANY', 1)
  merger, _ = _merger(distance='jaccard', jaccard_k1=6, cut='dbscan')
  assert merger.engine((30, 8), 30).name == 'dense'


def test_centring_is_of_the_embeddings_where_those_are_clustered():
  merger, criterion = _merger(camera_centring=True, features='embedding')
  x = _features()
  got, _ = merger(np.ones((30, 3), np.float32), x, LABELS, 0, 3, CAMIDS)
  x = cluster.center_cameras(x, CAMIDS)
  expected = cluster.merge_clusters(x, LABELS, 9, criterion)
  np.testing.assert_array_equal(got, expected.labels)


def test_cameras_change_the_merges_only_where_asked():
  x = _features()
  plain, _ = _merger()
  centred, _ = _merger(camera_centring=True)
  without, _ = plain(x, x, LABELS, 0, 3)
  np.testing.assert_array_equal(plain(x, x, LABELS, 0, 3, CAMIDS)[0], without)
  assert (centred(x, x, LABELS, 0, 3, CAMIDS)[0] != without).any()


@pytest.mark.slow
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
  merge = merger_lib.Merger.__call__

  def record(self, features, embeddings, labels, number, count, camids, *rest):
    given.append(camids)
    assert not rest[0]  # No links.
    return merge(self, features, embeddings, labels, number, count, camids)

  monkeypatch.setattr(merger_lib.Merger, '__call__', record)
  job.run(config, tmp_path / 'run')
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
    job.run(config, tmp_path / 'run')
  assert not (tmp_path / 'run').exists()


def test_a_budget_too_small_ends_before_any_work(tmp_path):
  config = runs.small_config('market1501', runs.write_market(tmp_path / 'data'))
  config.cluster.memory_budget_gb = 1e-6
  with pytest.raises(
    ValueError, match=r'^cluster\.memory_budget_gb: got 1e-06, expected at lea'
  ):
    job.run(config, tmp_path / 'run')
  assert not (tmp_path / 'run').exists()


@pytest.mark.parametrize(
  ('distance', 'cut'), [('euclidean', 'core'), ('jaccard', 'dbscan')]
)
def test_a_cut_that_reads_distances_needs_memory_for_them(distance, cut):
  budget = {'memory_budget_gb': 0.00395, 'distance': distance}
  reads, _ = _merger(**budget, cut=cut)
  with pytest.raises(
    ValueError,
    match=rf"^cluster\.memory_budget_gb: got 0\.00.*cluster\.cut='{cut}' reads",
  ):
    reads.engine((300, 8), 300)
  share, _ = _merger(**budget, cut='share')
  other = 'matrix_free' if distance == 'euclidean' else 'sparse'
  assert share.engine((300, 8), 300).name == other


@pytest.mark.slow
def test_the_engine_is_told_with_the_reason(caplog):
  x = np.random.default_rng(1).normal(size=(300, 8)).astype(np.float32)
  labels = np.arange(300, dtype=np.int32)
  dbc = {'criterion': 'dbc', 'reg_weight': 0.1, 'merge_percent': 2 / 3}
  roomy, _ = _merger(**dbc)
  # Between what the two engines need.
  tight, _ = _merger(**dbc, memory_budget_gb=0.00395)
  with caplog.at_level('INFO', 'dbc_jax'):
    expected, _ = roomy(x, x, labels, 0, 2)
    got, _ = tight(x, x, labels, 0, 2)
    np.testing.assert_array_equal(got, expected)
    for merger in (tight, roomy):
      merger._cut = papers.Papers(1 / 6)
      merger(x, x, got, 1, 2)
  told = [record.getMessage() for record in caplog.records]
  assert len(told) == 3, told
  assert told[0].startswith('merging 300 clusters with the dense engine: the ')
  assert 'with the matrix-free engine: the dense engine needs' in told[1]
  assert 'more than a budget of 0.00395' in told[1]
  assert told[2].startswith('merging 100 clusters with the dense engine')


def test_half_of_the_memory_is_the_budget_by_default(monkeypatch):
  x = np.random.default_rng(2).normal(size=(300, 8)).astype(np.float32)
  merger, _ = _merger(criterion='dbc', reg_weight=0.1)
  for memory, engine in ((2e9, 'dense'), (2 * 0.00395e9, 'matrix_free')):
    monkeypatch.setattr(mesh, 'device_memory', lambda m=memory: m)
    assert merger.engine(x.shape, 300).name == engine
  monkeypatch.undo()
  assert mesh.device_memory() is None or mesh.device_memory() > 1e8
