"""Clustering again, splitting, and the questions that are asked."""

import itertools

import numpy as np
import pytest
import reviews
import runs

from dbc_jax import cluster
from dbc_jax.cluster.linked import Links
from dbc_jax.run import job, restore, workdir
from dbc_jax.run.corrections import Correction
from dbc_jax.verbs import questions, reclustering

NONE = Links(np.zeros((0, 2), np.int64), np.zeros((0, 2), np.int64))


def _clouds(sizes, seed=0, spread=0.35):
  """Unit features around random directions, and which."""
  rng = np.random.default_rng(seed)
  pids = np.repeat(np.arange(len(sizes)), sizes)
  centres = rng.normal(size=(len(sizes), 16))
  centres /= np.linalg.norm(centres, axis=1, keepdims=True)
  x = centres[pids] + spread * rng.normal(size=(len(pids), 16)) / 4
  return reclustering.unit(x), pids


def test_the_parts_of_a_cluster_are_those_of_its_tree():
  x, pids = _clouds([7, 4, 3])
  rows = np.arange(14)[::-1]
  parts = reclustering.split(x, rows, 3)
  assert [part.tolist() for part in parts] == [
    np.flatnonzero(pids == k).tolist() for k in range(3)
  ]
  tree = reclustering.own_tree(x, rows)
  for count in range(1, 15):
    parts = reclustering.parts_of(tree, rows, count)
    assert len(parts) == count
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(14))
  with pytest.raises(ValueError, match=r'parts: got 15, expected 1\.\.14'):
    reclustering.parts_of(tree, rows, 15)
  with pytest.raises(ValueError, match='cluster: it has one image'):
    reclustering.split(x, np.array([3]), 1)


def test_what_is_wrong_is_asked_first():
  """A cluster of two persons, and a person in two clusters."""
  x, pids = _clouds([8] * 40, seed=1, spread=0.5)
  # Of the two nearest persons, so that their cluster looks like one.
  means = np.stack([x[pids == k].mean(axis=0) for k in range(40)])
  near = means @ means.T - 2 * np.eye(40)
  one, other = np.unravel_index(near.argmax(), near.shape)
  labels = pids.copy()
  labels[pids == other] = one
  torn = min({*range(40)} - {one, other})
  labels[np.flatnonzero(pids == torn)[:4]] = other
  links, asked = NONE, []
  for _ in range(4):
    found = questions.least_certain_pairs(x, labels, links, 5)
    asked += [tuple(sorted(pids[pair].tolist())) for pair in found.pairs]
    same = pids[found.pairs[:, 0]] == pids[found.pairs[:, 1]]
    links = Links(
      np.concatenate([links.must, found.pairs[same]]),
      np.concatenate([links.cannot, found.pairs[~same]]),
    )
  assert (torn, torn) in asked
  assert tuple(sorted((one, other))) in asked


