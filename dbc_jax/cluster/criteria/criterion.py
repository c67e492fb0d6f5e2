"""The merging criteria: their options, and the score of every cluster pair."""

import dataclasses
import functools
import math
import numbers
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dbc_jax.cluster import checks
from dbc_jax.cluster.criteria import dbc, ecluster, means
from dbc_jax.cluster.distances import panels, sources

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
  def form(self) -> 'Criterion':
    """Itself with a weight of 0 or 1: what compiled code depends on.

    The weight is passed beside it, so that another one compiles nothing.
    """
    return dataclasses.replace(self, reg_weight=float(self.reg_weight > 0))

  @property
  def reduce(self) -> str:
    """Which linkage it is made of, 'min' or 'mean'."""
    return 'min' if self.name == 'buc' else 'mean'

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
  form: Criterion,
  weight: jax.typing.ArrayLike,
  inter: jax.Array,
  a: ClusterTerms,
  b: ClusterTerms,
) -> jax.Array:
  """Scores of pairs (a, b), element by element with broadcasting, float32.

  `inter` is their linkage, `form` that of a criterion of this weight. Float64
  inside, so that nothing but the linkage is rounded; the last rounding lets
  pairs that tie in exact arithmetic tie here.
  """
  inter = inter.astype(jnp.float64)
  if form.name in ('buc', 'average'):
    scores = inter + weight * (a.sizes + b.sizes)
  elif form.name == 'dbc':
    scores = dbc.dispersion(inter, a.intra, b.intra, weight)
  else:
    scores = ecluster.energy_distance(inter, a.within, b.within)
    if form.name == 'estat':
      scores = a.sizes * b.sizes / (a.sizes + b.sizes) * scores
    if form.uses_deviations:
      # DEVIATION(ecluster Eq. 8): it prints one side's SSD, its Fig. 3 weighs
      # either partner's; the default takes both.
      combine = jnp.add if form.ssd == 'sum' else jnp.minimum
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


def base_source(
  criterion: Criterion, features: np.ndarray, base: jax.Array | None
) -> sources.Source:
  """Where the criterion's distances come from; in float64 mode."""
  if base is not None:
    return sources.MatrixSource(base)
  return sources.feature_source(features, criterion.squared)


def cluster_terms(
  criterion: Criterion,
  source: sources.Source,
  features: np.ndarray,
  labels: np.ndarray,
  within: jax.Array,
  num_merges: int,
) -> tuple[ClusterTerms, means.Means]:
  """Terms of the given clusters, from M_cc `within` [C], C >= K, and means.

  Slots without a cluster get the terms of an empty one of size 1. The means
  have room for num_merges merges, or no width where the criterion has no use
  for them. To be called, and its results used, in float64 mode.
  """
  capacity = len(within)
  sizes = np.ones(capacity)
  num_clusters = int(labels.max()) + 1
  sizes[:num_clusters] = np.bincount(labels)
  if not criterion.uses_deviations:
    array = jnp.zeros((len(labels), 0), jnp.float32)
  elif isinstance(source, sources.FeatureSource):
    array = source.features
  else:
    array = jnp.asarray(features)
  centres, ssd = means.start_means(array, labels, capacity, num_merges)
  within = within.astype(jnp.float64)
  intra = dbc.intra_dispersion(within, jnp.asarray(sizes), criterion.intra)
  return ClusterTerms(jnp.asarray(sizes), within, intra, ssd), centres


@functools.partial(jax.jit, static_argnames='form')
def score_matrix(
  form: Criterion,
  weight: jax.typing.ArrayLike,
  inter: jax.Array,
  terms: ClusterTerms,
) -> jax.Array:
  """Scores of all pairs [K, K], +inf on the diagonal."""
  column = jax.tree.map(lambda x: x[:, None], terms)
  scores = pair_scores(form, weight, inter, column, terms)
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
    source = base_source(criterion, features, base)
    inter = panels.linkage_matrix(
      source, labels, int(num_clusters), criterion.reduce
    )
    within = jnp.diagonal(inter)
    terms, _ = cluster_terms(
      criterion, source, features, labels, within, num_merges=0
    )
    return score_matrix(criterion.form, criterion.reg_weight, inter, terms)
