"""Runs that heed corrections."""

import itertools
import json
import pathlib
import shutil

import numpy as np
import pytest
import runs

from dbc_jax import cluster
from dbc_jax.cluster.linked import Links
from dbc_jax.run import corrections, job, restore
from dbc_jax.run import merger as merger_lib
from dbc_jax.run.checkpoint import CheckpointStore
from dbc_jax.run.corrections import Correction
from dbc_jax.verbs import reclustering

NAMES = [f'{i:02d}.png' for i in range(30)]
NONE = np.zeros((0, 2), np.int64)


def _hold(labels: np.ndarray, links: Links) -> bool:
  must, cannot = labels[links.must], labels[links.cannot]
  together = (must[:, 0] == must[:, 1]) & (must[:, 0] >= 0)
  apart = (cannot[:, 0] != cannot[:, 1]) | (cannot[:, 0] < 0)
  return bool(together.all() and apart.all())


def _random_links(rng: np.random.Generator, pids: np.ndarray) -> Links:
  pairs = np.array([*itertools.combinations(range(len(pids)), 2)])
  same = pids[pairs[:, 0]] == pids[pairs[:, 1]]
  chosen = [
    some[rng.permutation(len(some))[: rng.integers(0, 12)]]
    for some in (pairs[same], pairs[~same])
  ]
  return Links(*chosen)


CUTS = [
  {'cut': 'papers'},
  {'cut': 'papers', 'merge_percent': 0.4},
  {'cut': 'papers', 'merge_percent': 0.05, 'anew': True},
  {'cut': 'share', 'min_size': 2},
  {'cut': 'core', 'min_size': 2},
  {'cut': 'dense', 'min_size': 3, 'anew': True},
  {'cut': 'geometric', 'share': (0.5, 0.2)},
  {'cut': 'dbscan', 'eps': 1.0, 'min_size': 2},
  {'cut': 'hdbscan', 'min_size': 2},
  {'cut': 'papers', 'num_clusters': 6},
]


@pytest.mark.slow
@pytest.mark.parametrize('fields', CUTS, ids=lambda x: '-'.join(map(str, x)))
@pytest.mark.parametrize('distance', ['euclidean', 'jaccard'])
def test_links_hold_in_every_cut_and_before_it(fields, distance):
  config = runs.small_config('folder', pathlib.Path())
  config.cluster.update(criterion='average', reg_weight=0.002, **fields)
  config.cluster.update(distance=distance, jaccard_k1=6, jaccard_k2=2)
  merger = merger_lib.Merger(config.cluster)
  for seed in range(4):
    rng = np.random.default_rng(seed)
    pids = rng.integers(0, 5, 24)
    x = 2 * np.eye(8)[pids] + rng.normal(size=(24, 8))
    x = (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)
    # Clusters as they may come out of a stage, wrong ones too.
    labels = np.concatenate([np.arange(9), rng.integers(-1, 9, 15)])
    labels = labels.astype(np.int32)
    links = _random_links(rng, pids)
    for number in (0, 2):
      found, _ = merger(x, x, labels, number, 3, None, links)
      assert _hold(found, links)
      placed = np.unique(found[found >= 0])
      np.testing.assert_array_equal(placed, np.arange(len(placed)))
    again = merger.again(x, found.max() + 1, 2, 3, None, links)
    assert _hold(again, links)
    assert _hold(merger.heed(x, labels, links), links)


def test_no_links_are_as_if_there_were_none():
  config = runs.small_config('folder', pathlib.Path())
  merger = merger_lib.Merger(config.cluster)
  x = np.random.default_rng(0).normal(size=(30, 8)).astype(np.float32)
  labels = np.arange(30, dtype=np.int32)
  expected = merger(x, x, labels, 0, 3)
  for links in (None, Links(NONE, NONE)):
    found = merger(x, x, labels, 0, 3, None, links)
    for one, other in zip(found, expected, strict=True):
      np.testing.assert_array_equal(one, other)
  assert merger.heed(x, labels, Links(NONE, NONE)) is labels


