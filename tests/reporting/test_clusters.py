"""Tests of the cluster list and of the choice of clusters to show."""

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


def test_the_most_doubtful_clusters_are_shown_by_rising_silhouette():
  labels = np.repeat([0, 1, 2, -1], [3, 2, 1, 1])
  values = np.array([0.5, 0.1, 0.3, -0.2, 0.0, 0.0, np.nan])
  image = np.zeros((8, 4, 3), np.uint8)
  page = ''.join(
    clusters.contact_sheets(
      list('abcdefg'), labels, lambda i: image, None, values
    )
  )
  _, _, doubtful = page.partition('Most doubtful')
  first = doubtful.index('Cluster 1: 2 images, silhouette -0.10<')
  assert first < doubtful.index('Cluster 0: 3 images, silhouette 0.30<')
  # One image is in no doubt between the others of its cluster.
  assert 'Cluster 2' not in doubtful


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


def test_the_choice_is_the_largest_and_a_spread_of_the_rest():
  sizes = [1, 5, 2, 9, 1, 4, 3, 7]
  labels = np.repeat(np.arange(8), sizes)
  assert clusters.choose_clusters(labels, 2, 2) == ([3, 7], [5, 2])
  largest, middle = clusters.choose_clusters(labels, 2, 99)
  assert (largest, middle) == ([3, 7], [1, 5, 6, 2])


def test_there_is_nothing_to_show_of_single_images():
  assert clusters.choose_clusters(np.arange(5), 6, 6) == ([], [])


@pytest.mark.parametrize('length', [0, 1, 5, 12, 13, 100])
def test_spread_positions_are_distinct_and_in_range(length):
  positions = clusters.spread(length, 12)
  assert len(positions) == min(length, 12)
  assert positions == sorted(set(positions))
  assert all(0 <= position < length for position in positions)


def test_sheets_read_only_the_images_they_show():
  read_indices = []

  def read_image(i):
    read_indices.append(int(i))
    return np.zeros((8, 4, 3), np.uint8)

  labels = np.zeros(1000, np.int32)
  names = [f'{i:04d}.jpg' for i in range(1000)]
  page = ''.join(clusters.contact_sheets(names, labels, read_image, None))
  assert 'Cluster 0: 1000 images, 12 shown<' in page
  assert page.count('<img') == len(read_indices) == 12


def test_unknown_identities_are_nobodys():
  labels, names = np.zeros(4, np.int32), ['a', 'b', 'c', 'd']
  image = np.zeros((8, 4, 3), np.uint8)
  page = ''.join(
    clusters.contact_sheets(
      names, labels, lambda i: image, np.array([-1, 7, -1, 7])
    )
  )
  assert 'Cluster 0: 4 images; 2 with an identity; one identity<' in page
  assert 'class="other"' not in page
  page = ''.join(
    clusters.contact_sheets(
      names, labels, lambda i: image, np.array([-1, 7, 8, 7])
    )
  )
  assert '3 with an identity; 2 identities, the most frequent has 2<' in page
  assert page.count('class="other"') == 1
