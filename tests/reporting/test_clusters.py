"""Tests of the cluster list."""

import csv

import numpy as np
import pytest

from dbc_jax.reporting import clusters

NAMES = ('b,1.jpg', 'a "x".jpg', 'd\n.jpg', 'c.jpg')
LABELS = np.array([10, 2, 2, 10], np.int32)


def read(path) -> list[list[str]]:
  with path.open(newline='', encoding='utf-8') as file:
    return list(csv.reader(file))


def test_rows_are_sorted_by_cluster_as_a_number_then_by_path(tmp_path):
  clusters.write_clusters(tmp_path / 'clusters.csv', NAMES, LABELS)
  assert read(tmp_path / 'clusters.csv') == [
    ['path', 'cluster'],
    ['a "x".jpg', '2'],
    ['d\n.jpg', '2'],
    ['b,1.jpg', '10'],
    ['c.jpg', '10'],
  ]
  assert [p.name for p in tmp_path.iterdir()] == ['clusters.csv']


def test_cameras_and_identities_stay_with_their_image(tmp_path):
  clusters.write_clusters(
    tmp_path / 'c.csv',
    NAMES,
    LABELS,
    pids=np.array([7, 8, 9, -1]),
    camids=np.array([0, 1, 2, 3]),
  )
  header, *rows = read(tmp_path / 'c.csv')
  assert header == ['path', 'cluster', 'camid', 'pid']
  assert {row[0]: row[2:] for row in rows} == {
    'b,1.jpg': ['0', '7'],
    'a "x".jpg': ['1', '8'],
    'd\n.jpg': ['2', '9'],
    'c.jpg': ['3', '-1'],
  }


def test_silhouettes_stand_beside_the_cluster_and_nowhere_where_in_none(
  tmp_path,
):
  labels = np.array([1, 0, -1, 1])
  values = np.array([0.25, -1.0, np.nan, 0.9996])
  clusters.write_clusters(
    tmp_path / 'c.csv', NAMES, labels, camids=labels, silhouettes=values
  )
  header, *rows = read(tmp_path / 'c.csv')
  assert header == ['path', 'cluster', 'silhouette', 'camid']
  assert [row[2] for row in rows] == ['-1.000', '0.250', '1.000', '']


def test_tracklets_have_a_column_of_their_own(tmp_path):
  clusters.write_clusters(
    tmp_path / 'c.csv', NAMES, LABELS, tracklets=['t1', 't2', 't0', 't3']
  )
  header, *rows = read(tmp_path / 'c.csv')
  assert header == ['path', 'tracklet', 'cluster']
  assert rows[0] == ['a "x".jpg', 't2', '2']
  assert rows[2] == ['b,1.jpg', 't1', '10']


def test_each_column_is_optional(tmp_path):
  clusters.write_clusters(tmp_path / 'c.csv', NAMES, LABELS, pids=LABELS)
  assert read(tmp_path / 'c.csv')[0] == ['path', 'cluster', 'pid']


def test_a_name_that_is_not_utf8_keeps_its_bytes(tmp_path):
  name = b'caf\xe9.jpg'.decode('utf-8', 'surrogateescape')
  clusters.write_clusters(tmp_path / 'c.csv', [name], np.array([0]))
  assert b'caf\xe9.jpg,0\n' in (tmp_path / 'c.csv').read_bytes()


@pytest.mark.parametrize('key', ['pids', 'camids'])
def test_a_column_of_another_length_is_an_error(tmp_path, key):
  with pytest.raises(ValueError, match='got 3 values for 4 images'):
    clusters.write_clusters(
      tmp_path / 'c.csv', NAMES, LABELS, **{key: np.zeros(3, int)}
    )
  assert not (tmp_path / 'c.csv').exists()
