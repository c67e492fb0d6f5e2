"""Steps, features and merges of one of several processes, for comparison.

A script for launch/multiprocess_cpu.sh; test_processes.py calls `compute` in
its own process as well.
"""

import argparse
import functools
import pathlib
import tempfile
from typing import Any
from unittest import mock

import float64
import jax
import ml_collections
import numpy as np
import small_networks

from dbc_jax.configs import common
from dbc_jax.data import pipeline
from dbc_jax.data import samples as samples_lib
from dbc_jax.data.augment import augment
from dbc_jax.data.frames import ResidentFrames, StreamedFrames
from dbc_jax.data.samples import GroundTruth
from dbc_jax.data.split import Split
from dbc_jax.devices import blocks, hosts, processes
from dbc_jax.run import merger, record
from dbc_jax.training import embed, optim
from dbc_jax.training.fit import Trainer
from dbc_jax.training.objectives import create_objective
from dbc_jax.training.step import Step

_SIZE = (24, 12)
_COUNT = 26  # not a multiple of the batch: the last one is padded


def compute() -> dict[str, np.ndarray]:
  """Three steps on kept and on streamed images, and what follows them."""
  with jax.enable_x64(True):
    return _compute()


def _compute() -> dict[str, np.ndarray]:
  images = np.random.default_rng(0).integers(
    0, 256, (_COUNT, *_SIZE, 3), np.uint8
  )
  labels = np.random.default_rng(1).permutation(_COUNT).astype(np.int32)
  encoder, variables = float64.create(
    small_networks.NAME, _SIZE, embedding_dim=16
  )
  trainer = Trainer(
    Step(
      encoder,
      optim.create_optimizer(
        momentum=0.9, weight_decay=5e-4, backbone_multiplier=0.5
      ),
      create_objective('memory', temperature=0.1, momentum=0.5),
      functools.partial(
        augment, size=_SIZE, crop_area=(0.64, 1.0), crop_aspect=(1.0, 1.5)
      ),
    )
  )
  extractor = embed.make_extractor(
    encoder, image_size=_SIZE, batch_size=8, max_frames=1
  )
  read: list[int] = []

  def decode(frame: int) -> np.ndarray:
    read.append(frame)
    return images[frame]

  results: dict[str, np.ndarray] = {}
  for kind, frames in {
    'kept': ResidentFrames(images),
    'streamed': StreamedFrames(decode),
  }.items():
    split = Split(frames, np.arange(_COUNT))
    features, embeddings = extractor(variables, split)
    results[f'{kind}/read to extract'] = np.array(len(read))
    metrics: list[tuple[float, ...]] = []
    step = trainer.step
    ((_, state),) = trainer.fit(
      step.start(
        variables,
        step.objective.start(embeddings, labels),
        step=5,
        rng=jax.random.key(1),
      ),
      split,
      labels,
      rates=[(0.1, 0.02)],
      seeds=[(0, 1)],
      batch_size=8,
      num_frames=1,
      on_step=lambda _, *values: metrics.append(values),  # noqa: B023
    )
    results[f'{kind}/features'] = features
    results[f'{kind}/metrics'] = np.array(metrics)
    state = state._replace(objective=state.objective.memory)
    for part in ('params', 'batch_stats', 'objective'):
      leaves = jax.tree.leaves(jax.device_get(getattr(state, part)))
      results[f'{kind}/{part}'] = np.concatenate([x.ravel() for x in leaves])
  results['merges'] = _merges(
    results['kept/features'], labels, merge_percent=15.5 / _COUNT
  )
  for kind, budget in (('kept', 1.0), ('streamed', 1e-9)):
    loaded, decoded = load(images, budget)
    in_order = [loaded.train.image(i) for i in range(len(loaded.train))]
    results[f'{kind}/loaded'] = np.array(in_order)
    results[f'{kind}/fingerprint'] = np.array(loaded.fingerprint())
    results[f'{kind}/told'] = np.array([*loaded.left_out, *loaded.notes])
    results[f'{kind}/decoded'] = np.array(sorted(decoded))
  return results | _shared_merges() | {'scores': _scores()}


