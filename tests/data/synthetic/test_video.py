"""The synthetic tracklets are whole, repeatable, and neither easy nor hopeless.

Run by pytest.
"""

import dataclasses
import hashlib

import numpy as np
import pytest

from dbc_jax.data import samples as samples_lib
from dbc_jax.data.synthetic import camera, clock
from dbc_jax.data.synthetic import images as images_lib
from dbc_jax.data.synthetic import video as video_lib

SPLITS = ('train', 'query', 'gallery')
SMALL = {'num_train_tracklets': 12, 'num_test_identities': 3}


@pytest.fixture(scope='module')
def loaded() -> tuple[samples_lib.Dataset, samples_lib.GroundTruth]:
  return video_lib.load()


@pytest.fixture(scope='module')
def dataset(loaded) -> samples_lib.Dataset:
  return loaded[0]


@pytest.fixture(scope='module')
def truth(loaded) -> samples_lib.GroundTruth:
  return loaded[1]


def stack(samples: samples_lib.Samples) -> np.ndarray:
  return np.stack([samples.read(i) for i in range(samples.num_frames)])


def test_counts_shapes_and_types(dataset, truth) -> None:
  assert len(dataset.train) == 250
  assert 60 <= len(dataset.query) <= 90
  assert 120 <= len(dataset.gallery) <= 200
  assert truth.can_evaluate
  for split in SPLITS:
    samples = getattr(dataset, split)
    frames = stack(samples)
    assert frames.shape == (samples.num_frames, 128, 64, 3)
    assert frames.dtype == np.uint8
    assert samples.starts.shape == (len(samples) + 1,)
    for field in (f'{split}_pids', f'{split}_camids'):
      values = getattr(truth, field)
      assert values.shape == (len(samples),)
      assert values.dtype == np.int32


def test_tracklets_are_of_unequal_lengths(dataset) -> None:
  for split in SPLITS:
    lengths = np.diff(getattr(dataset, split).starts)
    assert lengths.min() == 4
    assert 10 <= lengths.max() <= 12
    assert lengths.mean() > np.median(lengths)


@pytest.mark.slow
def test_same_seed_same_frames_other_seed_other_frames() -> None:
  first, first_truth = video_lib.load(seed=3, **SMALL)
  again, again_truth = video_lib.load(seed=3, **SMALL)
  other, _ = video_lib.load(seed=4, **SMALL)
  for split in SPLITS:
    np.testing.assert_array_equal(
      stack(getattr(first, split)), stack(getattr(again, split))
    )
    np.testing.assert_array_equal(
      getattr(first, split).starts, getattr(again, split).starts
    )
  for field in dataclasses.fields(first_truth):
    np.testing.assert_array_equal(
      getattr(first_truth, field.name), getattr(again_truth, field.name)
    )
  same = first.train.read(0) == other.train.read(0)
  assert same.mean() < 0.5


def test_persons_and_places_are_those_of_the_images() -> None:
  images, image_truth = images_lib.load(
    num_train_images=18, num_test_identities=2
  )
  video, video_truth = video_lib.load(**SMALL)
  first = {image.tobytes() for image in stack(images.train)}
  common = [
    i
    for i in range(len(video.train))
    if video.train.read(int(video.train.starts[i])).tobytes() in first
  ]
  assert common
  assert set(video_truth.train_pids[common]) <= set(image_truth.train_pids)


def test_test_identities_are_unseen_in_training(truth) -> None:
  train, query = set(truth.train_pids), set(truth.query_pids)
  gallery = set(truth.gallery_pids) - {-1, 0}
  assert not train & (query | gallery)
  assert query == gallery
  assert len(query) == 30
  assert min(train | query) > 0


def test_names_and_numbers_tell_nothing(dataset, truth) -> None:
  for pids in (truth.train_pids, truth.query_pids):
    assert (np.diff(pids) >= 0).mean() < 0.65
  for split in SPLITS:
    samples = getattr(dataset, split)
    expected = tuple(f'{split}/{i:06d}' for i in range(len(samples)))
    assert samples.names == expected
    last = int(samples.starts[1]) - 1
    assert samples.frame_name(last) == f'{split}/000000/{last:02d}.png'
    assert samples.frame_name(last + 1) == f'{split}/000001/00.png'


def test_one_query_a_camera_with_matches_elsewhere(truth) -> None:
  every = np.arange(len(camera.CAMERAS))
  for split in SPLITS:
    camids = getattr(truth, f'{split}_camids')
    np.testing.assert_array_equal(np.unique(camids), every)
  for pid in np.unique(truth.train_pids):
    assert len(set(truth.train_camids[truth.train_pids == pid])) >= 2
  queries = list(zip(truth.query_pids, truth.query_camids, strict=True))
  assert len(set(queries)) == len(queries)
  for pid, camid in queries:
    of_person = truth.gallery_camids[truth.gallery_pids == pid]
    assert (of_person != camid).any()
    # As in MARS, for the camera rule to drop.
    assert (of_person == camid).any()


