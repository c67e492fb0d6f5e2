"""What differs between two readings of a data set, against changes made."""

import numpy as np
import pytest

from dbc_jax.data import marks


def _reading(count, seed=0):
  rng = np.random.default_rng(seed)
  digests = [rng.bytes(16) for _ in range(count)]
  return digests, rng.integers(0, 9, count), rng.integers(0, 3, count)


def _names(count):
  return [f'{i:02}.jpg' for i in range(count)]


def _changes(before, now, old_names=None, names=None, split='train'):
  return marks.describe_changes(
    {split: marks.marks_of(*before)},
    {split: old_names or _names(len(before[0]))},
    {split: marks.marks_of(*now)},
    {split: names or _names(len(now[0]))},
    'image',
  )


def test_neither_order_nor_names_count():
  digests, pids, camids = _reading(12)
  digests[3] = digests[4]
  order = np.random.default_rng(1).permutation(12)
  other = [digests[i] for i in order], pids[order], camids[order]
  rows = [
    {'query': marks.marks_of(*x)} for x in ((digests, pids, camids), other)
  ]
  assert marks.digest(rows[0]) == marks.digest(rows[1])
  names = [f'moved/{i}' for i in order]
  assert not _changes((digests, pids, camids), other, names=names)


@pytest.mark.parametrize('field', ['pixels', 'camid', 'pid'])
def test_each_field_and_each_split_counts(field):
  rows = marks.marks_of(*_reading(5))
  changed = rows.copy()
  changed[field][2] += 1
  found = {
    marks.digest({split: x})
    for x in (rows, changed)
    for split in ('train', 'query')
  }
  assert len(found) == 4
  same = marks.without(rows, 'camid'), marks.without(changed, 'camid')
  equal = marks.digest({'a': same[0]}) == marks.digest({'a': same[1]})
  assert equal == (field == 'camid')


def test_images_are_told_by_name():
  digests, pids, camids = _reading(12)
  other = [b'black', *digests[1:5], b'white', *digests[6:]]
  assert _changes((digests, pids, camids), (other, pids, camids)) == [
    '2 of 12 training images differ: 00.jpg, 05.jpg'
  ]
  fewer = digests[:8], pids[:8], camids[:8]
  assert _changes((digests, pids, camids), fewer) == [
    '4 of 12 training images are missing: 08.jpg, 09.jpg, 10.jpg, ...'
  ]
  assert _changes(fewer, (digests[:9], pids[:9], camids[:9])) == [
    '1 training images are new: 08.jpg'
  ]


def test_one_of_several_equal_images():
  digests, pids, camids = _reading(4)
  digests = [digests[0]] * 4
  fewer = digests[:3], pids[:3], camids[:3]
  assert _changes((digests, pids, camids), fewer) == [
    '1 of 4 training images are missing: 03.jpg'
  ]


def test_cameras_and_identities_are_counted():
  digests, pids, camids = _reading(450)
  other = pids.copy()
  other[[5, 17, 300]] += 1
  before = digests, pids, camids
  assert _changes(before, (digests, other, camids), split='query') == [
    '3 of 450 query identities changed'
  ]
  assert _changes(before, (digests, other, None), split='gallery') == [
    '450 of 450 gallery cameras changed',
    '3 of 450 gallery identities changed',
  ]


def test_a_split_that_was_not_there():
  reading = _reading(2)
  found = marks.describe_changes(
    {},
    {},
    {'query': marks.marks_of(*reading)},
    {'query': _names(2)},
    'tracklet',
  )
  assert found == ['2 query tracklets are new: 00.jpg, 01.jpg']
