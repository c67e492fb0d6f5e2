"""What a training step and a whole run cost.

  python -m benchmarks.train [--parts=overhead,torch,device,run]

Parts:
  overhead  augmentation, memory loss and memory update, over the bare forward,
            backward and update of ResNet-50 at 256 x 128
  torch     the step beside torch's on the same network, batch and threads
  device    the compiled epoch on an accelerator: images a second, and the share
            of the chip's peak that XLA counts (--peak_tflops, 989 for an H200's
            dense bfloat16)
  run       a whole run of Market-1501's size, by part, on images of the demo
            under its names, or --root; for an accelerator

`device` and `run` take --batch_size, --dtype and --stored_size.
"""

import functools
import json
import os
import pathlib
import tempfile
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import app, flags

from benchmarks.market_files import written_market
from benchmarks.measuring import medians
from configs import ecluster
from dbc_jax import memory, models
from dbc_jax.data.frames import ResidentFrames
from dbc_jax.data.split import Split
from dbc_jax.devices import mesh
from dbc_jax.run import job
from dbc_jax.training import fit, optim
from dbc_jax.training import step as step_lib

PARTS = ('overhead', 'torch', 'device', 'run')
SIZE, STORED = (256, 128), (128, 64)
CAPACITY = 12936

_PARTS = flags.DEFINE_list('parts', [*PARTS[:2]], 'What to run.')
_REPEATS = flags.DEFINE_integer('repeats', 3, 'Calls of which to take medians.')
_BATCH = flags.DEFINE_integer('batch_size', 256, 'Of `device` and `run`.')
_DTYPE = flags.DEFINE_string('dtype', 'bfloat16', 'Of `device` and `run`.')
_PEAK = flags.DEFINE_float('peak_tflops', 989.0, 'Of the chip, in this dtype.')
_ROOT = flags.DEFINE_string('root', '', 'Market-1501, for `run`; or none.')
_WORKDIR = flags.DEFINE_string('workdir', '', 'Of `run`; or a temporary one.')


def fields(dtype: str = 'float32') -> dict[str, Any]:
  """The static fields of the papers' step."""
  return {
    'encoder': models.create_encoder(axis_name=mesh.AXIS_NAME, dtype=dtype),
    'optimizer': optim.create_optimizer(
      momentum=0.9, weight_decay=5e-4, backbone_multiplier=0.1
    ),
    'image_size': SIZE,
    'crop_area': (0.64, 1.0),
    'crop_aspect': (1.0, 1.5),
    'temperature': 0.1,
    'memory_momentum': 0.5,
  }


def first_state(step: dict[str, Any]) -> step_lib.TrainState:
  """A random network, and a memory of as many rows as Market-1501 has."""
  rng = np.random.default_rng(0)
  rows = rng.standard_normal((CAPACITY, 2048), np.float32)
  state = step_lib.create_train_state(
    step_lib.init_variables(step['encoder'], jax.random.key(0), SIZE),
    step['optimizer'],
    memory.init_memory(rows, np.arange(CAPACITY), CAPACITY, CAPACITY),
    CAPACITY,
    step=0,
    rng=jax.random.key(0),
  )
  return mesh.replicate(state._replace(learning_rate=jnp.float32(1e-3)))


def random_batch(size: int) -> dict[str, np.ndarray]:
  """Images as stored, and labels of which a few repeat."""
  rng = np.random.default_rng(0)
  return {
    'images': rng.integers(0, 256, (size, *STORED, 3), np.uint8),
    'labels': rng.integers(0, CAPACITY, size).astype(np.int32),
  }


def bare_step(
  state: step_lib.TrainState,
  batch: dict[str, jax.Array],
  *,
  encoder: models.Encoder,
  optimizer: optax.GradientTransformation,
) -> tuple[step_lib.TrainState, jax.Array]:
  """Forward, backward and update alone, on images that are ready."""

  def loss_fn(params: Any) -> tuple[jax.Array, Any]:
    (embeddings, _), mutated = encoder.apply(
      {'params': params, 'batch_stats': state.batch_stats},
      batch['images'],
      train=True,
      rngs={'dropout': state.rng},
      mutable=['batch_stats'],
    )
    return jnp.mean(embeddings), mutated['batch_stats']

  (loss, batch_stats), grads = jax.value_and_grad(loss_fn, has_aux=True)(
    state.params
  )
  grads, batch_stats, loss = jax.lax.pmean(
    (grads, batch_stats, loss), mesh.AXIS_NAME
  )
  updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
  updates = jax.tree.map(lambda u: -state.learning_rate * u, updates)
  state = state._replace(
    params=optax.apply_updates(state.params, updates),
    batch_stats=batch_stats,
    opt_state=opt_state,
  )
  return state, loss


def overhead() -> None:
  """The whole step over the bare one, at batch 64."""
  static, batch = fields(), random_batch(64)
  state = first_state(static)
  whole = step_lib.make_train_step(**static)
  bare = mesh.parallel_update(
    functools.partial(
      bare_step, encoder=static['encoder'], optimizer=static['optimizer']
    )
  )
  ready = np.random.default_rng(0).standard_normal((64, *SIZE, 3), np.float32)
  given = mesh.shard(batch)
  given_bare = mesh.shard({'images': ready})
  seconds = medians(
    {
      'bare': lambda: bare(state, given_bare),
      'whole': lambda: whole(state, given),
    },
    _REPEATS.value,
  )
  print(
    f'\nbatch 64, {CAPACITY} memory rows: bare step {seconds["bare"]:.2f} s, '
    f'whole step {seconds["whole"]:.2f} s, '
    f'{seconds["whole"] / seconds["bare"] - 1.0:+.1%}'
  )


