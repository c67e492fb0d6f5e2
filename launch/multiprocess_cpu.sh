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
# DRY_RUN=1 in front prints what each would do, and runs nothing.
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
running=()
trap 'kill -KILL "${running[@]}" 2> /dev/null || true' EXIT
# A signal to this script is one to all of them: they save and end.
stop() {
  trap - TERM INT HUP
  kill -"$1" "${running[@]}" 2> /dev/null || true
  wait
  exit $((128 + $(kill -l "$1")))
}
trap 'stop TERM' TERM
trap 'stop INT' INT
trap 'stop HUP' HUP
for ((i = 0; i < num_processes; i++)); do
  command=(
    python "${program[@]}" "$@" --coordinator="127.0.0.1:$port"
    --num_processes="$num_processes" --process_id="$i"
  )
  if [[ -n ${DRY_RUN:-} ]]; then
    echo "process $i of $num_processes, on $devices CPU devices:" \
      "${command[@]@Q}"
    continue
  fi
  if ((i == 0)); then
    "${command[@]}" &
  else  # A pipe is no terminal, so only the first draws a progress bar.
    "${command[@]}" 2> >(sed -u "s/^/process $i: /" >&2) &
  fi
  running+=($!)
done
for _ in "${running[@]}"; do
  wait -n || {
    status=$?
    echo "A process ended with status $status, so all are ended. If nothing" \
      'above says why, the same command goes on after the last complete' \
      'stage.' >&2
    exit "$status"
  }
done
