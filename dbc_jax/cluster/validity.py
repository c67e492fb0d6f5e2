"""How sound clusters look by their features alone.

Nothing here can take an identity.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from jax.typing import ArrayLike
from scipy import sparse

from dbc_jax import values
from dbc_jax.cluster import checks
from dbc_jax.cluster.distances.sources import plain_features
from dbc_jax.labels import NOT_PLACED

_Rows = Callable[[np.ndarray], np.ndarray]
_Source = Callable[[np.ndarray], _Rows]

# Rows of distances that are looked at together, and entries of them.
_BLOCK_SIZE, _BLOCK_ENTRIES = 512, 2**23
_EPSILON = 1e-12
_NEIGHBOURS = 20


# Of the highest silhouette so far, below which clusters count as spoilt.
_SHARE = 0.8
# Kaufman and Rousseeuw, Finding Groups in Data (1990): up to here a silhouette
# shows no substantial structure.
_NO_STRUCTURE = 0.25


def choose_clustering(
  indices: Sequence[Mapping[str, float]], *, share: float = _SHARE
) -> tuple[int, str]:
  """Which of several clusterings to keep, ever coarser ones, without labels.

  Merging helps until clusters take in others, which shows as a fall of the
  silhouette. Chosen is the last one whose silhouette is at least a share of the
  highest. If no silhouette shows any structure, it is the one whose clusters
  agree best with nearest neighbours.

  Args:
    indices: of each, from the finest on, what `validity_indices` returns.
    share: 0.8 suits stages of a training, whose features move on; 1, the
      highest, suits features that stay as they are.

  Returns:
    Its position, and why, in a few words.

  Raises:
    ValueError: there are none.
  """
  keys = {'silhouette', 'neighbour_f'}
  if not (
    isinstance(indices, Sequence)
    and len(indices)
    and all(isinstance(x, Mapping) and keys <= x.keys() for x in indices)
  ):
    raise ValueError(
      f'indices: got {indices!r}, expected some of what validity_indices '
      'returns; pass a list of these.'
    )
  share = values.number(share, 'share', 0, 1)
  best = max(each['silhouette'] for each in indices)
  if best > _NO_STRUCTURE:
    enough = [each['silhouette'] >= share * best for each in indices]
    reason = f'the latest with {100 * share:.0f} % of the best silhouette'
    return len(enough) - 1 - enough[::-1].index(True), reason
  agreement = [each['neighbour_f'] for each in indices]
  reason = 'its clusters agree best with nearest neighbours'
  return int(np.argmax(agreement)), reason


def validity_indices(
  features: ArrayLike | None,
  labels: ArrayLike,
  views: tuple[np.ndarray, np.ndarray] | None = None,
  *,
  distances: ArrayLike | None = None,
  similarities: sparse.sparray | None = None,
  sample_size: int = 4096,
  seed: int = 0,
) -> dict[str, float]:
  """How compact, apart, and true to neighbours and views clusters are.

  With d(i, c) the mean distance of sample i to the members of cluster c, of its
  own cluster a to the others in it, and b(i) that to the nearest other cluster,

      silhouette = mean_i (b(i) - d(i, a)) / max(b(i), d(i, a))

  where a sample alone in its cluster counts 0, and with M the mean linkage

      dispersion_validity = mean_c M[c, c] / min_s M[c, s]

  which is smaller for compact clusters that lie apart, and 0 for single ones.
  With C(i) the others in the cluster of i and B(i) the 20 samples nearest to i,

      neighbour_f = 2 sum_i |B(i) & C(i)| / (sum_i |B(i)| + sum_i |C(i)|)

  which is the pair F of the clusters if neighbours are taken for the truth.
  view_agreement is the share of images both of whose views are nearest to the
  mean of the same cluster. A sample in no cluster is one without others: it
  counts 0 in the silhouette, and adds nothing to C.

  Args:
    features: [N, D] floating point, taken as they are; None with `distances`
      or `similarities` and no views.
    labels: [N] integer, contiguous 0..K-1, K at least 2; -1 for a sample in no
      cluster.
    views: two arrays [M, D], features of M images under two augmentations.
    distances: [N, N], in place of those of the features.
    similarities: [N, N] sparse, as `jaccard_similarities` returns them, in
      place of distances, which are 1 minus them.
    sample_size: the first two are taken over whole clusters drawn at random
      until they hold as many samples, and |B(i) & C(i)| over as many samples;
      all, if N is not larger. Time grows with sample_size x N.
    seed: of these draws.

  Returns:
    silhouette, in [-1, 1]; dispersion_validity, >= 0; neighbour_f, in [0, 1];
    with views view_agreement, in [0, 1].

  Raises:
    ValueError: features are not finite or all equal, labels of another length
      or not contiguous, a single cluster, views of other shapes, or a
      sample_size below 1.

  Source: Rousseeuw, Silhouettes (1987); Ding et al., DBC, Eq. 3-4, for the
    dispersions; Zhong et al., Re-ranking (2017), for 20 neighbours.
  """
  sample_size = values.whole(sample_size, 'sample_size', 1)
  seed = values.whole(seed, 'seed', 0)
  from_rows, num_samples = _source(features, distances, similarities, labels)
  labels = checks.check_shape(labels, num_samples)
  placed = labels != NOT_PLACED
  neighbour_f = _neighbour_f(from_rows, labels, sample_size, seed)
  share, places = float(placed.mean()), np.flatnonzero(placed)
  labels, num_clusters = checks.check_labels(labels[placed], len(places))
  if num_clusters < 2:
    raise ValueError('labels: got a single cluster, expected at least 2')
  sizes = np.bincount(labels)
  drawn = np.random.default_rng(seed).permutation(num_clusters)
  enough = np.searchsorted(np.cumsum(sizes[drawn]), sample_size) + 1
  # Samples by cluster, so that a sum over a cluster is one over neighbours.
  places = places[np.argsort(labels, kind='stable')]
  within_places = from_rows(places)
  starts = np.cumsum(sizes) - sizes
  silhouettes, ratios = [], []
  length = _block_length(num_samples)
  for group in _groups(drawn[:enough], sizes, length):
    counts = sizes[group]
    owner = np.repeat(np.arange(len(group)), counts)
    firsts = np.cumsum(counts) - counts
    rows = np.arange(len(owner)) - firsts[owner] + starts[group][owner]
    linkage = np.zeros((len(group), num_clusters))
    for start in range(0, len(rows), length):
      part = slice(start, start + length)
      own, at = owner[part], rows[part]
      block = within_places(places[at])
      block[np.arange(len(at)), at] = 0.0
      means = np.add.reduceat(block, starts, axis=1) / sizes
      heads = np.flatnonzero(np.diff(own, prepend=-1))
      linkage[own[heads]] += np.add.reduceat(means, heads, axis=0)
      within, nearest = _own_and_nearest(means, group[own])
      within *= counts[own] / np.maximum(counts[own] - 1, 1)
      margin = (nearest - within) / np.maximum(
        np.maximum(nearest, within), _EPSILON
      )
      silhouettes.append(np.where(counts[own] > 1, margin, 0.0))
    within, nearest = _own_and_nearest(linkage / counts[:, None], group)
    ratios.append(within / np.maximum(nearest, _EPSILON))
  indices = {
    'silhouette': share * float(np.concatenate(silhouettes).mean()),
    'dispersion_validity': float(np.concatenate(ratios).mean()),
    'neighbour_f': neighbour_f,
  }
  if views is not None:
    rows = checks.check_features(_given(features))[places]
    means = np.add.reduceat(rows, starts, axis=0) / sizes[:, None]
    indices['view_agreement'] = _agreement(means, *views)
  return indices


def _given(features: ArrayLike | None) -> ArrayLike:
  if features is None:
    raise ValueError(
      'features: got None, expected [N, D]; only with distances or '
      'similarities, and without views, can they be left out'
    )
  return features


def _source(
  features: ArrayLike | None,
  distances: ArrayLike | None,
  similarities: sparse.sparray | None,
  labels: ArrayLike,
) -> tuple[_Source, int]:
  """Makes, of some columns, a function from rows to distances; and N."""
  if similarities is not None:
    if distances is not None:
      raise ValueError(
        'similarities: got them together with distances, expected one of the '
        'two; leave out distances.'
      )
    near = checks.check_similarities(similarities, len(np.asarray(labels)))

    def from_similarities(columns: np.ndarray) -> _Rows:
      chosen = near[:, columns]
      return lambda rows: 1 - chosen[rows].toarray()

    return from_similarities, near.shape[0]
  if distances is not None:
    matrix = np.asarray(distances)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
      raise ValueError(f'distances: got shape {matrix.shape}, expected [N, N]')
    return (lambda columns: lambda rows: matrix[rows][:, columns]), len(matrix)
  checked, _ = plain_features(checks.check_features(_given(features)))
  if (checked == checked[0]).all():
    raise ValueError(
      f'features: all {len(checked)} rows are equal, expected rows that '
      'differ: no clusters of them are better than others; look at the network '
      'that made them.'
    )

  def from_features(columns: np.ndarray) -> _Rows:
    others = checked[columns]
    return lambda rows: _distances(checked[rows], others)

  return from_features, len(checked)


def _agreement(
  means: np.ndarray, first: np.ndarray, second: np.ndarray
) -> float:
  views = [checks.check_features(view) for view in (first, second)]
  if views[0].shape != views[1].shape or views[0].shape[1] != means.shape[1]:
    raise ValueError(
      f'views: got shapes {views[0].shape} and {views[1].shape}, expected two '
      f'[M, {means.shape[1]}]'
    )
  nearest = [np.argmin(_distances(view, means), axis=1) for view in views]
  return float(np.mean(nearest[0] == nearest[1]))


def _neighbour_f(
  from_rows: _Source, labels: np.ndarray, sample_size: int, seed: int
) -> float:
  # Drawn by the samples' numbers, so that all stages of a run see the same.
  num_samples = len(labels)
  to_all = from_rows(np.arange(num_samples))
  count = min(_NEIGHBOURS, num_samples - 1)
  drawn = np.random.default_rng(seed).permutation(num_samples)[:sample_size]
  shared = 0
  length = _block_length(num_samples)
  for start in range(0, len(drawn), length):
    rows = drawn[start : start + length]
    block = to_all(rows)
    block[np.arange(len(rows)), rows] = np.inf
    nearest = np.argpartition(block, count - 1, axis=1)[:, :count]
    own = labels[rows][:, None]
    shared += np.count_nonzero((labels[nearest] == own) & (own != NOT_PLACED))
  sizes = np.bincount(labels[labels != NOT_PLACED])
  pairs = np.sum(sizes * (sizes - 1)) + num_samples * count
  return float(2.0 * shared * num_samples / len(drawn) / pairs)


def _block_length(num_samples: int) -> int:
  """How many rows of distances are held at a time."""
  return max(1, min(_BLOCK_SIZE, _BLOCK_ENTRIES // num_samples))


def _groups(
  clusters: np.ndarray, sizes: np.ndarray, length: int
) -> list[np.ndarray]:
  """Consecutive clusters of some `length` samples together, or a larger one."""
  before = np.cumsum(sizes[clusters]) - sizes[clusters]
  changes = np.flatnonzero(np.diff(before // length)) + 1
  return np.split(clusters, changes)


def _distances(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
  squared = (
    np.sum(rows**2, axis=1)[:, None]
    + np.sum(columns**2, axis=1)
    - 2.0 * (rows @ columns.T)
  )
  return np.sqrt(np.maximum(squared, 0.0))


def _own_and_nearest(
  means: np.ndarray, own: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Of [R, K] mean distances those [R] to a row's own and nearest other."""
  at = np.arange(len(own))
  within = means[at, own].copy()
  others = means.copy()
  others[at, own] = np.inf
  return within, others.min(axis=1)
