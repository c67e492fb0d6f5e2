"""Compiled programs kept on disk from one process to the next."""

import os
import pathlib

import jax

# The least recently used programs beyond it are deleted. A run of ResNet-50
# has some 50 MB of them.
MAX_BYTES = 2**30


def use_compilation_cache() -> None:
  """Keeps compiled programs in the user's cache folder, dbc_jax/programs.

  What JAX itself was told comes first: a folder of JAX_COMPILATION_CACHE_DIR,
  or none with JAX_ENABLE_COMPILATION_CACHE=false.
  """
  if jax.config.values['jax_compilation_cache_dir']:
    return
  cache = os.environ.get('XDG_CACHE_HOME') or pathlib.Path.home() / '.cache'
  # Builds before kept theirs in dbc_jax/jax without a bound. In such a folder a
  # bounded cache writes nothing: it misses the times of use.
  folder = pathlib.Path(cache, 'dbc_jax', 'programs')
  jax.config.update('jax_compilation_cache_dir', str(folder))
  jax.config.update('jax_compilation_cache_max_size', MAX_BYTES)
