"""The score of every pair of clusters, and what it is computed from."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from dbc_jax import values
from dbc_jax.cluster import checks
from dbc_jax.cluster.criteria.criterion import (
  Criterion,
  check_criterion,
)
from dbc_jax.cluster.criteria.means import Means, start_means
from dbc_jax.cluster.criteria.rule import Terms
from dbc_jax.cluster.distances import panels, sources
from dbc_jax.cluster.distances.sources import Source


def pair_scores(
  form: Criterion, weight: ArrayLike, inter: Array, a: Terms, b: Terms
) -> Array:
  """Scores of pairs (a, b), element by element with broadcasting, float32.

  `inter` is their linkage, `form` that of a criterion of this weight. Float64
  inside, so that nothing but the linkage is rounded; the last rounding lets
  pairs that tie in exact arithmetic tie here.
  """
  scores = form.rule.distance(inter.astype(jnp.float64), a, b)
  if form.reg_weight > 0:
    scores = scores + weight * form.rule.price(a, b)
  return scores.astype(jnp.float32)


def base_source(
  criterion: Criterion, features: np.ndarray, distances: ArrayLike | None
) -> Source:
  """Where the criterion's distances come from, checked; in float64 mode."""
  squared = criterion.rule.squared
  if distances is None:
    return sources.feature_source(features, squared)
  if squared:
    raise ValueError(
      'squared: got True together with distances, expected False: it squares '
      "this library's own Euclidean distances; square yours before passing "
      'them.'
    )
  return sources.MatrixSource(checks.check_distances(distances, len(features)))


def cluster_terms(
  criterion: Criterion,
  source: Source,
  features: np.ndarray,
  labels: np.ndarray,
  within: Array,
) -> tuple[Terms, Means]:
  """Terms of the given clusters, from M_cc `within` [C], C >= K, and means.

  Slots without a cluster get the terms of an empty one of size 1. The means
  have no width where the criterion has no use for them. To be called, and its
  results used, in float64 mode.
  """
  capacity = len(within)
  sizes = np.ones(capacity)
  num_clusters = int(labels.max()) + 1
  sizes[:num_clusters] = np.bincount(labels)
  if not criterion.uses_deviations:
    array = jnp.zeros((len(labels), 0), jnp.float32)
  elif isinstance(source, sources.FeatureSource) and source.scale == 1:
    array = source.features
  else:
    array = jnp.asarray(features)
  means, ssd = start_means(array, labels, capacity)
  terms = Terms(jnp.asarray(sizes), within.astype(jnp.float64), ssd)
  return criterion.rule.start(terms), means


@functools.partial(jax.jit, static_argnames='form')
def score_matrix(
  form: Criterion, weight: ArrayLike, inter: Array, terms: Terms
) -> Array:
  """Scores of all pairs [K, K], +inf on the diagonal."""
  column = jax.tree.map(lambda x: x[:, None], terms)
  scores = pair_scores(form, weight, inter, column, terms)
  return jnp.where(jnp.eye(len(scores), dtype=bool), jnp.inf, scores)


def criterion_matrix(
  criterion: Criterion,
  features: ArrayLike,
  labels: ArrayLike,
  num_clusters: int,
  *,
  distances: ArrayLike | None = None,
) -> Array:
  """Score of every pair of clusters; the smallest merges first.

  Args:
    criterion: what to score by; see `Criterion` for the equations.
    features, labels, distances: as `merge_clusters` takes them.
    num_clusters: K.

  Returns:
    [K, K] float32, symmetric, +inf on the diagonal.

  Raises:
    ValueError: as `merge_clusters`, or labels name no num_clusters clusters.
  """
  check_criterion(criterion)
  num_clusters = values.whole(num_clusters, 'num_clusters', 1)
  features = checks.check_features(features)
  labels, _ = checks.check_labels(labels, len(features), num_clusters)
  with jax.enable_x64(True):
    source = base_source(criterion, features, distances)
    linkage = criterion.rule.linkage
    inter = panels.linkage_matrix(source, labels, num_clusters, linkage)
    within = jnp.diagonal(inter)
    terms, _ = cluster_terms(criterion, source, features, labels, within)
    matrix = score_matrix(criterion.form, criterion.reg_weight, inter, terms)
    # The diagonal alone is infinite.
    off = jnp.fill_diagonal(matrix, 0.0, inplace=False)
    checks.check_scores(np.asarray(jnp.abs(off).max()))
    return matrix
