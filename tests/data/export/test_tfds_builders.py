"""Every data set comes out of TFDS as its reader gives it, order included."""

import pickle

import layouts
import numpy as np
import pytest
import runs
import tensorflow_datasets as tfds
import video_layouts
from tensorflow_datasets.proto import tf_example_pb2

from dbc_jax.data import find_reader, load_dataset
from dbc_jax.data.export.tfds_builders import BUILDERS

SPLITS = ('train', 'query', 'gallery')
RAW = tfds.decode.DeserializeMethod.RAW_BYTES


def write_folder(root):
  """Names with spaces and beyond ASCII, and two kinds of files."""
  names = ['b 1.png', 'ä/ö.jpg', 'a.png']
  return runs.write_images(root, names, runs.make_images(3, 2))


WRITERS = {
  'market1501': layouts.write_market1501,
  'dukemtmc_reid': layouts.write_dukemtmc_reid,
  'msmt17': layouts.write_msmt17,
  'mars': video_layouts.write_mars,
  'dukemtmc_videoreid': video_layouts.write_dukemtmc_videoreid,
  'folder': write_folder,
}


def prepared(name, root, data_dir):
  """The data set by the builder that TFDS knows under its name."""
  builder = tfds.builder(name, data_dir=data_dir)
  builder.download_and_prepare(
    download_config=tfds.download.DownloadConfig(manual_dir=root)
  )
  return tfds.builder_from_directory(builder.data_dir)


def test_all_readers_of_files_have_a_builder():
  assert set(BUILDERS) == set(WRITERS)
  assert all(tfds.builder_cls(name) is BUILDERS[name] for name in WRITERS)
  names = [builder.__name__ for builder in BUILDERS.values()]
  assert 'Market1501' in names
  assert 'DukemtmcVideoreid' in names
  # By their names, as in the module of each.
  for builder in BUILDERS.values():
    assert pickle.loads(pickle.dumps(builder)) is builder
    assert find_reader(builder.name).RELEASE.is_video == builder.IS_VIDEO
    assert builder.__doc__.endswith('cameras.')


@pytest.mark.parametrize('shard_length', [3, 100])
@pytest.mark.parametrize('name', WRITERS)
def test_round_trip(tmp_path, monkeypatch, name, shard_length):
  monkeypatch.setattr(BUILDERS[name], 'SHARD_LENGTH', shard_length)
  root = WRITERS[name](tmp_path / 'data set')
  dataset, truth = load_dataset(name, root)
  builder = prepared(name, root, tmp_path / 'tfds')
  is_video = dataset.train.starts is not None
  assert builder.info.splits.keys() == {
    split for split in SPLITS if len(getattr(dataset, split))
  }
  for split, info in builder.info.splits.items():
    samples = getattr(dataset, split)
    assert info.num_shards == -(-len(samples) // shard_length)
    source = builder.as_data_source(split)
    raw = builder.as_data_source(split, deserialize_method=RAW)
    assert len(source) == len(samples)
    key = 'frames' if is_video else 'image'
    starts = samples.starts if is_video else range(len(samples) + 1)
    for i, example in enumerate(source):
      assert example['name'].decode() == samples.names[i]
      for field in ('pid', 'camid'):
        values = getattr(truth, f'{split}_{field}s')
        assert example[field] == (-1 if values is None else values[i])
      frames = range(starts[i], starts[i + 1])
      record = tf_example_pb2.Example.FromString(raw[i])
      stored = record.features.feature[key].bytes_list.value
      images = example[key] if is_video else [example[key]]
      for frame, data, image in zip(frames, stored, images, strict=True):
        assert data == (root / samples.frame_name(frame)).read_bytes()
        np.testing.assert_array_equal(image, samples.read(frame))


def test_unreadable_images_are_named_and_nothing_is_left(tmp_path):
  root = write_folder(tmp_path / 'images')
  (root / 'a.png').write_bytes(b'')
  (root / 'b 1.png').write_bytes(b'text')
  with pytest.raises(ValueError, match='2 of 3 images cannot be read') as error:
    prepared('folder', root, tmp_path / 'tfds')
  assert 'a.png: empty file' in str(error.value)
  assert 'b 1.png: not an image' in str(error.value)
  left = [path for path in (tmp_path / 'tfds').rglob('*') if path.is_file()]
  assert left == []


def test_full_disk_is_one_clear_error(tmp_path, monkeypatch):
  def refuse(*_):
    raise RuntimeError('write() failed: No space left on device')

  monkeypatch.setattr(tfds.core.ExampleWriter, 'write', refuse)
  with pytest.raises(ValueError, match=r'folder cannot be .* No space .* room'):
    prepared('folder', write_folder(tmp_path / 'images'), tmp_path / 'tfds')
