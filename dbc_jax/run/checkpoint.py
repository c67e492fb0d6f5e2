"""One checkpoint a stage: the only orbax import."""

import pathlib
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

_ARRAYS = 'arrays'
_RECORD = 'record'


class CheckpointStore:
  """Checkpoints of one run, numbered by stage."""

  def __init__(self, directory: pathlib.Path):
    """Opens or creates `directory`; leftovers of a killed save are ignored."""
    self._manager = ocp.CheckpointManager(
      directory.absolute(),
      options=ocp.CheckpointManagerOptions(
        create=True, enable_async_checkpointing=False
      ),
    )

  def latest_stage(self) -> int | None:
    """The last stage that was saved completely, or None."""
    return self._manager.latest_step()

  def stages(self) -> list[int]:
    """Those that are saved, rising."""
    return sorted(self._manager.all_steps())

  def save(self, stage: int, arrays: Any, record: dict[str, Any]) -> None:
    """Saves one stage; returns when it is safely on disk.

    Args:
      stage: larger than every stage saved before.
      arrays: tree of arrays, none of them empty.
      record: JSON-able facts that go with them.

    Raises:
      RuntimeError: nothing was written, because the stage is not a new one.
    """
    # NumPy leaves: they restore without the devices they were saved from.
    saved = self._manager.save(
      stage,
      args=ocp.args.Composite(
        **{
          _ARRAYS: ocp.args.StandardSave(jax.tree.map(np.asarray, arrays)),
          _RECORD: ocp.args.JsonSave(record),
        }
      ),
    )
    self._manager.wait_until_finished()
    if not saved:
      raise RuntimeError(
        f'checkpoint of stage {stage} was not written: stages '
        f'{self._manager.all_steps()} are there already'
      )

  def keep_only(self, stages: set[int]) -> None:
    """Deletes the checkpoints of all other stages."""
    for stage in self._manager.all_steps():
      if stage not in stages:
        self._manager.delete(stage)

  def read_record(self, stage: int) -> dict[str, Any]:
    """The JSON-able facts of a stage."""
    return self._manager.restore(
      stage, args=ocp.args.Composite(**{_RECORD: ocp.args.JsonRestore()})
    )[_RECORD]

  def restore_as_saved(self, stage: int) -> Any:
    """The arrays of a stage, as NumPy, whatever they are."""
    return self._manager.restore(
      stage, args=ocp.args.Composite(**{_ARRAYS: ocp.args.StandardRestore()})
    )[_ARRAYS]

  def restore(self, stage: int, template: Any) -> Any:
    """The arrays of a stage, as NumPy, in the shape of `template`.

    Given a template, orbax silently takes another shape and casts another
    dtype; so it gets none, and what is on disk is compared here.

    Raises:
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


def _describe(tree: Any) -> dict[str, str]:
  return {
    jax.tree_util.keystr(path): f'{leaf.dtype}{list(leaf.shape)}'
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
  }
