"""The definitions, written out in float64 with plain loops, to test against."""

import itertools

import jax
import numpy as np
import pytest

from dbc_jax.cluster import Criterion
from dbc_jax.cluster.criteria.criterion import built_in
from dbc_jax.cluster.criteria.rule import Terms

# Criteria that are written out below a second time, with every option, merging
# aside.
WRITTEN_OUT = (
  Criterion('buc', 0.0),
  Criterion('buc', 0.03),
  Criterion('buc', 0.03, squared=True),
  Criterion('dbc', 0.0),
  Criterion('dbc', 0.1),
  Criterion('dbc', 0.1, squared=True),
  Criterion('dbc', 0.1, intra='mean'),
  Criterion('dbc', 0.1, update='eq7'),
  Criterion('dbc', 0.5, intra='mean', update='eq7'),
  Criterion('ecluster', 0.0),
  Criterion('ecluster', 0.9),
  Criterion('ecluster', 0.9, ssd='printed'),
  Criterion('estat', 0.0),
  Criterion('estat', 0.1),
  Criterion('estat', 0.1, ssd='printed'),
  Criterion('average', 0.0),
  Criterion('average', 0.02),
)
_KNOWN = {criterion.name for criterion in WRITTEN_OUT}


def options_of(name: str) -> list[dict[str, str | bool]]:
  """Every combination of a built-in rule's options."""
  options = built_in()[name].options()
  return [
    dict(zip(options, values, strict=True))
    for values in itertools.product(*options.values())
  ]


# Those and every further rule of `criteria/`, by its own formulas.
CRITERIA = WRITTEN_OUT + tuple(
  Criterion(name, weight, **options)
  for name in built_in()
  if name not in _KNOWN
  for options in options_of(name)
  for weight in (0.0, 0.1)
)
# One of each, with its regulariser.
EACH = tuple({c.name: c for c in reversed(CRITERIA) if c.reg_weight}.values())


def slow(*values):
  """Test parameters that the fast tests leave out."""
  return [pytest.param(value, marks=pytest.mark.slow) for value in values]


def with_slow_marks(criteria):
  """Test parameters, of which the fast tests take the first of each name."""
  first = list({c.name: c for c in reversed(criteria)}.values())
  return first + slow(*(c for c in criteria if c not in first))


def name_of(criterion: Criterion) -> str:
  """A short test id."""
  parts = [criterion.name, f'{criterion.reg_weight:g}']
  for field, default in (('intra', 'sum'), ('update', 'exact'), ('ssd', 'sum')):
    if getattr(criterion, field) != default:
      parts.append(getattr(criterion, field))
  return '-'.join(parts + ['squared'] * criterion.squared)


