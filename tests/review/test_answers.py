"""What is said on the page, as corrections, and what an undo leaves."""

import itertools
import random

import pytest

from dbc_jax.review.answers import Answers, Said
from dbc_jax.run.corrections import Correction, read_corrections


def told(answers):
  return [(x.a, x.b, x.same) for x in answers.all()]


def on_disk(tmp_path):
  return read_corrections(tmp_path / 'corrections.csv')


def test_a_merge_links_one_image_of_each_cluster(tmp_path):
  answers = Answers(tmp_path)
  answers.merge(['a', 'c', 'e'], title='one')
  said = Said(on_disk(tmp_path))
  assert said.same('c', 'e')
  assert len(on_disk(tmp_path)) == 2
  # What is known is not said again.
  answers.merge(['c', 'e', 'f'], title='one')
  assert len(on_disk(tmp_path)) == 3


def test_an_answer_counts_that_comes_while_others_are_followed(
  tmp_path, monkeypatch
):
  answers = Answers(tmp_path)
  answers.merge(['a', 'b'], title='one')
  # As by another thread.
  meanwhile = [lambda: answers.merge(['c', 'd'], title='one')]

  class Interrupted(Said):
    def __init__(self, corrections):
      if meanwhile:
        meanwhile.pop()()
      super().__init__(corrections)

  monkeypatch.setattr('dbc_jax.review.answers.Said', Interrupted)
  assert answers.said.same('a', 'b')
  assert answers.said.same('c', 'd')
  assert answers.said.same('a', 'b')


def test_an_image_is_told_apart_from_all_that_stay_and_from_no_others(tmp_path):
  answers = Answers(tmp_path)
  answers.take_out(['x', 'y'], ['a', 'b'], title='out')
  said = Said(on_disk(tmp_path))
  assert all(said.known(*pair) for pair in itertools.product('xy', 'ab'))
  assert not said.known('x', 'y')
  assert not said.known('a', 'b')


def test_an_image_comes_out_of_what_was_merged_and_the_rest_stays(tmp_path):
  answers = Answers(tmp_path)
  answers.merge([*'xabc'], title='one')
  # x is the one that holds all others together.
  assert answers.take_out(['x'], ['a', 'b', 'c'], title='out') == 3
  said = Said(on_disk(tmp_path))
  assert said.same('a', 'b')
  assert said.same('a', 'c')
  assert said.known('x', 'a')
  assert not said.same('x', 'a')
  answers.undo()
  assert Said(on_disk(tmp_path)).same('x', 'c')


def test_parts_are_told_apart_image_by_image(tmp_path):
  answers = Answers(tmp_path)
  answers.merge([*'abcd'], title='one')
  assert answers.split([['a', 'b'], ['c', 'd']], title='two') == 2
  said = Said(on_disk(tmp_path))
  # What was said of one part before stays.
  assert said.same('a', 'b')
  assert not any(said.same(*pair) for pair in itertools.product('ab', 'cd'))
  assert all(said.known(*pair) for pair in ('ac', 'ad', 'bc'))


def test_the_latest_answer_holds(tmp_path):
  answers = Answers(tmp_path)
  answers.pair('a', 'b', same=False)
  assert answers.merge([*'acb'], title='one') == 1
  assert Said(on_disk(tmp_path)).same('a', 'b')
  answers.undo()
  assert told(answers) == [('a', 'b', False)]


def test_what_contradicts_a_chain_is_refused_and_nothing_is_written(tmp_path):
  answers = Answers(tmp_path)
  answers.pair('a', 'b', same=True)
  answers.pair('b', 'c', same=True)
  before = told(answers)
  with pytest.raises(ValueError, match='contradict each other: a = b = c'):
    answers.pair('a', 'c', same=False)
  assert (
    told(answers) == before == [(x.a, x.b, x.same) for x in on_disk(tmp_path)]
  )
  assert answers.undo() == 'same'


def test_undo_takes_back_one_answer_after_another_in_any_session(tmp_path):
  answers = Answers(tmp_path)
  answers.pair('a', 'b', same=True)
  answers.cannot_tell('a', 'c')
  answers.merge(['d', 'f'], title='d and f')
  assert answers.unsure() == {frozenset('ac')}
  assert answers.undo() == 'd and f'
  assert len(on_disk(tmp_path)) == 1
  assert answers.undo() == 'cannot tell'
  assert Answers(tmp_path).unsure() == set()
  # Of an earlier session the last line.
  later = Answers(tmp_path)
  assert later.undo() == 'a = b'
  assert on_disk(tmp_path) == []
  with pytest.raises(ValueError, match='no answer to take back'):
    later.undo()


def test_a_line_by_hand_is_seen_and_outlives_an_undo(tmp_path):
  answers = Answers(tmp_path)
  answers.pair('a', 'b', same=True)
  with (tmp_path / 'corrections.csv').open('a') as file:
    file.write('c,d,different\n')
  assert answers.said is not None
  assert len(answers.all()) == 2
  assert answers.said.known('d', 'c')
  answers.undo()
  assert told(answers) == [('c', 'd', False)]


@pytest.mark.parametrize('seed', range(40))
def test_no_answers_ever_contradict_and_undo_leads_back(tmp_path, seed):
  draw = random.Random(seed)
  answers = Answers(tmp_path)
  depth = 0
  for _ in range(8):
    kind = draw.choice(['merge', 'out', 'split', 'same', 'different', 'undo'])
    names, k = draw.sample('abcdefgh', 8), draw.randint(1, 6)
    try:
      if kind == 'merge':
        answers.merge(names[:k], title='t')
      elif kind == 'out':
        answers.take_out(names[:1], names[1 : k + 1], title='t')
      elif kind == 'split':
        answers.split([names[:k], names[k:7]], title='t')
      elif kind == 'undo':
        depth -= depth > 0 and bool(answers.undo())
      else:
        answers.pair(names[0], names[1], same=kind == 'same')
    except ValueError:  # It contradicts a chain.
      continue
    depth += kind != 'undo'
    # What was said last holds. `read_corrections` raises on contradictions.
    said = Said(read_corrections(tmp_path / 'corrections.csv'))
    if kind == 'merge':
      assert all(said.same(names[0], x) for x in names[:k])
    if kind == 'out':
      stay = names[1 : k + 1]
      assert not any(said.same(names[0], x) for x in stay)
      assert all(said.known(names[0], x) for x in stay)
    if kind == 'split':
      pairs = [*itertools.product(names[:k], names[k:7])]
      assert not any(said.same(*pair) for pair in pairs)
      assert all(
        said.known(*pair) for pair in pairs if {names[0], names[k]} & {*pair}
      )
  for _ in range(depth):
    answers.undo()
  assert answers.all() == []


def test_said_follows_chains():
  said = Said(
    [
      Correction('a', 'b', True),
      Correction('c', 'd', True),
      Correction('b', 'd', False),
    ]
  )
  assert said.known('a', 'c')
  assert not said.same('a', 'c')
  assert said.size('a') == 2
  assert said.size('z') == 1
