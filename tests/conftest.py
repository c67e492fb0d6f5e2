"""Four fake CPU devices, and a compilation cache that tests share."""

import os

import pytest

# Before JAX starts.
os.environ.setdefault('JAX_PLATFORMS', 'cpu')
_FLAG = '--xla_force_host_platform_device_count=4'
os.environ['XLA_FLAGS'] = f'{os.environ.get("XLA_FLAGS", "")} {_FLAG}'.strip()


@pytest.fixture(autouse=True, scope='session')
def compilation_cache(tmp_path_factory):
  """Runs of the same network compile once; the folder is this session's."""
  import jax

  jax.config.update(
    'jax_compilation_cache_dir', str(tmp_path_factory.mktemp('jax_cache'))
  )
  jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.5)
