"""What answers will change in the clusters, once they are made again."""

import collections
from typing import NamedTuple

from dbc_jax.labels import NOT_PLACED
from dbc_jax.review.answers import Answers
from dbc_jax.review.collection import Collection

_MOST_LISTED = 5


class Pending(NamedTuple):
  """Answers that the clusters do not follow yet.

  Attributes:
    count: how many.
    marks: of each cluster what will be of it, by its number.
    apart: rows that are told apart from the most of their cluster.
  """

  count: int
  marks: dict[int, list[str]]
  apart: set[int]


def pending_of(answers: Answers, shown: Collection) -> Pending:
  """What is said of images of two clusters, or against those of one."""
  count, said = 0, answers.said
  joins: dict[int, set[int]] = collections.defaultdict(set)
  # Of each row of a cluster how many images it is told apart from.
  weights: dict[int, collections.Counter[int]] = collections.defaultdict(
    collections.Counter
  )
  for each in answers.all():
    a, b = (shown.row_of.get(name) for name in (each.a, each.b))
    if a is None or b is None:
      continue
    i, j = int(shown.ids[a]), int(shown.ids[b])
    if each.same and (i != j or i == NOT_PLACED):
      joins[i].add(j)
      joins[j].add(i)
      count += 1
    elif not each.same and i == j != NOT_PLACED:
      weights[i][a] += said.size(each.b)
      weights[i][b] += said.size(each.a)
      count += 1
  marks: dict[int, list[str]] = collections.defaultdict(list)
  for number, found in joins.items():
    others = sorted(found - {number, NOT_PLACED})
    if others and number != NOT_PLACED:
      told = ', '.join(map(str, others[:_MOST_LISTED]))
      more = ' and more' if len(others) > _MOST_LISTED else ''
      marks[number].append(f'will join {told}{more}')
  apart: set[int] = set()
  for number, rows in weights.items():
    most = max(rows.values())
    apart |= {row for row, weight in rows.items() if weight == most}
    marks[number].append('will be taken apart')
  return Pending(count, dict(marks), apart)
