"""A run that goes on from another with more images."""

import csv
import json
import shutil

import numpy as np
import pytest
import runs

from dbc_jax.run import continuation, identities, job, restore, within

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures('one_device')]

COUNT, MORE = 40, 16


def _config(root, **fields):
  config = runs.small_config('folder', root)
  config.update_from_flattened_dict(
    {
      'train.init': 'self_supervised',
      'train.warmup_epochs': 20,
      'train.learning_rate': 0.05,
      'train.stage0_epochs': 0,
      'train.num_stages': 2,
      'cluster.criterion': 'average',
      'cluster.cut': 'dense',
      'cluster.anew': True,
      'cluster.min_size': 2,
      **fields,
    }
  )
  return config


@pytest.fixture(scope='module')
def begun(tmp_path_factory):
  """A finished run, its folder of crops, and one with more."""
  folder = tmp_path_factory.mktemp('crops')
  names = [f'{i:02d}.png' for i in range(COUNT)]
  runs.write_images(folder, names, runs.make_images(COUNT, 5))
  more = tmp_path_factory.mktemp('more') / 'crops'
  shutil.copytree(folder, more)
  names = [f'new/{i:02d}.png' for i in range(MORE)]
  runs.write_images(more, names, runs.make_images(MORE, 2, seed=8))
  workdir = tmp_path_factory.mktemp('run') / 'old'
  with pytest.MonkeyPatch.context() as monkeypatch:
    runs.one_device(monkeypatch)
    job.run(_config(folder), workdir)
  return workdir, folder, more


def _clusters(workdir):
  with (workdir / 'clusters.csv').open() as file:
    return {row['path']: int(row['cluster']) for row in csv.DictReader(file)}


def test_clusters_numbers_and_names_go_on(
  begun, tmp_path, monkeypatch, caplog, capsys
):
  old, _, more = begun
  before = _clusters(old)
  listed = identities.read(old)
  named = [x._replace(name=f'p{x.id}') for x in listed]
  identities.write(old, named)
  starts = []
  place = continuation.Continuation.place

  def place_and_note(self, features, data, workdir):
    labels = place(self, features, data, workdir)
    starts.append(dict(zip(data.names['train'], labels.tolist(), strict=True)))
    return labels

  monkeypatch.setattr(continuation.Continuation, 'place', place_and_note)
  config = _config(more, **{'train.continue_from': str(old)})
  with caplog.at_level('INFO', logger='dbc_jax'):
    job.run(config, tmp_path / 'new')
  identities.write(old, listed)
  told = '\n'.join(record.getMessage() for record in caplog.records)
  assert f'{COUNT} of its {COUNT} images are here, and {MORE} are new' in told
  assert 'warm-up' not in told

  # The first stage trains on the old clusters as they are.
  (start,) = starts
  pairs = {(before[x], start[x]) for x in before if before[x] >= 0}
  assert len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})
  history = [
    json.loads(line)
    for line in (tmp_path / 'new' / 'metrics.jsonl').read_text().splitlines()
  ]
  assert [record['stage'] for record in history] == [0, 1]
  assert history[0]['num_clusters'] == max(start.values()) + 1

  # In the end most images have their number still, and names are with them.
  after = _clusters(tmp_path / 'new')
  assert len(after) == COUNT + MORE
  both = [x for x in before if before[x] >= 0 and after[x] >= 0]
  stayed = [x for x in both if before[x] == after[x]]
  assert len(stayed) > len(both) / 2
  now = {x.id: x for x in identities.read(tmp_path / 'new')}
  assert {x.id: x.name for x in named} == {
    i: x.name for i, x in now.items() if x.name
  }
  moved = [x for x in before if before[x] not in (-1, after[x])]
  gone = {x.id: x.merged_into for x in now.values()}
  moved = [x for x in moved if gone[before[x]] != after[x]]
  if moved:
    assert (
      f'{len(moved)} of {COUNT + MORE} images are in' in capsys.readouterr().out
    )
    with (tmp_path / 'new' / 'moved.csv').open() as file:
      rows = [*csv.DictReader(file)]
    assert {r['path'] for r in rows} == {*moved}
    assert all(int(r['before']) == before[r['path']] for r in rows)


def test_another_picture_of_an_old_name_is_new(begun, tmp_path, caplog):
  old, folder, _ = begun
  other = tmp_path / 'crops'
  shutil.copytree(folder, other)
  before = _clusters(old)
  first = next(name for name in before if before[name] == 0)
  last = [name for name in before if before[name] not in (-1, 0)][-1]
  shutil.copy(folder / last, other / first)
  config = _config(other, **{'train.continue_from': str(old)})
  with (
    pytest.MonkeyPatch.context() as patch,
    caplog.at_level('INFO', 'dbc_jax'),
  ):
    patch.setattr(job.StageRunner, 'run', _stop)
    with pytest.raises(runs.KilledError):
      job.run(config, tmp_path / 'new')
  told = '\n'.join(record.getMessage() for record in caplog.records)
  assert '1 images have the name of one of' in told
  assert f'{COUNT - 1} of its {COUNT} images are here, and 1 are new' in told
  assert _clusters(tmp_path / 'new')[first] == -1


