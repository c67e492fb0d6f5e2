"""corrections.csv: what is read, written, refused; and rows of images."""

import itertools
import os

import numpy as np
import pytest

from dbc_jax.run import corrections
from dbc_jax.run.corrections import Correction


@pytest.fixture
def path(tmp_path):
  return tmp_path / corrections.NAME


@pytest.mark.parametrize(
  'text',
  [
    'x.jpg,y.jpg,same\nx.jpg,z.jpg,different\n',
    'a,b,answer\nx.jpg,y.jpg,same\nx.jpg,z.jpg,different\n',
    'a,b,same|different\nx.jpg,y.jpg,same\nx.jpg,z.jpg,different',
    '\ufeffa,b,answer\r\nx.jpg,y.jpg, Same \r\n\r\nx.jpg,z.jpg,DIFFERENT\r\n',
    'a,b,answer,a_digest,b_digest\nx.jpg,y.jpg,same,,\nx.jpg,z.jpg,different\n',
  ],
)
def test_a_file_by_hand_is_read(text, path):
  path.write_text(text, encoding='utf-8', newline='')
  assert corrections.read_corrections(path) == [
    Correction('x.jpg', 'y.jpg', True),
    Correction('x.jpg', 'z.jpg', False),
  ]


def test_images_named_as_the_header_are_no_header(path):
  path.write_text('a,b,same\n')
  assert corrections.read_corrections(path) == [Correction('a', 'b', True)]


@pytest.mark.parametrize(
  ('text', 'fault'),
  [
    ('x,y,same\nx,z\n', r', line 2: expected a,b,same .* got 2 columns'),
    ('x,y,maybe\n', r', line 1: expected same or different, got .maybe.'),
    ('x;y;same\n', r', line 1: .* got 1 columns'),
    ('x,,same\n', r', line 1: expected two paths'),
    ('x,x,different\n', r', line 1: names .x. twice'),
    ('x,"y,same\n', r', line 1: '),
    ('x,y,same,d,e,f\n', r', line 1: .* got 6 columns'),
  ],
)
def test_a_bad_line_is_told_by_its_number(text, fault, path):
  path.write_text(text)
  with pytest.raises(ValueError, match=fault) as told:
    corrections.read_corrections(path)
  assert '\n' not in str(told.value).replace(text, '')
  assert str(told.value).startswith(str(path))


def test_contradictions_are_listed_by_name_and_refused(path):
  path.write_text('a1,b1,same\nb1,c1,same\nx,y,different\nc1,a1,different\n')
  with pytest.raises(ValueError, match=r'a1 = b1 = c1|c1 = b1 = a1') as told:
    corrections.read_corrections(path)
  assert 'c1 != a1' in str(told.value)
  path.write_text('a1,b1,same\n')
  before = path.read_bytes()
  with pytest.raises(ValueError, match='contradict'):
    corrections.append_correction(path, Correction('b1', 'a1', False))
  assert path.read_bytes() == before


# Signs that a table may trip over, and one of no UTF-8 as os.fsdecode has it.
SIGNS = [*'ab ,;"\'\n\r\t#=\ufeff\u2028\x1f<é\\', os.fsdecode(b'\xff')]


@pytest.mark.parametrize('seed', range(100))
def test_what_is_written_is_read_again(seed, path):
  rng = np.random.default_rng(seed)
  names = [
    'x' * int(rng.integers(2)) + ''.join(rng.choice(SIGNS, rng.integers(1, 6)))
    for _ in range(12)
  ]
  names = [name for name in dict.fromkeys(names) if name.strip()]
  pairs = itertools.pairwise(names)
  # A chain holds no contradiction.
  said = [Correction(a, b, bool(rng.integers(2))) for a, b in pairs]
  corrections.write_corrections(path, said)
  assert corrections.read_corrections(path) == said


def test_answers_are_added_and_taken_back(path):
  assert corrections.read_corrections(path) == []
  odd = os.fsdecode(b'\xff<script>"\n.jpg')
  first = Correction(odd, 'b.jpg', True, 'd1', '')
  others = [Correction('b.jpg', 'c.jpg', False), Correction('c', ' d', True)]
  corrections.append_correction(path, first)
  corrections.append_corrections(path, others)
  assert corrections.read_corrections(path) == [first, *others]
  assert corrections.remove_last(path, 2) == others
  assert corrections.read_corrections(path) == [first]
  with pytest.raises(ValueError, match=r'2 answers .* expected 1\.\.1'):
    corrections.remove_last(path, 2)
  assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_links_are_rows_and_leave_out_what_is_not_there():
  names = ['n0', 'n1', 'n2', 'n3']
  found = corrections.links(
    [
      Correction('n2', 'n0', True),
      Correction('n1 ', ' n3', False),
      Correction('n1', 'gone', True),
      Correction('first/3.jpg', 'n2', False),
    ],
    names,
    {'n3': 'first/3.jpg', 'gone': 'first/gone.jpg'},
  )
  np.testing.assert_array_equal(found.must, [[2, 0]])
  np.testing.assert_array_equal(found.cannot, [[1, 3], [3, 2]])
  assert found
  assert not corrections.links([], names)


def test_two_names_of_one_image_contradict_as_well():
  with pytest.raises(ValueError, match='n0 != n0'):
    corrections.links([Correction('n0', 'f0', False)], ['n0'], {'n0': 'f0'})


def test_an_end_before_the_new_file_is_there_leaves_the_old(path, monkeypatch):
  corrections.append_correction(path, Correction('a', 'b', True))
  before = path.read_bytes()

  def refuse(*_):
    raise OSError('no space left')

  for name in ('fsync', 'replace'):
    with monkeypatch.context() as patch:
      patch.setattr(os, name, refuse)
      with pytest.raises(OSError, match='no space left'):
        corrections.append_correction(path, Correction('c', 'd', True))
    assert path.read_bytes() == before
  corrections.append_correction(path, Correction('c', 'd', True))
  assert len(corrections.read_corrections(path)) == 2
