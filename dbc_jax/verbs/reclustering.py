"""Cluster again: the kept stage of a run once more, with corrections."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.cluster.hierarchy import linkage

from dbc_jax import cluster
from dbc_jax.cluster.hierarchy import labels_after
from dbc_jax.cluster.linked import Links
from dbc_jax.reporting import write_clusters
from dbc_jax.run import config as config_lib
from dbc_jax.run import corrections as corrections_lib
from dbc_jax.run import features_file, identities, restore, rules, selection
from dbc_jax.run.merger import Merger
from dbc_jax.run.restore import RestoredRun
from dbc_jax.run.workdir import DEMO, find_workdir


class Reclustered(NamedTuple):
  """What a clustering with corrections did.

  Attributes:
    labels: [N] int32, contiguous; -1 for an image in none.
    numbers: [N] int, the numbers of these clusters, as in clusters.csv.
    moved: of each image that was in a cluster and has another number now its
      name, that number and the new one, -1 for none.
    links: the corrections, as rows.
    unknown: how many corrections name an image that the run does not have.
  """

  labels: np.ndarray
  numbers: np.ndarray
  moved: list[tuple[str, int, int]]
  links: Links
  unknown: int


def recluster(
  workdir: Path,
  run: RestoredRun,
  corrections: list[corrections_lib.Correction],
  *,
  root: str | None = None,
) -> Reclustered:
  """Merges the images of a kept stage anew, heeding corrections.

  It writes clusters.csv, identities.csv and moved.csv; `restore_run` gives the
  new labels from then on. It takes no lock: hold the workdir by `run.lock`.

  Args:
    workdir: of the run.
    run: its kept stage.
    corrections: of `read_corrections`.
    root: where the run's images are, if they moved; a run that clusters by its
      embeddings reads them anew.

  Raises:
    ValueError: no features of that stage, another stage, cameras that are not
      known any more, no images where they are needed, or corrections that
      contradict each other.
  """
  if find_workdir(workdir).resolve() == DEMO.resolve():
    raise ValueError(
      'workdir: demo comes with the package and stays as it is; copy it, or '
      'name the workdir of a run of your own'
    )
  fields = run.parts.config.cluster
  if run.stage != run.kept:
    raise ValueError(
      f'stage: {run.stage} is not the kept stage, {run.kept}, whose clusters '
      'the workdir shows'
    )
  saved = features_file.read(workdir, run.stage, run.digest)
  if saved is None:
    raise ValueError(
      f'workdir: {workdir} has no {features_file.NAME} of its kept stage; '
      f'dbc report --workdir={workdir} writes it'
    )
  features, names = saved
  features = unit(features)
  table = _read_table(workdir / identities.CLUSTERS)
  links = corrections_lib.links(corrections, names, first_frames(workdir))
  chosen = features
  if fields.features == 'embedding':
    chosen = _embeddings(run, root)
  labels = Merger(fields).again(
    chosen,
    run.num_clusters,
    *clustering_of(run),
    camids=_cameras(table, names) if fields.camera_centring else None,
    links=rules.with_rules(links, ruled_of(workdir, run)),
  )
  found, moved = identities.after(workdir, names, labels)
  numbers = identities.ids_of(found, labels)
  features_file.write_labels(workdir, labels, run.stage, run.digest)
  identities.write(workdir, found)
  _write_table(workdir, table, names, numbers, features, labels)
  identities.write_moved(workdir, moved)
  unknown = len(corrections) - links.told
  return Reclustered(labels, numbers, moved, links, unknown)


def _embeddings(run: RestoredRun, root: str | None) -> np.ndarray:
  """The embeddings [N, E] of a run's images, which it does not keep."""
  data = restore.load_data(
    restore.data_config(run, None, {'root': root}),
    run.digest,
    identities=False,
    cameras=False,
    decoders=run.decoders,
  )
  camids = data.truth.train_camids
  return run.parts.embed(run.variables, data.train, camids)[1]


def ruled_of(workdir: Path, run: RestoredRun) -> np.ndarray:
  """Pairs [P, 2] int64 of a run's images that its rules keep apart.

  Raises:
    ValueError: there are rules, and the workdir does not have the pairs.
  """
  config = run.parts.config
  if config.cluster.frame_rule == 'off' and not config.data.walks:
    return np.zeros((0, 2), np.int64)
  ruled = features_file.read_ruled(workdir, run.stage, run.digest)
  if ruled is None:
    raise ValueError(
      f'workdir: {features_file.NAME} of {workdir} lacks the pairs that its '
      f'rules keep apart; dbc report --workdir={workdir} writes them'
    )
  return ruled


