"""Checkpoints that know whether they are whole: the only orbax import.

Beside its arrays each has a record of facts. Orbax knows no checksums. So the
record has one of every array and one of itself, and files.json has one of every
file: by that, damage is found before orbax reads it, which may print tracebacks
of its own.
"""

import hashlib
import json
import logging
import os
import pathlib
import re
import shutil
import tempfile
import weakref
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from dbc_jax.devices import processes
from dbc_jax.reporting import write_atomically
from dbc_jax.reporting.plain_warnings import without_tracebacks

log = logging.getLogger('dbc_jax')

_ARRAYS = 'arrays'
_RECORD = 'record'
# What orbax names that it has not finished, and ignores.
_UNFINISHED = '.orbax-checkpoint-tmp'
_DAMAGED = 'damaged'
_FILES = 'files.json'
MAKE_ROOM = (
  'make room for it, and start the same command again, which goes on from the '
  'last checkpoint'
)


class DamagedError(ValueError):
  """A checkpoint is not what was written: a part of it differs or is gone."""


class CheckpointStore:
  """Checkpoints of one run, numbered by stage."""

  def __init__(self, directory: pathlib.Path):
    """Opens or creates `directory`; leftovers of a killed save are ignored."""
    self._folder = directory.absolute()
    self._is_proved = False
    self._files_checked: set[int] = set()
    # It creates them, too, and a link has to lead somewhere.
    self._folder.mkdir(parents=True, exist_ok=True)
    self._manager = ocp.CheckpointManager(
      self._readable_path(),
      options=ocp.CheckpointManagerOptions(
        create=True, enable_async_checkpointing=False
      ),
    )

  def _readable_path(self) -> pathlib.Path:
    """The folder by a name that orbax reads as it is."""
    if not _is_misread(self._folder):
      return self._folder
    check_path(self._folder)
    links = tempfile.mkdtemp(prefix='dbc_jax_')
    weakref.finalize(self, shutil.rmtree, links, ignore_errors=True)
    link = pathlib.Path(links, 'checkpoints')
    link.symlink_to(self._folder, target_is_directory=True)
    return link

  def latest_stage(self) -> int | None:
    """The last stage that was saved completely, or None."""
    return self._manager.latest_step()

  def stages(self) -> list[int]:
    """Those that are saved, rising."""
    return sorted(self._manager.all_steps())

  def save(self, stage: int, arrays: Any, record: dict[str, Any]) -> None:
    """Saves one stage; returns when it is safely on disk.

    The first one is read back.

    Args:
      stage: larger than every stage saved before.
      arrays: tree of arrays, none of them empty.
      record: JSON-able facts that go with them.

    Raises:
      RuntimeError: nothing was written, because the stage is not a new one.
      ValueError: it cannot be written, or cannot be read back.
    """
    # NumPy leaves: they restore without the devices they were saved from.
    arrays = jax.tree.map(np.asarray, arrays)
    content = {
      'number': stage,
      'record': record,
      'checksums': _checksums(arrays),
    }
    try:
      with without_tracebacks():
        saved = self._manager.save(
          stage,
          args=ocp.args.Composite(
            **{
              _ARRAYS: ocp.args.StandardSave(arrays),
              _RECORD: ocp.args.JsonSave(
                {'content': content, 'checksum': _checksum_of(content)}
              ),
            }
          ),
        )
        self._manager.wait_until_finished()
    except Exception as error:
      raise ValueError(
        f'workdir: {self._folder / str(stage)} cannot be written '
        f'({_first_line(error)}); {MAKE_ROOM}'
      ) from error
    if not saved:
      raise RuntimeError(
        f'checkpoint of stage {stage} was not written: stages '
        f'{self._manager.all_steps()} are there already'
      )
    if processes.is_first():
      # Not there after a kill just here: then the arrays are compared alone.
      folder = self._folder / str(stage)
      write_atomically(folder / _FILES, json.dumps(_checksums_of_files(folder)))
    processes.wait_for_all()
    if not self._is_proved:
      try:
        self.check(stage)
      except DamagedError as error:
        raise ValueError(
          f'workdir: what was written there reads otherwise: {error}; choose a '
          '--workdir on another disk'
        ) from error
      self._is_proved = True

  def keep_only(self, stages: set[int]) -> None:
    """Deletes all others, and what a kill left of saving and deleting."""
    if processes.is_first():
      for stage in self.stages():
        if stage not in stages:
          # By another name first: half deleted it would count as damaged.
          old = self._folder / str(stage)
          old.rename(old.with_name(f'{stage}{_UNFINISHED}-deleted'))
      for path in self._folder.iterdir():
        if _UNFINISHED in path.name:
          shutil.rmtree(path)
    processes.wait_for_all()
    self._manager.reload()

  def whole(self) -> tuple[dict[int, dict[str, Any]], set[int]]:
    """Reads all of them; sets aside those that are damaged, with a line each.

    Returns:
      The records of those that are whole, rising; the numbers of the others.
    """
    records, faults = {}, {}
    stages = self.stages()
    for stage in stages:
      try:
        records[stage] = self.check(stage)
      except DamagedError as error:
        faults[stage] = error
    # One process may see what another does not.
    bad = processes.gather(np.array([[stage in faults for stage in stages]]))
    damaged = {stages[i] for i in np.flatnonzero(bad.any(axis=0))}
    for stage in sorted(damaged):
      aside = self._folder / _DAMAGED / str(stage)
      log.warning(
        'checkpoint %s; it is set aside in %s',
        faults.get(stage, f'{self._folder / str(stage)} is damaged'),
        aside.parent,
      )
      if processes.is_first():
        shutil.rmtree(aside, ignore_errors=True)
        aside.parent.mkdir(exist_ok=True)
        (self._folder / str(stage)).rename(aside)
    processes.wait_for_all()
    self._manager.reload()
    return {k: v for k, v in records.items() if k not in damaged}, damaged

  def check(self, stage: int) -> dict[str, Any]:
    """Reads a stage, and returns its record.

    Raises:
      DamagedError: as `restore`.
    """
    record, _ = self._read(stage)
    self.restore_as_saved(stage)
    return record

  def has_checksums(self, stage: int) -> bool:
    """Whether the build that wrote a stage gave it any."""
    return self._read(stage)[1] is not None

  def read_record(self, stage: int) -> dict[str, Any]:
    """The JSON-able facts of a stage.

    Raises:
      FileNotFoundError: there is no such stage.
      DamagedError: they are not what was written.
    """
    return self._read(stage)[0]

  def _read(self, stage: int) -> tuple[dict[str, Any], dict[str, str] | None]:
    """The record, and the checksums of the arrays; None of an earlier build."""
    saved = self._read_item(stage, _RECORD, ocp.args.JsonRestore())
    # An earlier build wrote the record alone.
    if isinstance(saved, dict) and 'digest' in saved:
      return saved, None
    try:
      content = saved['content']
      is_right = saved['checksum'] == _checksum_of(content)
      if is_right and content['number'] != stage:
        raise DamagedError(
          f'{self._folder / str(stage)} is that of {content["number"]} by its '
          'record'
        )
    except (KeyError, TypeError):
      is_right = False
    if not is_right:
      raise DamagedError(
        f'{self._folder / str(stage)} is damaged: its record is not what was '
        'written'
      )
    return content['record'], content['checksums']

  def _check_files(self, stage: int) -> None:
    """Compares them with what was written, once."""
    folder = self._folder / str(stage)
    if stage in self._files_checked or not (folder / _FILES).exists():
      return
    found = _checksums_of_files(folder)
    try:
      written = dict(json.loads((folder / _FILES).read_bytes()))
    except (TypeError, ValueError):
      written = {_FILES: ''}
    for name, checksum in written.items():
      if found.get(name) != checksum:
        what = 'not what was written' if name in found else 'missing'
        raise DamagedError(f'{folder} is damaged: {name} is {what}')
    self._files_checked.add(stage)

  def _read_item(self, stage: int, item: str, how: Any) -> Any:
    if stage not in self._manager.all_steps():
      raise FileNotFoundError(f'{self._folder / str(stage)} does not exist')
    self._check_files(stage)
    try:
      return self._manager.restore(
        stage, args=ocp.args.Composite(**{item: how})
      )[item]
    except MemoryError:
      raise
    except Exception as error:
      what = f'{self._folder / str(stage)} cannot be read'
      if isinstance(error, PermissionError) or 'PERMISSION' in str(error):
        raise ValueError(
          f'workdir: {what}: permission denied; read it as its owner'
        ) from error
      raise DamagedError(f'{what}: {_first_line(error)}') from error

  def restore_as_saved(self, stage: int) -> Any:
    """The arrays of a stage, as NumPy, whatever they are.

    Raises:
      FileNotFoundError: there is no such stage.
      DamagedError: they are not what was written.
    """
    _, checksums = self._read(stage)
    arrays = self._read_item(stage, _ARRAYS, ocp.args.StandardRestore())
    if checksums is not None:
      found = _checksums(arrays)
      for name in sorted(found.keys() | checksums.keys()):
        if found.get(name) != checksums.get(name):
          raise DamagedError(
            f'{self._folder / str(stage)} is damaged: {name} is not what was '
            'written'
          )
    return arrays

  def restore(self, stage: int, template: Any) -> Any:
    """The arrays of a stage, as NumPy, in the shape of `template`.

    Given a template, orbax silently takes another shape and casts another
    dtype; so it gets none, and what is on disk is compared here.

    Raises:
      DamagedError: they are not what was written.
      ValueError: an array has another shape or dtype, is missing or is too
        many; names it.
    """
    arrays = self.restore_as_saved(stage)
    found, expected = _describe(arrays), _describe(template)
    for name in sorted(found.keys() | expected.keys()):
      if found.get(name) != expected.get(name):
        raise ValueError(
          f'checkpoint of stage {stage}: {name} is {found.get(name)}, expected '
          f'{expected.get(name)}; it is of another network or data set: '
          'choose another --workdir'
        )
    return arrays


