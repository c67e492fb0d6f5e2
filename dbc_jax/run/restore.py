"""The network and the clusters of a run, out of its workdir."""

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dbc_jax.data import forgotten, load_configured, pipeline
from dbc_jax.devices.compilation_cache import use_compilation_cache
from dbc_jax.run import (
  build,
  config_files,
  features_file,
  hub,
  same_data,
  selection,
)
from dbc_jax.run import config as config_lib
from dbc_jax.run import workdir as workdir_lib
from dbc_jax.run.checkpoint import CheckpointStore, DamagedError
from dbc_jax.run.config import Config
from dbc_jax.training.camera_statistics import network_of

log = logging.getLogger('dbc_jax')

_MENDED = "start the training's command again, which does anew what is damaged"
# Fields of a config that are read here; of its `data` those that say which
# images, and those that say how they reach the network, which are the run's.
_FIELDS = (
  *('seed', 'camera_rule', 'leave_one_out', 'extract_batch_size'),
  *('data', 'model'),
)
_DATASET_FIELDS = (
  'name',
  'root',
  'num_identities',
  'identities_seed',
  'csv',
  'pattern',
  'tracklets',
  'drop_queries',
  'skip_unreadable',
  'memory_budget_gb',
)
_VIEW_FIELDS = ('stored_size', 'image_size', 'max_frames')


class RestoredRun(NamedTuple):
  """A run as it was after one of its stages.

  Attributes:
    parts: of the run's config.
    stage: which one; `selection.WARMUP` is the warm-up before all.
    variables: 'params' and 'batch_stats' after it.
    labels: [N] int32, the clusters that it trained on, in the hashed order of
      the training images; of the kept stage those of a later clustering with
      corrections, where there is one.
    digest: of those images.
    kept: the chosen stage of the run, as far as it has got; None of no run.
    decoders: what decoded those images, with releases; None of an earlier
      build.
    num_clusters: how many it trained on, whatever a later clustering has.
  """

  parts: build.Parts
  stage: selection.Stage
  variables: dict[str, Any]
  labels: np.ndarray
  digest: str
  kept: selection.Stage | None = None
  decoders: Mapping[str, str] | None = None
  num_clusters: int = 0


def restore_run(workdir: Path, stage: str = 'chosen') -> RestoredRun:
  """Reads a stage of a run, which need not be finished.

  Args:
    workdir: of the run; nothing is written there. 'demo' is the run on the
      demo that comes with the package, where no such folder is.
    stage: 'chosen', 'last', 'oracle' (see `selection`), 'warmup', or a number.

  Raises:
    ValueError: no run, no complete stage yet, or no checkpoint of the stage;
      names those that there are.
  """
  use_compilation_cache()
  workdir = workdir_lib.find_workdir(workdir)
  parts = build.Parts(_read_config(workdir))
  saved = _saved(workdir)
  record = _latest_record(workdir, saved)
  if record.get('config', own := config_lib.digest(parts.config)) != own:
    log.warning(
      '%s is not what the run was trained with',
      workdir / workdir_lib.CONFIG,
    )
  history = record['history']
  stage = str(stage)
  wanted = _wanted(stage, history)
  if wanted not in saved:
    which = stage if stage == str(wanted) else f'{stage}, which is {wanted}'
    raise ValueError(
      f'stage: got {which}, but {workdir} has checkpoints of '
      f'{", ".join(map(str, saved))} alone; choose one of these'
    )
  # Earlier builds began with each of the N images as a cluster of its own.
  num_samples = record.get('num_samples', history[0]['num_clusters'])
  blank = np.zeros(num_samples, np.int32)
  shapes = parts.saved_shapes(
    blank,
    record.get('num_cameras', 0),
    is_warm=wanted == selection.WARMUP,
  )
  store, number = saved[wanted]
  try:
    arrays = store.restore(number, shapes)
  except DamagedError as error:
    raise ValueError(f'workdir: {error}; {_MENDED}') from error
  variables = workdir_lib.variables_of(arrays)
  kept, digest = selection.select(history).chosen, record['digest']
  labels = arrays['labels']
  num_clusters = int(labels.max()) + 1
  if wanted == kept:
    labels = features_file.labels(workdir, wanted, digest, labels)
  decoders = record.get('decoders')
  return RestoredRun(
    parts, wanted, variables, labels, digest, kept, decoders, num_clusters
  )


