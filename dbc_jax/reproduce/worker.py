"""One run of an experiment, in a process of its own.

  python -m dbc_jax.reproduce.worker CONFIG:DATASET WORKDIR KIND CHANGES

CHANGES are fields in JSON. It ends with DONE in the workdir, or by exit status
1 and a last line that says why.
"""

import datetime
import json
import logging
import os
import pathlib
import sys

import jax
import numpy as np

from dbc_jax import __version__
from dbc_jax.devices import interrupts, mesh
from dbc_jax.devices.compilation_cache import use_compilation_cache
from dbc_jax.devices.host_memory import keep_freed_memory
from dbc_jax.reporting import write_atomically
from dbc_jax.reporting.plain_warnings import use_plain_warnings
from dbc_jax.reproduce import controls
from dbc_jax.reproduce.jobs import DONE, STAGES
from dbc_jax.run import config as config_lib
from dbc_jax.run import config_files, job
from dbc_jax.run.stage import RunState


def main(argv: list[str]) -> None:
  """Does the run, or what is left of it."""
  name, folder, kind, changes, *options = argv
  logging.basicConfig(
    level=logging.WARNING, format='%(asctime)s %(message)s', datefmt='%H:%M:%S'
  )
  logging.getLogger('dbc_jax').setLevel(logging.INFO)
  use_plain_warnings()
  interrupts.install()
  use_compilation_cache()
  if mesh.host_is_device():
    keep_freed_memory()
  workdir = pathlib.Path(folder)
  config = config_files.with_changes(
    config_files.load_config(name),
    {
      key: tuple(value) if isinstance(value, list) else value
      for key, value in json.loads(changes).items()
    },
  )
  config = config_lib.with_added_fields(config)

  def keep(stage: int, labels: np.ndarray, state: RunState) -> None:
    if 'keep_stages' in options:
      write_stage(workdir, stage, labels, state.features)

  try:
    if kind == 'run':
      job.run(config, workdir, on_stage=keep)
    else:
      controls.run(kind, config, workdir, on_stage=keep)
  except (ValueError, FloatingPointError) as error:
    sys.exit(f'Error: {error}')
  except interrupts.Interrupted as signalled:
    sys.stderr.write(f'{signalled}\n')
    sys.exit(128 + signalled.number)
  interrupts.uninstall()
  devices = mesh.devices()
  about = {
    'device': f'{len(devices)} x {devices[0].device_kind}',
    'cores': _num_cores(),
    'jax': jax.__version__,
    'dbc_jax': __version__,
    'date': datetime.date.today().isoformat(),
  }
  write_atomically(workdir / DONE, json.dumps(about, indent=2) + '\n')


def _num_cores() -> int:
  if hasattr(os, 'sched_getaffinity'):
    return len(os.sched_getaffinity(0))
  return os.cpu_count() or 1


def write_stage(
  workdir: pathlib.Path, stage: int, labels: np.ndarray, features: np.ndarray
) -> None:
  """Keeps what benchmarks.stage_selection reads of a stage.

  Args:
    workdir: of the run.
    stage: its number.
    labels: [N] int32, the clusters that it trained on.
    features: [N, D] of the training images, by its network.
  """
  folder = workdir / STAGES
  folder.mkdir(parents=True, exist_ok=True)
  partial = folder / f'{stage}.tmp'
  with partial.open('wb') as file:
    np.savez(file, labels=labels, features=features.astype(np.float16))
  os.replace(partial, folder / f'{stage}.npz')


if __name__ == '__main__':
  main(sys.argv[1:])
