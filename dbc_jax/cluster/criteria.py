"""The merging criteria: their options, and the score of every cluster pair."""

import dataclasses
import functools
import math
import numbers
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dbc_jax.cluster import checks, dispersion, distances, energy, linkage

_NAMES = ('buc', 'dbc', 'ecluster', 'estat', 'average')

# Each option: the values it takes, the default first, and whose it is.
_OPTIONS = {
  'intra': (('sum', 'mean'), ('dbc',)),
  'update': (('exact', 'eq7'), ('dbc',)),
  'ssd': (('sum', 'printed'), ('ecluster', 'estat')),
  'merge': (('sequential', 'ranked'), _NAMES),
  'squared': ((False, True), ('buc', 'dbc')),
}


@dataclasses.dataclass(frozen=True)
class Criterion:
  """Which pair of clusters merges first: the one with the smallest score.

      buc       min_{i in a, j in b} dist(i, j) + reg_weight (n_a + n_b)
      dbc       M_ab + reg_weight (d_a + d_b)
      ecluster  E_ab + reg_weight (SSD_a + SSD_b)
      estat     n_a n_b / (n_a + n_b) E_ab + reg_weight (SSD_a + SSD_b)
      average   M_ab + reg_weight (n_a + n_b)

  with M the mean linkage, d the intra-cluster dispersion, SSD the sum of
  squared deviations and E_ab = 2 M_ab - M_aa - M_bb.

  Attributes:
    name: 'buc', 'dbc', 'ecluster', 'estat' or 'average'.
    reg_weight: weight of the regulariser, >= 0; the papers' lambda. 0 is each
      paper's row without regulariser.
    intra: dbc only. 'sum': d_c = n_c M_cc, Eq. 3 as printed; 'mean': M_cc.
    update: dbc only. 'exact': d of a merged cluster is what its definition
      gives; 'eq7': it follows Eq. 7 as printed for the length of a
      `merge_clusters` call, which starts from exact ones. Ranked merging
      updates nothing, so there both are the same.
    ssd: ecluster and estat only. 'sum': both clusters' SSD; 'printed': the
      paper's Eq. 8 has that of one side, and a pair scores the smaller of its
      two orderings, min(SSD_a, SSD_b).
    merge: 'sequential': scores are exact after every merge; 'ranked': pairs
      are ranked once, as the public codes do.
    squared: buc and dbc only. Squared Euclidean distances, as the public codes
      have them. (They would turn an energy distance into 2 ||mean_a -
      mean_b||^2.)

  Raises:
    ValueError: a value is not among those, or an option is not the name's.

  Source: Lin et al., BUC (AAAI 2019); Ding et al., DBC, Eq. 3-5; Zeng et al.,
    E-cluster, Eq. 6-8; Szekely & Rizzo, Journal of Classification 22 (2005);
    average: Sokal & Michener, University of Kansas Science Bulletin 38 (1958),
    with BUC's regulariser.
  """

  name: str
  reg_weight: float
  _: dataclasses.KW_ONLY
  intra: str = 'sum'
  update: str = 'exact'
  ssd: str = 'sum'
  merge: str = 'sequential'
  squared: bool = False

  def __post_init__(self) -> None:
    if self.name not in _NAMES:
      raise ValueError(
        f'name: got {self.name!r}, expected one of {", ".join(_NAMES)}; pick '
        'the criterion to merge by.'
      )
    weight = self.reg_weight
    if (
      not isinstance(weight, numbers.Real)
      or isinstance(weight, bool)
      or not math.isfinite(weight)
      or weight < 0
    ):
      raise ValueError(
        f'reg_weight: got {weight!r}, expected a finite number >= 0; 0 turns '
        'the regulariser off.'
      )
    object.__setattr__(self, 'reg_weight', float(weight))
    for field, (values, owners) in _OPTIONS.items():
      got = getattr(self, field)
      if got not in values or not isinstance(got, type(values[0])):
        raise ValueError(
          f'{field}: got {got!r}, expected one of {values}; leave it out for '
          f'{values[0]!r}.'
        )
      if got != values[0] and self.name not in owners:
        raise ValueError(
          f'{field}: got {got!r} for {self.name!r}, expected {values[0]!r}: '
          f'it is an option of {" and ".join(owners)} alone; leave it out.'
        )

  @property
  def uses_deviations(self) -> bool:
    """Whether SSD enters the score at all."""
    return self.name in ('ecluster', 'estat') and self.reg_weight > 0


class ClusterTerms(NamedTuple):
  """What a score needs to know of single clusters, each [K] float64."""

  sizes: jax.Array
  within: jax.Array  # M_cc; for buc the minimum linkage's zero.
  intra: jax.Array  # d_c, of dbc.
  ssd: jax.Array  # Zero where the criterion does not use it.


