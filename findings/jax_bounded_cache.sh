#!/usr/bin/env bash
# JAX keeps compiled programs in a folder, by default without a bound. Let the
# folder have one such program, then set jax_compilation_cache_max_size.
#
# Seen with jax 0.10.2, 2026-11-27: no program is kept from then on, and every
# one of them gives "UserWarning: Error writing persistent compilation cache
# entry ... FileNotFoundError ...-atime". The bound needs the time of each
# program's last use, which an unbounded cache never wrote.
# Seen with jax 0.12.0.1: the programs are kept, no warning.
#
# What helps: a folder of its own for the bounded cache.
#
#   findings/jax_bounded_cache.sh          needs Python 3.12 or newer for both
#   PYTHON=python3.12 findings/jax_bounded_cache.sh
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export JAX_PLATFORMS=cpu

cat > "$folder/program.py" << 'EOF'
import sys
import warnings

import jax

cache, bound, factor = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
jax.config.update('jax_compilation_cache_dir', cache)
jax.config.update('jax_persistent_cache_min_compile_time_secs', 0)
jax.config.update('jax_compilation_cache_max_size', bound)
with warnings.catch_warnings(record=True) as seen:
  warnings.simplefilter('always')
  jax.jit(lambda x: factor * x)(1.0).block_until_ready()
print(sum('Error writing persistent' in str(w.message) for w in seen))
EOF

# Prints warnings and kept programs: without a bound, then twice with one.
try() {
  local python=$1 cache=$2
  for step in '-1 2' '1000000000 3' '1000000000 4'; do
    # shellcheck disable=SC2086
    warnings=$("$python" "$folder/program.py" "$cache" $step)
    echo "$warnings $(find "$cache" -name '*-cache' | wc -l)"
  done
}

expect() {
  local version=$1 expected=$2
  "${PYTHON:-python3}" -m venv "$folder/$version"
  "$folder/$version/bin/pip" install -qq "jax[cpu]==$version" filelock==3.20.0
  seen=$(try "$folder/$version/bin/python" "$folder/cache-$version" | paste -sd ' ')
  echo "jax $version: warnings and programs kept, step by step: $seen"
  [[ $seen == "$expected" ]] || { echo "expected: $expected"; exit 1; }
}

expect 0.10.2 '0 1 1 1 1 1'
expect 0.12.0.1 '0 1 0 2 0 3'