def test_a_number_of_clusters_that_is_known_is_met_with_links():
  config = runs.small_config('folder', pathlib.Path())
  config.cluster.num_clusters = 6
  merger = merger_lib.Merger(config.cluster)
  x = np.random.default_rng(0).normal(size=(30, 8)).astype(np.float32)
  links = Links(np.array([[0, 7], [7, 9]]), np.array([[0, 1], [1, 2]]))
  found, _ = merger(x, x, np.arange(30, dtype=np.int32), 2, 3, None, links)
  assert found.max() + 1 == 6
  assert _hold(found, links)


def test_merging_of_a_stage_is_that_of_merge_clusters_with_links():
  config = runs.small_config('folder', pathlib.Path())
  merger = merger_lib.Merger(config.cluster)
  criterion = merger_lib.make_criterion(config.cluster)
  x = np.random.default_rng(3).normal(size=(30, 8)).astype(np.float32)
  links = Links(np.array([[0, 7], [7, 9]]), np.array([[0, 1], [1, 2]]))
  found, scores = merger(x, x, np.arange(30, dtype=np.int32), 0, 3, None, links)
  expected = cluster.merge_clusters(
    x,
    np.arange(30),
    6,
    criterion,
    must_link=links.must,
    cannot_link=links.cannot,
  )
  np.testing.assert_array_equal(found, expected.labels)
  np.testing.assert_array_equal(scores, expected.scores[[0, -1]])


# Whole runs.


@pytest.fixture
def crops(tmp_path):
  return runs.write_images(tmp_path / 'crops', NAMES, runs.make_images(30, 6))


@pytest.fixture
def one(monkeypatch):
  runs.one_device(monkeypatch)


def _config(crops, **fields):
  config = runs.small_config('folder', crops)
  config.update_from_flattened_dict(fields)
  return config


def _said(count: int = 8) -> list[Correction]:
  """Truths about images, of which i shows i % 6; and a lie: 0 is not 6."""
  same = [Correction(NAMES[i], NAMES[i + 6], True) for i in range(1, count)]
  return [*same, Correction(NAMES[0], NAMES[6], False)]


def _write(path: pathlib.Path, said) -> pathlib.Path:
  path.parent.mkdir(exist_ok=True)
  corrections.write_corrections(path, said)
  return path


def _names(crops, workdir):
  run = restore.restore_run(workdir)
  config = restore.data_config(run, None, {'root': str(crops)})
  data = restore.load_data(config, run.digest, identities=False, cameras=False)
  return data.names['train']


@pytest.mark.slow
@pytest.mark.usefixtures('one')
def test_a_run_heeds_corrections_from_the_first_stage_on(
  crops, tmp_path, capsys
):
  file = _write(tmp_path / 'said.csv', _said())
  workdir = tmp_path / 'run'
  config = _config(crops, **{'data.corrections': str(file)})
  given = []

  def watch(stage, labels, state):
    given.append((labels, state.labels))

  job.run(config, workdir, watch)
  kept = corrections.read_corrections(workdir / corrections.NAME)
  assert [(x.a, x.b, x.same) for x in kept] == [
    (x.a, x.b, x.same) for x in _said()
  ]
  assert all(x.a_digest and x.b_digest for x in kept)
  names = _names(crops, workdir)
  links = corrections.links(kept, names)
  assert len(links.must) == 7
  assert all(_hold(x, links) for pair in given for x in pair)
  lines = (workdir / 'metrics.jsonl').read_text().splitlines()
  assert [json.loads(x)['corrections'] for x in lines] == [8] * len(lines)

  # The same command again, with corrections that came after the end.
  more = Correction(NAMES[2], NAMES[3], False)
  corrections.append_correction(workdir / corrections.NAME, more)
  before = (workdir / 'clusters.csv').read_text()
  capsys.readouterr()
  job.run(config, workdir)
  assert (workdir / 'clusters.csv').read_text() == before

  # Clustered again, and so it stays.
  lie = Correction(NAMES[1], NAMES[13], False)
  kept = [x for x in kept if x.a != NAMES[1] and x.a != NAMES[7]]
  kept.append(lie)
  out = reclustering.recluster(workdir, restore.restore_run(workdir), kept)
  assert _hold(out.labels, corrections.links(kept, names))
  np.testing.assert_array_equal(restore.restore_run(workdir).labels, out.labels)
  after = (workdir / 'clusters.csv').read_text()
  job.run(config, workdir)
  assert (workdir / 'clusters.csv').read_text() == after


