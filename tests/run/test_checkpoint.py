"""Checkpoints come back as they were, and only where they belong."""

import numpy as np
import pytest

from dbc_jax.run import checkpoint


@pytest.fixture
def arrays():
  return {
    'params': {'w': np.arange(6, dtype=np.float32).reshape(2, 3)},
    'labels': np.arange(4, dtype=np.int32),
  }


def test_round_trip(tmp_path, arrays):
  checkpoint.CheckpointStore(tmp_path).save(0, arrays, {'history': [{'a': 1}]})
  store = checkpoint.CheckpointStore(tmp_path)
  assert store.latest_stage() == 0
  assert store.read_record(0) == {'history': [{'a': 1}]}
  restored = store.restore(0, arrays)
  np.testing.assert_array_equal(restored['params']['w'], arrays['params']['w'])
  np.testing.assert_array_equal(restored['labels'], arrays['labels'])
  assert restored['labels'].dtype == np.int32


def test_empty_store_has_no_stage(tmp_path):
  assert checkpoint.CheckpointStore(tmp_path).latest_stage() is None


@pytest.mark.parametrize(
  ('change', 'message'),
  [
    ({'labels': np.zeros(5, np.int32)}, r"\['labels'\] is int32\[4\].*\[5\]"),
    ({'labels': np.zeros(4, np.int64)}, r'is int32\[4\].*int64\[4\]'),
    ({'more': np.zeros(1)}, r"\['more'\] is None"),
    ({'params': {}}, r"\['params'\]\['w'\] is float32.*expected None"),
  ],
)
def test_another_shape_or_dtype_is_refused(tmp_path, arrays, change, message):
  store = checkpoint.CheckpointStore(tmp_path)
  store.save(0, arrays, {})
  with pytest.raises(ValueError, match=message):
    store.restore(0, arrays | change)


def test_a_used_stage_is_refused_aloud(tmp_path, arrays):
  store = checkpoint.CheckpointStore(tmp_path)
  store.save(1, arrays, {})
  with pytest.raises(RuntimeError, match='stage 1 was not written'):
    store.save(1, arrays, {})


def test_keep_only(tmp_path, arrays):
  store = checkpoint.CheckpointStore(tmp_path)
  for stage in range(3):
    store.save(stage, arrays, {'stage': stage})
  store.keep_only({0, 2})
  store = checkpoint.CheckpointStore(tmp_path)
  assert store.latest_stage() == 2
  assert store.read_record(0) == {'stage': 0}
  with pytest.raises(FileNotFoundError):
    store.read_record(1)
