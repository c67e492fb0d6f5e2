"""Assign: which known cluster new images belong to, or which new one."""

import pathlib
from typing import NamedTuple

import numpy as np

from dbc_jax import values
from dbc_jax.cluster import Criterion
from dbc_jax.evaluation import Assigner
from dbc_jax.run import identities


class Answer(NamedTuple):
  """What is said of one image; the columns of the file of `dbc assign`.

  Attributes:
    path: of the image or tracklet.
    cluster: the number of its cluster; -1 where the answer is 'unsure'.
    answer: 'known', 'new' or 'unsure'.
    nearest: the number of the nearest known cluster, whatever the answer.
    probability: that the image is of that one.
    second: the number of the known cluster after it.
  """

  path: str
  cluster: int
  answer: str
  nearest: int
  probability: float
  second: int


def assign(
  assigner: Assigner,
  names: list[str],
  features: np.ndarray,
  criterion: Criterion,
  *,
  false_match_rate: float = 0.01,
  first_new: int = 0,
) -> list[Answer]:
  """Assigns images to the clusters of a run.

  Args:
    assigner: of `learn_assignment`, on the numbers of those clusters.
    names: M, of the images.
    features: [M, D] float32, rows of unit length.
    criterion: by which those that are new are clustered among themselves.
    false_match_rate: share of the images of other persons that may be called
      known, in (0, 1).
    first_new: the number of the first new cluster.

  Raises:
    ValueError: a rate so low that the clusters tell nothing of it, or features
      of another width.
  """
  first_new = values.whole(first_new, 'first_new', 0)
  features = values.reals(features, 'features')
  if not features.ndim or len(names) != len(features):
    raise ValueError(
      f'names: got {len(names)} for features {features.shape}, expected one '
      'for each row.'
    )
  said, clusters = assigner.place(
    features,
    criterion,
    false_match_rate=false_match_rate,
    first_new=first_new,
  )
  columns = (clusters, said.answers, said.nearest, said.probabilities)
  return [
    Answer(name, *(column[i].item() for column in (*columns, said.second)))
    for i, name in enumerate(names)
  ]


def first_free(workdir: pathlib.Path, numbers: np.ndarray) -> int:
  """The lowest number that no cluster of a workdir has or had.

  Args:
    workdir: of the run.
    numbers: [N] int, of its clusters now.
  """
  listed = identities.read(values.path(workdir, 'workdir')) or []
  numbers = values.integers(numbers, 'numbers', None, 'the cluster')
  return 1 + max([int(numbers.max(initial=-1)), *(each.id for each in listed)])
