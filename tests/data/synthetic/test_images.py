"""The synthetic data set is whole, repeatable, and neither easy nor hopeless.

Run by pytest.
"""

import dataclasses

import numpy as np
import pytest

from dbc_jax.data import samples as samples_lib
from dbc_jax.data.synthetic import camera
from dbc_jax.data.synthetic import images as images_lib

SPLITS = ('train', 'query', 'gallery')


@pytest.fixture(scope='module')
def loaded() -> tuple[samples_lib.Dataset, samples_lib.GroundTruth]:
  return images_lib.load()


@pytest.fixture(scope='module')
def dataset(loaded) -> samples_lib.Dataset:
  return loaded[0]


@pytest.fixture(scope='module')
def truth(loaded) -> samples_lib.GroundTruth:
  return loaded[1]


def stack(samples: samples_lib.Samples) -> np.ndarray:
  return np.stack([samples.read(i) for i in range(len(samples))])


def test_counts_shapes_and_types(dataset, truth) -> None:
  assert len(dataset.train) == 1000
  assert 120 <= len(dataset.query) <= 300
  assert 500 <= len(dataset.gallery) <= 800
  assert truth.can_evaluate
  for split in SPLITS:
    images = stack(getattr(dataset, split))
    assert images.shape == (len(getattr(dataset, split)), 128, 64, 3)
    assert images.dtype == np.uint8
    assert images.std() > 20
    for field in (f'{split}_pids', f'{split}_camids'):
      values = getattr(truth, field)
      assert values.shape == (len(images),)
      assert values.dtype == np.int32


def test_same_seed_same_images_other_seed_other_images() -> None:
  options = {'num_train_images': 60, 'num_test_identities': 4}
  first, first_truth = images_lib.load(seed=3, **options)
  again, again_truth = images_lib.load(seed=3, **options)
  other, _ = images_lib.load(seed=4, **options)
  for split in SPLITS:
    images = stack(getattr(first, split))
    np.testing.assert_array_equal(images, stack(getattr(again, split)))
  for field in dataclasses.fields(first_truth):
    np.testing.assert_array_equal(
      getattr(first_truth, field.name), getattr(again_truth, field.name)
    )
  assert (stack(first.train) != stack(other.train)).mean() > 0.5


def test_test_identities_are_unseen_in_training(truth) -> None:
  train, query = set(truth.train_pids), set(truth.query_pids)
  gallery = set(truth.gallery_pids) - {-1, 0}
  assert not train & (query | gallery)
  assert query == gallery
  assert len(query) == 60
  assert min(train | query) > 0


def test_numbers_tell_nothing_of_the_order(dataset, truth) -> None:
  for pids in (truth.train_pids, truth.query_pids):
    assert (np.diff(pids) >= 0).mean() < 0.6
  assert truth.train_pids.min() < truth.query_pids.max()
  assert truth.query_pids.min() < truth.train_pids.max()
  for split in SPLITS:
    names = getattr(dataset, split).names
    assert names == tuple(f'{split}/{i:06d}.png' for i in range(len(names)))


def test_every_identity_is_seen_by_several_cameras(truth) -> None:
  every = np.arange(len(camera.CAMERAS))
  for split in SPLITS:
    camids = getattr(truth, f'{split}_camids')
    np.testing.assert_array_equal(np.unique(camids), every)
  for pid in np.unique(truth.train_pids):
    assert len(set(truth.train_camids[truth.train_pids == pid])) >= 2
  for pid, camid in zip(truth.query_pids, truth.query_camids, strict=True):
    of_person = truth.gallery_camids[truth.gallery_pids == pid]
    assert (of_person != camid).any()
    # Market-1501 keeps same-camera images too, for the rule to drop.
    assert (of_person == camid).any()


def test_images_per_identity_are_long_tailed(truth) -> None:
  counts = np.unique(truth.train_pids, return_counts=True)[1]
  # About one identity for every nine images.
  assert 100 <= len(counts) <= 125
  assert counts.min() >= 2
  assert counts.max() >= 4 * np.median(counts)
  assert counts.mean() > 1.2 * np.median(counts)


def test_gallery_has_junk_and_distractors(truth) -> None:
  assert (truth.gallery_pids == -1).sum() == 40
  assert (truth.gallery_pids == 0).sum() == 100
  for pids in (truth.train_pids, truth.query_pids):
    assert pids.min() > 0


@pytest.mark.parametrize(
  ('option', 'value'),
  [
    ('seed', -1),
    ('num_train_images', 5),
    ('num_test_identities', 0),
    ('num_train_images', 30000),
  ],
)
def test_bad_options_are_named(option: str, value: int) -> None:
  with pytest.raises(ValueError, match=option):
    images_lib.load(**{option: value})


def shrink(samples: samples_lib.Samples) -> np.ndarray:
  """Images at 64 x 32, one flat row of float32 each."""
  images = stack(samples).astype(np.float32)
  images = images.reshape(len(images), 64, 2, 32, 2, 3).mean((2, 4))
  return images.reshape(len(images), -1)


def squared_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
  return (a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * a @ b.T


def test_raw_pixels_do_not_solve_it(dataset, truth) -> None:
  distances = squared_distances(shrink(dataset.query), shrink(dataset.gallery))
  same_pid = truth.query_pids[:, None] == truth.gallery_pids
  same_camid = truth.query_camids[:, None] == truth.gallery_camids
  drop = same_pid & same_camid | (truth.gallery_pids == -1)
  nearest = np.where(drop, np.inf, distances).argmin(1)
  rank1 = (truth.gallery_pids[nearest] == truth.query_pids).mean()
  # Chance is about 1 / 60.
  assert 0.05 < rank1 < 0.5


def test_likeness_is_graded(dataset, truth) -> None:
  pixels = shrink(dataset.train)
  distances = np.sqrt(np.maximum(squared_distances(pixels, pixels), 0))
  pids, camids = truth.train_pids, truth.train_camids
  same_pid = pids[:, None] == pids
  same_camid = camids[:, None] == camids
  np.fill_diagonal(distances, np.nan)
  near = np.nanmean(distances[same_pid & same_camid])
  across = np.nanmean(distances[same_pid & ~same_camid])
  others = np.nanmean(distances[~same_pid & ~same_camid])
  assert near < 0.95 * across
  assert across < others
