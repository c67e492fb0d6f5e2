"""Pages of clusters: orders, filters, what is shown of each."""

import csv
import time

import numpy as np
import pytest
import reviews

from dbc_jax.data.samples import in_memory_tracklets
from dbc_jax.reporting.clusters import write_clusters
from dbc_jax.review.collection import (
  CLUSTERS_A_PAGE,
  Collection,
  View,
  read_collection,
)
from dbc_jax.review.pictures import Pictures
from dbc_jax.run import identities
from dbc_jax.run.corrections import digest_of


def make(ids, **given):
  count = len(ids)
  return Collection(
    given.get('names', tuple(f'{i}.png' for i in range(count))),
    np.array(ids),
    np.array(given.get('silhouettes', np.full(count, np.nan))),
    given.get('camids'),
    tuple(given.get('identities', ())),
  )


def numbers(collection, heights=None, **view):
  page = collection.page(View(**view), heights)
  return [card['id'] for card in page['clusters']]


def test_orders_are_what_they_say():
  silhouettes = [0.5, 0.4, 0.9, 0.1, 0.2, 0.3, 0.0, np.nan]
  made = make([4, 4, 4, 7, 7, 9, 2, -1], silhouettes=silhouettes)
  # By size; equal sizes by number; what is in no cluster last.
  assert numbers(made) == [4, 7, 2, 9, -1]
  # Single images cannot be doubted: their silhouette says nothing.
  assert numbers(made, order='doubtful') == [7, 4, 2, 9, -1]
  heights = {4: 0.3, 7: 0.8}
  assert numbers(made, heights, order='newest') == [7, 4, 2, 9, -1]
  with pytest.raises(ValueError, match='order: got'):
    made.page(View(order='oldest'))


def test_filters_take_all_of_a_view_together():
  made = make(
    [1, 1, 2, 2, 3],
    camids=np.array([0, 1, 0, 0, 1]),
    silhouettes=[0.1, 0.2, 0.8, 0.8, 0.0],
    names=('a/x.png', 'a/Y.png', 'b/x.png', 'b/z.png', 'c.png'),
    identities=[identities.Identity(0, 1, 'Anna'), identities.Identity(1, 2)],
  )
  assert numbers(made, camera=1) == [1, 3]
  assert numbers(made, least=2) == [1, 2]
  assert numbers(made, most=1) == [3]
  assert numbers(made, doubt=0.16) == [1, 3]
  assert numbers(made, name='anna') == [1]
  assert numbers(made, name='cluster 2') == [2]
  assert numbers(made, path='X.PNG') == [1, 2]
  assert numbers(made, path='x.png', camera=1) == [1]
  assert numbers(made, path='nowhere') == []


def test_what_a_search_for_a_path_found_is_shown_first():
  made = make([0] * 100)
  (card,) = made.page(View(path='77.png'))['clusters']
  assert card['images'][0]['row'] == 77


def test_pages_hold_every_cluster_once():
  made = make(np.repeat(np.arange(60), 2))
  pages = -(-60 // CLUSTERS_A_PAGE)
  found = [x for page in range(pages) for x in numbers(made, page=page)]
  assert sorted(found) == [*range(60)]
  # A page beyond the last is the last.
  assert numbers(made, page=99) == numbers(made, page=pages - 1)


def test_members_come_with_the_most_doubtful_first():
  made = make([5, 5, 5], silhouettes=[0.2, np.nan, -0.3])
  assert made.members(5).tolist() == [2, 0, 1]
  for number in (4, 6):
    with pytest.raises(ValueError, match=f'no cluster {number}'):
      made.members(number)


def test_it_is_read_as_a_run_writes_it(tmp_path):
  run = reviews.make_run(tmp_path)
  made = read_collection(run.workdir)
  with (run.workdir / 'clusters.csv').open(
    newline='', errors='surrogateescape'
  ) as file:
    rows = [*csv.DictReader(file)]
  assert list(made.names) == [row['path'] for row in rows]
  assert sorted(made.names) == sorted(reviews.names())
  assert made.cameras() == [0, 1]
  # Whatever a name holds, it can be shown.
  assert all(name.isprintable() for name in made.shown_names)
  # Rows stay, whatever the order of the file is by now.
  order = made.names[::-1]
  again = read_collection(run.workdir, order)
  np.testing.assert_array_equal(again.ids, made.ids[::-1])


def test_tracklets_go_by_their_names_and_show_the_frame_in_the_middle(tmp_path):
  frames = [np.full((3, 4, 2, 3), 20 * i, np.uint8) for i in range(4)]
  for each in frames:
    each[1] += 100
  names = [f't{i}' for i in range(4)]
  write_clusters(
    tmp_path / 'clusters.csv',
    [f'{name}/00.png' for name in names],
    np.array([1, 0, 1, 0]),
    tracklets=names,
  )
  made = read_collection(tmp_path)
  assert made.names == ('t1', 't3', 't0', 't2')
  samples = in_memory_tracklets(names, frames)
  shown = Pictures(lambda: samples, made.names)
  for row, name in enumerate(made.names):
    np.testing.assert_array_equal(shown.pixels(row), frames[int(name[1])][1])
    assert shown.digest(name) == digest_of(frames[int(name[1])][0])


@pytest.mark.parametrize(
  ('text', 'fault'),
  [
    (None, r'clusters.csv does not exist; a training writes it'),
    ('path,cluster\n', 'lists no images'),
    ('path,cluster\na.png,x\n', 'cannot be read as clusters'),
    ('a,b\n1,2\n', 'cannot be read as clusters'),
  ],
)
def test_what_is_no_list_of_clusters_is_one_line(tmp_path, text, fault):
  if text is not None:
    (tmp_path / 'clusters.csv').write_text(text)
  with pytest.raises(ValueError, match=fault):
    read_collection(tmp_path)


def test_fifty_thousand_clusters_are_paged_in_no_time(tmp_path):
  count = 50_000
  write_clusters(
    tmp_path / 'clusters.csv',
    [f'{i:06d}.png' for i in range(2 * count)],
    np.arange(2 * count) % count,
    camids=np.arange(2 * count) % 7,
    silhouettes=np.zeros(2 * count),
  )
  made = read_collection(tmp_path)
  made.page(View())
  start = time.perf_counter()
  page = made.page(View(path='99999', camera=4, least=2, page=0))
  assert [card['id'] for card in page['clusters']] == [49_999]
  # A tenth of it on an idle machine.
  assert time.perf_counter() - start < 2
