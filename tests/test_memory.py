"""Memory loss, update and initialisation against plain float64 loops."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dbc_jax import memory


def _unit(rng, *shape):
  x = rng.normal(size=shape)
  return (x / np.linalg.norm(x, axis=-1, keepdims=True)).astype(np.float32)


@pytest.fixture
def case():
  rng = np.random.default_rng(0)
  table = _unit(rng, 12, 5)
  embeddings = _unit(rng, 7, 5)
  labels = np.array([3, 0, 3, 8, 3, 0, 1], np.int32)
  return table, embeddings, labels


def test_loss_equals_a_double_loop(case):
  table, embeddings, labels = case
  num_clusters, temperature = 9, 0.1
  losses = []
  for v, y in zip(embeddings.astype(np.float64), labels, strict=True):
    logits = [v @ table[k].astype(np.float64) for k in range(num_clusters)]
    exps = [np.exp(z / temperature) for z in logits]
    losses.append(-np.log(exps[y] / sum(exps)))
  got = memory.memory_loss(
    table,
    embeddings,
    labels,
    temperature=temperature,
    num_clusters=num_clusters,
  )
  np.testing.assert_allclose(got, np.mean(losses), rtol=1e-5)


def test_rows_beyond_the_live_ones_do_not_matter(case):
  table, embeddings, labels = case
  other = table.copy()
  other[9:] = np.nan_to_num(1e6)

  def loss(rows):
    return memory.memory_loss(
      rows, embeddings, labels, temperature=0.1, num_clusters=9
    )

  assert float(loss(table)) == float(loss(other))
  assert float(loss(table)) == pytest.approx(float(loss(table[:9])), rel=1e-6)


def test_gradient_reaches_embeddings_and_not_the_memory(case):
  table, embeddings, labels = case

  def loss(rows, v):
    return memory.memory_loss(rows, v, labels, temperature=0.1, num_clusters=9)

  to_memory, to_embeddings = jax.grad(loss, argnums=(0, 1))(table, embeddings)
  assert not np.any(to_memory)
  assert np.isfinite(to_embeddings).all()
  assert np.any(to_embeddings)


def test_falling_cluster_count_compiles_once(case):
  table, embeddings, labels = case

  @jax.jit
  @chex.assert_max_traces(n=1)
  def loss(num_clusters):
    return memory.memory_loss(
      table, embeddings, labels, temperature=0.1, num_clusters=num_clusters
    )

  values = [float(loss(jnp.int32(k))) for k in (12, 11, 9)]
  assert values[0] > values[1] > values[2]


def test_update_equals_a_loop_with_repeated_labels(case):
  table, embeddings, labels = case
  expected = table.astype(np.float64)
  for v, y in zip(embeddings.astype(np.float64), labels, strict=True):
    row = 0.3 * expected[y] + 0.7 * v
    expected[y] = row / np.linalg.norm(row)
  got = memory.update_memory(table, embeddings, labels, momentum=0.3)
  np.testing.assert_allclose(got, expected, atol=1e-6)
  # Rows that no sample names stay as they were, to the bit.
  rest = sorted(set(range(12)) - set(labels.tolist()))
  np.testing.assert_array_equal(np.asarray(got)[rest], table[rest])


@pytest.mark.parametrize('by', ['hardest', 'mean'])
def test_one_update_a_cluster_equals_a_loop(case, by):
  table, embeddings, labels = case
  expected = table.astype(np.float64)
  for y in np.unique(labels):
    own = embeddings[labels == y].astype(np.float64)
    v = own.mean(axis=0)
    if by == 'hardest':
      v = own[np.argmin(own @ table[y].astype(np.float64))]
    row = 0.1 * expected[y] + 0.9 * v
    expected[y] = row / np.linalg.norm(row)
  got = memory.update_memory(table, embeddings, labels, momentum=0.1, by=by)
  np.testing.assert_allclose(got, expected, atol=1e-6)
  rest = sorted(set(range(12)) - set(labels.tolist()))
  np.testing.assert_array_equal(np.asarray(got)[rest], table[rest])
  backward = memory.update_memory(
    table, embeddings[::-1], labels[::-1], momentum=0.1, by=by
  )
  np.testing.assert_allclose(got, backward, atol=1e-6)


def test_update_depends_on_the_order_of_the_batch(case):
  table, embeddings, labels = case
  forward = memory.update_memory(table, embeddings, labels, momentum=0.5)
  backward = memory.update_memory(
    table, embeddings[::-1], labels[::-1], momentum=0.5
  )
  assert np.abs(np.asarray(forward - backward)).max() > 1e-2


def test_opposite_row_gives_zeros_and_not_nan():
  row = jnp.array([[1.0, 0.0]])
  got = memory.update_memory(row, -row, jnp.array([0]), momentum=0.5)
  np.testing.assert_array_equal(got, [[0.0, 0.0]])


def test_init_is_the_normalised_centroid_of_the_current_labels():
  rng = np.random.default_rng(1)
  embeddings = _unit(rng, 10, 4)
  labels = np.array([2, 0, 1, 2, 2, 0, 1, 1, 0, 3], np.int32)
  got = np.asarray(memory.init_memory(embeddings, labels, 4, 6))
  for k in range(4):
    mean = embeddings[labels == k].astype(np.float64).mean(axis=0)
    np.testing.assert_allclose(got[k], mean / np.linalg.norm(mean), atol=1e-6)
  np.testing.assert_array_equal(got[4:], 0.0)


def test_init_has_no_row_for_a_sample_of_no_cluster():
  embeddings = _unit(np.random.default_rng(2), 6, 4)
  labels = np.array([-1, 1, 0, -1, 1, 0], np.int32)
  placed = labels >= 0
  got = memory.init_memory(embeddings, labels, 2, 6)
  expected = memory.init_memory(embeddings[placed], labels[placed], 2, 6)
  np.testing.assert_array_equal(got, expected)


def test_init_of_cancelling_members_is_zero():
  embeddings = np.array([[1.0, 0.0], [-1.0, 0.0]], np.float32)
  got = memory.init_memory(embeddings, np.zeros(2, np.int32), 1, 1)
  np.testing.assert_array_equal(got, [[0.0, 0.0]])


def test_init_beyond_capacity_is_an_error():
  with pytest.raises(ValueError, match=r'num_clusters: got 3.*capacity 2'):
    memory.init_memory(np.eye(3, dtype=np.float32), np.arange(3), 3, 2)


@pytest.mark.parametrize(
  ('change', 'told'),
  [
    ({'memory': np.ones((3, 5))}, r'^embeddings: got shape \(4, 2\)'),
    ({'memory': np.ones(3)}, r'^memory: got shape \(3,\), expected \[N, E\]'),
    ({'embeddings': [['a', 'b']] * 4}, '^embeddings: got dtype .*real numbers'),
    ({'embeddings': np.full((4, 2), np.nan)}, '^embeddings: got NaN'),
    ({'labels': np.zeros(3, int)}, r'^labels: got shape \(3,\), expected \(4,'),
    ({'labels': np.ones(4)}, '^labels: got dtype float64, expected integers'),
    ({'labels': [0, 1, 2, 3]}, r'^labels: got 0\.\.3, expected 0\.\.2'),
    ({'num_clusters': 0}, '^num_clusters: got 0, expected a whole number in 1'),
    ({'temperature': 0.0}, '^temperature: got 0.0, expected a number'),
    ({'temperature': np.nan}, '^temperature: got nan, expected a number'),
  ],
)
def test_what_means_nothing_is_told(change, told):
  arguments = {
    'memory': np.ones((3, 2), np.float32),
    'embeddings': np.ones((4, 2), np.float32),
    'labels': np.array([0, 1, 2, 0]),
    'temperature': 0.1,
    'num_clusters': 3,
  }
  assert np.isfinite(memory.memory_loss(**arguments))
  with pytest.raises(ValueError, match=told):
    memory.memory_loss(**arguments | change)


def test_an_update_by_no_rule_is_told():
  table, labels = np.ones((3, 2), np.float32), np.array([0, 1])
  with pytest.raises(ValueError, match=r"^by: got 'mea', expected one of each"):
    memory.update_memory(table, table[:2], labels, momentum=0.5, by='mea')
  with pytest.raises(ValueError, match=r'^momentum: got -1\.0, expected'):
    memory.update_memory(table, table[:2], labels, momentum=-1.0)
  with pytest.raises(ValueError, match=r'^capacity: got 0, expected'):
    memory.init_memory(table, [0, 1, 2], 3, 0)
