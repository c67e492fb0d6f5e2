"""Pairs that cannot be one person, by frames and by walks."""

import csv
import itertools
import json
import pathlib

import numpy as np
import pytest
import runs

from dbc_jax.cluster.linked import Links
from dbc_jax.data import GroundTruth
from dbc_jax.run import (
  corrections,
  features_file,
  job,
  restore,
  rules,
  selection,
)
from dbc_jax.run import merger as merger_lib
from dbc_jax.run.corrections import Correction
from dbc_jax.verbs import forgetting, reclustering

NONE = np.zeros((0, 2), np.int64)


def _config(root='', **fields):
  config = runs.small_config('folder', pathlib.Path(root))
  config.update_from_flattened_dict(fields)
  return config


def _truth(rng: np.random.Generator, count: int = 60) -> GroundTruth:
  """Samples of several lengths; times are of another clock than frames."""
  first = rng.integers(0, 80, count)
  frames = np.stack([first, first + rng.integers(0, 9, count)], axis=1)
  times = np.stack([first, first + rng.uniform(0, 9, count)], axis=1) * 1.7
  camids = rng.integers(0, 4, count).astype(np.int32)
  return GroundTruth(
    train_camids=camids, train_frames=frames, train_times=times
  )


def _walks(tmp_path, text='a,b,seconds\n0,1,7.5\n3,1,20\n'):
  path = tmp_path / 'walks.csv'
  path.write_text(text)
  return str(path)


def _set(pairs):
  return {tuple(pair) for pair in pairs.tolist()}


@pytest.mark.parametrize('seed', range(5))
def test_pairs_are_those_that_one_finds_one_by_one(tmp_path, seed):
  truth = _truth(np.random.default_rng(seed))
  camids, frames, times = (
    truth.train_camids,
    truth.train_frames,
    truth.train_times,
  )
  least = {(0, 1): 7.5, (1, 3): 20}
  together, far = set(), set()
  for i, j in itertools.combinations(range(60), 2):
    own = [{*range(frames[x, 0], frames[x, 1] + 1)} for x in (i, j)]
    if camids[i] == camids[j] and own[0] & own[1]:
      together.add((i, j))
    gap = max(times[i, 0] - times[j, 1], times[j, 0] - times[i, 1])
    cameras = tuple(sorted((int(camids[i]), int(camids[j]))))
    if gap < least.get(cameras, -np.inf):
      far.add((i, j))
  assert together
  assert far
  hard, walks = {'cluster.frame_rule': 'hard'}, {'data.walks': _walks(tmp_path)}
  for fields, expected in (
    ({}, set()),
    (hard, together),
    (walks, far),
    (hard | walks, together | far),
  ):
    found = rules.pairs(_config(**fields), truth)
    assert len(found) == len(expected)
    assert _set(found) == expected
    assert found.dtype == np.int64


def test_images_meet_only_in_the_very_frame():
  frames = np.array([[3, 3], [4, 4], [3, 3], [3, 3]])
  truth = GroundTruth(train_camids=np.array([0, 0, 0, 1]), train_frames=frames)
  config = _config(**{'cluster.frame_rule': 'hard'})
  assert _set(rules.pairs(config, truth)) == {(0, 2)}
  told = rules.describe(rules.pairs(config, truth), truth.train_camids)
  assert told.startswith('1 pairs of images are kept apart: 1 of one frame')


def test_corrections_override_rules():
  must = np.array([[0, 1], [1, 2], [5, 6]])
  said = Links(must, np.array([[3, 4]]))
  ruled = np.array([[0, 2], [0, 5], [5, 6], [7, 8]])
  links = rules.with_rules(said, ruled)
  assert links.cannot.tolist() == [[3, 4], [0, 5], [7, 8]]
  assert (links.ruled, links.told) == (2, 4)
  assert rules.with_rules(said, NONE) is said


@pytest.mark.parametrize(
  ('fields', 'missing', 'fault'),
  [
    ({'cluster.frame_rule': 'hard'}, 'train_frames', 'no frame numbers'),
    ({'cluster.frame_rule': 'hard'}, 'train_camids', 'no cameras'),
    ({'data.walks': '0,1,5\n'}, 'train_times', 'no times'),
    ({'data.walks': '0,1,5\n'}, 'train_camids', 'no cameras'),
    ({'data.walks': '8,9,5\n'}, '', 'no line .* which are 0, 1, 2, 3'),
    ({'data.walks': '0,1\n'}, '', 'line 1: expected two cameras'),
    ({'data.walks': 'a,b,seconds\n0,0,5\n'}, '', 'line 2: .* to itself'),
    ({'data.walks': '0,1,-5\n'}, '', "line 1: got '-5', expected seconds"),
    ({'data.walks': '0,1,soon\n'}, '', "line 1: got 'soon', expected seconds"),
    ({'data.walks': '0,1,5\n\n1,0,6\n'}, '', 'line 3: .* twice'),
  ],
)
def test_rules_that_cannot_be_followed_are_refused(
  tmp_path, fields, missing, fault
):
  if 'data.walks' in fields:
    fields = {'data.walks': _walks(tmp_path, fields['data.walks'])}
  known = vars(_truth(np.random.default_rng(0)))
  truth = GroundTruth(**{k: v for k, v in known.items() if k != missing})
  field = next(iter(fields))
  with pytest.raises(ValueError, match=f'^{field}: .*{fault}'):
    rules.check(_config(**fields), truth)