def _stop(*_):
  raise runs.KilledError


def test_a_kill_in_between_changes_nothing(begun, tmp_path):
  old, _, more = begun
  config = _config(more, **{'train.continue_from': str(old)})
  job.run(config, tmp_path / 'straight')
  runs.run_until(1, config, tmp_path / 'killed')
  moved = old.with_name('moved')
  old.rename(moved)  # It is needed no more.
  try:
    job.run(config, tmp_path / 'killed')
  finally:
    moved.rename(old)
  for name in ('clusters.csv', 'identities.csv'):
    straight, killed = (
      (tmp_path / run / name).read_bytes() for run in ('straight', 'killed')
    )
    assert straight == killed
  one, other = (
    restore.restore_run(tmp_path / run).variables['params']
    for run in ('straight', 'killed')
  )
  for a, b in zip(
    *(np.nditer(x['head']['linear1']['kernel']) for x in (one, other)),
    strict=True,
  ):
    assert a == b


def test_it_resumes_within_stage_0_and_after_damage(
  begun, tmp_path, monkeypatch
):
  old, _, more = begun
  config = _config(more, **{'train.continue_from': str(old)})
  job.run(config, tmp_path / 'straight')
  # Killed after it was saved within stage 0.
  save, steps = within.WithinStore._save, []

  def save_and_die(self, stage, moment, *rest):
    save(self, stage, moment, *rest)
    raise runs.KilledError

  soon = _config(more, **{'train.continue_from': str(old)})
  soon.checkpoint_minutes = 1e-9
  with monkeypatch.context() as patch:
    patch.setattr(within.WithinStore, '_save', save_and_die)
    with pytest.raises(runs.KilledError):
      job.run(soon, tmp_path / 'killed')
  start = continuation.Continuation.place
  with monkeypatch.context() as patch:
    patch.setattr(
      continuation.Continuation, 'place', lambda *a, **k: steps.append(1)
    )
    job.run(config, tmp_path / 'killed')
  assert not steps  # It did not begin anew.
  assert start is continuation.Continuation.place
  # A damaged stage 0, after which it does.
  runs.run_until(1, config, tmp_path / 'damaged')
  path = tmp_path / 'damaged/checkpoints/0/arrays/manifest.ocdbt'
  path.write_bytes(path.read_bytes()[:-3])
  job.run(config, tmp_path / 'damaged')
  for name in ('clusters.csv', 'identities.csv'):
    expected = (tmp_path / 'straight' / name).read_bytes()
    for run in ('killed', 'damaged'):
      assert (tmp_path / run / name).read_bytes() == expected


def test_pictures_that_all_look_otherwise(begun, tmp_path):
  old, folder, _ = begun
  names = [path.name for path in sorted(folder.iterdir())]
  images = runs.make_images(len(names), 3, seed=70)
  others = runs.write_images(tmp_path / 'others', names, 255 - images)
  config = _config(others, **{'train.continue_from': str(old)})
  with pytest.raises(ValueError, match='continue_from: too few images of'):
    job.run(config, tmp_path / 'new')


@pytest.mark.parametrize(
  ('fields', 'message'),
  [
    (
      {'cluster.num_clusters': 5, 'train.num_stages': 1},
      r'num_clusters=5; raise train\.num_stages',
    ),
    ({'cluster.anew': False}, 'which needs clusters anew'),
    ({'train.continue_from': '/no/run'}, 'continue_from: workdir: /no/run'),
    ({'model.embedding_dim': 24}, "embedding_dim': .* can only go on as"),
    ({'data.stored_size': (40, 20)}, r'data\.stored_size.*\(40, 20\)'),
  ],
)
def test_a_run_that_cannot_go_on_ends_before_any_work(
  fields, message, begun, tmp_path
):
  old, _, more = begun
  config = _config(more, **{'train.continue_from': str(old), **fields})
  with pytest.raises(ValueError, match=message):
    job.run(config, tmp_path / 'new')
  assert not (tmp_path / 'new').exists()


def test_none_of_the_old_images(begun, tmp_path):
  old, folder, _ = begun
  config = _config(folder.parent, **{'train.continue_from': str(old)})
  config.data.root = str(tmp_path / 'up')
  shutil.copytree(folder, tmp_path / 'up' / 'below')
  with pytest.raises(ValueError, match=r'such as below/.*paths are the same'):
    job.run(config, tmp_path / 'new')
