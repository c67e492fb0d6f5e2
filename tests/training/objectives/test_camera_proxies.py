"""The loss of proxies against float64 loops; clusters split by camera."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dbc_jax.cluster.proxies import split_clusters
from dbc_jax.training.objectives import camera_proxies


def _unit(rng, *shape):
  x = rng.normal(size=shape)
  return (x / np.linalg.norm(x, axis=-1, keepdims=True)).astype(np.float32)


def _case(seed=0):
  rng = np.random.default_rng(seed)
  labels = rng.integers(-1, 40, 200).astype(np.int32)
  labels = (np.unique(labels, return_inverse=True)[1] - 1).astype(np.int32)
  camids = rng.choice([2, 5, 9], 200)
  return rng, labels, camids


def test_each_camera_of_a_cluster_is_a_proxy():
  _, labels, camids = _case()
  proxies = split_clusters(labels, camids)
  np.testing.assert_array_equal(proxies.rows < 0, labels < 0)
  placed = labels >= 0
  rows = proxies.rows[placed]
  np.testing.assert_array_equal(proxies.clusters[rows], labels[placed])
  for row in range(len(proxies.clusters)):
    assert len(np.unique(camids[proxies.rows == row])) == 1
  pairs = {*zip(labels[placed], camids[placed], strict=True)}
  assert len(pairs) == len(proxies.clusters)
  assert len(np.unique(proxies.groups)) == 3


def _slow_loss(memory, proxies, v, row):
  s = memory.astype(np.float64) @ v.astype(np.float64) / 0.1
  count = len(proxies.clusters)
  camera = [k for k in range(count) if proxies.groups[k] == proxies.groups[row]]
  loss = -np.log(np.exp(s[row]) / sum(np.exp(s[k]) for k in camera))
  own = proxies.clusters[row]
  alike = [k for k in range(count) if proxies.clusters[k] == own]
  positive = [k for k in alike if k not in camera]
  others = sorted((s[k] for k in range(count) if k not in alike), reverse=True)
  if positive:
    total = sum(np.exp(s[k]) for k in positive)
    total += sum(np.exp(x) for x in others[:50])
    loss += 0.5 * np.mean([-np.log(np.exp(s[k]) / total) for k in positive])
  return loss, camera[int(np.argmax(s[camera]))] == row


@pytest.mark.slow
@pytest.mark.parametrize('seed', [0, 1])
def test_loss_equals_loops(seed):
  rng, labels, camids = _case(seed)
  proxies = split_clusters(labels, camids)
  objective = camera_proxies.CameraProxies(0.1, 0.2, 'mean')
  state = objective.start_proxies(_unit(rng, 200, 16), proxies)
  memory = np.asarray(state.memory)
  assert not memory[len(proxies.clusters) :].any()
  drawn = rng.choice(np.flatnonzero(labels >= 0), 24)
  v = _unit(rng, 24, 16)
  rows = proxies.rows[drawn]
  expected = [
    _slow_loss(memory[: len(proxies.clusters)], proxies, *pair)
    for pair in zip(v, rows, strict=True)
  ]
  loss, accuracy = camera_proxies.proxy_loss(
    state, v, jnp.asarray(rows), temperature=0.1
  )
  assert loss == pytest.approx(np.mean([x for x, _ in expected]), rel=1e-5)
  assert accuracy == pytest.approx(np.mean([hit for _, hit in expected]))
  assert len(proxies.clusters) > 52


@pytest.mark.slow
def test_one_camera_is_the_plain_memory():
  from dbc_jax import memory as memory_lib

  rng, labels, _ = _case()
  embeddings = _unit(rng, 200, 16)
  objective = camera_proxies.CameraProxies(0.1, 0.2)
  state = objective.start(embeddings, labels)
  count = labels.max() + 1
  plain = memory_lib.init_memory(embeddings, labels, count, 200)
  np.testing.assert_array_equal(state.memory, plain)
  v, rows = _unit(rng, 8, 16), jnp.arange(8)
  loss, _ = camera_proxies.proxy_loss(state, v, rows, temperature=0.1)
  expected = memory_lib.memory_loss(
    plain, v, rows, temperature=0.1, num_clusters=count
  )
  assert float(loss) == pytest.approx(float(expected), rel=1e-6)


@pytest.mark.slow
def test_gradients_are_finite_where_no_camera_shares_a_cluster():
  rng = np.random.default_rng(0)
  labels = np.repeat(np.arange(3), 4).astype(np.int32)
  proxies = split_clusters(labels, labels)  # Each cluster has its own camera.
  objective = camera_proxies.CameraProxies(0.05, 0.1)
  state = objective.start_proxies(_unit(rng, 12, 6), proxies)

  def loss(v):
    return camera_proxies.proxy_loss(
      state, v, jnp.asarray(proxies.rows[:5]), temperature=0.05
    )[0]

  value, gradient = jax.value_and_grad(loss)(_unit(rng, 5, 6))
  assert float(value) == pytest.approx(0.0, abs=1e-6)
  assert np.isfinite(gradient).all()
