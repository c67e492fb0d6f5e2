#!/usr/bin/env bash
# Two processes of JAX that train on one CPU. Each has threads for all cores, and
# they wait for each other: both together take longer than one after the other.
# With a core each, by taskset, they take far less.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export JAX_PLATFORMS=cpu

cat > "$folder/program.py" << 'EOF'
import sys
import time

import jax
import jax.numpy as jnp
from jax import lax


def loss(kernels, x):
  for kernel in kernels:
    x = jax.nn.relu(
      lax.conv_general_dilated(
        x, kernel, (1, 1), 'SAME', dimension_numbers=('NHWC', 'HWIO', 'NHWC')
      )
    )
  return jnp.mean(x**2)


@jax.jit
def step(kernels, x):
  found = jax.grad(loss)(kernels, x)
  return [k - 1e-3 * g for k, g in zip(kernels, found)]


kernels = [0.1 * jnp.ones((3, 3, 16, 16))] * 6
x = jnp.ones((16, 32, 16, 16))
kernels = jax.block_until_ready(step(kernels, x))
print('compiled', flush=True)
sys.stdin.readline()
start = time.perf_counter()
for _ in range(int(sys.argv[1])):
  kernels = step(kernels, x)
jax.block_until_ready(kernels)
print(time.perf_counter() - start, flush=True)
EOF
cat > "$folder/measure.py" << 'EOF'
"""Seconds of two processes side by side: on all cores, and on one each."""
import os
import subprocess
import sys

cores = sorted(os.sched_getaffinity(0))[:2]
assert len(cores) == 2, 'needs two cores'


def seconds(places):
  started = [
    subprocess.Popen(
      [sys.executable, sys.argv[1], '300'],
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      text=True,
      preexec_fn=lambda place=place: os.sched_setaffinity(0, place),
    )
    for place in places
  ]
  for each in started:
    assert each.stdout.readline() == 'compiled\n'
  for each in started:
    each.stdin.write('\n')
    each.stdin.flush()
  return max(float(each.communicate()[0]) for each in started)


both = seconds([cores, cores])
own = seconds([cores[:1], cores[1:]])
print(f'{both:.2f} s on two cores, {own:.2f} s on a core each', file=sys.stderr)
print('slower' if both > 1.5 * own else 'alike')
EOF
