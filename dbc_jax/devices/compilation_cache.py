"""Compiled programs kept on disk from one process to the next."""

import logging
import os
import tempfile

import jax

from dbc_jax import values

log = logging.getLogger('dbc_jax')

# The least recently used programs beyond it are deleted. A run of ResNet-50
# has some 50 MB of them.
MAX_BYTES = 2**30
# What compiles faster is not kept. JAX's own default is a second, and most of a
# small network's programs take less.
_LEAST_SECONDS = 0.2
_LEAST = 'jax_persistent_cache_min_compile_time_secs'


def use_compilation_cache() -> None:
  """Keeps compiled programs in the user's cache folder, dbc_jax/programs.

  What JAX itself was told comes first: a folder of JAX_COMPILATION_CACHE_DIR,
  or none with JAX_ENABLE_COMPILATION_CACHE=false. A folder that cannot be
  written is a warning.
  """
  if jax.config.values['jax_compilation_cache_dir']:
    return
  try:
    # Builds before kept theirs in dbc_jax/jax without a bound. In such a folder
    # a bounded cache writes nothing: it misses the times of use.
    folder = values.cache_folder() / 'programs'
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
      pass
  except OSError as error:
    log.warning(
      'compiled programs are not kept, and the next start takes as long: %s; '
      'name another folder in XDG_CACHE_HOME, or give --nocompilation_cache',
      error,
    )
    return
  jax.config.update('jax_compilation_cache_dir', str(folder))
  jax.config.update('jax_compilation_cache_max_size', MAX_BYTES)
  if _LEAST.upper() not in os.environ:
    jax.config.update(_LEAST, _LEAST_SECONDS)
