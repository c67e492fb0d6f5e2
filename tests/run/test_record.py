"""What a real run writes of its stages, against the keys that are known."""

import json

import pytest
import runs

from dbc_jax.reporting import record
from dbc_jax.run import job

pytestmark = pytest.mark.slow


def test_a_run_with_identities_writes_every_key_and_no_other(
  tmp_path, monkeypatch
):
  runs.one_device(monkeypatch)
  root = runs.write_market(tmp_path / 'market')
  config = runs.small_config('market1501', root)
  config.cluster.merge_percent = 0.3  # Three stages: two merges, one gap.
  job.run(config, tmp_path / 'work')
  lines = (tmp_path / 'work' / 'metrics.jsonl').read_text().splitlines()
  assert len(lines) == 3
  assert set().union(*map(json.loads, lines)) == record.FIELDS.keys()