def links_of(path: Path, names: Sequence[str]) -> Links:
  """The corrections of a file by hand, as rows of images.

  Raises:
    ValueError: no such file, a bad line, a name of none of the images, or
      answers that contradict each other.
  """
  if not path.is_file():
    raise ValueError(f'--corrections: {path} is no file')
  found = corrections_lib.read_corrections(path)
  rows = corrections_lib.rows_of(names)
  lost = [
    name
    for each in found
    for name in (each.a, each.b)
    if corrections_lib.row_of(rows, name) is None
  ]
  if lost:
    raise ValueError(
      f'{path}: {len(lost)} of its names are of no row of --features, the '
      f'first: {lost[0]}; rows are such as {names[0]}'
    )
  return corrections_lib.links(found, names)


def unit(features: np.ndarray) -> np.ndarray:
  """Features [N, D] of a file as float32 rows of unit length."""
  features = features.astype(np.float32)
  return features / np.linalg.norm(features, axis=1, keepdims=True)


def first_frames(workdir: Path) -> dict[str, str]:
  """From tracklets to the paths of their first frames, by clusters.csv."""
  table = _read_table(workdir / identities.CLUSTERS)
  return {key: row['path'] for key, row in table.items() if key != row['path']}


def split(
  features: np.ndarray, rows: np.ndarray, num_parts: int
) -> list[np.ndarray]:
  """The parts of some images, such as a cluster, along their own tree.

  Args:
    features: [N, D] float32, rows of unit length.
    rows: [n] int, the images.
    num_parts: how many, in 1..n.

  Returns:
    Rows of each part, rising; the largest part first.

  Raises:
    ValueError: a single image, or no such number of parts.
  """
  return parts_of(own_tree(features, rows), rows, num_parts)


def own_tree(features: np.ndarray, rows: np.ndarray) -> np.ndarray:
  """Average linkage of some images, to cut by `parts_of`.

  Args:
    features, rows: as of `split`.

  Returns:
    [n - 1, 4] float64, as `scipy.cluster.hierarchy.linkage`; `tree[:, 2]` are
    the distances that the sides of each merge have.

  Raises:
    ValueError: a single image.
  """
  if len(rows) < 2:
    raise ValueError('cluster: it has one image, and nothing to split')
  return linkage(features[rows].astype(np.float64), 'average')


def parts_of(
  tree: np.ndarray, rows: np.ndarray, num_parts: int
) -> list[np.ndarray]:
  """As `split`, of the `own_tree` of these rows."""
  if not 1 <= num_parts <= len(rows):
    raise ValueError(
      f'parts: got {num_parts}, expected 1..{len(rows)}, the images of the '
      'cluster'
    )
  merges = tree[:, :2].astype(int)
  labels = labels_after(merges, np.arange(len(rows)), len(rows) - num_parts)
  rows = np.asarray(rows)
  parts = [np.sort(rows[labels == part]) for part in range(num_parts)]
  return sorted(parts, key=lambda part: (-len(part), part[0]))


def clustering_of(run: RestoredRun) -> tuple[int, int]:
  """Which clustering of the run gave a stage its clusters, and of how many."""
  config = run.parts.config
  before = 0 if config.train.stage0_epochs else 1
  stage = 0 if run.stage == selection.WARMUP else int(run.stage)
  number = max(0, stage - 1 + before)
  if config.cluster.cut == 'papers':  # It is not asked how many.
    return number, number + 1
  return number, config_lib.num_stages(config, len(run.labels)) - 1 + before


def _read_table(path: Path) -> dict[str, dict[str, str]]:
  """The rows of clusters.csv by their sample."""
  try:
    with path.open(newline='', errors='surrogateescape') as file:
      return {
        row.get('tracklet') or row['path']: row for row in csv.DictReader(file)
      }
  except (OSError, KeyError, csv.Error) as error:
    raise ValueError(
      f'{path}: cannot be read, {error}; dbc report writes it anew'
    ) from error


def _cameras(table: dict[str, dict[str, str]], names: list[str]) -> np.ndarray:
  try:
    return np.array([int(table[name]['camid']) for name in names])
  except (KeyError, ValueError) as error:
    raise ValueError(
      'clusters.csv: the run uses cameras, and it does not tell that of each '
      'image; dbc report writes it anew'
    ) from error


def _write_table(
  workdir: Path,
  table: dict[str, dict[str, str]],
  names: list[str],
  numbers: np.ndarray,
  features: np.ndarray,
  labels: np.ndarray,
) -> None:
  """clusters.csv with other clusters."""
  first = next(iter(table.values()), {})
  columns = {
    key + 's': np.array([int(table[name][key]) for name in names])
    for key in ('pid', 'camid')
    if key in first
  }
  write_clusters(
    workdir / identities.CLUSTERS,
    [table[name]['path'] for name in names],
    numbers,
    tracklets=names if 'tracklet' in first else None,
    silhouettes=cluster.simplified_silhouettes(features, labels),
    **columns,
  )
