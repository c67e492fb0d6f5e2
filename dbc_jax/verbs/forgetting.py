"""Forget: takes images, such as those of a person, out of a run."""

import contextlib
import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dbc_jax.data import forgotten, load_configured
from dbc_jax.reporting import busy, write_table
from dbc_jax.run import (
  build,
  features_file,
  forgetting,
  identities,
  restore,
  rules,
  same_data,
)
from dbc_jax.run import config as config_lib
from dbc_jax.run import corrections as corrections_lib
from dbc_jax.run import lock as lock_lib
from dbc_jax.run.config import Config
from dbc_jax.run.restore import RestoredRun
from dbc_jax.run.workdir import DEMO, find_workdir, has_run
from dbc_jax.verbs import embedding
from dbc_jax.verbs.reports import rewrite_report


class Forgotten(NamedTuple):
  """What was taken out.

  Attributes:
    names: of the images.
    left: how many the run still has.
    corrections: how many lines of corrections.csv.
    cached: how many files of the features cache.
  """

  names: list[str]
  left: int
  corrections: int
  cached: int


def forget(
  workdir: Path, targets: Sequence[str], *, root: str | None = None
) -> Forgotten:
  """Takes images out of all that a run keeps, and out of its data from now on.

  Args:
    workdir: of the run, which no training uses.
    targets: each a path as in clusters.csv, the name of a tracklet, or the
      number of a cluster, for all of its images.
    root: where the run's images are, if they have moved. Those to be forgotten
      need not be there, the others have to be.

  Raises:
    ValueError: no such image or cluster, a workdir in use, or other images
      than the run's.
  """
  if find_workdir(workdir).resolve() == DEMO.resolve():
    raise ValueError(
      'workdir: demo comes with the package and stays as it is; name the '
      'workdir of a run of your own'
    )
  if not has_run(workdir) and not (workdir / forgetting.READY).is_dir():
    raise ValueError(
      f'workdir: {workdir} has no run; name the --workdir of a training'
    )
  with lock_lib.hold(workdir):
    forgetting.finish(workdir)
    return _forget(workdir, targets, root)


def _forget(
  workdir: Path, targets: Sequence[str], root: str | None
) -> Forgotten:
  run = restore.restore_run(workdir)
  config = restore.data_config(run, None, {'root': root})
  names = _names(workdir, run, config)
  table = _read_rows(workdir / identities.CLUSTERS)
  dataset, truth = load_configured(config.data)
  # By either: a run has no table before its end, and a file may be gone.
  firsts = dataset.train.first_frames | _firsts(table)
  gone = _resolve(workdir, names, targets, table, firsts)
  kept = np.array([i for i, x in enumerate(names) if x not in gone], np.int64)
  if len(kept) < config.train.batch_size:
    raise ValueError(
      f'{len(kept)} images would be left, fewer than a batch of '
      f'{config.train.batch_size}; delete the whole workdir'
    )
  digests = forgotten.read(workdir / forgotten.NAME)
  digests |= set(map(forgotten.digest_of, gone))
  dataset, truth = forgotten.without(dataset, truth, digests)
  with busy('reading the other images'):
    data = build.load_data(config, dataset, truth)
  if data.names['train'] != [names[i] for i in kept]:
    raise ValueError(
      f'{config.data.name}: apart from those to be forgotten, these are not '
      'the training images of the run; name their folder by --root'
    )
  saved = features_file.read(workdir, run.stage, run.digest)
  last = _last_stage(workdir, config, len(names))
  clusters = None
  if (workdir / features_file.LABELS).exists():
    clusters = run.stage, run.labels
  forgetting.rewrite(
    workdir,
    kept,
    same_data.facts(config, data),
    sorted(gone),
    last,
    clusters,
  )
  if saved is None:
    (workdir / features_file.NAME).unlink(missing_ok=True)
  else:
    features_file.write(
      workdir,
      saved[0][kept],
      data.names['train'],
      run.stage,
      data.digest,
      ruled=data.ruled,
    )
  count = _drop_corrections(workdir, gone, firsts)
  _drop_lists(workdir, gone, table)
  _drop_pictures(workdir)
  (workdir / rules.VIOLATIONS).unlink(missing_ok=True)
  if table:
    with contextlib.redirect_stdout(io.StringIO()):
      rewrite_report(
        workdir, restore.restore_run(workdir), data, config.data.root
      )
  return Forgotten(sorted(gone), len(kept), count, embedding.clear_cache())


