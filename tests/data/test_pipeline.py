"""The hashed order, and that kept and streamed images give the same batches."""

import dataclasses

import jax
import numpy as np
import pytest
import runs

from dbc_jax.data import load_dataset, pipeline, samples_of
from dbc_jax.data import samples as samples_lib
from dbc_jax.devices import mesh

pytestmark = pytest.mark.usefixtures('one_device')

SIZE = (4, 2)
# Less than any of these data sets: everything is streamed.
NOTHING = 1e-9


def _images(count, seed=0):
  return np.random.default_rng(seed).integers(
    0, 256, (count, *SIZE, 3), np.uint8
  )


def _load(samples, seed=0, size=SIZE, **options):
  dataset = samples_lib.Dataset(samples, samples_lib.EMPTY, samples_lib.EMPTY)
  truth = samples_lib.GroundTruth(
    train_pids=np.arange(len(samples), dtype=np.int32)
  )
  return pipeline.load_splits(dataset, truth, size=size, seed=seed, **options)


def _in_memory(images):
  return samples_lib.in_memory([f'{i}' for i in range(len(images))], images)


def _tracklets(lengths, seed=0):
  starts = np.cumsum([0, *lengths])
  images = _images(starts[-1], seed)
  names = tuple(f't{i}' for i in range(len(lengths)))
  return samples_lib.Samples(names, images.__getitem__, starts, None), images


def _frames(split):
  batches = split.frame_batches(4, 900)
  rows = [mesh.unshard(x)[: len(owners)] for owners, _, x in batches]
  return np.concatenate(rows)


def test_order_depends_on_content_and_seed_alone():
  images = _images(50)
  shuffle = np.random.default_rng(1).permutation(50)
  given = _load(_in_memory(images))
  shuffled = _load(_in_memory(images[shuffle]))
  np.testing.assert_array_equal(_frames(given.train), _frames(shuffled.train))
  assert given.digest == shuffled.digest
  # Truth and names stay with their images.
  order = given.truth.train_pids
  assert sorted(order) == list(range(50))
  np.testing.assert_array_equal(_frames(given.train), images[order])
  assert given.names['train'] == [f'{i}' for i in order]
  other = _load(_in_memory(images), seed=1)
  assert (other.truth.train_pids != order).any()
  assert other.digest != given.digest


def test_digest_notices_one_pixel():
  images = np.zeros((3, *SIZE, 3), np.uint8)
  changed = images.copy()
  changed[1, 0, 0, 0] = 1
  assert _load(_in_memory(images)).digest != _load(_in_memory(changed)).digest


def test_order_is_uncorrelated_with_the_given_one():
  images = np.arange(400, dtype=np.uint16).view(np.uint8).reshape(400, 1, 1, 2)
  images = np.repeat(images, 3, axis=-1)[..., :3]
  loaded = _load(_in_memory(images), size=(1, 1))
  order = loaded.truth.train_pids
  correlation = np.corrcoef(order, np.arange(400))[0, 1]
  assert abs(correlation) < 0.2  # 4 standard deviations


