"""Ids that outlive a clustering."""

import numpy as np
import pytest

from dbc_jax.reporting import write_clusters
from dbc_jax.run import identities
from dbc_jax.run.identities import Identity


def test_the_same_clusters_under_other_labels_keep_their_ids():
  rng = np.random.default_rng(0)
  was = rng.integers(-1, 6, 60)
  before = [Identity(label, 10 * label + 3, f'n{label}') for label in range(6)]
  old = identities.ids_of(before, was)
  renamed = rng.permutation(6)
  labels = np.where(was >= 0, renamed[was], -1)
  after = identities.follow(before, old, labels)
  assert [x.cluster for x in after] == list(range(6))
  np.testing.assert_array_equal(identities.ids_of(after, labels), old)
  assert {x.id: x.name for x in after} == {x.id: x.name for x in before}


def test_splits_merges_and_ends():
  #        a a a a a a b b b c c d d d e e, new ones
  old = np.repeat([5, 6, 7, 8, 9, -1], [6, 3, 2, 3, 2, 3])
  labels = np.array(
    # a is split, the smaller part with b; c goes into a's larger part; most of
    # d are in none, and e has new images.
    [0, 0, 0, 0, 1, 1, 1, 1, 1, 0, 0, 2, -1, -1, 3, 3, 3, 4, 4]
  )
  before = [Identity(i, i + 5, 'abcde'[i]) for i in range(5)]
  after = identities.follow(before, old, labels)
  assert after == [
    Identity(0, 5, 'a'),
    Identity(1, 6, 'b'),
    # The one image of d keeps it alive.
    Identity(2, 8, 'd'),
    Identity(3, 9, 'e'),
    Identity(4, 10),
    Identity(0, 7, 'c', 5),
  ]


def test_who_ended_stays_listed_and_its_id_is_not_given_again():
  before = [Identity(0, 0, 'a'), Identity(1, 1, 'b'), Identity(2, 2, 'c')]
  old = np.array([0, 0, 1, 1, 2, 2])
  after = identities.follow(before, old, np.array([0, 0, 0, -1, -1, -1]))
  # Half of b is with a, which is not enough for a merge; c is in none.
  assert after == [
    Identity(0, 0, 'a'),
    Identity(None, 1, 'b'),
    Identity(None, 2, 'c'),
  ]
  new = np.array([0, 0, 1, 1, 2, 2])
  again = identities.follow(after, np.array([0, 0, 0, -1, -1, -1]), new)
  assert [x.id for x in again] == [0, 3, 4, 1, 2]


def test_merges_of_merges_lead_to_the_last():
  before = [Identity(0, 0), Identity(1, 1), Identity(1, 2, 'x', 1)]
  old = np.array([0, 0, 0, 1, 1])
  after = identities.follow(before, old, np.zeros(5, int))
  assert after == [
    Identity(0, 0),
    Identity(0, 1, '', 0),
    Identity(0, 2, 'x', 0),
  ]


def test_what_only_one_of_two_files_has_keeps_its_id():
  """As after a kill between clusters.csv and identities.csv."""
  after = identities.follow(
    [Identity(0, 0, 'a')], np.array([0, 0, 4, 4]), np.array([1, 1, 0, 0])
  )
  assert after == [Identity(0, 4), Identity(1, 0, 'a')]


def test_numbers_follow_the_images_and_not_the_labels(tmp_path):
  """As within a run whose files are of the clusters before."""
  names = [f'{i}.png' for i in range(6)]
  identities.write(tmp_path, [Identity(0, 4), Identity(1, 7), Identity(2, 2)])
  write_clusters(tmp_path / 'clusters.csv', names, np.array([7, 7, 2, 2, 4, 4]))
  labels = np.array([0, 0, 1, 1, 2, 2])
  assert identities.numbers(tmp_path, names, labels).tolist() == (
    [7, 7, 2, 2, 4, 4]
  )


def test_a_kill_between_the_two_files_loses_no_merge(tmp_path):
  names = [f'{i}.png' for i in range(4)]
  identities.write(tmp_path, [Identity(0, 0, 'Ann'), Identity(1, 1, 'Bob')])
  write_clusters(tmp_path / 'clusters.csv', names, np.array([0, 0, 1, 1]))
  labels = np.array([0, 0, 0, 0])
  found, moved = identities.after(tmp_path, names, labels)
  identities.write(tmp_path, found)  # And not clusters.csv.
  assert identities.after(tmp_path, names, labels) == (found, moved)
  assert found == [Identity(0, 0, 'Ann'), Identity(0, 1, 'Bob', 0)]


def test_the_file_comes_back(tmp_path):
  assert identities.read(tmp_path) is None
  rows = [
    Identity(0, 4, 'Ann, "the" tall\u00e9'),
    Identity(None, 2),
    Identity(0, 3, '', 4),
  ]
  identities.write(tmp_path, rows)
  assert identities.read(tmp_path) == rows


@pytest.mark.parametrize(
  ('text', 'message'),
  [
    ('id,name\n1,a\n', 'lacks the column cluster'),
    ('cluster,id,name\n0,one,a\n', "line 2: expected whole .* 'one'"),
    ('cluster,id,name\n0,1,a\n1,1,b\n', 'id 1 stands in 2 rows'),
    ('cluster,id,name\n0,1,a\n0,2,b\n', 'cluster 0 stands in 2 rows'),
  ],
)
def test_a_file_that_is_another_is_refused(text, message, tmp_path):
  (tmp_path / identities.NAME).write_text(text)
  with pytest.raises(ValueError, match=message):
    identities.read(tmp_path)


def test_many_clusters_take_a_moment(tmp_path):
  """As nothing is searched among all of them for each of them."""
  count = 20_000
  before = [Identity(label, 2 * label) for label in range(count)]
  identities.write(tmp_path, before)
  found = identities.read(tmp_path)
  assert found == before
  labels = np.arange(count)[::-1]
  after = identities.follow(found, 2 * np.arange(count), labels)
  assert [x.id for x in after] == [*range(2 * count - 2, -2, -2)]
