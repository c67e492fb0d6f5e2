#!/usr/bin/env bash
# AccuracyCalculator of pytorch-metric-learning takes labels as float32, so two
# persons whose numbers are above 16,777,216 and next to each other are one.
#
# Seen with pytorch-metric-learning 2.9.0 (torch 2.13.0, faiss-cpu 1.15.1),
# 2026-11-28: a query of person 16777217, whose nearest image is of person
# 16777216, has precision_at_1 and mean_average_precision 1. With persons 1 and
# 0 it has 0 and 0.5, as it should. The labels are integers in int64 tensors,
# and nothing warns. Numbers so large are common where they are made of a camera
# and a time, or of a database.
#
# What helps: number the persons from 0 first.
#
#   findings/metric_learning_large_labels.sh
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq torch==2.13.0 faiss-cpu==1.15.1 \
  pytorch-metric-learning==2.9.0

cat > "$folder/labels.py" << 'PY'
import torch
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator

names = ('precision_at_1', 'mean_average_precision')
calculator = AccuracyCalculator(include=names, device=torch.device('cpu'))
query, gallery = torch.tensor([[0.0]]), torch.tensor([[0.1], [0.5]])
for first in (0, 16777216):
  labels = torch.tensor([first, first + 1])
  scores = calculator.get_accuracy(query, labels[1:], gallery, labels)
  print(first, *(scores[name] for name in names))
PY

seen=$("$folder/venv/bin/python" "$folder/labels.py")
echo "$seen"
expected='0 0.0 0.5
16777216 1.0 1.0'
if [ "$seen" != "$expected" ]; then
  echo 'This has changed.' >&2
  exit 1
fi
