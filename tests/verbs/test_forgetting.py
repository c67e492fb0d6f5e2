"""Images that are taken out of a run."""

import csv
import shutil

import numpy as np
import pytest
import runs

from dbc_jax.commands import forget as command
from dbc_jax.data import forgotten
from dbc_jax.data.samples import GroundTruth, assemble, in_memory_tracklets
from dbc_jax.run import (
  corrections,
  features_file,
  forgetting,
  identities,
  job,
  lock,
  restore,
  rules,
)
from dbc_jax.run.checkpoint import CheckpointStore
from dbc_jax.run.corrections import Correction
from dbc_jax.verbs import forgetting as verb
from dbc_jax.verbs import reclustering

NAMES = [f'{i:02d}.png' for i in range(30)]


@pytest.fixture(scope='module')
def made(tmp_path_factory):
  """Crops and a finished run on them."""
  folder = tmp_path_factory.mktemp('made')
  runs.write_images(folder / 'crops', NAMES, runs.make_images(30, 6))
  with pytest.MonkeyPatch.context() as monkeypatch:
    runs.one_device(monkeypatch)
    config = runs.small_config('folder', folder / 'crops')
    job.run(config, folder / 'run')
    runs.run_until(2, config, folder / 'half')
  return folder


@pytest.fixture
def run(made, tmp_path, monkeypatch):
  """A copy of both, from which nothing leads back."""
  runs.one_device(monkeypatch)
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
  shutil.copytree(made, tmp_path / 'made')
  return tmp_path / 'made'


def forget(workdir, targets):
  root = str(workdir.parent / 'crops')
  return verb.forget(workdir, targets, root=root)


def _config(run):
  return runs.small_config('folder', run / 'crops')


def _cells(path):
  with path.open(newline='') as file:
    return [cell for row in csv.reader(file) for cell in row]


@pytest.mark.slow
def test_a_person_is_nowhere_in_the_run_any_more(run, capsys):
  workdir = run / 'run'
  before = restore.restore_run(workdir)
  names = features_file.read(workdir, before.stage, before.digest)[1]
  number = 3
  gone = [names[i] for i in np.flatnonzero(before.labels == number)]
  assert gone
  left = [name for name in names if name not in gone]
  listed = identities.read(workdir)
  listed[number] = listed[number]._replace(name='Ada')
  listed[0] = listed[0]._replace(name='Eve')
  identities.write(workdir, listed)
  other = Correction(left[0], left[1], False)
  unsure = [(gone[0], left[1]), (left[2], left[3])]
  corrections.write_unsure(workdir / corrections.UNSURE, unsure)
  corrections.append_corrections(
    workdir / corrections.NAME, [Correction(gone[0], left[0], False), other]
  )
  identities.write_moved(workdir, [(gone[0], 1, 2), (left[0], 1, 2)])
  (workdir / rules.VIOLATIONS).write_text(f'a,b,distance\n{gone[0]},x,0\n')
  cache = run.parent / 'cache' / 'dbc_jax' / 'features'
  cache.mkdir(parents=True)
  (cache / 'x.npy').write_bytes(b'')
  (workdir / 'moved.csv.17.tmp').write_text(gone[0])

  root = run / 'crops'
  command.main([f'--workdir={workdir}', str(number), f'--root={root}'])
  told = capsys.readouterr().out
  assert f'images forgotten: {len(gone)}; left: {len(left)}.' in told
  assert 'corrections: 1; files of the features cache: 1\n' in told
  assert 'the weights' in told
  assert 'only training images can be forgotten' in told

  assert not (workdir / rules.VIOLATIONS).exists()
  after = restore.restore_run(workdir)
  assert after.stage == before.stage
  stays = [i for i, name in enumerate(names) if name in left]
  kept, found = before.labels[stays], after.labels
  np.testing.assert_array_equal(kept[:, None] == kept, found[:, None] == found)
  features, paths = features_file.read(workdir, after.stage, after.digest)
  assert paths == left
  assert len(features) == len(left)
  assert corrections.read_corrections(workdir / corrections.NAME) == [other]
  pairs = corrections.read_unsure(workdir / corrections.UNSURE)
  assert pairs == unsure[1:]
  assert 'Ada' not in _cells(workdir / identities.NAME)
  assert 'Eve' in _cells(workdir / identities.NAME)
  assert _cells(workdir / identities.MOVED)[3:] == [left[0], '1', '2']
  with (workdir / identities.CLUSTERS).open(newline='') as file:
    rows = {x['path']: x['cluster'] for x in csv.DictReader(file)}
  assert {*rows} == {*left}
  # The others keep their numbers.
  assert all(rows[names[i]] == str(before.labels[i]) for i in stays)
  texts = [
    path
    for path in workdir.rglob('*')
    if path.is_file() and path.stat().st_size
  ]
  for name in gone:
    assert not [x for x in texts if name.encode() in x.read_bytes()]
  for store in (workdir / 'checkpoints',):
    opened = CheckpointStore(store)
    for stage in opened.stages():
      assert len(opened.restore_as_saved(stage)['labels']) == len(left)

  # The same command takes them as forgotten, whether they are there or not.
  job.run(_config(run), workdir)
  assert 'finished' not in capsys.readouterr().err
  for name in gone:
    (run / 'crops' / name).unlink()
  job.run(_config(run), workdir)
  # Again, as after a kill: nothing is wrong with it.
  forget(workdir, [gone[0]])


