#!/usr/bin/env bash
# RetrievalMAP of cosine similarities: a match whose score is zero or less does
# not count, neither found nor missing, and nothing says so.
#
# Its documentation calls the scores "estimated probabilities", and any float is
# taken. Scores 0.9, 0.5 and -0.1, of which the first and the last are matches:
# they stand at ranks 1 and 3, so the average precision is (1 + 2/3) / 2.
#
# Seen with torchmetrics 1.9.0 (torch 2.13.0), 2026-11-28: it is 1. With 1 added
# to every score, in the same order, it is 0.8333. With negated distances, all
# below zero, it is 0 for a perfect ranking.
#
# What helps: 1 + cosine, or 2 - distance, of features of unit length.
#
#   findings/torchmetrics_scores_below_zero.sh
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq torch==2.13.0 torchmetrics==1.9.0

cat > "$folder/scores.py" << 'PY'
import torch
from torchmetrics.retrieval import RetrievalMAP


def score(*preds, target):
  preds, target = torch.tensor(preds), torch.tensor(target)
  indexes = torch.zeros(len(preds), dtype=torch.long)
  return round(float(RetrievalMAP()(preds, target, indexes=indexes)), 4)


print('cosines', score(0.9, 0.5, -0.1, target=[True, False, True]))
print('with 1 added', score(1.9, 1.5, 0.9, target=[True, False, True]))
print('negated distances', score(-0.2, -0.9, target=[True, False]))
PY

seen=$("$folder/venv/bin/python" "$folder/scores.py")
echo "$seen"
expected='cosines 1.0
with 1 added 0.8333
negated distances 0.0'
if [ "$seen" != "$expected" ]; then
  echo 'This has changed.' >&2
  exit 1
fi
