#!/usr/bin/env bash
# Runs one job on all devices of this machine: its GPUs or TPUs, or the CPU.
# To be called from the checkout, with the project's environment active.
#
#   . .venv/bin/activate
#   launch/local.sh --config=configs/ecluster.py
#   launch/local.sh --config=configs/dbc.py:market1501 --config.data.root=DIR
#   CUDA_VISIBLE_DEVICES=0 launch/local.sh --config=...     one GPU of several
#
# All arguments go to `python -m dbc_jax.main`; the same line again resumes.
# DRY_RUN=1 in front prints the command, and runs nothing.
# The batch is split over the devices, so train.batch_size has to be a multiple
# of their number.
set -euo pipefail

# JAX claims 75 % of a GPU's memory and never grows beyond. The N x N matrices
# of the merging are the largest arrays of a run, so let it have more.
if [[ -z ${XLA_PYTHON_CLIENT_MEM_FRACTION:-} ]]; then  # the older name
  export XLA_CLIENT_MEM_FRACTION="${XLA_CLIENT_MEM_FRACTION:-0.9}"
fi

# On a CPU each step would otherwise give its memory back to the system, and
# have it cleared anew in the next.
export MALLOC_ARENA_MAX="${MALLOC_ARENA_MAX:-1}"
export MALLOC_TRIM_THRESHOLD_="${MALLOC_TRIM_THRESHOLD_:-17179869184}"
export MALLOC_TOP_PAD_="${MALLOC_TOP_PAD_:-268435456}"

command=(python -m dbc_jax.main "$@")
if [[ -n ${DRY_RUN:-} ]]; then
  echo "process 0 of 1, on all devices of $(hostname): ${command[*]@Q}"
  exit
fi
exec "${command[@]}"
