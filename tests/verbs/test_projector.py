"""TensorBoard's projector: its own parser reads what is written."""

import numpy as np
import pytest
import runs
from PIL import Image

from dbc_jax.verbs import Embedded, find_sources
from dbc_jax.verbs.projector import check_projector, write_projector


@pytest.fixture
def embedded(tmp_path):
  names = [f'b/{i} x.png' for i in range(5)]
  crops = runs.write_images(tmp_path / 'crops', names, runs.make_images(5, 5))
  sources = find_sources(crops)
  features = np.random.default_rng(0).standard_normal((5, 7))
  features = (
    features / np.linalg.norm(features, axis=1, keepdims=True)
  ).astype(np.float32)
  return Embedded(features, sources.names, sources.picture)


def parsed(folder):
  """The one embedding of a folder, as TensorBoard parses it."""
  pb2 = pytest.importorskip(
    'tensorboard.plugins.projector.projector_config_pb2'
  )
  from google.protobuf import text_format

  config = pb2.ProjectorConfig()
  text_format.Parse((folder / 'projector_config.pbtxt').read_text(), config)
  (embedding,) = config.embeddings
  return embedding


def test_tensorboard_reads_features_names_and_pictures(embedded, tmp_path):
  folder = tmp_path / 'p'
  write_projector(folder, embedded)
  found = parsed(folder)
  assert [*found.tensor_shape] == [5, 7]
  lines = (folder / found.tensor_path).read_text().splitlines()
  rows = np.array([[*map(float, line.split('\t'))] for line in lines])
  np.testing.assert_allclose(rows, embedded.features, atol=1e-7)
  # A single column has no head.
  names = (folder / found.metadata_path).read_text().splitlines()
  assert names == [*embedded.names]
  width, height = found.sprite.single_image_dim
  with Image.open(folder / found.sprite.image_path) as opened:
    sprite = np.asarray(opened)
  assert sprite.shape == (2 * height, 3 * width, 3)
  for i in range(5):
    left, top = i % 3 * width, i // 3 * height
    tile = sprite[top : top + height, left : left + width].astype(float)
    # Half as wide as high: what stands beside the picture is black.
    assert not tile[:, : width // 4 - 1].any()
    with Image.open(embedded.picture(i)) as opened:
      inside = tile[:, width // 4 : -width // 4].mean((0, 1))
      np.testing.assert_allclose(
        inside, np.asarray(opened).mean((0, 1)), atol=2
      )


def test_clusters_are_a_second_column(embedded, tmp_path):
  folder = tmp_path / 'p'
  write_projector(
    folder,
    embedded._replace(clusters=np.array([2, 0, -1, 0, 1]), picture=None),
  )
  found = parsed(folder)
  lines = (folder / found.metadata_path).read_text().splitlines()
  assert lines[0] == 'path\tcluster'
  assert lines[3] == f'{embedded.names[2]}\t-1'
  assert len(lines) == 6
  assert not found.HasField('sprite')


def test_many_pictures_stay_within_tensorboards_limit(
  embedded, tmp_path, monkeypatch
):
  monkeypatch.setattr('dbc_jax.reporting.projector._MOST_PIXELS', 100)
  write_projector(tmp_path / 'p', embedded)
  with Image.open(tmp_path / 'p' / 'sprite.png') as opened:
    assert opened.size == (99, 66)


def test_a_folder_with_one_is_not_written_over(embedded, tmp_path):
  folder = tmp_path / 'p'
  check_projector(folder, overwrite=False)
  write_projector(folder, embedded)
  with pytest.raises(ValueError, match='--overwrite replaces it'):
    check_projector(folder, overwrite=False)
  check_projector(folder, overwrite=True)
  with pytest.raises(ValueError, match='there is no folder'):
    check_projector(tmp_path / 'no' / 'p', overwrite=False)
