"""Which stage of a run to keep, without labels.

docs/stage_selection.md has what the rule was chosen by.
"""

from collections.abc import Sequence
from typing import NamedTuple

from dbc_jax.cluster import choose_clustering
from dbc_jax.reporting.record import WARMUP, Record, Stage

# Of the views of 512 images: less than this is chance.
_FALL = 0.01


class Selection(NamedTuple):
  """Stages of a run.

  Attributes:
    last: the last one.
    chosen: without labels.
    oracle: of the best mAP on the test identities, as in the papers, or None
      without those. Nobody without labels can know it.
    reason: why the chosen one, in a few words.
  """

  last: Stage
  chosen: Stage
  oracle: Stage | None
  reason: str

  def stages(self) -> dict[str, Stage | None]:
    """By the words that commands take for them."""
    return {'chosen': self.chosen, 'last': self.last, 'oracle': self.oracle}

  def headed(self) -> dict[str, Stage]:
    """Those that there are, by headings for a table."""
    headed = {'last': self.last, 'chosen without labels': self.chosen}
    if self.oracle is not None:
      headed['best by labels (oracle)'] = self.oracle
    return headed


def select(history: Sequence[Record]) -> Selection:
  """The stages of a run, as far as it has got.

  Chosen is the stage that `cluster.choose_clustering` takes. As stages are
  added, the choice stays or moves to the newest.

  A last stage whose number of clusters was given is chosen without a rule.

  A warm-up is a candidate, too. It takes the place of a chosen stage in whose
  clusters two views of an image part more often than in its own: clusters did
  not help then.

  Args:
    history: records of the stages in order, each with what `record.measure`
      returns and, if there are identities of queries, 'map'.
  """
  known = [record for record in history if 'silhouette' in record]
  chosen, reason = history[-1], 'the last, of a single cluster'
  if 'asked_clusters' in history[-1]:
    known, reason = [], 'the last, of the number of clusters that was given'
  if known:
    # The first says by what, for all: stages that are gone cannot be chosen.
    if 'pairs_of_one' in known[0]:
      position, reason = choose_by_pairs(known)
    else:
      position, reason = choose_clustering(known)
    chosen = known[position]
  warm = history[0]
  if warm['stage'] == WARMUP and known and chosen is not warm:
    fall = warm.get('view_agreement', 0.0) - chosen.get('view_agreement', 1.0)
    if fall > _FALL:
      chosen, reason = warm, 'later views of an image agree less on a cluster'
  scored = [record for record in history if 'map' in record]
  oracle = max(scored, key=lambda record: record['map'], default=None)
  return Selection(
    history[-1]['stage'],
    chosen['stage'],
    None if oracle is None else oracle['stage'],
    f'chosen without labels: {reason}',
  )


def choose_by_pairs(known: Sequence[Record]) -> tuple[int, str]:
  """The stage of the best pair F, estimated by pairs of two persons.

  A pair F is twice the pairs of one person inside clusters, over all pairs
  inside and all pairs of one person; for the latter stands the most of any
  stage so far. A stage takes the place of the one chosen before it if its own
  is no lower, so that the choice never goes back.

  Args:
    known: of stages in order, the first with what `record.measure_pairs`
      returns; one without takes no place.

  Returns:
    Its position, and why, in a few words.
  """
  best, most = 0, 1.0
  for place, record in enumerate(known):
    if 'pairs_of_one' not in record:
      continue
    most = max(most, record['pairs_of_one'])
    here, there = (
      each['pairs_of_one'] / (each['pairs_inside'] + most)
      for each in (record, known[best])
    )
    if here >= there:
      best = place
  return best, 'the best pair F, estimated by samples of one frame'


def stages_to_keep(history: Sequence[Record]) -> set[int]:
  """Numbers of the stages that a run's result is made of, so far."""
  kept = select(history).headed().values()
  return {stage for stage in kept if isinstance(stage, int)}