def load(images, budget, names=None):
  """A data set of some images, one of them damaged, and what was decoded."""
  decoded = []

  def read(frame):
    decoded.append(frame)
    if frame == _COUNT - 2:
      raise ValueError(f'{frame}.png: damaged')
    return images[frame]

  names = names or tuple(f'{i}.png' for i in range(_COUNT))
  dataset = samples_lib.Dataset(
    samples_lib.Samples(names, read), samples_lib.EMPTY, samples_lib.EMPTY
  )
  loaded = pipeline.load_splits(
    dataset,
    samples_lib.GroundTruth(train_camids=np.arange(_COUNT, dtype=np.int32)),
    size=_SIZE,
    seed=3,
    memory_budget_gb=budget,
    skip_unreadable=True,
  )
  return loaded, [*decoded]  # What comes later is not of the loading.


def _scores() -> np.ndarray:
  """Of queries that processes share, the last ones without a match."""
  rng = np.random.default_rng(3)
  queries, gallery = (rng.normal(size=(n, 8)) for n in (41, 90))
  pids = np.minimum(np.arange(41), 30)
  truth = GroundTruth(
    query_pids=pids,
    query_camids=np.zeros(41, int),
    gallery_pids=np.arange(90) % 30,
    gallery_camids=np.ones(90, int),
  )
  return np.array([*record.rank(queries, gallery, truth, True).values()])


def _merges(
  features: np.ndarray, labels: np.ndarray, **more: Any
) -> np.ndarray:
  fields: ml_collections.ConfigDict = common.base('demo').cluster
  fields.criterion, fields.reg_weight = 'dbc', 0.1
  fields.update(more)
  return merger.Merger(fields)(features, features, labels, 0, 1)[0]


def _shared_merges() -> dict[str, np.ndarray]:
  """Those of passes that processes share, and of how many blocks here."""
  rng = np.random.default_rng(2)
  features = rng.normal(size=(1300, 8)).astype(np.float32)
  # One cluster is of several blocks, which different processes compute.
  labels = rng.permutation(np.maximum(np.arange(1300) - 800, 0))
  computed: list[int] = []
  own = blocks._fold_own

  def counted(block_pass: Any, carry: Any, shared: Any, items: Any) -> Any:
    computed.append(len(jax.tree.leaves(items)[0]))
    return own(block_pass, carry, shared, items)

  results = {}
  for kind, fields in {
    'matrix_free': {'memory_budget_gb': 0.0165},
    'jaccard': {'distance': 'jaccard', 'jaccard_k1': 8, 'jaccard_k2': 3},
  }.items():
    with mock.patch.object(blocks, '_fold_own', counted):
      results[kind] = _merges(
        features, labels.astype(np.int32), merge_percent=0.01, **fields
      )
    results[f'{kind}/blocks'] = np.array(sum(computed))
    computed.clear()
  return results


def main() -> None:
  """Writes what this process has computed, and what it made of a mismatch."""
  parser = argparse.ArgumentParser()
  parser.add_argument('folder', type=pathlib.Path)
  parser.add_argument('--coordinator')
  parser.add_argument('--num_processes', type=int)
  parser.add_argument('--process_id', type=int)
  args = parser.parse_args()
  processes.start(
    args.coordinator, args.num_processes, args.process_id, detect=False
  )
  tempfile.tempdir = str(args.folder)
  processes.check_same('data', 'all alike')
  own = f'that of {args.process_id}'
  told = {'mismatch': _error(processes.check_same, 'data', own)}
  results = compute()
  # As if each were on a machine of its own.
  hosts.groups = lambda: [[0], [1]]
  images = np.zeros((_COUNT, *_SIZE, 3), np.uint8)
  results['apart/decoded'] = np.array(load(images, 1.0)[1])
  images[[5, 9]] += np.uint8(args.process_id)
  told['other pixels'] = _error(load, images, 1.0)
  names = [f'{i}.png' for i in range(_COUNT)]
  names[7] = f'{args.process_id} 7.png'
  told['other names'] = _error(load, images, 1.0, tuple(names))
  np.savez(args.folder / f'{args.process_id}.npz', **told, **results)
  processes.wait_for_all()


def _error(call, *arguments) -> str:
  try:
    call(*arguments)
  except ValueError as error:
    return str(error)
  return ''


if __name__ == '__main__':
  main()
