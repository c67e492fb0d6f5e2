#!/usr/bin/env bash
# A ConfigDict takes a field that has the name of one of its methods.
#
# Seen with ml_collections 1.1.0, Python 3.11 and 3.13, 2026-11-28:
# `config.update = 'mean'` raises nothing. The field is printed, it is in
# to_dict() and to_json(), config['update'] returns it, and a flattened override
# (what --config.update=... does) changes it. But `config.update` goes on
# returning the method. So code that reads the field by attribute compares a
# method with a string, which is always unequal, and a test of truth is always
# true. The same holds for get, items, keys, values, lock and unlock.
#
# What helps: another name; or config['update'] wherever it is read.
#
#   findings/ml_collections_method_names.sh
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq ml_collections==1.1.0

cat > "$folder/fields.py" << 'EOF'
import ml_collections

for name in ('update', 'get', 'items', 'keys', 'values', 'lock', 'unlock'):
  config = ml_collections.ConfigDict()
  setattr(config, name, 'mean')
  config.update_from_flattened_dict({name: 'hardest'})
  shown = name in config.to_json()
  read = callable(getattr(config, name))
  print(name, config[name], config.to_dict()[name], shown, read)
EOF

seen=$("$folder/venv/bin/python" "$folder/fields.py")
echo "$seen"
expected=$(for name in update get items keys values lock unlock; do
  echo "$name hardest hardest True True"
done)
if [ "$seen" != "$expected" ]; then
  echo 'This has changed.' >&2
  exit 1
fi