def check_path(folder: pathlib.Path) -> None:
  """Raises ValueError for a path under which nothing could be saved."""
  if not _is_misread(folder):
    return
  if processes.count() > 1:
    raise ValueError(
      f'workdir: the path {str(folder)!r} has a character of []*?:\\ or one '
      'that is no UTF-8, which several processes cannot save under; choose '
      'another --workdir'
    )
  if _is_misread(pathlib.Path(tempfile.gettempdir())):
    raise ValueError(
      f'workdir: the path {str(folder)!r} is reached by a link in the folder '
      'of temporary files, whose path has a character of []*?:\\ or one that '
      'is no UTF-8 as well; choose another --workdir, or set TMPDIR'
    )


def _is_misread(path: pathlib.Path) -> bool:
  """Whether orbax takes a path for a pattern or an address, or not at all."""
  text = str(path.absolute())
  is_text = text.encode('utf-8', 'replace') == os.fsencode(text)
  return not is_text or re.search(r'[][*?:\\]', text) is not None


def _checksums(arrays: Any) -> dict[str, str]:
  """Of each array of a tree, of its dtype, its shape and its bytes."""
  found = {}
  for path, leaf in jax.tree_util.tree_leaves_with_path(arrays):
    shape = f'{leaf.dtype}{leaf.shape}'.encode()
    checksum = _new_checksum()
    checksum.update(shape)
    flat: Any = np.ascontiguousarray(leaf).reshape(-1).view(np.uint8)
    checksum.update(flat)
    found[jax.tree_util.keystr(path)] = checksum.hexdigest()
  return found


def _checksums_of_files(folder: pathlib.Path) -> dict[str, str]:
  """Of each file below a folder, by its path from there, but for the list."""
  found = {}
  for path in sorted(folder.rglob('*')):
    if path.is_file() and path.name != _FILES:
      with path.open('rb') as file:
        checksum = hashlib.file_digest(file, _new_checksum)
      found[path.relative_to(folder).as_posix()] = checksum.hexdigest()
  return found


def _new_checksum() -> Any:
  return hashlib.blake2b(digest_size=16)


def _checksum_of(content: dict[str, Any]) -> str:
  """Of a dict that JSON holds, by what JSON would read back."""
  checksum = _new_checksum()
  checksum.update(json.dumps(content, sort_keys=True).encode())
  return checksum.hexdigest()


def _first_line(error: Exception) -> str:
  lines = str(error).strip().splitlines()
  return (lines[0] if lines else type(error).__name__)[:200]


def _describe(tree: Any) -> dict[str, str]:
  return {
    jax.tree_util.keystr(path): f'{leaf.dtype}{list(leaf.shape)}'
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
  }
