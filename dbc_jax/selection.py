"""Which stage of a run to keep, without labels; called by stage and driver.

docs/stage_selection.md has what the rule was chosen by.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from dbc_jax import cluster, evaluation

Record = Mapping[str, Any]

# Of the highest silhouette so far, below which clusters count as spoilt.
SHARE = 0.8
REASON = (
  f'chosen without labels: the latest with {100 * SHARE:.0f} % of the best '
  'silhouette'
)


class Selection(NamedTuple):
  """Stages of a run.

  Attributes:
    last: the last one.
    chosen: without labels.
    oracle: of the best mAP on the test identities, as in the papers, or None
      without those. Nobody without labels can know it.
  """

  last: int
  chosen: int
  oracle: int | None

  def headed(self) -> dict[str, int]:
    """Those that there are, by headings for a table."""
    headed = {'last': self.last, 'chosen without labels': self.chosen}
    if self.oracle is not None:
      headed['best by labels (oracle)'] = self.oracle
    return headed


def measure(features: np.ndarray, labels: np.ndarray) -> dict[str, float]:
  """What features and clusters alone tell of a stage.

  Args:
    features: [N, D] after the stage.
    labels: [N] clusters that it trained on.

  Returns:
    Sizes of the clusters, and `cluster.validity_indices` if there are several.
  """
  measures = evaluation.cluster_sizes(labels)
  if measures['num_clusters'] > 1:
    measures |= cluster.validity_indices(features, labels)
  return measures


def select(history: Sequence[Record]) -> Selection:
  """The stages of a run, as far as it has got.

  Merging helps until clusters take in other persons, which shows as a fall of
  the silhouette. Chosen is the latest stage whose silhouette is at least SHARE
  of the highest. As stages are added, the choice stays or moves to the newest.

  Args:
    history: records of the stages in order, each with what `measure` returns
      and, if there are identities of queries, 'map'.
  """
  known = [record for record in history if 'silhouette' in record]
  chosen = history[-1]
  if known:
    best = max(record['silhouette'] for record in known)
    enough = best - (1.0 - SHARE) * abs(best)
    chosen = [x for x in known if x['silhouette'] >= enough][-1]
  scored = [record for record in history if 'map' in record]
  oracle = None
  if scored:
    oracle = max(scored, key=lambda record: record['map'])['stage']
  return Selection(history[-1]['stage'], chosen['stage'], oracle)