def torch() -> None:
  """The bare step beside torch's, at batch 16 in float32."""
  import torch as peer  # Only this part needs it.
  from tests.models.torch_resnet import ResNet

  peer.set_num_threads(os.cpu_count())
  network = peer.nn.Sequential(
    ResNet((3, 4, 6, 3)), peer.nn.Linear(2048, 2048), peer.nn.BatchNorm1d(2048)
  )
  sgd = peer.optim.SGD(
    network.parameters(), 1e-3, momentum=0.9, weight_decay=5e-4, nesterov=True
  )
  ready = np.random.default_rng(0).standard_normal((16, *SIZE, 3), np.float32)
  images = peer.from_numpy(ready.transpose(0, 3, 1, 2).copy())

  def torch_step() -> tuple[()]:
    sgd.zero_grad()
    peer.nn.functional.normalize(network(images)).mean().backward()
    sgd.step()
    return ()

  static = fields()
  state = first_state(static)
  bare = mesh.parallel_update(
    functools.partial(
      bare_step, encoder=static['encoder'], optimizer=static['optimizer']
    )
  )
  given = mesh.shard({'images': ready})
  seconds = medians(
    {'torch': torch_step, 'JAX': lambda: bare(state, given)}, _REPEATS.value
  )
  ours, theirs = 16 / seconds['JAX'], 16 / seconds['torch']
  print(
    f'\nbatch 16, images/s: torch {peer.__version__} {theirs:.1f}, JAX '
    f'{ours:.1f}, {ours / theirs:.2f} of torch'
  )


def device() -> None:
  """Epochs of 40 steps, images resident."""
  static = fields(_DTYPE.value)
  size, steps = _BATCH.value, 40
  rng = np.random.default_rng(0)
  images = rng.integers(0, 256, (CAPACITY, *STORED, 3), np.uint8)
  split = Split(ResidentFrames(images), np.arange(CAPACITY))
  resident = split.resident_images()
  if resident is None:
    raise SystemExit('the part `device` needs an accelerator')
  labels = mesh.replicate(np.arange(CAPACITY, dtype=np.int32))
  order = rng.integers(0, CAPACITY, (steps, size))
  index = mesh.shard((order, order), axis=1)
  run = fit.make_epoch(**static)
  state, _ = run(first_state(static), (resident, labels), index)
  jax.block_until_ready(state)
  seconds = []
  for _ in range(_REPEATS.value):
    start = time.perf_counter()
    state, metrics = run(state, (resident, labels), index)
    jax.block_until_ready(metrics)
    seconds.append(time.perf_counter() - start)
  a_step = float(np.median(seconds)) / steps
  one = step_lib.make_train_step(**static)
  batch = mesh.shard(random_batch(size))
  cost = one.lower(state, batch).compile().cost_analysis()
  flops = (cost[0] if isinstance(cost, list) else cost)['flops']
  share = flops / a_step / (_PEAK.value * 1e12)
  print(
    f'\n{jax.devices()[0].device_kind}, {_DTYPE.value}, batch {size}: '
    f'{1e3 * a_step:.2f} ms a step, {size / a_step:,.0f} images/s, '
    f"{flops / 1e12:.2f} TFLOP a step by XLA's count, {share:.1%} of "
    f'{_PEAK.value:.0f} TFLOP/s'
  )


def run() -> None:
  """A whole run, by part."""
  with tempfile.TemporaryDirectory() as folder:
    root = pathlib.Path(_ROOT.value or folder)
    if not _ROOT.value:
      written_market(root)
    config = ecluster.get_config('market1501')
    config.data.root = str(root)
    config.train.batch_size = _BATCH.value
    config.model.dtype = _DTYPE.value
    workdir = pathlib.Path(_WORKDIR.value or pathlib.Path(folder, 'run'))
    start = time.perf_counter()
    job.run(config, workdir)
    total = time.perf_counter() - start
    lines = (workdir / 'metrics.jsonl').read_text().splitlines()
  history = [json.loads(line) for line in lines]
  print(f'\nwhole run, batch {_BATCH.value}, {_DTYPE.value}')
  print('| part | seconds |\n|---|---|')
  known = 0.0
  for part in ('train', 'embed', 'evaluate', 'cluster'):
    seconds = sum(record.get(f'seconds_{part}', 0.0) for record in history)
    known += seconds
    print(f'| {part} | {seconds:.0f} |')
  print(f'| the rest: decoding, first features, files | {total - known:.0f} |')
  print(f'| all | {total:.0f} |')


def main(argv: list[str]) -> None:
  """Runs the parts that are asked for."""
  del argv
  print(f'jax {jax.__version__} on {jax.devices()}')
  for part in _PARTS.value:
    {p.__name__: p for p in (overhead, torch, device, run)}[part]()


if __name__ == '__main__':
  app.run(main)
