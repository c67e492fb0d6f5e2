"""The examples of docs/extend.md, as they are printed there."""

import importlib
import json
import pathlib
import re
import sys

import jax
import numpy as np
import pytest
import runs
from scipy.cluster import hierarchy

from dbc_jax import models
from dbc_jax.cluster import (
  Criterion,
  cuts,
  merge_clusters,
  to_scipy_linkage,
)
from dbc_jax.data import load_dataset
from dbc_jax.run import job
from dbc_jax.training import objectives
from dbc_jax.training.objectives.memory import MemoryObjective

PAGE = runs.ROOT / 'docs' / 'extend.md'
EXAMPLE = re.compile(r'^```python\n# (\S+\.py)\n(.*?)^```$', re.M | re.S)


@pytest.fixture(scope='module', autouse=True)
def _examples(tmp_path_factory):
  """The files of the page in a folder that Python finds; nothing else."""
  folder = tmp_path_factory.mktemp('outside')
  for name, code in EXAMPLE.findall(PAGE.read_text(encoding='utf-8')):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(code, encoding='utf-8')
  with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(folder)
    yield
  for name in [name for name in sys.modules if name.split('.')[0] == 'mine']:
    del sys.modules[name]


@pytest.fixture(scope='module')
def campus(tmp_path_factory) -> pathlib.Path:
  """30 training images of six persons; 4 queries, 12 in the gallery."""
  root = tmp_path_factory.mktemp('campus')
  names = [f'train/{i % 6 + 1:04d}_c{i % 3 + 1}_{i}.jpg' for i in range(30)]
  for i in range(16):
    split = 'query' if i < 4 else 'gallery'
    names.append(f'{split}/{i % 4 + 101:04d}_c{i // 4 + 1}_{i}.jpg')
  images = [*runs.make_images(30, 6), *runs.make_images(16, 4, seed=1)]
  return runs.write_images(root, names, images)


def test_every_kind_of_plug_in_has_an_example():
  names = [name for name, _ in EXAMPLE.findall(PAGE.read_text('utf-8'))]
  assert names == [
    'mine/complete.py',
    'mine/height.py',
    'mine/campus.py',
    'mine/smooth.py',
    'mine/plain.py',
  ]


def test_criterion_is_scipys_complete_linkage():
  x = np.random.default_rng(0).normal(size=(60, 5)).astype(np.float32)
  criterion = Criterion('mine.complete:Rule', 0.0)
  got = merge_clusters(x, np.arange(60), 59, criterion)
  tree = hierarchy.linkage(x.astype(np.float64), 'complete')
  np.testing.assert_allclose(got.scores, tree[:, 2], rtol=1e-5)
  for count in (2, 7, 20, 45):
    ours, theirs = (
      hierarchy.fcluster(z, count, 'maxclust')
      for z in (to_scipy_linkage(got), tree)
    )
    np.testing.assert_array_equal(
      ours[:, None] == ours, theirs[:, None] == theirs
    )


def test_cut_is_scipys_cut_at_a_height():
  x = np.random.default_rng(0).normal(size=(60, 2)).astype(np.float32)
  labels = np.arange(60, dtype=np.int32)

  def merge(num_merges):
    return merge_clusters(x, labels, num_merges, Criterion('average', 0.0))

  task = cuts.Task(labels, 0, 1, lambda: None, merge)
  got, _ = cuts.create_cut('mine.height')(task)
  tree = hierarchy.linkage(x.astype(np.float64), 'average')
  expected = hierarchy.fcluster(tree, 0.7, 'distance')
  expected = np.where(np.bincount(expected)[expected] >= 4, expected, -1)
  np.testing.assert_array_equal(got < 0, expected < 0)
  np.testing.assert_array_equal(
    got[:, None] == got, expected[:, None] == expected
  )
  assert got.max() > 1


