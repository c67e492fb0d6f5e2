#!/usr/bin/env bash
# lax.top_k on a CPU, compiled. Reading all of what it returns costs little.
# Reading a slice of it, in the same compiled function, sorts the whole rows.
#
# Seen with jax 0.10.2, 2026-11-28, rows of 20,000 float32: the compiled program
# has a TopK call where the values, the indices or both are returned whole. Where
# one column of the values or some columns of the indices are, it has a full sort
# in its place, which takes over ten times as long (30 to 100 times, on two
# cores). The numbers are the same.
# Seen with jax 0.12.0.1: a TopK call in each of them.
#
# Related: openxla/xla issue 25487, where a reversed result is sorted.
#
# What helps: lax.optimization_barrier around what top_k returns.
#
#   findings/jax_top_k_sliced.sh           needs Python 3.12 or newer for both
#   PYTHON=python3.12 findings/jax_top_k_sliced.sh
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export JAX_PLATFORMS=cpu

cat > "$folder/program.py" << 'EOF'
import time

import jax
from jax import lax

rows = jax.random.normal(jax.random.key(0), (128, 20_000))
READ = {
  'whole': lambda x: lax.top_k(x, 32),
  'indices': lambda x: lax.top_k(x, 32)[1],
  'last_value': lambda x: lax.top_k(x, 32)[0][:, -1],
  'some_indices': lambda x: lax.top_k(x, 32)[1][:, 1:],
  'barrier': lambda x: lax.optimization_barrier(lax.top_k(x, 32))[0][:, -1],
}
seconds, kinds = {}, {}
for name, read in READ.items():
  program = jax.jit(read).lower(rows).compile()
  kinds[name] = 'TopK' if 'TopK' in program.as_text() else 'sort'
  times = []
  for _ in range(5):
    start = time.perf_counter()
    jax.block_until_ready(program(rows))
    times.append(time.perf_counter() - start)
  seconds[name] = min(times)
ratio = seconds['last_value'] / seconds['barrier']
print(*(f'{name}:{kind}' for name, kind in kinds.items()), end=' ')
print('slower' if ratio > 10 else 'alike')
EOF

expect() {
  local version=$1 expected=$2
  "${PYTHON:-python3}" -m venv "$folder/$version"
  "$folder/$version/bin/pip" install -qq "jax[cpu]==$version"
  seen=$("$folder/$version/bin/python" "$folder/program.py")
  echo "jax $version: $seen"
  [[ $seen == "$expected" ]] || { echo "expected: $expected"; exit 1; }
}

whole='whole:TopK indices:TopK'
expect 0.10.2 "$whole last_value:sort some_indices:sort barrier:TopK slower"
expect 0.12.0.1 "$whole last_value:TopK some_indices:TopK barrier:TopK alike"
