"""What is compiled for a CPU with options computes what it does without."""

import types

import jax
import numpy as np
import pytest

from dbc_jax.devices import mesh


@pytest.mark.parametrize('known', [True, False])
def test_an_xla_without_the_option_computes_the_same(known, monkeypatch):
  assert mesh._knows_library()
  monkeypatch.setattr(mesh, '_knows_library', lambda: known)
  rows = np.arange(16, dtype=np.float32).reshape(8, 2)
  weights = np.ones((2, 3), np.float32)
  call = mesh.parallel_map(lambda w, x: x @ w, is_network=True)
  got = mesh.unshard(call(mesh.replicate(weights), mesh.shard(rows)))
  np.testing.assert_array_equal(got, rows @ weights)

  update = mesh.parallel_update(
    lambda state, x: (state + jax.lax.psum(x.sum(), mesh.AXIS_NAME), x.shape[0])
  )
  state, own = update(mesh.replicate(np.float32(1.0)), mesh.shard(rows))
  assert (float(state), int(own)) == (121.0, 8 // len(mesh.devices()))


def test_an_option_that_xla_lacks_is_noticed(monkeypatch):
  mesh._knows_library.cache_clear()
  monkeypatch.setattr(mesh, '_LIBRARY', 'xla_cpu_no_such_option')
  assert not mesh._knows_library()
  mesh._knows_library.cache_clear()


def _pretend_a_gpu(monkeypatch):
  gpu = types.SimpleNamespace(platform='gpu')
  monkeypatch.setattr(mesh, 'local_devices', lambda: [gpu])


def test_small_steps_of_a_gpu_run_on_the_host(monkeypatch):
  tree = {'x': jax.device_put(np.arange(3), jax.devices()[2])}
  assert mesh.for_small_steps(tree) is tree
  _pretend_a_gpu(monkeypatch)
  moved = mesh.for_small_steps(tree)['x']
  assert moved.devices() == {jax.devices()[0]}
  np.testing.assert_array_equal(moved, np.arange(3))


def test_small_steps_stay_where_jax_has_no_host(monkeypatch):
  _pretend_a_gpu(monkeypatch)

  def none(backend):
    raise RuntimeError(f'Unknown backend {backend}')

  monkeypatch.setattr(jax, 'local_devices', none)
  tree = {'x': np.arange(3)}
  assert mesh.for_small_steps(tree) is tree
