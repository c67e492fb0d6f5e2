"""What people look at in a workdir; called by the driver.

Every process of a run calls it, and the first one writes.
"""

import pathlib
from typing import Any

import ml_collections
import numpy as np

from dbc_jax import reporting
from dbc_jax.data.pipeline import LoadedDataset
from dbc_jax.devices import processes
from dbc_jax.run import config as config_lib
from dbc_jax.run import selection


class Outputs:
  """The files of one run, but for its checkpoints."""

  def __init__(
    self,
    config: ml_collections.ConfigDict,
    workdir: pathlib.Path,
    data: LoadedDataset,
  ):
    """Writes nothing yet."""
    self._config = config
    self._workdir = workdir
    self._data = data
    self._writes = processes.is_first()

  def write_config(self) -> None:
    """Writes config.json."""
    if self._writes:
      reporting.write_atomically(
        self._workdir / 'config.json', config_lib.as_json(self._config)
      )

  def start(self, history: list[dict[str, Any]]) -> None:
    """Opens TensorBoard's file; `history` is of the stages that are done."""
    if not self._writes:
      return
    if not history:
      self._events = reporting.EventWriter(self._workdir, None)
      return
    # Its point is written again: the kill may have come just before it.
    last = history[-1]
    self._events = reporting.EventWriter(self._workdir, last['stage'] - 1)
    self._events.write_stage(last)

  def write_stage(self, history: list[dict[str, Any]]) -> None:
    """Writes the curves, a stage longer."""
    if self._writes:
      reporting.write_metrics(self._workdir, history)
      self._events.write_stage(history[-1])

  def close(self) -> None:
    """Closes what `start` opened."""
    if self._writes:
      self._events.close()

  def write_result(
    self,
    history: list[dict[str, Any]],
    stages: selection.Selection,
    labels: np.ndarray,
  ) -> None:
    """Writes clusters.csv and the report, and prints the summary.

    Args:
      history: of all stages.
      stages: of which the chosen one is the result.
      labels: [N] int32, its clusters.
    """
    if not self._writes:
      return
    train, truth = self._data.train, self._data.truth
    reporting.write_metrics(self._workdir, history)
    reporting.write_clusters(
      self._workdir / 'clusters.csv',
      self._data.names['train'],
      labels,
      pids=truth.train_pids,
      camids=truth.train_camids,
    )
    reporting.write_report(
      self._workdir / 'report.html',
      history,
      stages.chosen,
      stages.reason,
      stages.headed(),
      self._config.to_dict(),
      self._data.names['train'],
      labels,
      train.image,
      pids=truth.train_pids,
    )
    print(
      reporting.format_summary(
        history,
        stages.chosen,
        stages.reason,
        stages.headed(),
        self._workdir,
      )
    )
