"""The network that comes with the package is the demo's, and it works."""

import pathlib

import numpy as np
import pytest

import dbc_jax
from dbc_jax import FeatureExtractor, evaluation
from dbc_jax.configs import best
from dbc_jax.data import load_dataset
from dbc_jax.run import restore, workdir

FOLDER = pathlib.Path(dbc_jax.__file__).parent / 'demo'


def test_it_is_of_the_config_as_it_is_now():
  config = best.get_config('demo')
  # 'auto' is resolved in a run: the demo has cameras.
  config.data.use_cameras = 'True'
  config.cluster.camera_centring = True
  assert workdir.differences(FOLDER, config) == ''


def test_its_card_and_its_files_name_no_machine():
  assert '# The network of the demo' in (FOLDER / 'README.md').read_text()
  for path in FOLDER.rglob('*'):
    if path.is_file():
      assert b'/checkpoints/' not in path.read_bytes(), path


@pytest.mark.slow
def test_the_demo_is_drawn_as_it_was_trained_on():
  run = restore.restore_run(FOLDER)
  data = restore.load_data(
    run.parts.config, run.digest, identities=True, cameras=True
  )
  assert data.digest == run.digest


@pytest.mark.slow
def test_it_finds_people_of_the_demo_that_it_never_saw(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  extract = FeatureExtractor.demo()
  dataset, truth = load_dataset('demo')
  features = []
  for split in ('query', 'gallery'):
    samples = dataset.of(split)
    images = [samples.read(i) for i in range(len(samples))]
    camids = truth.of(split)[1].tolist()
    features.append(extract(images, camids))
    np.testing.assert_allclose(
      np.linalg.norm(features[-1], axis=1), 1.0, atol=1e-5
    )
  scores = evaluation.rank_features(
    *features,
    truth.query_pids,
    truth.gallery_pids,
    truth.query_camids,
    truth.gallery_camids,
  )
  # Its card says 87.4 %, by the statistics of the run.
  assert scores['map'] > 0.84


def test_a_folder_of_that_name_comes_first(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  assert workdir.find_workdir(pathlib.Path('demo')) == FOLDER
  (tmp_path / 'demo').mkdir()
  # It is no run yet.
  assert workdir.find_workdir(pathlib.Path('demo')) == FOLDER
  (tmp_path / 'demo' / 'config.json').write_text('{}')
  assert workdir.find_workdir(pathlib.Path('demo')) == pathlib.Path('demo')