def read_history(workdir: Path) -> list[dict[str, Any]]:
  """The records of a run, as far as it has got.

  Raises:
    ValueError: it has no complete stage yet.
  """
  return _latest_record(workdir, _saved(workdir))['history']


def _latest_record(
  workdir: Path, saved: dict[selection.Stage, tuple[CheckpointStore, int]]
) -> dict[str, Any]:
  """Of the last checkpoint that has one."""
  if not saved:
    raise ValueError(
      f'workdir: {workdir} has no checkpoint; wait for the end of stage 0, or '
      'start its command again'
    )
  for store, number in reversed(saved.values()):
    try:
      return store.read_record(number)
    except DamagedError as error:
      log.warning('%s; the checkpoint before it is read', error)
  raise ValueError(
    f'workdir: {workdir} has no checkpoint that is whole; {_MENDED}'
  )


def _saved(workdir: Path) -> dict[selection.Stage, tuple[CheckpointStore, int]]:
  """The checkpoints of a run, in order: each one's store and number there."""
  saved: dict[selection.Stage, tuple[CheckpointStore, int]] = {}
  for name in (workdir_lib.WARMUP, workdir_lib.CHECKPOINTS):
    folder = workdir / name
    # A store makes its folder, so it is opened only where there is one.
    if not folder.is_dir():
      continue
    store = CheckpointStore(folder)
    for number in store.stages():
      if name == workdir_lib.CHECKPOINTS:
        saved[number] = store, number
      elif number == workdir_lib.CLUSTERED:
        saved[selection.WARMUP] = store, number
  return saved


def data_config(
  run: RestoredRun, path: str | None, changes: Mapping[str, Any]
) -> Config:
  """The config of a run, with another data set in it.

  Args:
    run: whose network it is. Its sizes of images stay, and `max_frames`.
    path: of a config file, with the data set after a colon, whose `data`
      fields are taken; None keeps those of the run.
    changes: `data` fields that come before both, but for those of None.

  Raises:
    ValueError: no config file, or a data set that it does not know.
  """
  config = run.parts.config.copy_and_resolve_references()
  if path is not None:
    given = config_lib.with_added_fields(config_files.load_config(path)).data
    config.data.update({field: given[field] for field in _DATASET_FIELDS})
    config.data.forgotten = ''
  config.data.update({k: v for k, v in changes.items() if v is not None})
  return config


def load_data(
  config: Config,
  digest: str | None,
  *,
  identities: bool,
  cameras: bool,
  decoders: Mapping[str, str] | None = None,
) -> pipeline.LoadedDataset:
  """The data set of a config, as a run of it reads it.

  Args:
    config: of `data_config`.
    digest: that the training images must have; None for another data set.
    identities: whether those of query and gallery are needed; of another data
      set, and of a test set alone, these two are then loaded alone.
    cameras: whether their cameras are needed, if there are identities.
    decoders: of the run, for the error where its images differ.

  Raises:
    ValueError: what is needed is missing, other training images, or files
      that cannot be read.
  """
  data = config.data
  dataset, truth = load_configured(config.data)
  if identities and not truth.can_evaluate:
    raise ValueError(
      f'{data.name}: no identities of queries and gallery, nothing can be '
      'scored; --save=F.npz saves the features'
    )
  lacks_cameras = truth.query_camids is None or truth.gallery_camids is None
  if truth.can_evaluate and cameras and lacks_cameras:
    raise ValueError(
      f'{data.name}: no cameras of queries and gallery; without: '
      '--camera_rule=False, and no --multi_query'
    )
  is_test_set = not len(dataset.train)
  if identities and is_test_set:
    digest = None  # There is nothing to mistake for the run's own.
  # Nobody asks for the training images of another data set, unless to save.
  splits = None
  if digest is None and (identities or is_test_set):
    splits = ('query', 'gallery')
  loaded = None
  if digest is None or not is_test_set:
    loaded = build.load_data(config, dataset, truth, splits=splits)
  if loaded is None or digest not in (None, loaded.digest):
    # A set that is drawn has no folder.
    where = 'their folder by --root, or ' if data.root else ''
    raise ValueError(
      f'{data.name}: these are not the training images of the run'
      f'{same_data.decoded_otherwise(decoders)}. Name {where}another data set '
      'by --config'
    )
  for note in loaded.notes:
    log.warning('%s', note)
  return loaded


