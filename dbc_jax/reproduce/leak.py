"""What rows of a memory by the clusters before tell of identities.

Measured on the clusters of runs, before any training: docs/leak.md.
"""

import itertools
from collections.abc import Sequence

import numpy as np

from dbc_jax.reporting.summary import aligned
from dbc_jax.reproduce.controls import PIDS
from dbc_jax.reproduce.jobs import Job

_SEED = 0


def numbered_by_first(labels: np.ndarray) -> np.ndarray:
  """The same clusters, numbered by the positions of their first samples.

  So `merge_clusters` numbers them where each sample began as a cluster: one
  keeps the place of the lowest that it contains.

  Args:
    labels: [N] int.
  """
  _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
  return first.argsort().argsort()[inverse]


def leak(
  before: np.ndarray, labels: np.ndarray, pids: np.ndarray
) -> dict[str, float]:
  """What stale rows tell of identities, before any training.

  Row k is the mean of old cluster k. A cluster is of the identity that most
  of its images show.

  Args:
    before: [N] int, the old clusters.
    labels: [N] int, the fewer clusters that these were merged to.
    pids: [N] int.

  Returns:
    Shares: of new clusters k that contain old cluster k, 'part'; whose row is
    of their identity, 'own'; and of pairs of new clusters of one identity, how
    many have two rows of one identity, whichever that is, 'pairs'.
  """
  _, pids = np.unique(pids, return_inverse=True)
  counts = np.zeros((2, before.max() + 1, pids.max() + 1), int)
  for count, numbers in zip(counts, (before, labels), strict=True):
    np.add.at(count, (numbers, pids), 1)
  clusters = np.arange(labels.max() + 1)
  rows, own = counts[:, clusters].argmax(axis=2)
  homes = np.empty(before.max() + 1, int)
  homes[before] = labels
  pairs = np.equal.outer(own, own) & ~np.eye(len(own), dtype=bool)
  return {
    'part': float(np.mean(homes[clusters] == clusters)),
    'own': float(np.mean(rows == own)),
    'pairs': float(np.equal.outer(rows, rows)[pairs].mean()),
  }


def table(jobs: Sequence[Job]) -> str:
  """Means of `leak` over all mergings of runs whose stages are kept.

  Args:
    jobs: of the rows 'true_hashed'; others, and those without `stages/`, are
      passed over.

  Returns:
    Lines of text, '' if there is no such run.
  """
  shares: dict[str, list[dict[str, float]]] = {}
  rng = np.random.default_rng(_SEED)
  for job in jobs:
    folder, truth = job.workdir / 'stages', job.workdir / PIDS
    paths = sorted(folder.glob('*.npz'), key=lambda path: int(path.stem))
    if job.row.kind != 'true_hashed' or len(paths) < 2 or not truth.exists():
      continue
    pids = np.load(truth)
    stages = []
    for path in paths:
      with np.load(path) as file:
        stages.append(file['labels'])
    by_identity = pids.argsort(kind='stable')
    for before, labels in itertools.pairwise(stages):
      dealt = rng.permutation(before.max() + 1)[before]
      orders = {
        'hashed': (before, labels, pids),
        'dealt at random': (dealt, labels, pids),
        'by identity': (
          *(numbered_by_first(x[by_identity]) for x in (before, labels)),
          pids[by_identity],
        ),
      }
      for order, arrays in orders.items():
        shares.setdefault(order, []).append(leak(*arrays))
  if not shares:
    return ''
  lines: list[Sequence[str]] = [('order of samples', 'part', 'own', 'pairs')]
  for order, rows in shares.items():
    means = [f'{np.mean([row[key] for row in rows]):.1%}' for key in rows[0]]
    lines.append((order, *means))
  return '\n'.join(aligned(lines, num_left=1))
