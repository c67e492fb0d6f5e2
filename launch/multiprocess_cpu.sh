#!/usr/bin/env bash
# Runs one job as N processes of this machine, each with a few CPU devices that
# XLA makes up: what several machines do, without having them.
# To be called from the checkout, with the project's environment active.
#
#   launch/multiprocess_cpu.sh N DEVICES ARGS...
#   launch/multiprocess_cpu.sh 2 2 --config=configs/ecluster.py
#
# ARGS go to `python -m dbc_jax.main`, or to a script if the first ends in .py.
# They meet on PORT, by default a random one. If one fails, all are ended.
set -euo pipefail

num_processes=$1 devices=$2
shift 2
program=(-m dbc_jax.main)
if [[ ${1:-} == *.py ]]; then
  program=("$1")
  shift
fi
port=${PORT:-$((20000 + RANDOM % 10000))}

export JAX_PLATFORMS=cpu
export XLA_FLAGS="${XLA_FLAGS:-} --xla_force_host_platform_device_count=$devices"

# The rest cannot go on, nor save, without one that has failed.
trap 'kill -KILL $(jobs -p) 2> /dev/null || true' EXIT
# A signal to this script is one to all of them: they save and end.
stop() {
  trap - TERM INT HUP
  kill -"$1" $(jobs -p) 2> /dev/null || true
  wait
  exit $((128 + $(kill -l "$1")))
}
for name in TERM INT HUP; do trap "stop $name" "$name"; done
for ((i = 0; i < num_processes; i++)); do
  command=(
    python "${program[@]}" "$@" --coordinator="127.0.0.1:$port"
    --num_processes="$num_processes" --process_id="$i"
  )
  if ((i == 0)); then
    "${command[@]}" &
  else  # A pipe is no terminal, so only the first draws a progress bar.
    "${command[@]}" 2> >(sed -u "s/^/process $i: /" >&2) &
  fi
done
for ((i = 0; i < num_processes; i++)); do
  wait -n || {
    status=$?
    echo "A process ended with status $status, so all are ended. If nothing" \
      'above says why, the same command goes on after the last complete' \
      'stage.' >&2
    exit "$status"
  }
done