def test_nothing_is_asked_that_is_known_or_was_asked():
  x, pids = _clouds([5] * 6, seed=2, spread=1.0)
  labels = np.where(np.arange(30) % 5 == 4, -1, pids // 2)
  must, cannot, asked = [], [], []
  seen = set()
  for _ in range(40):
    links = Links(
      *(np.array(some, np.int64).reshape(-1, 2) for some in (must, cannot))
    )
    found = questions.least_certain_pairs(x, labels, links, 5, asked=asked)
    if not len(found.pairs):
      break
    for a, b in found.pairs.tolist():
      homes = _united(30, must)
      one, other = homes[a], homes[b]
      assert one != other
      told = {frozenset((homes[i], homes[j])) for i, j in [*cannot, *asked]}
      # Of one round, several may say the same.
      if frozenset((a, b)) not in seen and frozenset((one, other)) in told:
        assert [a, b] in found.pairs[1:].tolist()
      seen.add(frozenset((a, b)))
    for number, (a, b) in enumerate(found.pairs.tolist()):
      if number == 4:
        asked.append((a, b))
      else:
        (must if pids[a] == pids[b] else cannot).append((a, b))
  else:
    pytest.fail('questions never end')
  assert len(seen) > 20


def _united(count, must):
  homes = list(range(count))
  for a, b in must:
    old, new = homes[a], homes[b]
    homes = [new if home == old else home for home in homes]
  return homes


def test_answers_teach_what_questions_are_likely():
  x, pids = _clouds([6] * 8, seed=3, spread=1.2)
  pairs = np.array([*itertools.combinations(range(48), 2)])
  apart = pairs[pids[pairs[:, 0]] != pids[pairs[:, 1]]]
  before = questions.least_certain_pairs(x, pids, NONE, 400)
  near = apart[np.argsort(-np.sum(x[apart[:, 0]] * x[apart[:, 1]], axis=1))]
  links = Links(NONE.must, near[:40])
  after = questions.least_certain_pairs(x, pids, links, 400)
  was, now = (
    dict(zip(map(tuple, found.pairs), found.probabilities, strict=True))
    for found in (before, after)
  )
  both = [(was[pair], now[pair]) for pair in was.keys() & now.keys()]
  assert len(both) > 10
  assert all(later < earlier for earlier, later in both)


def test_clusters_that_teach_nothing_are_asked_about_all_the_same():
  x, _ = _clouds([3, 3])
  for labels in (np.zeros(6, int), np.arange(6), np.full(6, -1)):
    found = questions.least_certain_pairs(x, labels, NONE, 3)
    assert len(found.pairs)
    assert np.isfinite(found.probabilities).all()


def test_of_very_many_clusters_some_are_learned_from(monkeypatch):
  monkeypatch.setattr(questions, '_MOST_CLUSTERS', 10)
  x, pids = _clouds([4] * 30 + [1] * 30)
  rows = questions._some(pids)
  assert len(np.unique(pids[rows])) == 10
  assert len(rows) == 40
  found = questions.least_certain_pairs(x, pids, NONE, 5)
  assert len(found.pairs) == 5


def test_pairs_that_a_rule_answers_are_not_asked_and_teach_nothing():
  x, pids = _clouds([6] * 8, spread=0.9)
  before = questions.least_certain_pairs(x, pids, NONE, 400)
  ruled = before.pairs[:7]
  found = questions.least_certain_pairs(
    x, pids, Links(NONE.must, ruled, ruled=7), 400
  )
  asked = {frozenset(pair) for pair in found.pairs.tolist()}
  assert asked
  assert not asked & {frozenset(pair) for pair in ruled.tolist()}
  # As likely as before; answers would have made them less so.
  was = dict(zip(map(tuple, before.pairs), before.probabilities, strict=True))
  for pair, chance in zip(
    map(tuple, found.pairs), found.probabilities, strict=True
  ):
    if pair in was:
      assert chance == pytest.approx(was[pair], rel=1e-6)


def test_answers_that_were_taken_back_leave_the_number_of_clusters(tmp_path):
  made = reviews.make_run(tmp_path)
  run, names = made.extractor.run, reviews.names()
  before = reclustering.recluster(made.workdir, run, [])
  assert before.labels.max() + 1 == reviews.PERSONS
  # Eight images of eight persons are more than the clusters of the run.
  said = [
    Correction(a, b, False) for a, b in itertools.combinations(names[:8], 2)
  ]
  more = reclustering.recluster(made.workdir, run, said)
  assert more.labels.max() + 1 == 8
  after = reclustering.recluster(
    made.workdir, run._replace(labels=more.labels), []
  )
  np.testing.assert_array_equal(after.labels, before.labels)


@pytest.mark.slow
def test_a_run_that_clusters_by_embeddings_computes_them_again(
  tmp_path, monkeypatch
):
  runs.one_device(monkeypatch)
  names = [f'{i:02d}.png' for i in range(30)]
  runs.write_images(tmp_path / 'crops', names, runs.make_images(30, 6))
  config = runs.small_config('folder', tmp_path / 'crops', 'average')
  config.cluster.features = 'embedding'
  job.run(config, tmp_path / 'run')
  (tmp_path / 'crops').rename(tmp_path / 'moved')
  run, root = restore.restore_run(tmp_path / 'run'), str(tmp_path / 'moved')
  found = reclustering.recluster(tmp_path / 'run', run, [], root=root)
  given = restore.data_config(run, None, {'root': root})
  data = restore.load_data(given, run.digest, identities=False, cameras=False)
  x = run.parts.extract(run.variables, data.train)[1]
  count = int(run.labels.max()) + 1
  expected = cluster.merge_clusters(
    x, np.arange(30), 30 - count, cluster.Criterion('average', 0.1)
  )
  np.testing.assert_array_equal(found.labels, expected.labels)
  with pytest.raises(ValueError, match='crops does not exist'):
    reclustering.recluster(tmp_path / 'run', run, [])


def test_the_demo_of_the_package_is_not_written():
  run = restore.restore_run(workdir.DEMO)
  with pytest.raises(ValueError, match='demo comes with the package'):
    reclustering.recluster(workdir.DEMO, run, [])