@pytest.mark.slow
@pytest.mark.usefixtures('one')
@pytest.mark.parametrize('lost', ['checkpoints', 'checkpoints/3'])
def test_clusters_of_a_network_that_is_trained_again_do_not_return(
  lost, crops, tmp_path
):
  workdir = tmp_path / 'run'
  job.run(_config(crops), workdir)
  run = restore.restore_run(workdir)
  assert run.stage == 3
  names = _names(crops, workdir)
  a, b = np.flatnonzero(run.labels == np.bincount(run.labels).argmax())[:2]
  said = [Correction(names[a], names[b], False)]
  reclustering.recluster(workdir, run, said)
  now = restore.restore_run(workdir).labels
  assert now[a] != now[b]
  shutil.rmtree(workdir / lost)
  job.run(_config(crops), workdir)
  again = restore.restore_run(workdir)
  np.testing.assert_array_equal(again.labels, run.labels)


@pytest.mark.slow
@pytest.mark.usefixtures('one')
def test_what_is_said_between_two_starts_counts_from_the_next_stage_on(
  crops, tmp_path, caplog
):
  workdir = tmp_path / 'run'
  runs.run_until(2, _config(crops), workdir)
  store = CheckpointStore(workdir / 'checkpoints')
  begun = store.restore_as_saved(1)['next_labels']
  names = _names(crops, workdir)
  pairs = [
    Correction(names[a], names[b], False)
    for a, b in itertools.combinations(range(30), 2)
    if begun[a] == begun[b]
  ][:2]
  _write(workdir / corrections.NAME, pairs)
  with caplog.at_level('INFO', 'dbc_jax'):
    job.run(_config(crops), workdir)
  links = corrections.links(pairs, names)
  assert not _hold(begun, links)
  for stage in store.stages():
    if stage >= 2:
      assert _hold(store.restore_as_saved(stage)['labels'], links)
  told = [x.getMessage() for x in caplog.records]
  assert any('2 corrections, 0 same and 2 different' in x for x in told)
  assert any(x.startswith('corrections and rules: there are') for x in told)


@pytest.mark.slow
@pytest.mark.usefixtures('one')
def test_a_file_that_goes_bad_while_a_run_trains_leaves_what_was_read(
  crops, tmp_path, caplog
):
  workdir = tmp_path / 'run'
  path = _write(workdir / corrections.NAME, _said())
  given = []

  def watch(stage, labels, state):
    given.append(state.labels)
    path.write_text('half a line')

  job.run(_config(crops), workdir, watch)
  links = corrections.links(_said(), _names(crops, workdir))
  assert all(_hold(labels, links) for labels in given)
  told = [x.getMessage() for x in caplog.records]
  assert any('line 1: expected a,b,same' in x for x in told)


@pytest.mark.usefixtures('one')
@pytest.mark.parametrize(
  ('text', 'fault'),
  [
    ('nobody.png,00.png,same\n', r'1 of its names are of no .* nobody\.png'),
    ('00.png,06.png,same\n06.png,00.png,different\n', 'contradict'),
    ('00.png,06.png\n', 'line 1: expected'),
  ],
)
def test_bad_corrections_end_a_start_with_one_line(
  text, fault, crops, tmp_path
):
  workdir = tmp_path / 'run'
  workdir.mkdir()
  (workdir / corrections.NAME).write_text(text)
  with pytest.raises(ValueError, match=fault) as told:
    job.run(_config(crops), workdir)
  assert '\n' not in str(told.value)
  assert not (workdir / 'checkpoints').exists()
  config = _config(crops, **{'data.corrections': str(tmp_path / 'no.csv')})
  (workdir / corrections.NAME).unlink()
  with pytest.raises(ValueError, match=r'data\.corrections: .* is no file'):
    job.run(config, workdir)


