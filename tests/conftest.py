"""Eight fake CPU devices, and a compilation cache that tests share."""

import importlib.metadata
import os
from pathlib import Path

import pytest

# Before JAX starts.
os.environ.setdefault('JAX_PLATFORMS', 'cpu')
# Programs run for moments here; most of the time would go into their code.
_FLAGS = [
  '--xla_force_host_platform_device_count=8',
  '--xla_backend_optimization_level=0',
  '--xla_llvm_disable_expensive_passes=true',
  '--xla_cpu_parallel_codegen_split_count=1',
]
if importlib.metadata.version('jaxlib').startswith('0.10.'):
  # Halves the time of a compilation; newer ones end at a flag they do not know.
  _FLAGS.append('--xla_cpu_use_fusion_emitters=false')
_MAX_MAPPINGS = 20_000
os.environ['XLA_FLAGS'] = ' '.join(
  [os.environ.get('XLA_FLAGS', ''), *_FLAGS]
).strip()


@pytest.fixture
def one_device(monkeypatch):
  """Runs are bit-identical on one device only."""
  import runs

  runs.one_device(monkeypatch)


@pytest.fixture(autouse=True, scope='session')
def compilation_cache(tmp_path_factory):
  """Runs of the same network compile once; the folder is this worker's."""
  import jax

  jax.config.update(
    'jax_compilation_cache_dir', str(tmp_path_factory.mktemp('jax_cache'))
  )
  jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.5)


@pytest.fixture(autouse=True, scope='module')
def compiled_programs():
  """Drops compiled programs before they are too many.

  Each holds tens of memory mappings, and Linux ends a process that has more
  than vm.max_map_count of them (65,530) by a segmentation fault.
  """
  import jax

  yield
  try:
    mappings = len(Path('/proc/self/maps').read_text().splitlines())
  except OSError:
    mappings = _MAX_MAPPINGS
  if mappings >= _MAX_MAPPINGS:
    jax.clear_caches()
