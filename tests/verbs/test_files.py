"""Files of features: what is written is read, and faults are named."""

import numpy as np
import pyarrow.parquet
import pytest
import runs

from dbc_jax.verbs import (
  Embedded,
  find_sources,
  find_sources_like,
  read_features,
  write_features,
)
from dbc_jax.verbs.files import check_out


@pytest.fixture
def crops(tmp_path):
  names = ['a.png', 'b/c.png', 'b/d.png']
  return runs.write_images(tmp_path / 'crops', names, runs.make_images(3, 3))


def embedded(crops=None, count=3):
  rng = np.random.default_rng(0)
  features = rng.standard_normal((count, 5)).astype(np.float32)
  features /= np.linalg.norm(features, axis=1, keepdims=True)
  picture = None if crops is None else find_sources(crops).picture
  names = ['a.png', 'b/c.png', 'b/d.png'][:count]
  return Embedded(features, names, picture, np.array([1, -1, 0])[:count])


@pytest.mark.parametrize('suffix', ['.npz', '.parquet'])
def test_what_is_written_is_read(suffix, tmp_path):
  path, given = tmp_path / f'f{suffix}', embedded()
  write_features(path, given)
  assert [p.name for p in tmp_path.iterdir()] == [path.name]
  found = read_features(path)
  np.testing.assert_allclose(found.features, given.features, atol=1e-7)
  assert found.names == given.names
  np.testing.assert_array_equal(found.clusters, given.clusters)
  assert found.picture is None


def test_a_full_table_has_what_viewers_read(tmp_path, crops):
  path = tmp_path / 'f.parquet'
  write_features(path, embedded(crops), full=True)
  table = pyarrow.parquet.read_table(path)
  types = {field.name: str(field.type) for field in table.schema}
  assert types['path'] == 'string'
  assert types['features'].startswith('list<')
  assert 'float' in types['features']
  assert types['cluster'] == 'int32'
  assert {'x', 'y'} <= set(types)
  rows = table.to_pylist()
  for i, row in enumerate(rows):
    assert row['image']['bytes'][:2] == b'\xff\xd8'
    assert row['image']['path'] == row['path']
    assert i not in row['neighbors']['ids']
    assert len(row['neighbors']['ids']) == 2
    assert row['neighbors']['distances'] == sorted(
      row['neighbors']['distances']
    )


def test_rows_are_scaled_and_a_plain_array_will_do(tmp_path):
  np.save(tmp_path / 'f.npz', np.zeros(1))  # f.npz.npy
  path = tmp_path / 'g.npz'
  np.savez(path, features=np.array([[3.0, 4.0], [0.0, 2.0]]))
  found = read_features(path)
  np.testing.assert_allclose(found.features, [[0.6, 0.8], [0, 1]])
  assert found.names == ['row 0', 'row 1']


@pytest.mark.parametrize(
  ('arrays', 'message'),
  [
    ({'x': np.zeros(3)}, 'lacks features; it has x'),
    ({'features': np.zeros((0, 4))}, r'shape \(0, 4\)'),
    (
      {'features': [[1, 2], [np.nan, 1]], 'paths': ['a.png', 'b.png']},
      'the features of b.png hold NaN',
    ),
    (
      {'features': np.ones((2, 2)), 'paths': np.array(['a'])},
      '1 paths for 2 features',
    ),
  ],
)
def test_faults_of_a_file_are_named(arrays, message, tmp_path):
  path = tmp_path / 'f.npz'
  np.savez(path, **arrays)
  with pytest.raises(ValueError, match=message):
    read_features(path)


def test_files_that_are_none_are_named(tmp_path):
  for name in ('f.npz', 'f.parquet'):
    with pytest.raises(ValueError, match='does not exist'):
      read_features(tmp_path / name)
    (tmp_path / name).write_bytes(b'nothing of the kind')
    with pytest.raises(ValueError, match='expected a'):
      read_features(tmp_path / name)


def test_an_output_is_checked_before_any_work(tmp_path):
  (tmp_path / 'f.npz').write_text('')
  with pytest.raises(ValueError, match='--overwrite replaces it'):
    check_out(tmp_path / 'f.npz', overwrite=False)
  check_out(tmp_path / 'f.npz', overwrite=True)
  with pytest.raises(ValueError, match=r'ends in neither \.npz nor'):
    check_out(tmp_path / 'f.csv', overwrite=False)
  with pytest.raises(ValueError, match='there is no folder'):
    check_out(tmp_path / 'no' / 'f.npz', overwrite=False)


def test_sources_are_images_folders_and_lists(crops):
  assert find_sources(crops).names == ['a.png', 'b/c.png', 'b/d.png']
  one = find_sources(crops / 'a.png')
  assert (one.names, one.items) == (['a.png'], [crops / 'a.png'])
  (crops / 'l.csv').write_text('path,camid\nb/d.png,4\na.png,2\n')
  by_name = find_sources(crops / 'b' / 'c.png', pattern='{camid}/*')
  assert by_name.names == ['b/c.png']
  assert by_name.items == [crops / 'b' / 'c.png']
  with_cameras = find_sources(crops, pattern='**{camid}')
  assert find_sources_like('{camid}/*', crops / 'b' / 'd.png').camids == (
    by_name.camids
  )
  # Of a run of tracklets only the cameras: images stay images.
  own = find_sources_like('{camid}/{tracklet}', crops / 'b' / 'd.png')
  assert own.names == ['b/d.png']
  assert own.camids == by_name.camids
  # The run's own pattern is used where it matches all, and only there.
  assert find_sources_like('**{camid}', crops).camids.tolist() == (
    with_cameras.camids.tolist()
  )
  assert find_sources_like('{camid}/*', crops).camids is None
  listed = find_sources(crops / 'l.csv')
  assert listed.names == ['b/d.png', 'a.png']
  assert listed.camids.tolist() == [4, 2]
  assert listed.picture(1) == crops.absolute() / 'a.png'
  (crops / 'a.png').rename(crops / 'b' / 'a.png')
  tracklet = find_sources(crops, tracklets=True)
  assert tracklet.names == ['b']
  assert [p.name for p in tracklet.items[0]] == ['a.png', 'c.png', 'd.png']
  assert tracklet.picture(0).name == 'c.png'


@pytest.mark.parametrize(
  ('name', 'message'),
  [('lost', 'does not exist'), ('notes.txt', r'expected an image \(\.bmp')],
)
def test_sources_that_are_none_are_named(name, message, crops):
  (crops / 'notes.txt').write_text('')
  with pytest.raises(ValueError, match=message):
    find_sources(crops / name)
