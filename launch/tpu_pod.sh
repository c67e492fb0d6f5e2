#!/usr/bin/env bash
# Runs one job on all machines of a Cloud TPU pod slice, one process each.
# To be called where gcloud is set up. Every machine needs the checkout with its
# environment in CHECKOUT, by default dbc_jax in the home folder, and all have
# to see the data and the workdir, as on a Filestore share.
#
#   launch/tpu_pod.sh NAME ZONE ARGS...
#   launch/tpu_pod.sh my-pod us-central2-b --workdir=/mnt/share/runs/market \
#     --config=configs/ecluster.py:market1501 --config.data.root=/mnt/share/data
#
# The same line again goes on from the last checkpoint. DRY_RUN=1 in front prints
# what each machine would do, and asks none.
set -euo pipefail

name=$1 zone=$2
shift 2
# Once more quoted, as ssh hands a single string to the shell over there.
arguments=$(printf ' %q' "$@")

command="cd ${CHECKOUT:-dbc_jax} && .venv/bin/python -m dbc_jax.main \
--distributed$arguments"
if [[ -n ${DRY_RUN:-} ]]; then
  echo "one process on each machine of $name in $zone: $command"
  exit
fi

exec gcloud compute tpus tpu-vm ssh "$name" --zone="$zone" --worker=all \
  --command="$command"