def pair_scores(
  criterion: Criterion,
  inter: jax.Array,
  a: ClusterTerms,
  b: ClusterTerms,
) -> jax.Array:
  """Scores of pairs (a, b), element by element with broadcasting, float32.

  `inter` is their linkage. Float64 inside, so that nothing but the linkage is
  rounded; the last rounding lets pairs that tie in exact arithmetic tie here.
  """
  inter = inter.astype(jnp.float64)
  weight = criterion.reg_weight
  if criterion.name in ('buc', 'average'):
    scores = inter + weight * (a.sizes + b.sizes)
  elif criterion.name == 'dbc':
    scores = dispersion.dispersion(inter, a.intra, b.intra, weight)
  else:
    scores = energy.energy_distance(inter, a.within, b.within)
    if criterion.name == 'estat':
      scores = a.sizes * b.sizes / (a.sizes + b.sizes) * scores
    if criterion.uses_deviations:
      # DEVIATION(ecluster Eq. 8): it prints one side's SSD, its Fig. 3 weighs
      # either partner's; the default takes both.
      combine = jnp.add if criterion.ssd == 'sum' else jnp.minimum
      scores = scores + weight * combine(a.ssd, b.ssd)
  return scores.astype(jnp.float32)


def check_base_distances(
  criterion: Criterion,
  base: jax.typing.ArrayLike | None,
  num_samples: int,
) -> jax.Array | None:
  """The caller's distance matrix, checked, if there is one."""
  if base is None:
    return None
  if criterion.squared:
    raise ValueError(
      'squared: got True together with distances, expected False: it squares '
      "this library's own Euclidean distances; square yours before passing "
      'them.'
    )
  return checks.check_distances(base, num_samples)


def initial_state(
  criterion: Criterion,
  features: np.ndarray,
  labels: np.ndarray,
  num_clusters: int,
  base: jax.Array | None,
) -> tuple[jax.Array, ClusterTerms, jax.Array]:
  """Linkage [K, K] float32, terms, and means [K, D] of the given clusters.

  The means are float64, and of width 0 where the criterion has no use for
  them. To be called, and its results used, in float64 mode.
  """
  if base is None:
    base = distances.pairwise_distances(features, squared=criterion.squared)
  link = (
    linkage.min_linkage if criterion.name == 'buc' else linkage.mean_linkage
  )
  inter = link(base, labels, num_clusters)
  sizes = jnp.asarray(np.bincount(labels), jnp.float64)
  within = jnp.diagonal(inter).astype(jnp.float64)
  if criterion.uses_deviations:
    means, ssd = energy.means_and_deviations(
      jnp.asarray(features), jnp.asarray(labels), num_clusters
    )
  else:
    means, ssd = jnp.zeros((num_clusters, 0)), jnp.zeros(num_clusters)
  intra = dispersion.intra_dispersion(within, sizes, criterion.intra)
  return inter, ClusterTerms(sizes, within, intra, ssd), means


@functools.partial(jax.jit, static_argnames='criterion')
def score_matrix(
  criterion: Criterion, inter: jax.Array, terms: ClusterTerms
) -> jax.Array:
  """Scores of all pairs [K, K], +inf on the diagonal."""
  column = jax.tree.map(lambda x: x[:, None], terms)
  scores = pair_scores(criterion, inter, column, terms)
  return jnp.where(jnp.eye(len(scores), dtype=bool), jnp.inf, scores)


def criterion_matrix(
  criterion: Criterion,
  features: jax.typing.ArrayLike,
  labels: jax.typing.ArrayLike,
  num_clusters: int,
  *,
  distances: jax.typing.ArrayLike | None = None,
) -> jax.Array:
  """Score of every pair of clusters; the smallest merges first.

  Args:
    criterion: what to score by; see `Criterion` for the equations.
    features: [N, D] floating point, taken as they are (callers pass
      L2-normalised rows). SSD is always of these.
    labels: [N] integer, contiguous 0..K-1. Cluster of each sample.
    num_clusters: K.
    distances: [N, N] float32, symmetric, zero diagonal. The base distance, if
      not the Euclidean distance of the features.

  Returns:
    [K, K] float32, symmetric, +inf on the diagonal.

  Raises:
    ValueError: features are not finite; labels are of another length or not
      contiguous, or do not name num_clusters clusters; distances are no
      distance matrix, or given with `squared`.

  Source: as `Criterion`.
  """
  features = checks.check_features(features)
  labels, _ = checks.check_labels(labels, len(features), num_clusters)
  base = check_base_distances(criterion, distances, len(features))
  with jax.enable_x64(True):
    inter, terms, _ = initial_state(
      criterion, features, labels, int(num_clusters), base
    )
    return score_matrix(criterion, inter, terms)
