"""A workdir: what is in it, and what people look at there.

Every process of a run writes through here, and the first one writes.
"""

import contextlib
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dbc_jax import cluster, reporting
from dbc_jax.data.pipeline import LoadedDataset
from dbc_jax.devices import processes
from dbc_jax.run import checkpoint, features_file, identities, selection
from dbc_jax.run import config as config_lib
from dbc_jax.run.checkpoint import CheckpointStore
from dbc_jax.run.config import Config
from dbc_jax.training import camera_statistics

log = logging.getLogger('dbc_jax')

DEMO = Path(__file__).parents[1] / 'demo'
CONFIG, REPORT = 'config.json', 'report.html'
CHECKPOINTS, WARMUP = 'checkpoints', 'checkpoints/warmup'
# Of the stage, or the warm-up, that is being trained.
WITHIN = 'checkpoints/within'
# Of the checkpoints of a warm-up: its network, then its clusters as well.
NETWORK, CLUSTERED = 0, 1


def find_workdir(path: Path) -> Path:
  """A workdir by its path; 'demo' is the one that comes with the package."""
  if str(path) == DEMO.name and not (path / CONFIG).exists():
    return DEMO
  return path


def as_json(config: Config) -> str:
  """What config.json holds."""
  return json.dumps(config.to_dict(), indent=2) + '\n'


def read_config(workdir: Path) -> Config:
  """The settings of the run in a workdir, as this build reads them.

  Raises:
    ValueError: there is no config.json, or it is not one.
  """
  path = workdir / CONFIG
  if not path.exists():
    raise ValueError(
      f'workdir: {path} does not exist; name the --workdir of a training'
    )
  try:
    saved = json.loads(path.read_text(encoding='utf-8'))
    if not isinstance(saved, dict):
      raise ValueError('it holds no fields')
  except ValueError as error:  # That of JSON and that of UTF-8 are such.
    raise ValueError(
      f'{path}: expected JSON, {error}; start the training again, which '
      'writes it'
    ) from error
  return config_lib.with_added_fields(saved)


def arrays_of(
  variables: dict[str, Any],
  labels: np.ndarray,
  next_labels: np.ndarray,
  student: dict[str, Any] | None,
) -> dict[str, Any]:
  """What a checkpoint holds.

  Args:
    variables: of the model that embeds.
    labels: [N], the clusters that it was trained on.
    next_labels: [N], those that follow.
    student: of the model that goes on learning, if that is another.
  """
  arrays = variables | {'labels': labels, 'next_labels': next_labels}
  return arrays if student is None else arrays | {'student': student}


def variables_of(arrays: dict[str, Any]) -> dict[str, Any]:
  """The `variables` that `arrays_of` was given."""
  return {
    key: arrays[key]
    for key in ('params', 'batch_stats', camera_statistics.KEY)
    if key in arrays
  }


def has_stage(folder: Path) -> bool:
  """Whether a folder of checkpoints has a complete one."""
  return folder.exists() and CheckpointStore(folder).latest_stage() is not None


def has_run(workdir: Path) -> bool:
  """Whether a run in a workdir came so far that it is bound to its config."""
  return any(
    has_stage(workdir / name) for name in (CHECKPOINTS, WARMUP, WITHIN)
  )


def check_workdir(workdir: Path, config: Config) -> dict[Path, dict[str, Any]]:
  """Checks that the run in a workdir, if there is one, is one of this config.

  A workdir without a complete stage may be used by any config. The folder of
  the data may have moved: its images are compared instead.

  Returns:
    The records of its checkpoints that can be read.

  Raises:
    ValueError: it is not; names the fields that differ. Or nothing could be
      saved under its path.
  """
  checkpoint.check_path(workdir)
  if not has_run(workdir):
    return {}
  records, own = _records(workdir), config_lib.digest(config)
  digests = {k: x['config'] for k, x in records.items() if 'config' in x}
  others = [path for path, digest in digests.items() if digest != own]
  try:
    found = differences(workdir, config)
  except ValueError as error:
    found = str(error).partition(';')[0]
  if found and digests and not others:
    log.warning(
      '%s is written anew: its checkpoints are of this config, and it is not '
      '(%s)',
      workdir / CONFIG,
      found,
    )
  elif found:
    raise ValueError(
      f'workdir: {workdir} holds a run of another config ({found}); '
      'choose another --workdir, or delete this one to start over'
    )
  elif others:
    raise ValueError(
      f'workdir: {min(others)} is a checkpoint of another config than '
      f'{workdir / CONFIG}; take it away, or choose another --workdir'
    )
  return records


def _records(workdir: Path) -> dict[Path, dict[str, Any]]:
  """Of each checkpoint that is readable, what it says of itself."""
  found = {}
  for name in (CHECKPOINTS, WARMUP, WITHIN):
    folder = workdir / name
    if not folder.is_dir():
      continue
    store = CheckpointStore(folder)
    for number in store.stages():
      with contextlib.suppress(checkpoint.DamagedError):  # It is told later.
        found[folder / str(number)] = store.read_record(number)
  return found