def test_tracklets_per_identity_are_long_tailed(truth) -> None:
  counts = np.unique(truth.train_pids, return_counts=True)[1]
  assert len(counts) == 50
  assert counts.min() >= 2
  assert counts.max() >= 3 * np.median(counts)


def test_gallery_has_junk_and_distractors(truth) -> None:
  assert (truth.gallery_pids == -1).sum() == 15
  assert (truth.gallery_pids == 0).sum() == 40
  for pids in (truth.train_pids, truth.query_pids):
    assert pids.min() > 0


@pytest.mark.parametrize(
  ('option', 'value'),
  [
    ('seed', -1),
    ('num_train_tracklets', 9),
    ('num_test_identities', 1),
    ('num_train_tracklets', 20000),
  ],
)
def test_bad_options_are_named(option: str, value: int) -> None:
  with pytest.raises(ValueError, match=option):
    video_lib.load(**{option: value})


def mean_frames(samples: samples_lib.Samples) -> np.ndarray:
  """Mean frame of each tracklet at 64 x 32, one flat row of float64 each."""
  frames = stack(samples).reshape(-1, 64, 2, 32, 2, 3).mean((2, 4))
  sums = np.add.reduceat(frames.reshape(len(frames), -1), samples.starts[:-1])
  return sums / np.diff(samples.starts)[:, None]


def test_raw_pixels_do_not_solve_it(dataset, truth) -> None:
  a, b = mean_frames(dataset.query), mean_frames(dataset.gallery)
  distances = (a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * a @ b.T
  same_pid = truth.query_pids[:, None] == truth.gallery_pids
  same_camid = truth.query_camids[:, None] == truth.gallery_camids
  drop = same_pid & same_camid | (truth.gallery_pids == -1)
  nearest = np.where(drop, np.inf, distances).argmin(1)
  rank1 = (truth.gallery_pids[nearest] == truth.query_pids).mean()
  # Chance is about 1 / 30.
  assert 0.05 < rank1 < 0.6


def test_frames_of_a_tracklet_are_alike_and_move(dataset) -> None:
  frames = stack(dataset.train).astype(np.float32)
  step = np.abs(np.diff(frames, axis=0)).mean((1, 2, 3))
  within = np.ones(len(step), bool)
  within[dataset.train.starts[1:-1] - 1] = False
  assert step[within].min() > 0
  assert step[within].mean() < 0.7 * step[~within].mean()


def test_pixels_names_and_truth_are_those_from_before_the_clock(
  dataset, truth
) -> None:
  digest = hashlib.blake2b(digest_size=16)
  for split in SPLITS:
    samples = dataset.of(split)
    names = [*samples.names, *samples.frame_names]
    digest.update('\n'.join(names).encode() + samples.starts.tobytes())
    for frame in range(samples.num_frames):
      digest.update(samples.read(frame).tobytes())
    for column in truth.of(split):
      digest.update(column.tobytes())
  assert digest.hexdigest() == '0c5e15efc88aeee41093b9f485e34a10'


def test_frames_and_times_of_training(dataset, truth) -> None:
  frames, times = truth.train_frames, truth.train_times
  assert frames.shape == times.shape == (250, 2)
  assert (frames.dtype, times.dtype) == (np.int64, np.float64)
  np.testing.assert_array_equal(times * clock.FRAMES_PER_SECOND, frames)
  lengths = np.diff(dataset.train.starts)
  np.testing.assert_array_equal(frames[:, 1] - frames[:, 0] + 1, lengths)
  assert frames.min() >= 0
  again = video_lib.load(**SMALL, seed=3)[1]
  other = video_lib.load(**SMALL, seed=4)[1]
  assert len(again.train_frames) == 12
  assert (again.train_frames != other.train_frames).any()


def test_nobody_is_in_two_places_or_walks_too_fast(truth) -> None:
  times, camids = truth.train_times, truth.train_camids
  gaps = np.maximum(
    times[:, None, 0] - times[None, :, 1], times[None, :, 0] - times[:, None, 1]
  )
  least = clock.WALK * abs(camids[:, None] - camids)
  own = truth.train_pids[:, None] == truth.train_pids
  own &= ~np.eye(250, dtype=bool)
  assert (gaps[own] > 0).all()
  assert (gaps[own] >= least[own]).all()
  # The walks are of use: they tell many others apart.
  assert (gaps[~own] < least[~own]).mean() > 0.01


def test_several_persons_are_before_one_camera_at_once(truth) -> None:
  first, last = truth.train_frames.T
  together = (first[:, None] <= last) & (first <= last[:, None])
  together &= truth.train_camids[:, None] == truth.train_camids
  others = together.sum(axis=1) - 1
  assert (others > 0).mean() > 0.5
  assert others.max() >= 3
  assert others.mean() < 5
