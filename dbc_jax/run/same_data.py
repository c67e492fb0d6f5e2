"""Whether a run goes on with the data that it was begun with.

A record of a checkpoint has digests of the data. To say what differs, the
workdir has a mark of each sample as well, in samples.npz. The marks are of
pixels, cameras and identities, and nothing that trains gets any of them.
"""

import hashlib
import itertools
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dbc_jax.data import marks as marks_lib
from dbc_jax.data.decode import decoders
from dbc_jax.data.pipeline import LoadedDataset
from dbc_jax.devices import processes
from dbc_jax.run import features_file
from dbc_jax.run.config import Config

NAME = 'samples.npz'


def facts(config: Config, data: LoadedDataset) -> dict[str, Any]:
  """What a record says of the data of a run.

  Returns:
    'digest' of the training images; 'data', a digest of all images, and of the
    cameras and identities that the config uses; 'ruled', one of the pairs that
    frames and walks keep apart; and 'decoders'.
  """
  ruled = np.unique(np.sort(data.ruled, axis=1), axis=0)
  return {
    'digest': data.digest,
    'data': marks_lib.digest(_used(config, data)),
    'ruled': hashlib.blake2b(ruled.tobytes(), digest_size=16).hexdigest(),
    'decoders': decoders(),
  }


def check(
  workdir: Path,
  records: Mapping[Path, Mapping[str, Any]],
  config: Config,
  data: LoadedDataset,
) -> None:
  """Checks that the data are those of the run in a workdir.

  Args:
    workdir: of the run.
    records: of its checkpoints. Those of an earlier build may lack 'data', or
      'ruled', and then do not bind to it.
    config: of the run.
    data: as they are now.

  Raises:
    ValueError: they are not; says how many of what differ.
  """
  own = facts(config, data)
  for record in records.values():
    is_same = own['data'] == record.get('data', own['data'])
    if record['digest'] != data.digest or not is_same:
      found = _changes(workdir, record, config, data)
      raise ValueError(
        f'workdir: {workdir} holds a run on other data: {found}'
        f'{decoded_otherwise(record.get("decoders"))}. Bring the data back as '
        'they were, or choose another --workdir'
      )
    if record.get('ruled', own['ruled']) != own['ruled']:
      raise ValueError(
        f'workdir: {workdir} holds a run under other rules: the frames of '
        f'cameras, their times, or {config.data.walks or "data.walks"} keep '
        'other pairs of images apart now. Bring them back as they were, or '
        'choose another --workdir'
      )


def decoded_otherwise(before: Mapping[str, str] | None) -> str:
  """What to tell where images differ, perhaps because of a decoder.

  Args:
    before: the `decoders` of a record; None of an earlier build.

  Returns:
    A sentence, or '' where the decoders are the same.
  """
  now = decoders()
  if before == now:
    return ''
  told = [
    ' and '.join(f'{name} {release}' for name, release in each.items())
    for each in (before or {}, now)
  ]
  if not before:
    return (
      f'. They are decoded, or drawn, by {told[1]} here; the run does not say '
      'by what it was, and other releases give other pixels'
    )
  return (
    f'. The run decoded, or drew, them by {told[0]}; here are {told[1]}, which '
    'may give other pixels: install those releases'
  )


def write(workdir: Path, config: Config, data: LoadedDataset) -> None:
  """Writes the marks, unless they are there; the first process does."""
  if not processes.is_first():
    return
  used = _used(config, data)
  there = _read(workdir)
  if there and marks_lib.digest(there[0]) == marks_lib.digest(used):
    return
  _write(workdir / NAME, used, data.names)


def write_without(
  workdir: Path, gone: Collection[str], to: Path
) -> tuple[str, str] | None:
  """Writes the marks of a workdir's samples, but for some, to another file.

  Args:
    workdir: of a run.
    gone: names of those samples.
    to: the file.

  Returns:
    The 'data' of records on all samples, and on those that are left; None where
    there are no marks.
  """
  there = _read(workdir)
  if there is None:
    return None
  marks, names = there
  left_marks, left_names = {}, {}
  for split, rows in marks.items():
    stays = [name not in gone for name in names[split]]
    left_marks[split] = rows[np.array(stays, bool)]
    left_names[split] = [*itertools.compress(names[split], stays)]
  _write(to, left_marks, left_names)
  return marks_lib.digest(marks), marks_lib.digest(left_marks)


def _write(path: Path, marks: marks_lib.Marks, names: marks_lib.Names) -> None:
  arrays: dict[str, Any] = {}
  for split, rows in marks.items():
    arrays[f'{split}_marks'] = rows
    arrays[f'{split}_names'] = np.array(names[split], str)
  partial = path.with_name(f'{NAME}.{os.getpid()}.tmp')
  with partial.open('wb') as file:
    np.savez_compressed(file, **arrays)
  os.replace(partial, path)


def _used(config: Config, data: LoadedDataset) -> dict[str, np.ndarray]:
  """The marks, without the cameras that a config leaves alone."""
  in_training = config.data.use_cameras == 'True'
  # Retrieval knows cameras by its rule, and by their statistics.
  in_scores = config.camera_rule or in_training
  used = {'train': in_training, 'query': in_scores, 'gallery': in_scores}
  return {
    split: rows if used[split] else marks_lib.without(rows, 'camid')
    for split, rows in data.marks.items()
  }


def _read(
  workdir: Path,
) -> tuple[dict[str, np.ndarray], dict[str, list[str]]] | None:
  """Marks and names of each split, as they were written."""
  marks, names = {}, {}
  try:
    # Opened here: np.load leaves a broken file open.
    with (workdir / NAME).open('rb') as file:
      saved = np.load(file, allow_pickle=False)
      for key in saved.files:
        split, _, what = key.partition('_')
        if what == 'marks':
          marks[split] = saved[key].astype(marks_lib.MARK)
        else:
          names[split] = saved[key].tolist()
  except features_file.UNREADABLE:
    return None
  return marks, names


def _changes(
  workdir: Path,
  record: Mapping[str, Any],
  config: Config,
  data: LoadedDataset,
) -> str:
  """What differs, in words."""
  there = _read(workdir)
  if there and marks_lib.digest(there[0]) == record.get('data'):
    unit = 'tracklet' if data.train.is_video else 'image'
    found = marks_lib.describe_changes(
      *there, _used(config, data), data.names, unit
    )
    if found:
      return '; '.join(found)
  if record['digest'] != data.digest:
    return 'other training images'
  return (
    'the same training images, and other queries, gallery images, cameras or '
    'identities'
  )