def unit_features(num: int, dim: int, seed: int) -> np.ndarray:
  """[num, dim] float32 rows of unit length, loosely grouped."""
  rng = np.random.default_rng(seed)
  centres = rng.normal(size=(max(2, num // 5), dim))
  x = centres[rng.integers(0, len(centres), num)]
  x = x + 0.7 * rng.normal(size=(num, dim))
  return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def random_labels(num: int, num_clusters: int, seed: int) -> np.ndarray:
  """[num] labels in no order, every cluster occupied, sizes uneven."""
  rng = np.random.default_rng(seed)
  extra = rng.integers(0, num_clusters, num - num_clusters) ** 2
  labels = np.concatenate([np.arange(num_clusters), extra // num_clusters])
  return rng.permutation(labels)


def distances(x: np.ndarray, squared: bool = False) -> np.ndarray:
  x = x.astype(np.float64)
  out = np.zeros((len(x), len(x)))
  for i, j in itertools.product(range(len(x)), repeat=2):
    difference = x[i] - x[j]
    out[i, j] = difference @ difference
  return out if squared else np.sqrt(out)


def mean_between(dist: np.ndarray, a: list, b: list) -> float:
  return sum(dist[i, j] for i in a for j in b) / (len(a) * len(b))


def min_between(dist: np.ndarray, a: list, b: list) -> float:
  return min(dist[i, j] for i in a for j in b)


def deviations(x: np.ndarray, c: list) -> float:
  members = x[c].astype(np.float64)
  mean = sum(members) / len(c)
  return float(sum((row - mean) @ (row - mean) for row in members))


def energy(dist: np.ndarray, a: list, b: list) -> float:
  return (
    2 * mean_between(dist, a, b)
    - mean_between(dist, a, a)
    - mean_between(dist, b, b)
  )


def intra(criterion: Criterion, dist: np.ndarray, c: list) -> float:
  divisor = len(c) if criterion.intra == 'sum' else len(c) ** 2
  return sum(dist[i, j] for i in c for j in c) / divisor


def linkage(criterion: Criterion, dist: np.ndarray, a: list, b: list) -> float:
  """By the criterion's linkage, of all pairs of members at once."""
  linkage = criterion.rule.linkage
  values = dist[np.ix_(a, b)].ravel()
  return float(linkage.finish(linkage.reduce(values, axis=0), len(values)))


def terms(
  criterion: Criterion, dist: np.ndarray, x: np.ndarray, c: list
) -> Terms:
  """Terms of one cluster, from its samples; in float64 mode."""
  fresh = Terms(
    np.float64(len(c)),
    np.float64(linkage(criterion, dist, c, c)),
    np.float64(deviations(x, c)),
  )
  return criterion.rule.start(fresh)


def score_of_terms(
  criterion: Criterion, inter: float, a: Terms, b: Terms
) -> float:
  """Score of one pair by the rule's own formulas; in float64 mode."""
  rule = criterion.rule
  distance = float(rule.distance(np.float64(inter), a, b))
  return distance + criterion.reg_weight * float(rule.price(a, b))


def score(
  criterion: Criterion,
  dist: np.ndarray,
  x: np.ndarray,
  a: list,
  b: list,
  d_a: float,
  d_b: float,
) -> float:
  """Score of one pair of clusters, given as lists of samples."""
  weight = criterion.reg_weight
  if criterion.name not in _KNOWN:
    with jax.enable_x64(True):
      of_a, of_b = (terms(criterion, dist, x, c) for c in (a, b))
      inter = linkage(criterion, dist, a, b)
      return score_of_terms(criterion, inter, of_a, of_b)
  if criterion.name == 'buc':
    return min_between(dist, a, b) + weight * (len(a) + len(b))
  if criterion.name == 'average':
    return mean_between(dist, a, b) + weight * (len(a) + len(b))
  if criterion.name == 'dbc':
    return mean_between(dist, a, b) + weight * (d_a + d_b)
  value = energy(dist, a, b)
  if criterion.name == 'estat':
    value *= len(a) * len(b) / (len(a) + len(b))
  ssd_a, ssd_b = deviations(x, a), deviations(x, b)
  return value + weight * (
    ssd_a + ssd_b if criterion.ssd == 'sum' else min(ssd_a, ssd_b)
  )


def clusters_of(labels: np.ndarray) -> list[list[int]]:
  return [np.flatnonzero(labels == c).tolist() for c in range(max(labels) + 1)]


def score_matrix(
  criterion: Criterion, dist: np.ndarray, x: np.ndarray, labels: np.ndarray
) -> np.ndarray:
  clusters = clusters_of(labels)
  d = [intra(criterion, dist, c) for c in clusters]
  out = np.full((len(clusters),) * 2, np.inf)
  for a, b in itertools.permutations(range(len(clusters)), 2):
    out[a, b] = score(criterion, dist, x, clusters[a], clusters[b], d[a], d[b])
  return out


def holds(link: set[int], a: list, b: list) -> bool:
  """Whether a link is between one member of a and one of b."""
  return not link.isdisjoint(a) and not link.isdisjoint(b)


def brute_force_merge(
  criterion: Criterion,
  dist: np.ndarray,
  x: np.ndarray,
  labels: np.ndarray,
  num_merges: int,
  cannot_link: np.ndarray | None = None,
) -> tuple[np.ndarray, list, list, float]:
  """Labels, pairs, scores, and the smallest lead of a best pair.

  Every score of every pair is computed afresh, from the samples, each time its
  clusters are new. Pairs that hold a cannot-link [P, 2] are none; it ends where
  no other is left.
  """
  links = [] if cannot_link is None else [{*link} for link in cannot_link]
  clusters = dict(enumerate(clusters_of(labels)))
  k = len(clusters)
  names = dict(enumerate(range(k)))
  d = {c: intra(criterion, dist, members) for c, members in clusters.items()}
  known: dict[tuple[int, int], float] = {}
  pairs, scores, lead = [], [], np.inf
  for t in range(num_merges):
    for a, b in itertools.combinations(sorted(clusters), 2):
      if (a, b) not in known:
        known[a, b] = score(
          criterion, dist, x, clusters[a], clusters[b], d[a], d[b]
        )
    ranking = sorted(
      (value, a, b)
      for (a, b), value in known.items()
      if not any(holds(link, clusters[a], clusters[b]) for link in links)
    )
    if not ranking:
      break
    best, a, b = ranking[0]
    if len(ranking) > 1:
      lead = min(lead, ranking[1][0] - best)
    pairs.append(sorted((names[a], names[b])))
    scores.append(best)
    if criterion.update == 'eq7':
      n_a, n_b = len(clusters[a]), len(clusters[b])
      between = mean_between(dist, clusters[a], clusters[b])
      d[a] = (n_a * d[a] + n_b * d[b] + n_a * n_b * between) / (
        n_a + n_b + n_a * n_b
      )
    clusters[a] = clusters[a] + clusters.pop(b)
    if criterion.update == 'exact':
      d[a] = intra(criterion, dist, clusters[a])
    names[a] = k + t
    known = {p: v for p, v in known.items() if a not in p and b not in p}
  out = np.zeros(len(labels), int)
  for new, slot in enumerate(sorted(clusters)):
    out[clusters[slot]] = new
  return out, pairs, scores, lead