def _names(workdir: Path, run: RestoredRun, config: Config) -> list[str]:
  """Of the run's images, in its order; they need not be there."""
  saved = features_file.read(workdir, run.stage, run.digest)
  if saved is not None:
    return saved[1]
  data = restore.load_data(config, run.digest, identities=False, cameras=False)
  return data.names['train']


def _last_stage(workdir: Path, config: Config, num_samples: int) -> int | None:
  """The stage that the run ended with; None of one that has not ended."""
  stage = restore.read_history(workdir)[-1]['stage']
  try:
    is_end = stage >= config_lib.num_stages(config, num_samples) - 1
  except ValueError:  # Too few since others were forgotten.
    return None
  return stage if is_end else None


def _read_rows(path: Path) -> list[dict[str, str]]:
  """The rows of a table in a workdir; none where it is not there yet."""
  try:
    with path.open(newline='', errors='surrogateescape') as file:
      return [*csv.DictReader(file)]
  except FileNotFoundError:
    return []


def _firsts(table: list[dict[str, str]]) -> dict[str, str]:
  """From tracklets to their first frames."""
  return {x['tracklet']: x['path'] for x in table if x.get('tracklet')}


def _resolve(
  workdir: Path,
  names: list[str],
  targets: Sequence[str],
  table: list[dict[str, str]],
  firsts: dict[str, str],
) -> set[str]:
  """The names that are meant.

  Those that were forgotten before count: what else has them is cleaned again.
  """
  rows = corrections_lib.rows_of(names, firsts)
  before = forgotten.read(workdir / forgotten.NAME)
  members: dict[str, list[str]] = {}
  for row in table:
    name = row.get('tracklet') or row['path']
    members.setdefault(row['cluster'], []).append(name)
  found: set[str] = set()
  for target in targets:
    if target in rows:
      found.add(names[rows[target]])
    elif forgotten.digest_of(target) in before:
      found.add(target)
    elif target in members and target != '-1':
      found.update(members[target])
    elif target.isdecimal():
      raise ValueError(
        f'{target}: {workdir / identities.CLUSTERS} has no such cluster; name '
        'one of it, or paths of images'
      )
    else:
      raise ValueError(
        f'{target}: no image of the run has this path, and no cluster this '
        f'number; write paths as in {workdir / identities.CLUSTERS}'
      )
  return found


def _drop_corrections(
  workdir: Path, gone: set[str], firsts: dict[str, str]
) -> int:
  path = workdir / corrections_lib.NAME
  found = corrections_lib.read_corrections(path)
  lost = gone | {firsts[name] for name in gone if name in firsts}
  kept = [x for x in found if not {x.a.strip(), x.b.strip(), x.a, x.b} & lost]
  if len(kept) < len(found):
    corrections_lib.write_corrections(path, kept)
  path = workdir / corrections_lib.UNSURE
  unsure = corrections_lib.read_unsure(path)
  left = [pair for pair in unsure if not {*pair} & lost]
  if len(left) < len(unsure):
    corrections_lib.write_unsure(path, left)
  return len(found) - len(kept)


def _drop_lists(
  workdir: Path, gone: set[str], table: list[dict[str, str]]
) -> None:
  """Out of the tables of images; and the names of clusters that lose all."""
  left = {
    row['cluster']
    for row in table
    if (row.get('tracklet') or row['path']) not in gone
  }
  lost = {row['cluster'] for row in table} - left
  listed = identities.read(workdir)
  if listed is not None:
    identities.write(
      workdir,
      [
        each._replace(name='')
        if {str(each.id), str(each.merged_into)} & lost
        else each
        for each in listed
      ],
    )
  for name in (identities.CLUSTERS, identities.MOVED):
    rows = _read_rows(workdir / name)
    if rows:
      kept = [
        row.values()
        for row in rows
        if (row.get('tracklet') or row['path']) not in gone
      ]
      write_table(workdir / name, [rows[0].keys(), *kept])


def _drop_pictures(workdir: Path) -> None:
  """Deletes what has pictures or names in it, and can be made anew.

  And what a kill left of a file that was being written.
  """
  for path in (workdir / 'report.html', *workdir.glob('*.tmp')):
    path.unlink(missing_ok=True)
  for path in (workdir / 'tensorboard').rglob('*'):
    if path.is_file() and not path.name.startswith('events.out.'):
      path.unlink()
