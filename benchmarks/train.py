"""What a training step and a whole run cost.

  python -m benchmarks.train [--parts=overhead,torch,device,merge,run]

Parts:
  overhead  augmentation, memory loss and memory update, over the bare forward,
            backward and update of ResNet-50 at 256 x 128
  torch     training and forward pass of three networks beside torch's, in both
            its memory formats, on the same batch and threads; --keep_memory
            lets both keep what they free, as dbc_jax.main does
  device    the compiled epoch on an accelerator: images a second, and the share
            of the chip's peak that XLA counts (--peak_tflops, 989 for an H200's
            dense bfloat16)
  merge     a stage of 646 merges of 12,936 x 2048, and one of a single merge:
            with the loop where `dbc_jax` runs it, and on the device
  run       a whole run of Market-1501's size, by part, on images of the demo
            under its names, or --root; for an accelerator

`device` and `run` take --batch_size, --dtype and --stored_size.
"""

import dataclasses
import functools
import json
import os
import pathlib
import tempfile
import time
from collections.abc import Callable
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

from benchmarks.market_files import written_market
from benchmarks.measuring import medians
from benchmarks.stages import merging, product, random_features
from dbc_jax.cluster import Criterion
from dbc_jax.configs import ecluster
from dbc_jax.data.frames import ResidentFrames
from dbc_jax.data.split import Split
from dbc_jax.devices import mesh
from dbc_jax.devices.host_memory import keep_freed_memory
from dbc_jax.run import build, job
from dbc_jax.training.objectives import Outputs
from dbc_jax.training.step import Step, TrainState, init_variables

PARTS = ('overhead', 'torch', 'device', 'merge', 'run')
SIZE, STORED = (256, 128), (128, 64)
# Of `torch`: size of images, batch, stride of the last stage, and how many
# times --repeats each is called.
BESIDE_TORCH = {
  'resnet50': (SIZE, 16, 2, 2),
  'resnet2223': ((128, 64), 32, 1, 6),
  'resnet_tiny': ((64, 32), 64, 2, 30),
}
FEATURES = {'resnet50': 2048, 'resnet2223': 512, 'resnet_tiny': 256}
CAPACITY = 12936

_PARTS = flags.DEFINE_list('parts', [*PARTS[:2]], 'What to run.')
_REPEATS = flags.DEFINE_integer('repeats', 3, 'Calls of which to take medians.')
_BATCH = flags.DEFINE_integer('batch_size', 256, 'Of `device` and `run`.')
_DTYPE = flags.DEFINE_string('dtype', 'bfloat16', 'Of `device` and `run`.')
_KEEP = flags.DEFINE_bool('keep_memory', False, 'In `torch`: see there.')
_PEAK = flags.DEFINE_float('peak_tflops', 989.0, 'Of the chip, in this dtype.')
_ROOT = flags.DEFINE_string('root', '', 'Market-1501, for `run`; or none.')
_WORKDIR = flags.DEFINE_string('workdir', '', 'Of `run`; or a temporary one.')


def parts_of(dtype: str = 'float32') -> build.Parts:
  """The papers' network and step."""
  config = ecluster.get_config('market1501')
  config.model.dtype = dtype
  return build.Parts(config)