def extract_arrays(
  run: RestoredRun, data: pipeline.LoadedDataset, splits: Iterable[str]
) -> dict[str, np.ndarray]:
  """Features and all else that is known, by name.

  Args:
    run: whose network.
    data: of `load_data`.
    splits: of 'train', 'query' and 'gallery'.

  Returns:
    Of each split 'SPLIT_features' [N, D] float32 and 'SPLIT_names' [N]; of
    query and gallery 'SPLIT_pids' [N], and 'SPLIT_camids' [N] if known, and of
    both 'copies' [P, 2], a query and its equal in the gallery; of the
    training images 'train_labels' [N], if they are those of the run.
  """
  arrays, same = {}, data.digest == run.digest
  variables = run.variables
  if not same:
    # Cameras of another data set are other ones.
    variables = network_of(variables)
    camids = data.truth.gallery_camids
    if data.gallery is not None and camids is not None:
      variables = run.parts.with_statistics(variables, data.gallery, camids)
  for name in splits:
    split = getattr(data, name)
    camids = getattr(data.truth, f'{name}_camids')
    features, _ = run.parts.embed(variables, split, camids)
    arrays[f'{name}_features'] = features
    arrays[f'{name}_names'] = np.array(data.names[name])
    if name == 'train':
      if same:
        arrays['train_labels'] = run.labels
      continue
    for field in (f'{name}_pids', f'{name}_camids'):
      column = getattr(data.truth, field)
      if column is not None:
        arrays[field] = column
      arrays['copies'] = data.copies
  return arrays


def _read_config(workdir: Path) -> Config:
  """What a run wrote of its settings, with all that is read here."""
  if (workdir / hub.WEIGHTS).is_file():
    raise ValueError(
      f'workdir: {workdir} is an exported network without its run; '
      'FeatureExtractor.from_pretrained reads it'
    )
  config = workdir_lib.read_config(workdir)
  path = workdir / forgotten.NAME
  if 'data' in config:  # The folder may have moved.
    config.data.forgotten = str(path) if path.exists() else ''
  missing = [field for field in _FIELDS if field not in config]
  if 'data' in config:
    missing += [
      f'data.{field}'
      for field in _DATASET_FIELDS + _VIEW_FIELDS
      if field not in config.data
    ]
  if missing:
    raise ValueError(
      f'{workdir / workdir_lib.CONFIG}: lacks {", ".join(missing)}; it is of '
      'another version of dbc_jax: evaluate it with that one'
    )
  return config


def _wanted(stage: str, history: list[dict[str, Any]]) -> selection.Stage:
  if stage.isdecimal():
    return int(stage)
  if stage == selection.WARMUP:
    return stage
  choices = selection.select(history).stages()
  if stage not in choices:
    raise ValueError(
      f'stage: got {stage!r}, expected a number or one of '
      f'{[*choices, selection.WARMUP]}'
    )
  wanted = choices[stage]
  if wanted is None:
    raise ValueError(
      f'stage: got {stage}, but this run was not scored on test identities; '
      'choose chosen, last or a number'
    )
  return wanted
