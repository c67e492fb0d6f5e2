"""Tests of the two augmented views of training images."""

import numpy as np
import pytest

from dbc_jax.data import frames, split, views

CROPS = {'crop_area': (0.64, 1.0), 'crop_aspect': (1.0, 1.5)}
# No crop, so that a view is the image or its mirror image.
WHOLE = {'crop_area': (1.0, 1.0), 'crop_aspect': (1.0, 1.0)}


@pytest.fixture
def images():
  return np.random.default_rng(0).integers(0, 256, (200, 16, 8, 3), np.uint8)


def make_split(images):
  return split.Split(frames.ResidentFrames(images), np.arange(len(images)))


def pixels(viewed):
  return np.stack([viewed.image(i) for i in range(len(viewed))])


def test_uncropped_views_are_the_images_or_mirrored(images):
  viewed = pixels(views.two_views(make_split(images), num_samples=300, **WHOLE))
  assert viewed.shape == (400, 16, 8, 3)
  first, second = np.split(viewed, 2)
  found = set()
  flips = np.zeros((200, 2), bool)
  for place, pair in enumerate(zip(first, second, strict=True)):
    owners = set()
    for which, view in enumerate(pair):
      same = np.flatnonzero((images == view).all((1, 2, 3)))
      mirrored = np.flatnonzero((images[:, :, ::-1] == view).all((1, 2, 3)))
      (owner,) = [*same, *mirrored]
      flips[place, which] = len(mirrored)
      owners.add(owner)
    assert len(owners) == 1  # both views are of one image
    found |= owners
  assert found == set(range(200))
  # Each view is flipped by a coin of its own.
  assert 0.35 < flips[:, 0].mean() < 0.65
  assert 0.35 < (flips[:, 0] != flips[:, 1]).mean() < 0.65


def test_a_sample_is_drawn_by_its_seed_alone(images):
  def sample(seed):
    return pixels(
      views.two_views(make_split(images), num_samples=7, seed=seed, **CROPS)
    )

  assert sample(0).shape == (14, 16, 8, 3)
  np.testing.assert_array_equal(sample(0), sample(0))
  assert (sample(0) != sample(1)).any()
  first, second = np.split(sample(0), 2)
  assert all((a != b).any() for a, b in zip(first, second, strict=True))


def test_of_a_tracklet_it_takes_the_frame_in_the_middle(images):
  tracklets = split.Split(
    frames.ResidentFrames(images), np.arange(9), np.array([0, 3, 9])
  )
  viewed = pixels(views.two_views(tracklets, **WHOLE))
  for view in viewed:
    middles = images[[1, 6]]
    both = np.concatenate([middles, middles[:, :, ::-1]])
    assert (both == view).all((1, 2, 3)).any()
