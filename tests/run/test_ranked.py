"""What queries find, beside a plain search; and when it is asked anew."""

import dataclasses
import types

import numpy as np
import pytest

from dbc_jax.data import GroundTruth
from dbc_jax.run import ranked

RNG = np.random.default_rng(0)
QUERIES, GALLERY = RNG.normal(size=(12, 4)), RNG.normal(size=(40, 4))
TRUTH = GroundTruth(
  query_pids=np.arange(12) % 6,
  query_camids=np.arange(12) % 2,
  # Junk, and of identity 5 no image.
  gallery_pids=np.arange(40) % 6 - 1,
  gallery_camids=np.arange(40) // 14,
)


@dataclasses.dataclass
class FakeSplit:
  """A split whose images tell which they are."""

  features: np.ndarray

  def __len__(self) -> int:
    return len(self.features)

  def subset(self, rows):
    return FakeSplit(self.features[rows])

  def image(self, row):
    return np.full((2, 1, 3), row, np.uint8)


def data_of(truth=TRUTH, gallery=GALLERY):
  return types.SimpleNamespace(
    query=FakeSplit(QUERIES),
    gallery=FakeSplit(gallery),
    truth=truth,
    names={
      'query': [f'q{i}' for i in range(12)],
      'gallery': [f'g{i}' for i in range(40)],
    },
  )


def embed(variables, split, camids):
  assert len(camids) == len(split)
  return split.features, split.features


@pytest.mark.parametrize('camera_rule', [False, True])
def test_lists_are_those_of_a_plain_search(camera_rule):
  data = data_of()
  rows, found, distances = ranked.rank(embed, {}, data, camera_rule)
  assert len(set(rows.tolist())) == 8
  # Of identity 5 there is nothing to find.
  assert not set(TRUTH.query_pids[rows].tolist()) & {5}
  lists = ranked.as_lists(rows, found, distances, data, camera_rule)
  for row, each in zip(rows.tolist(), lists, strict=True):
    pid, camid = TRUTH.query_pids[row], TRUTH.query_camids[row]
    expected = []
    for g in range(40):
      own = TRUTH.gallery_pids[g] == pid
      if TRUTH.gallery_pids[g] < 0:
        continue
      if camera_rule and own and TRUTH.gallery_camids[g] == camid:
        continue
      distance = np.sqrt(((GALLERY[g] - QUERIES[row]) ** 2).sum())
      expected.append((distance, f'g{g}', g, bool(own)))
    assert each.num_right == sum(own for *_, own in expected)
    expected = sorted(expected)[:10]
    assert each.name == f'q{row}'
    assert each.pixels[0, 0, 0] == row
    got = [(f.name, f.pixels[0, 0, 0], f.is_right) for f in each.found]
    assert got == [tuple(e[1:]) for e in expected]
    np.testing.assert_allclose(
      [f.distance for f in each.found], [e[0] for e in expected], rtol=1e-6
    )


def test_a_small_gallery_ends_the_lists():
  few = dataclasses.replace(
    TRUTH,
    gallery_pids=TRUTH.gallery_pids[:7],
    gallery_camids=TRUTH.gallery_camids[:7],
  )
  data = data_of(few, GALLERY[:7])
  rows, found, distances = ranked.rank(embed, {}, data, False)
  # Two of the seven are junk.
  assert ((found >= 0).sum(axis=1) == 5).all()
  lists = ranked.as_lists(rows, found, distances, data, False)
  assert [len(each.found) for each in lists] == [5] * len(rows)


def test_without_identities_there_are_none():
  data = types.SimpleNamespace(query=None, gallery=None, truth=GroundTruth())
  rows, found, distances = ranked.rank(embed, {}, data, True)
  assert len(rows) == len(found) == len(distances) == 0
  assert ranked.as_lists(rows, found, distances, data, True) == []
  assert ranked.are_of(rows, found, data)


def test_rows_of_another_gallery_are_told():
  rows, found, _ = ranked.rank(embed, {}, data_of(), False)
  assert ranked.are_of(rows, found, data_of())
  assert not ranked.are_of(rows, found, data_of(gallery=GALLERY[:5]))
  assert not ranked.are_of(rows[:0], found[:0], data_of())
