"""What decoding, streaming and augmentation cost.

  python -m benchmarks.data [--root=DIR] [--parts=stream,augment]

Parts:
  manifest  reading the list of Market-1501's files, and preparing them
  stream    batches of 64 x 128 JPEGs, decoded on threads, and kept on the
            devices
  augment   the augmentation beside a training step of ResNet-50 at 256 x 128
  memory    peak memory of a data set that is kept

DIR is Market-1501; without it as many files are written, with its names, from
images of the demo.
"""

import itertools
import json
import pathlib
import subprocess
import sys
import tempfile
import time

import cv2
import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

from benchmarks.market_files import written_market
from benchmarks.measuring import Peak, medians
from dbc_jax.configs import ecluster
from dbc_jax.data import load_dataset, load_images, pipeline
from dbc_jax.data.export.prepared import prepare
from dbc_jax.data.frames import ResidentFrames, StreamedFrames
from dbc_jax.devices import mesh
from dbc_jax.run import build

PARTS = ('manifest', 'stream', 'augment', 'memory')
BATCH, STEPS = 64, 200

_PARTS = flags.DEFINE_list('parts', [*PARTS], 'What to run.')
_ROOT = flags.DEFINE_string('root', '', 'Market-1501, or none.')
_REPEATS = flags.DEFINE_integer('repeats', 3, 'Calls of which to take medians.')
_STEP_BATCH = flags.DEFINE_integer('batch_size', 16, 'Of the training step.')
_CHILD = flags.DEFINE_string('child', '', 'Used by the part `memory`.')


def manifest(root: pathlib.Path) -> None:
  """Seconds until the files are known, decoded and prepared."""
  seconds = medians(
    {'read': lambda: load_dataset('market1501', root) and ()}, _REPEATS.value
  )
  print(f'\nmanifest of {root.name}: {seconds["read"]:.2f} s')
  dataset, truth = load_dataset('market1501', root)
  start = time.perf_counter()
  loaded = pipeline.load_splits(dataset, truth, size=(128, 64), seed=0)
  took = time.perf_counter() - start
  print(f'decoded, hashed and kept: {took:.1f} s ({loaded.decision})')
  with tempfile.TemporaryDirectory() as folder:
    start = time.perf_counter()
    prepare('market1501', root, pathlib.Path(folder))
    print(f'prepared as array_record: {time.perf_counter() - start:.1f} s')


def stream(root: pathlib.Path) -> None:
  """Images a second, from files to devices and on the devices."""
  samples = load_dataset('market1501', root)[0].train
  order = np.random.default_rng(0).integers(len(samples), size=(STEPS, BATCH))
  ways = {
    'decoded in a loop': lambda: (
      [samples.read(i) for i in order.ravel()] and ()
    ),
    'streamed': lambda: [*StreamedFrames(samples.read).batches(order)][-1],
  }
  resident = ResidentFrames(load_images(samples))
  ways['kept'] = lambda: [*itertools.islice(resident.batches(order), STEPS)]
  seconds = medians(ways, _REPEATS.value)
  print(f'\n{STEPS} batches of {BATCH} JPEGs of 64 x 128')
  print('| | images a second |\n|---|---|')
  for name, value in seconds.items():
    print(f'| {name} | {STEPS * BATCH / value:,.0f} |')


def augment(root: pathlib.Path) -> None:
  """The share of augmentation in a training step."""
  del root
  batch = _STEP_BATCH.value
  parts = build.Parts(ecluster.get_config('market1501'))
  trainer = parts.trainer
  state = mesh.replicate(
    trainer.step.start(
      parts.init_variables(),
      trainer.step.objective.start(
        np.resize(np.eye(100, 2048), (12936, 2048)), np.arange(12936) % 100
      ),
      step=0,
      rng=jax.random.key(0),
    )
  )
  rng = np.random.default_rng(0)
  images = rng.integers(0, 256, (batch, 128, 64, 3), np.uint8)
  data = mesh.shard({'images': images, 'labels': np.arange(batch) % 100})
  alone = jax.jit(
    lambda key, images: trainer.step.augment(key, jnp.arange(batch), images)
  )
  on_device = jnp.asarray(images)
  seconds = medians(
    {
      'step': lambda: trainer.compiled_step(state, data),
      'augmentation': lambda: alone(jax.random.key(0), on_device),
    },
    _REPEATS.value,
  )
  share = seconds['augmentation'] / seconds['step']
  print(
    f'\nResNet-50 at 256 x 128, batch {batch}: step {seconds["step"]:.2f} s, '
    f'augmentation alone {seconds["augmentation"]:.3f} s, {share:.1%} of it'
  )


def memory(root: pathlib.Path) -> None:
  """Peak memory while a data set is decoded and kept."""
  command = [sys.executable, '-m', 'benchmarks.data', f'--child={root}']
  lines = subprocess.run(
    command, check=True, capture_output=True, text=True
  ).stdout.splitlines()
  measured = json.loads(lines[-1])
  print(
    f'\n{measured["images"]:,} images of 128 x 64: peak '
    f'+{measured["bytes"] / 1e9:.3f} GB, '
    f'{measured["bytes"] / (measured["images"] * 128 * 64 * 3):.3f} of N H W 3'
  )


def measure(root: str) -> None:
  """One load in this process; prints a JSON line."""
  dataset, truth = load_dataset('market1501', root)
  # What the first call brings with it is not the images'.
  small = load_dataset('demo', num_train_images=20)
  pipeline.load_splits(*small, size=(128, 64), seed=0)
  peak = Peak()
  loaded = pipeline.load_splits(
    dataset, truth, size=(128, 64), seed=0, memory_budget_gb=10.0
  )
  batch = next(
    loaded.train.batches(loaded.train.draw_frames(np.arange(64)[None], 1, (0,)))
  )
  jax.block_until_ready(batch)
  images = len(loaded.train) + len(loaded.query) + len(loaded.gallery)
  print(json.dumps({'images': images, 'bytes': peak.increase()}))


def main(argv: list[str]) -> None:
  """Runs the parts that are asked for."""
  del argv
  if _CHILD.value:
    measure(_CHILD.value)
    return
  print(f'jax {jax.__version__} on {jax.devices()}, OpenCV {cv2.__version__}')
  with tempfile.TemporaryDirectory() as folder:
    if _ROOT.value:
      root = pathlib.Path(_ROOT.value)
    else:
      root = written_market(pathlib.Path(folder))
    for part in _PARTS.value:
      {p.__name__: p for p in (manifest, stream, augment, memory)}[part](root)


if __name__ == '__main__':
  app.run(main)
