"""Facts of hand-made data sets, and of the tiny copies of the releases."""

import warnings

import layouts
import numpy as np
import pytest
import video_layouts

from dbc_jax.data import find_reader, inspection, load_dataset, reader_names
from dbc_jax.data import samples as samples_lib
from dbc_jax.data.samples import EMPTY, Dataset, GroundTruth, Samples

WRITERS = {
  'market1501': layouts.write_market1501,
  'dukemtmc_reid': layouts.write_dukemtmc_reid,
  'msmt17': layouts.write_msmt17,
  'mars': video_layouts.write_mars,
  'dukemtmc_videoreid': video_layouts.write_dukemtmc_videoreid,
}


def make_samples(split: str, count: int) -> Samples:
  """Images of 4 x 2, none of which are equal."""
  images = np.full((count, 4, 2, 3), len(split), np.uint8)
  images[:, 0, 0, 0] = np.arange(count)
  return samples_lib.in_memory([f'{split}/{i}' for i in range(count)], images)


def make(
  train: list[int],
  query: list[tuple[int, int]],
  gallery: list[tuple[int, int]],
  cameras: bool = True,
) -> tuple[Dataset, GroundTruth]:
  """A data set of training pids, and of (pid, camid) of the others."""
  dataset = Dataset(
    make_samples('train', len(train)),
    make_samples('query', len(query)),
    make_samples('gallery', len(gallery)),
  )
  columns = [np.array(c, np.int32).reshape(-1, 2).T for c in (query, gallery)]
  truth = GroundTruth(
    train_pids=np.array(train, np.int32),
    query_pids=columns[0][0],
    query_camids=columns[0][1] if cameras else None,
    gallery_pids=columns[1][0],
    gallery_camids=columns[1][1] if cameras else None,
  )
  return dataset, truth


def test_persons_junk_and_distractors_are_told_apart() -> None:
  gallery = [(-1, 1), (-1, 2), (0, 1), (7, 3), (7, 1), (8, 1), (8, 1), (8, 1)]
  facts = inspection.inspect_lists(
    *make([5, 5, -1, 6, 5], [(7, 1), (7, 2)], gallery)
  )
  train, query, gallery = facts.splits.values()
  assert train.persons == [5, 6]
  assert query.persons == [7]
  assert gallery.persons == [7, 8]
  assert (train.unknown, train.junk, train.distractors) == (1, 0, 0)
  assert (gallery.unknown, gallery.junk, gallery.distractors) == (0, 2, 1)
  assert gallery.unqueried == 3
  assert train.cameras is None
  assert gallery.cameras == {1: 6, 2: 1, 3: 1}
  assert facts.per_person['training'].tolist() == [3, 1]
  assert facts.per_person['test'].tolist() == [4, 3]
  assert facts.shared == []
  assert facts.unit == 'images'


@pytest.mark.parametrize('where', ['train', 'query'])
def test_pid_0_is_a_person_where_others_have_it(where: str) -> None:
  query = [(0, 1)] if where == 'query' else [(3, 1)]
  facts = inspection.inspect_lists(
    *make([0 if where == 'train' else 1], query, [(0, 2), (3, 2)])
  )
  assert facts.splits['gallery'].distractors == 0
  assert facts.splits['gallery'].persons == [0, 3]
  assert facts.shared == ([0] if where == 'train' else [])


def test_without_identities() -> None:
  dataset = Dataset(make_samples('train', 3), EMPTY, EMPTY)
  facts = inspection.inspect_lists(dataset, GroundTruth())
  assert list(facts.splits) == ['train']
  assert facts.splits['train'].persons is None
  assert facts.queries is None
  assert facts.per_person == {}


def test_queries_without_a_match() -> None:
  # Found elsewhere; elsewhere and here; only here; not at all; only as junk.
  query = [(1, 1), (2, 1), (3, 1), (4, 1), (-1, 1)]
  gallery = [(1, 2), (2, 1), (2, 2), (3, 1), (3, 1), (-1, 2)]
  queries = inspection.inspect_lists(*make([9], query, gallery)).queries
  assert queries == inspection.QueryFacts(5, 2, 1, True)
  assert queries.matched == 2
  queries = inspection.inspect_lists(*make([9], query, gallery, False)).queries
  assert queries == inspection.QueryFacts(5, 2, 0, False)
  assert queries.matched == 3


def test_a_sample_in_two_splits_counts_once(tmp_path) -> None:
  with pytest.warns(UserWarning, match='differs from the official MARS'):
    dataset, truth = load_dataset('mars', video_layouts.write_mars(tmp_path))
  facts = inspection.inspect_lists(dataset, truth)
  persons = [pid for pid, _, _ in video_layouts.MARS_TEST if pid > 0]
  assert facts.per_person['test'].sum() == len(persons)
  assert facts.splits['query'].lengths.tolist() == [4, 3, 2, 3]
  assert facts.unit == 'tracklets'
  every = [*video_layouts.MARS_TRAIN, *video_layouts.MARS_TEST]
  pixels = inspection.inspect_pixels(dataset)
  assert pixels.files == sum(length for _, _, length in every)
  assert pixels.sizes == {(8, 4): pixels.files}


def test_pixels() -> None:
  shapes = [(2, 4), (4, 2), (4, 2), (4, 2), (4, 2), (4, 2), (1, 3)]
  images = [np.zeros((*shape, 3), np.uint8) for shape in shapes]
  images[2] += 1
  images[4] += 1

  def read(index: int) -> np.ndarray:
    if index == 5:
      raise ValueError('5: empty file')
    return images[index]

  samples = Samples(tuple('0123456'), read)
  facts = inspection.inspect_pixels(Dataset(samples, EMPTY, EMPTY))
  assert facts.files == 7
  assert facts.unreadable == ['5: empty file']
  assert facts.sizes == {(4, 2): 4, (2, 4): 1, (1, 3): 1}
  assert next(iter(facts.sizes)) == (4, 2)
  # Image 0 has the bytes of 1 and 3, but another shape.
  assert facts.duplicates == [['1', '3'], ['2', '4']]


def test_equal_images_of_two_splits_are_found() -> None:
  train = samples_lib.in_memory(['a'], np.ones((1, 2, 2, 3), np.uint8))
  query = samples_lib.in_memory(['b'], np.ones((1, 2, 2, 3), np.uint8))
  facts = inspection.inspect_pixels(Dataset(train, query, EMPTY))
  assert facts.duplicates == [['a', 'b']]


@pytest.mark.parametrize(
  'name', [name for name in reader_names() if find_reader(name).RELEASE.sizes]
)
def test_sizes_are_those_that_the_reader_warns_of(name: str, tmp_path) -> None:
  with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter('always')
    dataset, truth = load_dataset(name, WRITERS[name](tmp_path))
  sizes = inspection.compare_sizes(
    inspection.inspect_lists(dataset, truth), find_reader(name).RELEASE.sizes
  )
  differences = ', '.join(
    f'{found:,} {what} (official: {official:,})'
    for what, (found, official) in sizes.items()
    if found != official
  )
  assert [f': {differences}. ' in str(w.message) for w in caught] == [True]
