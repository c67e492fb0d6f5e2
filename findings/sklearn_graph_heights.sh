#!/usr/bin/env bash
# AgglomerativeClustering with a connectivity graph: heights of average and
# complete linkage are of the pairs that the graph joins, not of all pairs.
#
# The documentation says that 'average' "uses the average of the distances of
# each observation of the two sets", and 'complete' the largest of all. Three
# points on a line, at 0, 1 and 3, and a graph that joins neighbours: 0 and 1
# merge at 1. The distances of 3 to them are 3 and 2.
#
# Seen with scikit-learn 1.9.1, 2026-11-28: both linkages merge them at 2, where
# 'average' would be 2.5 and 'complete' 3. Without the graph they are. Single
# linkage and Ward's are right here. So `distance_threshold` cuts
# clusters that are wider than it says (scikit-learn issue 23550 has that part).
#
# What helps: no graph; or heights computed from `children_`.
#
#   findings/sklearn_graph_heights.sh
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq scikit-learn==1.9.1 scipy==1.17.1

cat > "$folder/heights.py" << 'PY'
import numpy as np
from scipy import sparse
from sklearn.cluster import AgglomerativeClustering

x = np.array([[0.0], [1.0], [3.0]])
graph = sparse.csr_matrix([[0, 1, 0], [1, 0, 1], [0, 1, 0]])
for linkage in ('average', 'complete'):
  for name, connectivity in (('graph', graph), ('none', None)):
    tree = AgglomerativeClustering(
      1, linkage=linkage, connectivity=connectivity, compute_distances=True
    ).fit(x)
    print(linkage, name, *tree.distances_)
PY

seen=$("$folder/venv/bin/python" "$folder/heights.py")
echo "$seen"
expected='average graph 1.0 2.0
average none 1.0 2.5
complete graph 1.0 2.0
complete none 1.0 3.0'
if [ "$seen" != "$expected" ]; then
  echo 'This has changed.' >&2
  exit 1
fi
