"""Questions: the pairs of images whose answers matter most."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from scipy import optimize, special
from scipy.sparse import csgraph, csr_array

from dbc_jax.cluster.linked import Links
from dbc_jax.evaluation import PairCalibration, calibrate_pairs
from dbc_jax.labels import apart
from dbc_jax.verbs.reclustering import own_tree
from dbc_jax.verbs.searching import nearest

# Clusters beside each that are looked at.
_BESIDE = 10
# Larger clusters are looked at by so many of their images.
_MOST_IMAGES = 1000
# That a calibration is learned from: enough to rank by, in a second.
_PAIRS = 100_000
# And from so many clusters, of which all pairs of means are held at once.
_MOST_CLUSTERS = 5000
# Of the shift that answers make to logits: its standard deviation before them,
# and the farthest.
_WIDTH, _MOST_SHIFT = 2.0, 100.0


class Questions(NamedTuple):
  """Pairs to ask about, the most telling first.

  Attributes:
    pairs: [Q, 2] int64, rows of images.
    probabilities: [Q] float64, that both show one person.
  """

  pairs: np.ndarray
  probabilities: np.ndarray


class _Sides(NamedTuple):
  """Two groups of images each, and how far apart they are.

  Attributes:
    first, second: C arrays of rows each.
    distances: [C], root mean square over the pairs.
    inside: [C] bool, whether both are of one cluster.
  """

  first: list[np.ndarray]
  second: list[np.ndarray]
  distances: np.ndarray
  inside: np.ndarray


def least_certain_pairs(
  features: np.ndarray,
  labels: np.ndarray,
  links: Links,
  count: int,
  *,
  asked: Iterable[tuple[int, int]] = (),
) -> Questions:
  """The questions whose answers are likely to change most pairs.

  A question is about two groups of images: two clusters beside each other, or
  the two sides of a merge inside a cluster. If the answer is not what the
  clusters say, all pairs between the two change. So they are ranked by the
  probability of that answer, times those pairs. Each is asked by the two images
  nearest to the means of the groups. No cluster is in two questions, unless
  there are too few.

  Args:
    features: [N, D] float32, rows of unit length.
    labels: [N] int, contiguous; -1 for an image in none.
    links: what is known; whatever follows from it is not asked.
    count: how many, at most.
    asked: pairs of rows that are not to be asked again.

  Returns:
    Fewer than `count` where nothing else is open.
  """
  own = apart(labels)
  chances = _Chances(features, labels, links)
  known = Known(links, asked, len(features))
  sides = _candidates(features, own, known)
  if not len(sides.distances):
    return Questions(np.zeros((0, 2), np.int64), np.zeros(0))
  sizes = np.array([len(x) for x in sides.first], float)
  sizes *= [len(x) for x in sides.second]
  chance = chances(sides.distances)
  worth = sizes * np.where(sides.inside, 1 - chance, chance)
  pairs: list[tuple[int, int]] = []
  later: list[tuple[int, int]] = []
  busy: set[int] = set()
  for i in np.argsort(-worth, kind='stable').tolist():
    a, b = (_middle(features, x[i]) for x in (sides.first, sides.second))
    if known.answers(a, b):
      continue
    clusters = {int(own[a]), int(own[b])}
    if clusters & busy:
      later.append((a, b))
      continue
    busy |= clusters
    pairs.append((a, b))
    if len(pairs) == count:
      break
  chosen = np.array([*pairs, *later][:count], np.int64).reshape(-1, 2)
  return Questions(chosen, chances(_gaps(features, chosen)))


def _gaps(features: np.ndarray, pairs: np.ndarray) -> np.ndarray:
  """Distances [P] of pairs [P, 2] of rows."""
  return np.linalg.norm(features[pairs[:, 0]] - features[pairs[:, 1]], axis=1)


def _some(labels: np.ndarray) -> np.ndarray:
  """Rows of all clusters, or of so many of them as memory allows."""
  own = apart(labels)
  count = int(own.max()) + 1
  if count <= _MOST_CLUSTERS:
    return np.arange(len(labels))
  # The larger ones: single images teach nothing of one person.
  sizes = np.bincount(own)
  chosen = np.argsort(-sizes, kind='stable')[:_MOST_CLUSTERS]
  return np.flatnonzero(np.isin(own, chosen))


class _Chances:
  """From distances to the probability that two images show one person.

  It is learned from clusters, and then from the answers. Questions are about
  pairs that are hard to tell, of which fewer show one person than of all that
  are so far apart: the answers say how many fewer.
  """

  def __init__(self, features: np.ndarray, labels: np.ndarray, links: Links):
    self._learned: PairCalibration | None = None
    self._shift = 0.0
    rows = _some(labels)
    try:
      self._learned = calibrate_pairs(
        features[rows], labels[rows], num_pairs=_PAIRS
      )
    except ValueError:  # Too few clusters: the nearer, the likelier.
      return
    # Pairs that rules keep apart were not chosen because they are hard.
    said = links.cannot[: len(links.cannot) - links.ruled]
    gaps = _gaps(features, np.concatenate([links.must, said]))
    before = self._logits(gaps)
    share = len(links.must)

    def excess(shift: float) -> float:
      """Of pairs said to be of one person beyond those expected."""
      return share - special.expit(before + shift).sum() - shift / _WIDTH**2

    bracket = -_MOST_SHIFT, _MOST_SHIFT
    self._shift = float(optimize.root_scalar(excess, bracket=bracket).root)

  def _logits(self, distances: np.ndarray) -> np.ndarray:
    assert self._learned is not None
    told = self._learned.probability(np.minimum(distances, 2.0))
    return special.logit(np.clip(told, 1e-9, 1 - 1e-9))

  def __call__(self, distances: np.ndarray) -> np.ndarray:
    if self._learned is None:
      return 1 - distances / 2
    return special.expit(self._logits(distances) + self._shift)


class Known:
  """What links say of pairs, with all that follows."""

  def __init__(
    self, links: Links, asked: Iterable[tuple[int, int]], count: int
  ):
    """Follows the chains of must-links.

    Args:
      links: rows of one person, and of two.
      asked: pairs of rows that are known, too, whatever the answer was.
      count: of images.
    """
    must = links.must
    graph = csr_array(
      (np.ones(len(must)), (must[:, 0], must[:, 1])), (count, count)
    )
    self.parts = csgraph.connected_components(graph, directed=False)[1]
    told = [links.cannot, np.array([*asked], np.int64).reshape(-1, 2)]
    ends = np.sort(self.parts[np.concatenate(told)], axis=1)
    self._told = {*map(tuple, ends.tolist())}

  def answers(self, a: int, b: int) -> bool:
    """Whether it is known if two images are of one person, or was asked."""
    one, other = sorted((int(self.parts[a]), int(self.parts[b])))
    return one == other or (one, other) in self._told

  def apart(self, owners: np.ndarray) -> set[frozenset[int]]:
    """The pairs of clusters of which two images were told apart, or asked.

    Args:
      owners: [N], of each image its cluster.
    """
    members = {}
    for row, part in enumerate(self.parts.tolist()):
      members.setdefault(part, set()).add(int(owners[row]))
    return {
      frozenset((a, b))
      for one, other in self._told
      for a in members[one]
      for b in members[other]
    }


def _candidates(features: np.ndarray, own: np.ndarray, known: Known) -> _Sides:
  """Clusters beside each other, and sides of merges inside clusters."""
  count = int(own.max()) + 1
  order = np.argsort(own, kind='stable')
  sizes = np.bincount(own, minlength=count)
  members = np.split(order, np.cumsum(sizes)[:-1])
  means = np.zeros((count, features.shape[1]), np.float32)
  np.add.at(means, own, features)
  means /= sizes[:, None]
  first, second, distances, inside = [], [], [], []
  told = known.apart(own)
  lengths = np.linalg.norm(means, axis=1, keepdims=True)
  unit = means / np.where(lengths > 0, lengths, 1.0)
  seen: set[frozenset[int]] = set()
  for a, (others, _) in enumerate(nearest(unit, unit, 1 + _BESIDE)):
    for b in others.tolist():
      pair = frozenset((a, b))
      if a == b or pair in seen or pair in told:
        continue
      seen.add(pair)
      first.append(members[a])
      second.append(members[b])
      distances.append(2 - 2 * float(means[a] @ means[b]))
      inside.append(False)
  for rows in members:
    if len(rows) < 2:
      continue
    for one, other in _merges(features, rows):
      first.append(one)
      second.append(other)
      gap = features[one].mean(axis=0) @ features[other].mean(axis=0)
      distances.append(2 - 2 * float(gap))
      inside.append(True)
  return _Sides(
    first,
    second,
    np.sqrt(np.maximum(distances, 0.0)),
    np.array(inside, bool),
  )


def _merges(
  features: np.ndarray, rows: np.ndarray
) -> list[tuple[np.ndarray, np.ndarray]]:
  """Both sides of the last merges of average linkage in a cluster."""
  rows = rows[:: -(-len(rows) // _MOST_IMAGES)]
  tree = own_tree(features, rows)
  nodes = [np.array([row]) for row in rows]
  found = []
  for a, b in tree[:, :2].astype(int).tolist():
    found.append((nodes[a], nodes[b]))
    nodes.append(np.concatenate([nodes[a], nodes[b]]))
  return found[-_BESIDE:]


def _middle(features: np.ndarray, rows: np.ndarray) -> int:
  """Of some images the one nearest to their mean."""
  some = features[rows]
  return int(rows[np.argmax(some @ some.mean(axis=0))])