@pytest.mark.slow
@pytest.mark.usefixtures('one')
def test_an_image_renamed_or_removed_since(crops, tmp_path, caplog):
  workdir = tmp_path / 'run'
  file = _write(tmp_path / 'said.csv', _said())
  config = _config(crops, **{'data.corrections': str(file)})
  runs.run_until(1, config, workdir)
  (crops / '07.png').rename(crops / 'other.png')
  runs.run_until(2, config, workdir)
  kept = corrections.read_corrections(workdir / corrections.NAME)
  assert kept[0].b == 'other.png'
  assert kept[6].a == 'other.png'
  # Another run, in which one of the images is not there at all.
  (crops / 'other.png').unlink()
  config = _config(
    crops, **{'data.corrections': str(workdir / corrections.NAME)}
  )
  with caplog.at_level('INFO', 'dbc_jax'):
    runs.run_until(0, config, tmp_path / 'later')
  told = [x.getMessage() for x in caplog.records]
  assert any(
    '2 of 8 corrections are of images that are gone' in x for x in told
  )


@pytest.mark.slow
@pytest.mark.usefixtures('one')
def test_answers_that_were_all_taken_back_do_not_return(crops, tmp_path):
  file = _write(tmp_path / 'said.csv', _said())
  workdir = tmp_path / 'run'
  config = _config(crops, **{'data.corrections': str(file)})
  runs.run_until(1, config, workdir)
  own = workdir / corrections.NAME
  corrections.remove_last(own, len(_said()))
  runs.run_until(1, config, workdir)
  assert corrections.read_corrections(own) == []


@pytest.mark.slow
@pytest.mark.usefixtures('one')
@pytest.mark.parametrize('same', [True, False])
def test_an_answer_on_an_image_and_its_copy_waits_when_one_is_gone(
  same, crops, tmp_path
):
  (crops / 'copy.png').write_bytes((crops / NAMES[7]).read_bytes())
  said = [Correction(NAMES[7], 'copy.png', same), *_said(3)[1:]]
  file = _write(tmp_path / 'said.csv', said)
  config = _config(crops, **{'data.corrections': str(file)})
  runs.run_until(0, config, tmp_path / 'one')
  (crops / NAMES[7]).unlink()
  kept = tmp_path / 'one' / corrections.NAME
  config = _config(crops, **{'data.corrections': str(kept)})
  for _ in range(2):
    runs.run_until(0, config, tmp_path / 'two')
    told = corrections.read_corrections(tmp_path / 'two' / corrections.NAME)
    assert told == corrections.read_corrections(kept)


@pytest.mark.slow
@pytest.mark.usefixtures('one')
def test_a_run_that_goes_on_takes_corrections_along(crops, tmp_path):
  old = tmp_path / 'old'
  file = _write(tmp_path / 'said.csv', _said())
  fields = {
    'train.stage0_epochs': 0,
    'train.num_stages': 2,
    'cluster.anew': True,
    'cluster.cut': 'share',
    'cluster.min_size': 2,
  }
  job.run(_config(crops, **fields, **{'data.corrections': str(file)}), old)
  # Said after its end, against its clusters.
  names = _names(crops, old)
  labels = restore.restore_run(old).labels
  a, b = np.flatnonzero(labels == np.bincount(labels[labels >= 0]).argmax())[:2]
  said = corrections.read_corrections(old / corrections.NAME)
  said = [x for x in said if not {x.a, x.b} & {names[a], names[b]}]
  said.append(Correction(names[a], names[b], False))
  corrections.write_corrections(old / corrections.NAME, said)
  (crops / NAMES[0]).unlink()
  config = _config(crops, **fields, **{'train.continue_from': str(old)})
  given = []
  job.run(config, tmp_path / 'new', lambda _, labels, __: given.append(labels))
  kept = corrections.read_corrections(tmp_path / 'new' / corrections.NAME)
  assert len(kept) == len(said)
  links = corrections.links(kept, _names(crops, tmp_path / 'new'))
  assert len(links.cannot)
  assert len(given) == 2
  assert all(_hold(labels, links) for labels in given)