def test_no_rules_need_nothing():
  rules.check(_config(), GroundTruth())
  assert rules.pairs(_config(), GroundTruth()).shape == (0, 2)


def test_a_file_of_walks_that_is_not_there(tmp_path):
  with pytest.raises(ValueError, match=r'^data\.walks: .* cannot be read'):
    rules.read_walks(tmp_path / 'none.csv')


def test_frames_that_count_inside_tracklets_are_refused():
  frames = np.array([[1, 5], [1, 9], [1, 4]])
  truth = GroundTruth(train_camids=np.zeros(3, int), train_frames=frames)
  with pytest.raises(
    ValueError, match='begin with frame 1: these count inside'
  ):
    rules.check(_config(**{'cluster.frame_rule': 'hard'}), truth)


def test_cameras_of_walks_may_be_words(tmp_path):
  path = _walks(tmp_path, 'north,south,30\n')
  ((a, b, seconds),) = rules.read_walks(pathlib.Path(path))
  expected = sorted(map(rules.camera_number, ('south', 'north')))
  assert [a, b, seconds] == [*expected, 30]


def test_what_looks_like_one_person_is_listed(tmp_path, caplog):
  rng = np.random.default_rng(0)
  pids = np.repeat(np.arange(12), 5)
  x = np.eye(12)[pids] * 2 + rng.normal(size=(60, 12)) * 0.2
  x[7] = x[0]  # A mirror, in another cluster.
  names = [f'{i}.png' for i in range(60)]
  ruled = np.array([[0, 7], [0, 30], [10, 20]])
  rules.write_violations(tmp_path, names, x.astype(np.float16), pids, ruled)
  assert '1 of the 3 pairs' in caplog.text
  assert '0.png and 7.png' in caplog.text
  with (tmp_path / rules.VIOLATIONS).open() as file:
    rows = [*csv.reader(file)]
  assert [row[:2] for row in rows] == [['a', 'b'], ['0.png', '7.png']]
  assert float(rows[1][2]) < 1e-3
  rules.write_violations(tmp_path, names, x, pids, ruled[1:])
  assert not (tmp_path / rules.VIOLATIONS).exists()
  # Without clusters of two, equals alone are sure.
  rules.write_violations(tmp_path, names, x, np.arange(60), ruled)
  assert (tmp_path / rules.VIOLATIONS).exists()


def test_clusters_are_judged_by_enough_pairs_that_no_rule_keeps_apart():
  frames = np.repeat(np.arange(2), 15)[:, None] + [0, 0]
  truth = GroundTruth(train_camids=np.zeros(30, int), train_frames=frames)
  pairs = [
    [i, j]
    for i, j in itertools.combinations(range(30), 2)
    if (i < 15) == (j < 15)
  ]
  assert sorted(rules.of_two(_config(), truth).tolist()) == pairs
  hard = _config(**{'cluster.frame_rule': 'hard'})
  assert not len(rules.of_two(hard, truth))
  # Fewer than five a sample.
  frames[20:] += 5
  frames[8:15] += 9
  assert len(rules.overlapping(truth)) == 28 + 21 + 10 + 45
  assert not len(rules.of_two(_config(), truth))
  inside = GroundTruth(
    train_camids=np.zeros(30, int), train_frames=np.zeros((30, 2), int)
  )
  assert not len(rules.of_two(_config(), inside))
  assert not len(rules.of_two(_config(), GroundTruth()))


def test_pairs_of_a_person_seen_twice_at_once_are_left_out():
  rng = np.random.default_rng(0)
  x = rng.standard_normal((400, 8))
  x[1] = x[0] * 3 + 1e-3  # Of any length.
  pairs = np.stack([np.arange(0, 400, 2), np.arange(1, 400, 2)], axis=1)
  kept = rules.unlike(x, pairs).tolist()
  # One in a thousand of the others may look like one, too.
  assert [0, 1] not in kept
  assert len(kept) >= 197
  x[2:40:2] = x[3:40:2]
  assert not len(rules.unlike(x, pairs))
  assert not len(rules.unlike(x, pairs[:0]))


