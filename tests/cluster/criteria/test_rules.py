"""Every rule that is found, and rules from outside the project."""

import importlib
import itertools
import textwrap

import cluster_oracles as oracles
import jax
import numpy as np
import pytest
from scipy.cluster import hierarchy

from dbc_jax.cluster import (
  Criterion,
  choose_engine,
  criterion_matrix,
  merge_clusters,
  to_scipy_linkage,
)
from dbc_jax.cluster.criteria.criterion import built_in

ALL = [
  Criterion(name, weight, **options)
  for name in built_in()
  for options in oracles.options_of(name)
  for weight in (0.0, 0.3)
]


def test_the_papers_criteria_are_found():
  assert {'buc', 'dbc', 'ecluster', 'estat', 'average'} <= set(built_in())


def test_options_written_out_cover_all_there_are():
  for name in {criterion.name for criterion in oracles.WRITTEN_OUT}:
    for option, values in built_in()[name].options().items():
      used = {getattr(c, option) for c in oracles.WRITTEN_OUT if c.name == name}
      assert used == set(values)


@pytest.mark.parametrize(
  'criterion', oracles.with_slow_marks(ALL), ids=oracles.name_of
)
def test_the_matrix_holds_distance_and_weighted_price(criterion):
  x = oracles.unit_features(26, 4, seed=0)
  labels = oracles.random_labels(26, 9, seed=1)
  dist = oracles.distances(x, criterion.squared)
  clusters = oracles.clusters_of(labels)
  expected = np.full((9, 9), np.inf)
  with jax.enable_x64(True):
    terms = [oracles.terms(criterion, dist, x, c) for c in clusters]
    for a, b in itertools.permutations(range(9), 2):
      inter = oracles.linkage(criterion, dist, clusters[a], clusters[b])
      expected[a, b] = oracles.score_of_terms(
        criterion, inter, terms[a], terms[b]
      )
  got = criterion_matrix(criterion, x, labels, 9)
  np.testing.assert_allclose(got, expected, atol=1e-5)


@pytest.mark.parametrize(
  'criterion', [c for c in ALL if c.reg_weight], ids=oracles.name_of
)
def test_merged_terms_are_those_of_the_union(criterion):
  x = oracles.unit_features(12, 4, seed=2)
  dist = oracles.distances(x, criterion.squared)
  a, b = [0, 3, 4, 7], [1, 2, 9]
  gap = x[a].mean(axis=0, dtype=float) - x[b].mean(axis=0, dtype=float)
  with jax.enable_x64(True):
    of_a, of_b, expected = (
      oracles.terms(criterion, dist, x, c) for c in (a, b, a + b)
    )
    inter = oracles.linkage(criterion, dist, a, b)
    got = criterion.rule.merge(of_a, of_b, np.float64(inter), gap @ gap)
  if criterion.update == 'eq7':  # As printed it contradicts the definition.
    expected = expected._replace(own=got.own)
  assert jax.tree.structure(got) == jax.tree.structure(expected)
  for value, wanted in zip(*map(jax.tree.leaves, (got, expected)), strict=True):
    np.testing.assert_allclose(value, wanted, rtol=1e-12)


COMPLETE = '''
  """Complete linkage: the furthest two members."""

  import jax
  import jax.numpy as jnp

  from dbc_jax.cluster.criteria import rule
  from dbc_jax.cluster.linkages import Linkage


  class Rule(rule.Rule):
    """No regulariser."""

    linkage = Linkage(jnp.maximum, jnp.max, 'max', -jnp.inf)

    def distance(
      self, inter: jax.Array, a: rule.Terms, b: rule.Terms
    ) -> jax.Array:
      return inter

    def price(self, a: rule.Terms, b: rule.Terms) -> jax.Array:
      return jnp.zeros(())


  class Diameter(Rule):
    """Whose score reads what the engines know of a cluster with itself."""

    def distance(
      self, inter: jax.Array, a: rule.Terms, b: rule.Terms
    ) -> jax.Array:
      return jnp.maximum(inter, jnp.maximum(a.within, b.within))


  class Unfinished(rule.Rule):
    """Has no methods."""
'''


@pytest.fixture(scope='module')
def outside(tmp_path_factory):
  """The name of a module with rules, outside the package."""
  folder = tmp_path_factory.mktemp('outside')
  (folder / 'complete_rules.py').write_text(textwrap.dedent(COMPLETE))
  (folder / 'broken_rules.py').write_text('class Rule(')
  with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(folder)
    importlib.invalidate_caches()
    yield 'complete_rules'


def free_budget(criterion, shape, num_clusters):
  """A budget that only the matrix-free engine fits."""
  with pytest.raises(ValueError, match='at least') as error:
    choose_engine(criterion, shape, num_clusters, memory_budget_gb=1e-9)
  return 1.01 * float(str(error.value).split('at least ')[1].split(' ')[0])


@pytest.mark.slow
@pytest.mark.parametrize('engine', ['dense', 'matrix_free'])
def test_a_rule_from_outside_is_scipys_complete_linkage(outside, engine):
  x = oracles.unit_features(60, 5, seed=3)
  criterion = Criterion(f'{outside}:Rule', 0.5)
  budget = None
  if engine == 'matrix_free':
    budget = free_budget(criterion, x.shape, 60)
  got = merge_clusters(x, np.arange(60), 59, criterion, memory_budget_gb=budget)
  tree = hierarchy.linkage(x.astype(np.float64), 'complete')
  assert got.engine == engine
  np.testing.assert_allclose(
    to_scipy_linkage(got, heights='score'), tree, atol=1e-5
  )


@pytest.mark.parametrize('engine', ['dense', 'matrix_free'])
def test_a_rule_from_outside_equals_brute_force(outside, engine):
  x = oracles.unit_features(45, 5, seed=4)
  labels = oracles.random_labels(45, 26, seed=5)
  criterion = Criterion(f'{outside}:Diameter', 0.0)
  budget = None
  if engine == 'matrix_free':
    budget = free_budget(criterion, x.shape, 26)
  got = merge_clusters(x, labels, 12, criterion, memory_budget_gb=budget)
  dist = oracles.distances(x)
  expected = oracles.brute_force_merge(criterion, dist, x, labels, 12)
  np.testing.assert_allclose(got.scores, expected[2], atol=1e-5)
  assert got.engine == engine


@pytest.mark.parametrize(
  'name',
  [
    'no_such_module:Rule',
    'complete_rules:NoSuchRule',
    'complete_rules:Unfinished',
    'complete_rules:jnp',
    'broken_rules:Rule',
    'dbc_jax.cluster.criteria.rule:Rule',
    'dbc_jax.cluster:Criterion',
    ':Rule',
    '.relative:Rule',
    'complete_rules:',
    'complete_rules',
  ],
)
def test_what_is_no_rule_ends_in_one_line(outside, name):
  with pytest.raises(ValueError, match=r'^name: got ') as error:
    Criterion(name, 0.1)
  assert '\n' not in str(error.value)


def test_options_are_those_of_its_rule_alone(outside):
  with pytest.raises(ValueError, match=r"^ssd: got 'printed' for 'complete_r"):
    Criterion(f'{outside}:Rule', 0.1, ssd='printed')
