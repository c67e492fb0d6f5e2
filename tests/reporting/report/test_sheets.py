"""Tests of the contact sheets and of the choice of what they show."""

import re

import numpy as np
import pytest

from dbc_jax.reporting.report import sheets, trees
from dbc_jax.reporting.report.pictures import Album

IMAGE = np.zeros((8, 4, 3), np.uint8)


def page_of(names, labels, **known) -> str:
  album = Album(lambda i: IMAGE, 10**6)
  titles = [f'Cluster {k}' for k in range(int(labels.max()) + 1)]
  given = sheets.Clustering(names, labels, titles, **known)
  return ''.join(sheets.contact_sheets(given, album))


def test_the_largest_come_first_equal_ones_by_number():
  sizes = [1, 5, 2, 9, 1, 5, 3, 7, 2, 2]
  labels = np.repeat(np.arange(10), sizes)
  page = page_of([f'{i:02d}' for i in range(len(labels))], labels)
  order = [int(k) for k in re.findall(r'Cluster (\d+):', page)]
  assert order == [3, 7, 1, 5, 6, 2]


def test_the_most_doubtful_clusters_are_shown_by_rising_silhouette():
  labels = np.repeat([0, 1, 2, -1], [3, 2, 1, 1])
  values = np.array([0.5, 0.1, 0.3, -0.2, 0.0, 0.0, np.nan])
  means = sheets.by_cluster(values, labels)
  page = page_of(list('abcdefg'), labels, means=means)
  _, _, doubtful = page.partition('Most doubtful')
  first = doubtful.index('Cluster 1: 2 images, silhouette -0.10 ')
  assert first < doubtful.index('Cluster 0: 3 images, silhouette 0.30 ')
  # One image is in no doubt between the others of its cluster.
  assert 'Cluster 2' not in doubtful
  assert '1 images are in no cluster, 1 shown' in doubtful


def test_the_latest_merges_show_their_two_parts():
  features = np.array([[0.0, 0], [0, 0.1], [1, 0], [0, 5], [0, 5.5], [9, 9]])
  labels = np.array([0, 0, 0, 1, 1, 2])
  merges = trees.last_merges(features, labels)
  page = page_of(list('abcdef'), labels, merges=merges)
  _, _, latest = page.partition('Latest merges')
  # The distance of c to a and b on the mean: (1 + sqrt(1.01)) / 2.
  assert '; 2 + 1 joined last at 1.00 (inside the first 0.10) ' in latest
  assert '; 1 + 1 joined last at 0.50 <button' in latest
  assert latest.index('Cluster 0: 3') < latest.index('Cluster 1: 2')
  assert 'Cluster 2' not in latest
  left, right = latest.split('<div class="sheet">')[1:3]
  assert [name for name in 'abc' if f'alt="{name}"' in left] == ['a', 'b']
  assert 'alt="c"' in right


@pytest.mark.parametrize('length', [0, 1, 5, 12, 13, 100])
def test_spread_positions_are_distinct_and_in_range(length):
  positions = sheets.spread(length, 12)
  assert len(positions) == min(length, 12)
  assert positions == sorted(set(positions))
  assert all(0 <= position < length for position in positions)


def test_sheets_read_only_the_images_they_show():
  read_indices = []

  def read_image(i):
    read_indices.append(int(i))
    return IMAGE

  labels = np.zeros(1000, np.int32)
  names = [f'{i:04d}.jpg' for i in range(1000)]
  given = sheets.Clustering(names, labels, ['Cluster 0'])
  page = ''.join(sheets.contact_sheets(given, Album(read_image, 10**6)))
  assert 'Cluster 0: 1000 images, 12 shown ' in page
  assert page.count('<img') == len(read_indices) == 12


def test_unknown_identities_are_nobodys():
  labels, names = np.zeros(4, np.int32), ['a', 'b', 'c', 'd']
  page = page_of(names, labels, pids=np.array([-1, 7, -1, 7]))
  assert 'Cluster 0: 4 images; 2 with an identity; one identity ' in page
  assert 'class="other"' not in page
  page = page_of(names, labels, pids=np.array([-1, 7, 8, 7]))
  assert '3 with an identity; 2 identities, the most frequent has 2 ' in page
  assert page.count('class="other"') == 1


def test_a_tree_of_many_images_is_of_some_of_them(monkeypatch):
  monkeypatch.setattr(trees, '_MOST', 10)
  features = np.random.default_rng(0).normal(size=(50, 4))
  labels = np.repeat([0, 1], [40, 10])
  merges = trees.last_merges(features, labels)
  assert merges[0].seen == 10
  assert merges[1].seen == 10
  assert sum(map(len, merges[0].parts)) == 10
  page = page_of([f'{i:02d}' for i in range(50)], labels, merges=merges)
  assert ', of 10 of its images' in page