@pytest.mark.parametrize('num_devices', [1, 4])
@pytest.mark.parametrize('device_memory', [False, True])
def test_kept_and_streamed_images_give_the_same_batches(
  tmp_path, monkeypatch, num_devices, device_memory
):
  """Files of other sizes than the stored one, decoded once or every time."""
  devices = jax.local_devices()[:num_devices]
  monkeypatch.setattr(mesh, 'devices', lambda: devices)
  monkeypatch.setattr(mesh, 'host_is_device', lambda: not device_memory)
  runs.write_market(tmp_path)
  dataset, truth = load_dataset('market1501', tmp_path)
  kept, streamed = (
    pipeline.load_splits(
      dataset, truth, size=(20, 16), seed=3, memory_budget_gb=budget
    )
    for budget in (1.0, NOTHING)
  )
  assert 'are kept in memory' in kept.decision
  assert 'are decoded when needed' in streamed.decision
  assert kept.digest == streamed.digest
  order = np.random.default_rng(0).permutation(30)[:24].reshape(3, 8)
  a, b = (
    [*loaded.train.batches(loaded.train.draw_frames(order, 1, (0,)))]
    for loaded in (kept, streamed)
  )
  assert len(a) == len(b) == 3
  for one, other in zip(a, b, strict=True):
    assert one.shape == (num_devices, 8 // num_devices, 20, 16, 3)
    assert one.dtype == np.uint8
    assert one.sharding == other.sharding
    np.testing.assert_array_equal(one, other)
  assert a[0].sharding.device_set == set(devices)
  for name in ('train', 'query', 'gallery'):
    np.testing.assert_array_equal(
      _frames(getattr(kept, name)), _frames(getattr(streamed, name))
    )


def test_frames_of_tracklets():
  lengths = (2, 4, 9, 30)
  samples, images = _tracklets(lengths)
  loaded = _load(samples, memory_budget_gb=1.0)
  split, names = loaded.train, loaded.names['train']
  streamed = _load(samples, memory_budget_gb=NOTHING).train
  assert split.is_video
  assert len(split) == 4
  tracklet_of = {image.tobytes(): i for i, image in enumerate(images)}
  order = np.array([[0, 1, 2, 3], [3, 2, 1, 0]])
  batches = [*split.batches(split.draw_frames(order, 8, (0, 1)))]
  again = streamed.batches(streamed.draw_frames(order, 8, (0, 1)))
  for one, other in zip(batches, again, strict=True):
    np.testing.assert_array_equal(one, other)
  assert batches[0].shape == (1, 4, 8, *SIZE, 3)
  for rows, batch in zip(order, batches, strict=True):
    for sample, frames in zip(rows, mesh.unshard(batch), strict=True):
      found = [tracklet_of[frame.tobytes()] for frame in frames]
      name = int(names[sample][1:])
      start = sum(lengths[:name])
      assert all(start <= k < start + lengths[name] for k in found)
      counts = np.bincount(np.array(found) - start, minlength=lengths[name])
      assert counts.max() - counts.min() <= 1
  other = [*split.batches(split.draw_frames(order, 8, (0, 2)))]
  assert any((a != b).any() for a, b in zip(batches, other, strict=True))


def test_a_long_tracklet_is_thinned_evenly():
  samples, images = _tracklets((3, 10))
  loaded = _load(samples)
  split, names = loaded.train, loaded.names['train']
  owners, weights, rows = zip(*split.frame_batches(4, 5), strict=True)
  rows = np.concatenate([mesh.unshard(x) for x in rows])
  counts = np.bincount(np.concatenate(owners))
  long = names.index('t1')
  assert counts[long] == 5
  assert counts[1 - long] == 3
  expected = {0: [0, 1, 2], 1: [3, 5, 7, 9, 11]}
  chosen = np.concatenate([expected[int(name[1:])] for name in names])
  np.testing.assert_array_equal(rows[:8], images[chosen])
  total = np.bincount(np.concatenate(owners), np.concatenate(weights))
  np.testing.assert_allclose(total, 1.0, rtol=1e-6)


def test_unreadable_images_are_an_error_or_left_out(tmp_path):
  runs.write_images(tmp_path, [f'{i}.png' for i in range(6)], _images(6))
  (tmp_path / '2.png').write_bytes(b'no picture')
  (tmp_path / '4.png').write_bytes(b'')
  dataset, truth = load_dataset('folder', tmp_path)
  with pytest.raises(ValueError, match=r'(?s)2 of 6 .*2\.png.*4\.png.*skip_un'):
    pipeline.load_splits(dataset, truth, size=SIZE, seed=0)
  truth = dataclasses.replace(truth, train_camids=np.arange(6))
  loaded = pipeline.load_splits(
    dataset, truth, size=SIZE, seed=0, skip_unreadable=True
  )
  assert len(loaded.left_out) == 2
  assert '2.png' in loaded.left_out[0]
  names = loaded.names['train']
  assert sorted(names) == ['0.png', '1.png', '3.png', '5.png']
  assert [f'{i}.png' for i in loaded.truth.train_camids] == names


def test_unreadable_frames_leave_their_tracklet_shorter():
  samples, images = _tracklets((2, 3, 1))

  def read(frame):
    if frame in (3, 5):
      raise ValueError(f'{frame}: damaged')
    return images[frame]

  loaded = _load(dataclasses.replace(samples, read=read), skip_unreadable=True)
  assert sorted(loaded.names['train']) == ['t0', 't1']
  assert len(_frames(loaded.train)) == 4


def test_nothing_readable(tmp_path):
  (tmp_path / 'a.png').write_bytes(b'')
  dataset, truth = load_dataset('folder', tmp_path)
  with pytest.raises(ValueError, match='train: none of its images'):
    pipeline.load_splits(
      dataset, truth, size=SIZE, seed=0, skip_unreadable=True
    )


def _counted(images, name, log):
  """Samples that note each frame that is decoded."""

  def read(frame):
    log.append((name, frame))
    return images[frame]

  return samples_lib.Samples(tuple(f'{i}' for i in range(len(images))), read)


def _whole(log):
  """A data set of three splits, with its truth."""
  sizes = {'train': 7, 'query': 3, 'gallery': 5}
  images = {name: _images(n, seed=n) for name, n in sizes.items()}
  dataset = samples_lib.Dataset(
    **{name: _counted(images[name], name, log) for name in sizes}
  )
  columns = {
    f'{name}_{what}': np.arange(n, dtype=np.int32)
    for name, n in sizes.items()
    for what in ('pids', 'camids')
  }
  return dataset, samples_lib.GroundTruth(**columns), images


def test_frames_and_times_follow_their_samples():
  dataset, truth, _ = _whole([])
  frames = np.stack([truth.train_pids * 10, truth.train_pids * 10 + 4], axis=1)
  truth = dataclasses.replace(
    truth, train_frames=frames, train_times=frames / 5
  )
  loaded = pipeline.load_splits(dataset, truth, size=SIZE, seed=0).truth
  assert loaded.train_pids.tolist() != truth.train_pids.tolist()
  np.testing.assert_array_equal(loaded.train_frames, frames[loaded.train_pids])
  np.testing.assert_array_equal(
    loaded.train_times, frames[loaded.train_pids] / 5
  )
  without = pipeline.load_splits(
    dataset, truth, size=SIZE, seed=0, splits=['query']
  )
  assert without.truth.train_frames is None


@pytest.mark.parametrize('budget', [1.0, NOTHING])
def test_only_the_splits_that_are_named_are_decoded(budget):
  log = []
  dataset, truth, images = _whole(log)
  options = {'size': SIZE, 'seed': 0, 'memory_budget_gb': budget}
  whole = pipeline.load_splits(dataset, truth, **options)
  assert sorted(log) == sorted({*log})
  assert len(log) == 15
  log.clear()
  part = pipeline.load_splits(
    dataset, truth, **options, splits=('gallery', 'query')
  )
  assert {name for name, _ in log} == {'query', 'gallery'}
  assert len(log) == 8
  assert part.train is part.digest is part.truth.train_pids is None
  assert part.truth.train_camids is None
  assert part.truth.can_evaluate
  assert list(part.names) == ['query', 'gallery']
  assert part.decision.startswith('8 images, ')
  assert part.fingerprint() != whole.fingerprint()
  for name in part.names:
    np.testing.assert_array_equal(_frames(getattr(part, name)), images[name])
    np.testing.assert_array_equal(part.truth.of(name), whole.truth.of(name))
  log.clear()
  train = pipeline.load_splits(dataset, truth, **options, splits=['train'])
  assert {name for name, _ in log} == {'train'}
  assert train.query is None
  assert not train.truth.can_evaluate
  assert train.digest == whole.digest
  assert train.names['train'] == (whole.names['train'])


def test_splits_that_are_not_there_are_named():
  dataset = samples_lib.Dataset(
    _in_memory(_images(3)), samples_lib.EMPTY, samples_lib.EMPTY
  )
  for splits in (('query',), ('train', 'test')):
    with pytest.raises(ValueError, match=f'has no {splits[-1]}'):
      pipeline.load_splits(
        dataset, samples_lib.GroundTruth(), size=SIZE, seed=0, splits=splits
      )


@pytest.mark.parametrize('budget', [1.0, NOTHING])
def test_one_split_alone_is_that_of_the_whole(budget):
  log = []
  dataset, truth, _ = _whole(log)
  options = {'size': SIZE, 'memory_budget_gb': budget}
  whole = pipeline.load_splits(dataset, truth, seed=4, **options)
  log.clear()
  train = pipeline.load_split(dataset.train, seed=4, **options)
  assert {name for name, _ in log} == {'train'}
  assert len(log) == 7
  np.testing.assert_array_equal(_frames(train.split), _frames(whole.train))
  np.testing.assert_array_equal(train.kept, whole.truth.train_pids)
  assert train.digest == whole.digest
  assert train.unreadable == []
  query = pipeline.load_split(dataset.query, **options)
  assert query.kept.tolist() == [0, 1, 2]
  assert query.digest is None


def test_paths_and_arrays_become_a_split(tmp_path):
  images = _images(4)
  names = [f'{i}.png' for i in range(4)]
  runs.write_images(tmp_path, names, images)
  paths = [str(tmp_path / '0.png'), tmp_path / '1.png', *images[2:]]
  samples = samples_of(paths)
  assert samples.names == (str(paths[0]), str(paths[1]), '2', '3')
  loaded = pipeline.load_split(samples, size=SIZE)
  assert not loaded.split.is_video
  assert len(loaded.split) == 4
  np.testing.assert_array_equal(_frames(loaded.split), images)
  np.testing.assert_array_equal(
    _frames(pipeline.load_split(samples_of(images), size=SIZE).split), images
  )
  larger = np.zeros((9, 7, 3), np.uint8)  # Resized, as a file would be.
  assert pipeline.load_split(samples_of([larger, *images]), size=SIZE)

  tracklets = samples_of([paths[:1], images[1:], (paths[1], images[0])])
  assert tracklets.names == ('0', '1', '2')
  assert tracklets.starts.tolist() == [0, 1, 4, 6]
  split = pipeline.load_split(tracklets, size=SIZE).split
  assert split.is_video
  assert len(split) == 3
  np.testing.assert_array_equal(_frames(split), images[[0, 1, 2, 3, 1, 0]])


def test_paths_that_cannot_be_read(tmp_path):
  runs.write_images(tmp_path, ['a.png'], _images(1))
  paths = [tmp_path / 'a.png', tmp_path / 'none.png']
  with pytest.raises(ValueError, match=r'(?s)1 of 2 .*none\.png: No such file'):
    pipeline.load_split(samples_of(paths), size=SIZE)
  loaded = pipeline.load_split(
    samples_of(paths), size=SIZE, skip_unreadable=True
  )
  assert loaded.kept.tolist() == [0]
  assert 'none.png' in loaded.unreadable[0]
  with pytest.raises(ValueError, match='none of its images can be read'):
    pipeline.load_split(samples_of(paths[1:]), size=SIZE, skip_unreadable=True)


@pytest.mark.parametrize(
  ('items', 'message'),
  [
    ([], r'items: got \[\], expected a list'),
    ('a.png', r"items: got 'a\.png', expected a list"),
    ([3], 'item 0 has int; expected the path'),
    ([np.zeros((4, 2, 3))], r'item 0 has float64 of shape \(4, 2, 3\)'),
    ([np.zeros((4, 2), np.uint8)], r'item 0 has uint8 of shape \(4, 2\)'),
    (['a.png', ['b.png']], 'item 0 is an image, item 1 a tracklet'),
    ([['b.png'], 'a.png'], 'item 0 is a tracklet, item 1 an image'),
    ([['b.png'], []], 'item 1 is a tracklet without frames'),
    ([['b.png', 7]], 'item 0 has int'),
  ],
)
def test_items_that_are_no_images(items, message):
  with pytest.raises(ValueError, match=message):
    samples_of(items)
