"""Checkpoints of a run, without some of its images.

They are written anew beside the old ones, and take their place when all are
there: a kill before leaves the old, and one after is made good by `finish`.
"""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dbc_jax.data import forgotten
from dbc_jax.devices import processes
from dbc_jax.labels import NOT_PLACED
from dbc_jax.run import features_file, same_data, selection
from dbc_jax.run import workdir as workdir_lib
from dbc_jax.run.checkpoint import CheckpointStore, DamagedError
from dbc_jax.run.config import Config

# Of the copies while they are made, and when all are there.
_PARTIAL, READY = 'forgetting.partial', 'forgetting.ready'
_STORES = (workdir_lib.CHECKPOINTS, workdir_lib.WARMUP)


def drop(labels: np.ndarray, kept: np.ndarray) -> np.ndarray:
  """The labels [n] int32 of some images, contiguous again.

  Args:
    labels: [N] int32, -1 for an image in no cluster.
    kept: [n] int, rows.
  """
  labels = labels[kept]
  _, places = np.unique(labels[labels >= 0], return_inverse=True)
  found = np.full(len(labels), NOT_PLACED, np.int32)
  found[labels >= 0] = places
  return found


def rewrite(
  workdir: Path,
  kept: np.ndarray,
  facts: Mapping[str, Any],
  gone: Sequence[str],
  last: int | None = None,
  clusters: tuple[selection.Stage, np.ndarray] | None = None,
) -> None:
  """Takes images out of all checkpoints, and notes them as forgotten.

  What was saved within a stage, and what was set aside as damaged, goes: the
  stage begins anew.

  Args:
    workdir: of the run, which is held by a lock.
    kept: [n] int, the rows of the images that stay.
    facts: of these, as `same_data.facts`.
    gone: names of the others.
    last: the stage that a finished run ended with. It says so of itself then,
      as fewer images may ask for another number of stages.
    clusters: a stage, and its labels [N] by a later clustering, if there was.
  """
  shutil.rmtree(workdir / _PARTIAL, ignore_errors=True)
  (workdir / _PARTIAL).mkdir()
  data = same_data.write_without(
    workdir, {*gone}, workdir / _PARTIAL / same_data.NAME
  )
  for name in _STORES:
    if not (workdir / name).is_dir():
      continue
    store = CheckpointStore(workdir / name)
    copies: CheckpointStore | None = None
    for number in store.stages():
      try:
        record, arrays = store.check(number), store.restore_as_saved(number)
      except DamagedError:
        continue  # It goes: nothing can be taken out of it.
      copies = copies or CheckpointStore(workdir / _PARTIAL / name)
      arrays, record = _without(record, arrays, kept, facts, data)
      if name == workdir_lib.CHECKPOINTS and number == last:
        record['is_last'] = True
      copies.save(number, arrays, record)
  if clusters is not None:
    stage, labels = clusters
    labels = drop(labels, kept)
    features_file.write_labels(
      workdir / _PARTIAL, labels, stage, facts['digest']
    )
  notes = workdir / _PARTIAL / forgotten.NAME
  if (workdir / forgotten.NAME).exists():
    shutil.copyfile(workdir / forgotten.NAME, notes)
  forgotten.add(notes, gone)
  (workdir / _PARTIAL).rename(workdir / READY)
  finish(workdir)


def _without(
  record: dict[str, Any],
  arrays: dict[str, Any],
  kept: np.ndarray,
  facts: Mapping[str, Any],
  data: tuple[str, str] | None,
) -> tuple[dict[str, Any], dict[str, Any]]:
  for key in ('labels', 'next_labels'):
    if key in arrays:
      arrays[key] = drop(arrays[key], kept)
  record = record | {key: facts[key] for key in ('digest', 'ruled')}
  old = record.pop('data', None)
  if data and data[0] == old:
    record['data'] = data[1]
  if 'num_samples' in record or 'history' in record:
    record['num_samples'] = len(kept)
  return arrays, record


def finish(workdir: Path) -> None:
  """Puts copies that are all there into the place of the checkpoints."""
  ready = workdir / READY
  if not ready.is_dir():
    return
  old = workdir / workdir_lib.CHECKPOINTS
  copies = ready / workdir_lib.CHECKPOINTS
  if copies.is_dir():
    shutil.rmtree(old, ignore_errors=True)
    copies.rename(old)
  for name in (same_data.NAME, features_file.LABELS, forgotten.NAME):
    if (ready / name).exists():
      (ready / name).replace(workdir / name)
  shutil.rmtree(ready)


def with_forgotten(config: Config, workdir: Path) -> Config:
  """A config that leaves out the images which its workdir has forgotten.

  A run that goes on from another forgets what that one did. What `dbc forget`
  was in the middle of is brought to its end.

  Raises:
    ValueError: a file that cannot be read, or one that the field names by hand.
  """
  given = config.data.forgotten
  if given and Path(given).name != forgotten.NAME:
    raise ValueError(
      f'data.forgotten: got {given!r}, but a run sets it by itself, after '
      '`dbc forget`; leave it out'
    )
  path = workdir / forgotten.NAME
  if processes.is_first():
    finish(workdir)
    other = config.train.continue_from
    if other and not path.exists():
      source = Path(other).expanduser() / forgotten.NAME
      if source.exists():
        shutil.copyfile(source, path)
  processes.wait_for_all()
  wanted = str(path) if path.exists() else ''
  if config.data.forgotten == wanted:
    return config
  found = config.copy_and_resolve_references()
  found.data.forgotten = wanted
  return found