@pytest.mark.slow
def test_a_run_chooses_by_samples_of_one_frame(tmp_path, monkeypatch):
  runs.one_device(monkeypatch)
  names = [f'c0_f{i % 2}_{i}.png' for i in range(30)]
  root = runs.write_images(tmp_path / 'crops', names, runs.make_images(30, 15))
  config = _config(root, **{'data.pattern': 'c{camid}_f{frame}_*'})
  job.run(config, tmp_path / 'run')
  lines = (tmp_path / 'run' / 'metrics.jsonl').read_text().splitlines()
  history = [json.loads(line) for line in lines]
  assert all(r['pairs_of_one'] <= r['pairs_inside'] for r in history)
  assert 'samples of one frame' in selection.select(history).reason


@pytest.mark.slow
def test_a_run_heeds_its_rules(tmp_path, monkeypatch):
  """Images of a person in one frame: the rule takes the clusters apart."""
  runs.one_device(monkeypatch)
  names = [f'c{i % 2}_f{i // 4}_{i}.png' for i in range(30)]
  # 0 and 2 are in one frame, and so on; image i shows i % 3.
  root = runs.write_images(tmp_path / 'crops', names, runs.make_images(30, 3))
  workdir = tmp_path / 'run'
  config = _config(
    root,
    **{
      'data.pattern': 'c{camid}_f{frame}_*',
      'cluster.frame_rule': 'hard',
      'cluster.merge_percent': 0.3,
    },
  )
  given = []
  job.run(config, workdir, lambda _, labels, state: given.append(labels))
  run = restore.restore_run(workdir)
  _, order = features_file.read(workdir, run.stage, run.digest)
  ruled = features_file.read_ruled(workdir, run.stage, run.digest)
  told = {frozenset(order[x] for x in pair) for pair in ruled.tolist()}
  expected = {
    frozenset((a, b))
    for a, b in itertools.combinations(names, 2)
    if a.split('_')[:2] == b.split('_')[:2]
  }
  assert told == expected
  assert len(given) > 1
  for labels in given:
    assert (labels[ruled[:, 0]] != labels[ruled[:, 1]]).all()
  assert '"corrections"' not in (workdir / 'metrics.jsonl').read_text()

  # Clustering again heeds them too, but for what a person says.
  a, b = ruled[0]
  said = [Correction(order[a], order[b], True)]
  out = reclustering.recluster(workdir, run, said)
  apart = out.labels[ruled[:, 0]] != out.labels[ruled[:, 1]]
  assert apart.tolist() == [False] + [True] * (len(ruled) - 1)
  assert out.unknown == 0

  # A run that forgets images knows the pairs of the others.
  last = names[-1]
  forgetting.forget(workdir, [last], root=str(root))
  (root / last).unlink()
  job.run(config, workdir, lambda *_: pytest.fail('a stage was trained'))
  # Images as before, and one of another frame.
  (root / names[0]).rename(root / names[0].replace('f0', 'f1'))
  with pytest.raises(ValueError, match='a run under other rules') as caught:
    job.run(config, workdir)
  assert '\n' not in str(caught.value)


@pytest.mark.slow
def test_a_run_heeds_what_a_person_says_above_its_rules(
  tmp_path, monkeypatch, caplog
):
  runs.one_device(monkeypatch)
  names = [f'c0_f{i // 2}_{i}.png' for i in range(30)]
  root = runs.write_images(tmp_path / 'crops', names, runs.make_images(30, 6))
  said = tmp_path / 'said.csv'
  corrections.write_corrections(said, [Correction(*names[:2], True)])
  config = _config(
    root,
    **{
      'data.pattern': 'c{camid}_f{frame}_*',
      'cluster.frame_rule': 'hard',
      'data.corrections': str(said),
    },
  )
  caplog.set_level('INFO', logger='dbc_jax')
  job.run(config, tmp_path / 'run')
  assert 'corrections overrule 1 of 15 pairs' in caplog.text
  run = restore.restore_run(tmp_path / 'run')
  _, order = features_file.read(tmp_path / 'run', run.stage, run.digest)
  first, second = (run.labels[order.index(name)] for name in names[:2])
  assert first == second


def test_the_merger_keeps_ruled_pairs_apart():
  config = _config()
  x = np.repeat(np.eye(10, dtype=np.float32), 3, axis=0)
  links = rules.with_rules(Links(NONE, NONE), np.array([[0, 1], [3, 5]]))
  labels = np.arange(30, dtype=np.int32)
  merger = merger_lib.Merger(config.cluster)
  for number in range(5):
    labels, _ = merger(x, x, labels, number, 6, None, links)
    assert labels[0] != labels[1]
    assert labels[3] != labels[5]