@pytest.mark.slow
def test_a_run_goes_on_without_them(run):
  workdir = run / 'half'
  (run / 'crops' / NAMES[4]).unlink()
  with pytest.raises(ValueError, match='1 of 30 training images are missing'):
    job.run(_config(run), workdir)
  shutil.copy(run / 'crops' / NAMES[5], run / 'crops' / NAMES[4])
  runs.write_images(run / 'crops', NAMES, runs.make_images(30, 6))
  forget(workdir, NAMES[4:6])
  (run / 'crops' / NAMES[5]).unlink()
  job.run(_config(run), workdir)
  assert len(restore.restore_run(workdir).labels) == 28
  assert NAMES[4] not in (workdir / 'clusters.csv').read_text()
  # So does one that goes on from it.
  config = _config(run)
  config.train.stage0_epochs = 0
  config.cluster.anew = True
  config.train.continue_from = str(workdir)
  runs.run_until(1, config, run / 'later')
  assert (run / 'later' / forgotten.NAME).exists()
  store = CheckpointStore(run / 'later' / 'checkpoints')
  assert len(store.restore_as_saved(0)['labels']) == 28


@pytest.mark.slow
def test_a_tracklet_of_a_run_that_has_not_ended_goes_by_its_first_frame(
  tmp_path, monkeypatch
):
  runs.one_device(monkeypatch)
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
  frames = [f't{i:02d}/{k}.png' for i in range(30) for k in range(2)]
  runs.write_images(tmp_path / 'crops', frames, runs.make_images(60, 6))
  config = runs.small_config('folder', tmp_path / 'crops')
  config.data.tracklets = True
  workdir = tmp_path / 'run'
  runs.run_until(2, config, workdir)
  said = Correction('t04', 't05', False), Correction('t06/0.png', 't05', False)
  corrections.append_corrections(
    workdir / corrections.NAME, [*said, Correction('t07', 't08', False)]
  )
  found = forget(workdir, ['t04/0.png', 't06'])
  assert found.names == ['t04', 't06']
  assert found.corrections == 2
  kept = corrections.read_corrections(workdir / corrections.NAME)
  assert [x.a for x in kept] == ['t07']
  assert len(restore.restore_run(workdir).labels) == 28


@pytest.mark.slow
def test_of_few_images_a_run_ends_where_no_merges_are_left(run):
  """Eight stages are done, and the images that are left have seven."""
  workdir, config = run / 'many', _config(run)
  config.cluster.merge_percent = 0.125
  config.train.num_stages = 9
  runs.run_until(8, config, workdir)
  forget(workdir, NAMES[:22])
  job.run(config, workdir, lambda *_: pytest.fail('a stage was trained'))
  assert len(_cells(workdir / 'clusters.csv')) == 3 * 9
  again = reclustering.recluster(workdir, restore.restore_run(workdir), [])
  assert len(again.labels) == 8


@pytest.mark.slow
@pytest.mark.parametrize('count', [2, 5])
def test_a_finished_run_stays_finished(count, run):
  """30 images have four stages, 28 have five, and 25 four again."""
  workdir = run / 'run'
  forget(workdir, NAMES[:count])
  forget(workdir, NAMES[count : count + 1])
  before = (workdir / 'metrics.jsonl').read_text()
  job.run(_config(run), workdir, lambda *_: pytest.fail('a stage was trained'))
  assert (workdir / 'metrics.jsonl').read_text() == before