def first_state(step: Step) -> TrainState:
  """A random network, and a memory of as many rows as Market-1501 has."""
  rng = np.random.default_rng(0)
  rows = rng.standard_normal((CAPACITY, 2048), np.float32)
  state = step.start(
    init_variables(step.encoder, jax.random.key(0), SIZE),
    step.objective.start(rows, np.arange(CAPACITY)),
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


@dataclasses.dataclass(frozen=True)
class Bare:
  """The mean of the embeddings: an objective that costs nothing."""

  views: int = 1

  def start(self, embeddings: np.ndarray, labels: np.ndarray) -> tuple[()]:
    return ()

  def loss(
    self, state: Any, outputs: Outputs, labels: jax.Array
  ) -> tuple[jax.Array, jax.Array]:
    return jnp.mean(outputs.embeddings), jnp.float32(0.0)

  def after(self, state: Any, outputs: Outputs, labels: jax.Array) -> Any:
    return state


def bare_step(step: Step) -> Step:
  """Forward, backward and update alone, on images that are ready."""
  return dataclasses.replace(
    step, objective=Bare(), augment=lambda rng, positions, images: images
  )


def timed(step: Step, batch: dict[str, np.ndarray]) -> Callable[[], Any]:
  """A call of a step, over all devices, on a batch that is there."""
  compiled, state = mesh.parallel_update(step), first_state(step)
  given = mesh.shard(batch)
  return lambda: compiled(state, given)


def ready(batch: int, size: tuple[int, int] = SIZE) -> dict[str, np.ndarray]:
  """Images as the network sees them."""
  rng = np.random.default_rng(0)
  images = rng.standard_normal((batch, *size, 3), np.float32)
  return {'images': images, 'labels': np.zeros(batch, np.int32)}


def overhead() -> None:
  """The whole step over the bare one, at batch 64."""
  step = parts_of().trainer.step
  seconds = medians(
    {
      'bare': timed(bare_step(step), ready(64)),
      'whole': timed(step, random_batch(64)),
    },
    _REPEATS.value,
  )
  print(
    f'\nbatch 64, {CAPACITY} memory rows: bare step {seconds["bare"]:.2f} s, '
    f'whole step {seconds["whole"]:.2f} s, '
    f'{seconds["whole"] / seconds["bare"] - 1.0:+.1%}'
  )


def torch() -> None:
  """Three networks beside torch's, taking turns, in float32."""
  kept = _KEEP.value and keep_freed_memory()
  print(f'\nimages/s; freed memory is {"" if kept else "not "}kept')
  print('| network | | here | channels last | channels first |')
  print('|---|---|---|---|---|')
  for name, (size, batch, last_stride, times) in BESIDE_TORCH.items():
    calls = here(name, size, batch, last_stride)
    for which in ('channels_last', 'contiguous_format'):
      calls |= in_torch(name, size, batch, last_stride, which)
    seconds = medians(calls, times * _REPEATS.value)
    for what in ('training', 'forward'):
      rates = [
        f'{batch / seconds[who, what]:,.1f}'
        for who in ('here', 'channels_last', 'contiguous_format')
      ]
      print(f'| {name} | {what} | {" | ".join(rates)} |', flush=True)


def here(
  name: str, size: tuple[int, int], batch: int, last_stride: int
) -> dict[Any, Callable[[], Any]]:
  """A bare training step and a forward pass of a network."""
  config = ecluster.get_config('market1501')
  config.model.update(name=name, last_stride=last_stride)
  config.model.embedding_dim = FEATURES[name]
  step = bare_step(build.Parts(config).trainer.step)
  variables = init_variables(step.encoder, jax.random.key(0), size)
  state = step.start(variables, (), step=0, rng=jax.random.key(0))
  state = mesh.replicate(state._replace(learning_rate=jnp.float32(1e-3)))
  given = mesh.shard(ready(batch, size))
  update = mesh.parallel_update(step)
  variables = mesh.replicate(variables)
  pool = mesh.parallel_map(
    functools.partial(step.encoder.apply, method='pool'), is_network=True
  )
  return {
    ('here', 'training'): lambda: update(state, given),
    ('here', 'forward'): lambda: pool(variables, given['images']),
  }


def in_torch(
  name: str, size: tuple[int, int], batch: int, last_stride: int, which: str
) -> dict[Any, Callable[[], Any]]:
  """The same in torch, in one of its memory formats."""
  import torch as peer  # Only this part needs it.

  from tests import torch_resnet

  peer.set_num_threads(os.cpu_count())
  memory_format = getattr(peer, which)
  backbone, width = torch_resnet.create(name, last_stride), FEATURES[name]
  network = peer.nn.Sequential(
    backbone, peer.nn.Linear(width, width), peer.nn.BatchNorm1d(width)
  ).to(memory_format=memory_format)
  sgd = peer.optim.SGD(
    network.parameters(), 1e-3, momentum=0.9, weight_decay=5e-4, nesterov=True
  )
  images = ready(batch, size)['images'].transpose(0, 3, 1, 2).copy()
  images = peer.from_numpy(images).to(memory_format=memory_format)

  def training() -> tuple[()]:
    network.train()
    sgd.zero_grad()
    peer.nn.functional.normalize(network(images)).mean().backward()
    sgd.step()
    return ()

  def forward() -> tuple[()]:
    network.eval()
    with peer.inference_mode():
      backbone(images)
    return ()

  return {(which, 'training'): training, (which, 'forward'): forward}


def device() -> None:
  """Epochs of 40 steps, images resident."""
  trainer = parts_of(_DTYPE.value).trainer
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
  run = trainer.compiled_epoch
  start = time.perf_counter()
  state, _ = run(first_state(trainer.step), (resident, labels), index)
  jax.block_until_ready(state)
  print(f'\nfirst epoch, compiled: {time.perf_counter() - start:.0f} s')
  seconds = []
  for _ in range(_REPEATS.value):
    start = time.perf_counter()
    state, metrics = run(state, (resident, labels), index)
    jax.block_until_ready(metrics)
    seconds.append(time.perf_counter() - start)
  a_step = float(np.median(seconds)) / steps
  batch = mesh.shard(random_batch(size))
  cost = trainer.compiled_step.lower(state, batch).compile().cost_analysis()
  flops = (cost[0] if isinstance(cost, list) else cost)['flops']
  share = flops / a_step / (_PEAK.value * 1e12)
  print(
    f'{jax.devices()[0].device_kind}, {_DTYPE.value}, batch {size}: '
    f'{1e3 * a_step:.2f} ms a step, {size / a_step:,.0f} images/s, '
    f"{flops / 1e12:.2f} TFLOP a step by XLA's count, {share:.1%} of "
    f'{_PEAK.value:.0f} TFLOP/s'
  )


def merge() -> None:
  """A stage, with its loop on the host and on the device."""
  x = random_features(CAPACITY, 2048)
  print('\nmerges | product, s | loop as it is, s | loop on the device, s')
  for merges in (1, 646):
    stage = merging(x, merges, Criterion('ecluster', 0.9))

    def on_the_device(stage: Callable[[], Any] = stage) -> Any:
      with mock.patch.object(mesh, 'for_small_steps', lambda tree: tree):
        return stage()

    calls = {'product': product(x), 'as it is': stage, 'device': on_the_device}
    seconds = medians(calls, _REPEATS.value)
    row = ' | '.join(f'{seconds[name]:.3f}' for name in calls)
    print(f'{merges} | {row}', flush=True)


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
    {p.__name__: p for p in (overhead, torch, device, merge, run)}[part]()


if __name__ == '__main__':
  app.run(main)