def test_data_set_lists_its_folders(campus):
  dataset, truth = load_dataset('mine.campus', campus)
  assert [len(dataset.of(x)) for x in ('train', 'query', 'gallery')] == [
    30,
    4,
    12,
  ]
  assert dataset.train.names[0] == 'train/0001_c1_0.jpg'
  np.testing.assert_array_equal(np.unique(truth.train_pids), np.arange(1, 7))
  np.testing.assert_array_equal(truth.query_camids, 1)
  assert dataset.train.read(0).shape == (*runs.SHAPE, 3)
  few, _ = load_dataset('mine.campus', campus, num_identities=2, seed=1)
  assert len(few.train) == 10


def test_objective_without_smoothing_is_the_memorys():
  rng = np.random.default_rng(0)
  rows = rng.normal(size=(12, 4)).astype(np.float32)
  rows /= np.linalg.norm(rows, axis=1, keepdims=True)
  labels = np.arange(12, dtype=np.int32) // 3
  outputs = objectives.Outputs(rows[::2], rows[::2])
  smooth = importlib.import_module('mine.smooth')
  theirs = MemoryObjective(0.1, 0.5)
  ours = smooth.Smooth(0.1, 0.5, share=0.0)
  state, known = ours.start(rows, labels), theirs.start(rows, labels)
  for got, expected in zip(
    ours.loss(state, outputs, labels[::2]),
    theirs.loss(known, outputs, labels[::2]),
    strict=True,
  ):
    np.testing.assert_allclose(got, expected, rtol=1e-6)
  np.testing.assert_array_equal(
    ours.after(state, outputs, labels[::2])['memory'],
    theirs.after(known, outputs, labels[::2]).memory,
  )


def test_smoothed_targets_sum_to_one():
  rows = np.eye(8, 4, dtype=np.float32)
  labels = np.array([0, 1, 2, 3, 0, 0, 0, 0], np.int32)
  create = objectives.create_objective
  objective = create('mine.smooth', temperature=1.0, momentum=0.5, init='zeros')
  state = objective.start(rows, labels)
  # Rows that are equally far from all four clusters.
  outputs = objectives.Outputs(np.zeros((8, 4), np.float32), rows)
  loss, _ = objective.loss(state, outputs, labels)
  np.testing.assert_allclose(loss, np.log(4), rtol=1e-6)


def test_backbone_halves_freezes_and_names_its_parts():
  encoder = models.create_encoder('mine.plain:small', frozen_stages=1)
  images = np.zeros((2, 24, 12, 3), np.float32)
  variables = jax.eval_shape(encoder.init, jax.random.key(0), images)
  backbone = variables['params']['backbone']
  assert sorted({name.split('_')[0] for name in backbone}) == [
    'layer1',
    'layer2',
    'layer3',
  ]
  embedding, feature = jax.eval_shape(encoder.apply, variables, images)
  assert embedding.shape == (2, 2048)
  assert feature.shape == (2, 128)
  plain = importlib.import_module('mine.plain')
  kept = {name for name in backbone if name.startswith(plain.frozen(1))}
  assert kept == {'layer1_conv', 'layer1_bn'}
  assert plain.torch_name('layer1_bn/var') == 'layer1_bn.running_var'


@pytest.mark.slow
def test_all_train_together_and_resume(campus, tmp_path, monkeypatch, capsys):
  runs.one_device(monkeypatch)
  config = runs.small_config('mine.campus', campus, 'mine.complete:Rule')
  config.cluster.reg_weight = 0.0
  config.cluster.cut = 'mine.height'
  config.train.objective = 'mine.smooth'
  config.model.name = 'mine.plain:tiny'
  job.run(config, tmp_path / 'work')
  summary = capsys.readouterr().out
  lines = (tmp_path / 'work' / 'metrics.jsonl').read_text().splitlines()
  records = [json.loads(line) for line in lines]
  counts = [record['num_clusters'] for record in records]
  assert counts[0] == 30
  assert counts[1] < 30
  assert records[1]['placed'] <= 1.0
  assert all(np.isfinite(record['loss']) for record in records)
  assert all('rank1' in record for record in records)
  job.run(config, tmp_path / 'work')
  assert capsys.readouterr().out == summary