@pytest.mark.slow
def test_what_a_kill_left_is_brought_to_its_end(run, monkeypatch):
  workdir = run / 'run'
  monkeypatch.setattr(forgetting, 'finish', lambda _: 1 / 0)
  facts = {'digest': 'digest', 'ruled': ''}
  with pytest.raises(ZeroDivisionError):
    forgetting.rewrite(workdir, np.arange(28), facts, ['a', 'b'])
  monkeypatch.undo()
  runs.one_device(monkeypatch)
  shutil.rmtree(workdir / 'checkpoints' / '0', ignore_errors=True)
  forgetting.finish(workdir)
  assert len(restore.restore_run(workdir).labels) == 28
  assert len(forgotten.read(workdir / forgotten.NAME)) == 2
  forgetting.finish(workdir)
  assert not [x for x in workdir.iterdir() if 'forgetting' in x.name]


@pytest.mark.slow
def test_a_kill_leaves_the_clusters_of_a_later_clustering(run, monkeypatch):
  workdir = run / 'run'
  before = restore.restore_run(workdir)
  names = features_file.read(workdir, before.stage, before.digest)[1]
  largest = np.bincount(before.labels).argmax()
  a, b = (names[i] for i in np.flatnonzero(before.labels == largest)[:2])
  reclustering.recluster(workdir, before, [Correction(a, b, False)])
  gone = next(name for name in names if name not in (a, b))
  with monkeypatch.context() as patch:
    patch.setattr(features_file, 'write', lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
      forget(workdir, [gone])
  forget(workdir, [gone])
  names.remove(gone)
  labels = restore.restore_run(workdir).labels
  found = dict(zip(names, labels.tolist(), strict=True))
  assert found[a] != found[b]


@pytest.mark.slow
def test_bad_targets_are_told_and_nothing_changes(run):
  workdir = run / 'run'
  before = (workdir / 'clusters.csv').read_text()
  for target, fault in (
    ('99', '99: .* has no such cluster'),
    ('x.png', r'x\.png: no image of the run has this path'),
    ('-1', '-1: no image'),
  ):
    with pytest.raises(ValueError, match=fault):
      forget(workdir, [target])
  with pytest.raises(ValueError, match='fewer than a batch'):
    forget(workdir, NAMES[:25])
  with (
    lock.hold(workdir),
    pytest.raises(ValueError, match='is in use by the run'),
  ):
    forget(workdir, NAMES[:1])
  (run / 'crops' / NAMES[7]).unlink()
  with pytest.raises(ValueError, match='apart from those to be forgotten'):
    forget(workdir, NAMES[:1])
  assert (workdir / 'clusters.csv').read_text() == before
  assert not (workdir / forgotten.NAME).exists()
  with pytest.raises(ValueError, match='has no run'):
    forget(run / 'crops', ['0'])


@pytest.mark.parametrize('text', ['', 'name\n', 'name\nabc\n'])
def test_a_file_that_lost_its_lines_brings_nobody_back(text, tmp_path):
  path = tmp_path / forgotten.NAME
  path.write_text(text)
  with pytest.raises(ValueError, match=r'forgotten\.csv: cannot be read'):
    forgotten.read(path)


@pytest.mark.parametrize('given', ['a.b', '{camid', 'none'])
def test_nobody_sets_what_is_forgotten_by_hand(given, tmp_path):
  config = runs.small_config('folder', tmp_path)
  config.data.forgotten = given
  with pytest.raises(ValueError, match=r'data\.forgotten: got .* leave it out'):
    job.run(config, tmp_path / 'run')


def test_tracklets_and_identities_are_left_out_together(tmp_path):
  frames = [np.full((k + 1, 2, 2, 3), k, np.uint8) for k in range(4)]
  samples = in_memory_tracklets(['t0', 't1', 't2', 't3'], frames)
  seen = np.arange(8).reshape(4, 2)
  dataset, truth = assemble(*[(samples, np.arange(4), None)] * 3, frames=seen)
  path = tmp_path / forgotten.NAME
  forgotten.add(path, ['t1', 't3'])
  forgotten.add(path, ['t1'])
  assert 't1' not in path.read_text()
  left, known = forgotten.without(dataset, truth, forgotten.read(path))
  assert left.train.names == ('t0', 't2')
  assert left.train.starts.tolist() == [0, 1, 4]
  assert [left.train.read(i).max() for i in range(4)] == [0, 2, 2, 2]
  assert left.query.frame_names == (
    't0/00.png',
    *(f't2/0{i}.png' for i in range(3)),
  )
  np.testing.assert_array_equal(known.gallery_pids, [0, 2])
  np.testing.assert_array_equal(known.train_frames, [[0, 1], [4, 5]])
  assert known.train_times is None
  assert isinstance(known, GroundTruth)
