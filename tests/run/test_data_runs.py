"""Whole runs on tracklets, streamed images, tables and damaged files."""

import csv
import json
import logging

import jax
import numpy as np
import pytest
import runs

from dbc_jax.commands import report
from dbc_jax.run import checkpoint, job

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures('one_device')]


def _history(workdir):
  lines = (workdir / 'metrics.jsonl').read_text().splitlines()
  return [json.loads(line) for line in lines]


def _last_arrays(workdir):
  store = checkpoint.CheckpointStore(workdir / 'checkpoints')
  return store.restore_as_saved(store.latest_stage())


def _tracklets(root, lengths):
  """One folder a tracklet."""
  for i, length in enumerate(lengths):
    names = [f't{i:02d}/{k + 1}.png' for k in range(length)]
    runs.write_images(root, names, runs.make_images(length, 1, seed=i))
  return root


def test_streamed_images_give_the_same_model(tmp_path, caplog):
  root = runs.write_market(tmp_path / 'market')
  caplog.set_level(logging.INFO, 'dbc_jax')
  arrays = []
  for name, budget in (('kept', 1.0), ('streamed', 1e-6)):
    config = runs.small_config('market1501', root)
    config.data.memory_budget_gb = budget
    job.run(config, tmp_path / name)
    arrays.append(_last_arrays(tmp_path / name))
  assert 'are kept in memory: within 1.00 GB' in caplog.text
  assert 'are decoded when needed: more than 0.00 GB' in caplog.text
  jax.tree.map(np.testing.assert_array_equal, *arrays)


@pytest.mark.parametrize('pattern', ['', '{tracklet}/{frame}'])
def test_a_folder_of_tracklets(pattern, tmp_path):
  root = _tracklets(tmp_path / 'data', [1, 3, 5, 9] * 5)
  config = runs.small_config('folder', root)
  config.data.tracklets = not pattern
  config.data.pattern = pattern
  config.data.num_frames = 3
  config.data.max_frames = 4
  job.run(config, tmp_path / 'work')
  history = _history(tmp_path / 'work')
  assert [r['num_clusters'] for r in history] == [20, 16, 12, 8]
  with (tmp_path / 'work' / 'clusters.csv').open(newline='') as file:
    rows = [*csv.DictReader(file)]
  names = {f't{i:02d}/t{i:02d}' if pattern else f't{i:02d}' for i in range(20)}
  assert {row['tracklet'] for row in rows} == names
  to = tmp_path / 'sorted'
  report.main([f'--workdir={tmp_path / "work"}', f'--sort_into={to}'])
  for row in rows:
    folder = (root / row['path']).parent
    assert folder.name == row['tracklet'].rpartition('/')[2]
    assert (root / row['path']).is_file()
    home = to / f'cluster_{int(row["cluster"])}'
    frames = home / row['tracklet'].replace('/', '__')
    assert {path.name: path.resolve() for path in frames.iterdir()} == {
      path.name: path.resolve() for path in folder.iterdir()
    }
  assert '<img' in (tmp_path / 'work' / 'report.html').read_text()


def test_the_synthetic_tracklets_from_end_to_end(tmp_path):
  config = runs.small_config('demo_video', '')
  config.data.stored_size = config.data.image_size = (32, 16)
  config.data.num_frames = 2
  config.data.max_frames = 4
  config.train.batch_size = 32
  job.run(config, tmp_path)
  history = _history(tmp_path)
  assert len(history) == 4
  assert all(0.0 < r['map'] <= 1.0 and 'pair_f' in r for r in history)
  # Before the last merges, clusters are mostly of one person.
  assert history[1]['pair_f'] > 0.02


def test_damaged_files_are_left_out_if_one_wants(tmp_path, caplog):
  root = runs.write_market(tmp_path / 'market')
  damaged = sorted((root / 'bounding_box_train').iterdir())[7]
  damaged.write_bytes(b'\xff\xd8nothing')
  config = runs.small_config('market1501', root)
  with pytest.raises(ValueError, match=f'(?s)1 of 46.*{damaged.name}'):
    job.run(config, tmp_path / 'work')
  assert not (tmp_path / 'work').exists()
  config.data.skip_unreadable = True
  job.run(config, tmp_path / 'work')
  assert '1 images cannot be read and are left out' in caplog.text
  # 29 images, 5 merges a stage.
  assert _history(tmp_path / 'work')[0]['num_clusters'] == 29
  assert _history(tmp_path / 'work')[1]['num_clusters'] == 24


def test_a_table_with_some_identities(tmp_path):
  """Clusters are scored on the images whose person is known."""
  images = runs.make_images(26, 5)
  root = runs.write_images(
    tmp_path / 'data', [f'{i}.png' for i in range(26)], images
  )
  rows = ['path,camid,pid,split']
  for i in range(26):
    split = 'train' if i < 20 else ('query' if i < 22 else 'gallery')
    pid = '' if i < 5 else i % 5 + (100 if i >= 20 else 0)
    rows.append(f'{i}.png,{i % 2},{pid},{split}')
  (root / 'list.csv').write_text('\n'.join(rows))
  config = runs.small_config('folder', root)
  config.data.csv = 'list.csv'
  config.camera_rule = False
  job.run(config, tmp_path / 'work')
  assert all('map' in r and 'pair_f' in r for r in _history(tmp_path / 'work'))
  with (tmp_path / 'work' / 'clusters.csv').open(newline='') as file:
    pids = {row['path']: row['pid'] for row in csv.DictReader(file)}
  assert pids['3.png'] == '-1'
  assert pids['13.png'] == '3'
  # Queries 20 and 21 are seen again by the other camera alone, or not at all.
  config.camera_rule = True
  text = (root / 'list.csv').read_text().replace(',1,', ',0,')
  (root / 'list.csv').write_text(text)
  with pytest.raises(ValueError, match=r'--config\.camera_rule=False'):
    job.run(config, tmp_path / 'other')