def differences(workdir: Path, config: Config) -> str:
  """How a config differs from that of a run, in what changes results.

  Args:
    workdir: of the run.
    config: to compare.

  Returns:
    Each field with both values, or ''.
  """
  saved, given = map(config_lib.binding_fields, (read_config(workdir), config))
  return '; '.join(
    f'{key}: {saved.get(key)!r} there, {given.get(key)!r} given'
    for key in sorted(saved.keys() | given.keys())
    if saved.get(key) != given.get(key)
  )


class Outputs:
  """The files of one run, but for its checkpoints."""

  def __init__(
    self,
    config: Config,
    workdir: Path,
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
      reporting.write_atomically(self._workdir / CONFIG, as_json(self._config))

  def start(
    self, history: list[dict[str, Any]], labels: np.ndarray | None
  ) -> None:
    """Opens TensorBoard's file.

    Args:
      history: of the stages that are done.
      labels: [N] int32, clusters that the last of them trained on, if any.
    """
    if self._writes:
      done = [x['stage'] for x in history if x['stage'] != selection.WARMUP]
      before = done[-1] - 1 if done else None
      self._events = reporting.EventWriter(self._workdir, before)
      # Its point is written again: the kill may have come just before it.
      for record in history[-1:]:
        self._events.write_stage(record, labels)

  def write_stage(
    self, history: list[dict[str, Any]], labels: np.ndarray
  ) -> None:
    """Writes the curves, a record longer.

    Args:
      history: of the stages that are done.
      labels: [N] int32, clusters that the last of them trained on.
    """
    if self._writes:
      reporting.write_metrics(self._workdir, history)
      self._events.write_stage(history[-1], labels)
      stages = selection.select(history)
      reporting.write_progress(
        self._workdir / REPORT,
        history,
        stages.chosen,
        stages.headed(),
        self._config.to_dict(),
        labels,
      )

  def close(self) -> None:
    """Closes what `start` opened."""
    if self._writes:
      self._events.close()

  def write_result(
    self,
    history: list[dict[str, Any]],
    stages: selection.Selection,
    labels: np.ndarray,
    features: np.ndarray,
    shown: features_file.Shown,
    ranked: Sequence[reporting.RankedList],
    root: str,
  ) -> None:
    """Writes features, clusters and the report, and prints the summary.

    Args:
      history: of all stages.
      stages: of which the chosen one is the result.
      labels: [N] int32, its clusters.
      features: [N, D] float16 of the training images, by its network.
      shown: what the report shows of them.
      ranked: what queries find by it.
      root: the folder that names start from; '' where they are no files.
    """
    if not self._writes:
      return
    names, truth = self._data.names['train'], self._data.truth
    found, moved = identities.after(self._workdir, names, labels)
    silhouettes = cluster.simplified_silhouettes(features, labels)
    features_file.write(
      self._workdir,
      features,
      names,
      stages.chosen,
      self._data.digest,
      shown,
      self._data.ruled,
    )
    reporting.write_metrics(self._workdir, history)
    frames = self._data.frames
    # First, so that a kill in between loses no merge.
    identities.write(self._workdir, found)
    reporting.write_clusters(
      self._workdir / identities.CLUSTERS,
      [frames[name][0] for name in names] if frames else names,
      identities.ids_of(found, labels),
      tracklets=names if frames else None,
      pids=truth.train_pids,
      camids=truth.train_camids,
      silhouettes=silhouettes,
    )
    kept = history, stages.chosen, stages.reason, stages.headed()
    is_file = root and (Path(root).expanduser() / names[0]).is_file()
    with reporting.busy('report'):
      reporting.write_report(
        self._workdir / REPORT,
        *kept,
        self._config.to_dict(),
        names,
        labels,
        self._data.train.image,
        features=features,
        places=shown.places,
        pids=truth.train_pids,
        camids=truth.train_camids,
        silhouettes=silhouettes,
        titles=identities.titles(found),
        ranked=ranked,
        root=Path(root).expanduser() if is_file else None,
      )
      self._write_projector(features, identities.ids_of(found, labels))
    print(reporting.format_summary(*kept, self._workdir))
    if moved:
      identities.write_moved(self._workdir, moved)
      print(
        f'{len(moved)} of {len(names)} images are in another cluster than '
        f'before; {self._workdir / identities.MOVED} lists them'
      )

  def _write_projector(self, features: np.ndarray, ids: np.ndarray) -> None:
    """What TensorBoard shows under Projector: as many images as the map has."""
    truth, names = self._data.truth, self._data.names['train']
    columns = {
      'cluster': ids,
      'camera': truth.train_camids,
      'identity': truth.train_pids,
    }
    rows = reporting.rows_of_map(len(names))
    reporting.write_projector(
      self._workdir / 'tensorboard',
      features[rows],
      [names[i] for i in rows],
      {
        key: column[rows]
        for key, column in columns.items()
        if column is not None
      },
      lambda i: self._data.train.image(rows[i]),
    )
