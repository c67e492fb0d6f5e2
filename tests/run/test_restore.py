"""Features of images and tracklets by the network of a run."""

import numpy as np
import pytest
import runs

import dbc_jax
from dbc_jax import FeatureExtractor
from dbc_jax.run import extractor, job

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures('one_device')]


@pytest.fixture(scope='module')
def run(tmp_path_factory):
  """A workdir, and the folder of its crops."""
  folder = tmp_path_factory.mktemp('run')
  names = [f'{i:02d}.png' for i in range(20)]
  root = runs.write_images(folder / 'crops', names, runs.make_images(20, 5))
  config = runs.small_config('folder', root)
  config.cluster.merge_percent = 0.4
  with pytest.MonkeyPatch.context() as monkeypatch:
    runs.one_device(monkeypatch)
    job.run(config, folder / 'work')
  return folder / 'work', root


def test_paths_and_arrays_give_the_same_in_their_order(run, monkeypatch):
  workdir, root = run
  embed = FeatureExtractor.from_workdir(str(workdir))
  paths = sorted(root.glob('*.png'))[::-1]
  features = embed(paths)
  assert features.dtype == np.float32
  assert features.shape[0] == 20
  np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1.0, rtol=1e-5)
  images = runs.make_images(20, 5)[::-1]
  np.testing.assert_array_equal(embed([str(x) for x in paths]), features)
  np.testing.assert_array_equal(embed(list(images)), features)
  # However many are held at a time.
  monkeypatch.setattr(extractor, '_ITEMS_AT_ONCE', 7)
  np.testing.assert_allclose(embed(paths), features, atol=1e-6)


def test_a_tracklet_is_told_from_its_frames(run):
  workdir, _ = run
  embed = FeatureExtractor.from_workdir(workdir, 'last')
  images = runs.make_images(6, 3)
  alone = embed([images[:1], images[1:2]])
  np.testing.assert_allclose(alone, embed([images[0], images[1]]), atol=1e-6)
  both = embed([images[:4], [images[4], images[5]]])
  assert both.shape == alone.shape
  assert np.abs(both[0] - alone[0]).max() > 1e-3


@pytest.mark.parametrize(
  ('items', 'message'),
  [
    ([], r'items: got \[\], expected a list of paths or arrays'),
    ('crop.png', r"items: got 'crop.png', expected a list"),
    (['lost.png'], r'1 of 1 images cannot be read:\n  lost.png'),
    ([np.zeros((4, 4, 3))], r'item 0'),
  ],
)
def test_bad_items_are_told(run, items, message):
  with pytest.raises(ValueError, match=message):
    FeatureExtractor.from_workdir(run[0])(items)


def test_a_folder_without_a_run_is_told(tmp_path):
  with pytest.raises(ValueError, match=r'config\.json does not exist; name'):
    FeatureExtractor.from_workdir(tmp_path)


def test_the_package_shows_it_and_nothing_else():
  assert dbc_jax.__all__ == ['FeatureExtractor']
  with pytest.raises(AttributeError, match='no attribute'):
    dbc_jax.missing  # noqa: B018
