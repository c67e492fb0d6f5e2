"""The runs of an experiment: where each is, what it is, and what came of it."""

import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from dbc_jax.data import GroundTruth
from dbc_jax.reporting.record import Record
from dbc_jax.reporting.summary import aligned
from dbc_jax.reporting.time_to_go import duration
from dbc_jax.reproduce.experiments import Row
from dbc_jax.run import build, config_files
from dbc_jax.run import config as config_lib
from dbc_jax.run import workdir as workdir_lib
from dbc_jax.run.config import Config

# Written when all of a run is done, beside what a run writes.
DONE = 'done.json'
# Features and clusters of each stage, where they are kept.
STAGES = 'stages'


class Job(NamedTuple):
  """One run.

  Attributes:
    row: whose.
    dataset: as after the colon of --config.
    seed: of the run.
    workdir: its own.
    changes: of the config's fields, the row's and the user's, and the seed.
    config: with them.
  """

  row: Row
  dataset: str
  seed: int
  workdir: pathlib.Path
  changes: dict[str, Any]
  config: Config

  def is_done(self) -> bool:
    """Whether nothing of it is left to do."""
    return (self.workdir / DONE).exists()

  def differences(self) -> str:
    """How a run that its folder holds was configured otherwise; '' if not."""
    if not (self.workdir / workdir_lib.CONFIG).exists():
      return ''
    return workdir_lib.differences(self.workdir, self.config)

  def stages(self) -> list[pathlib.Path]:
    """The stages that it kept."""
    return [*(self.workdir / STAGES).glob('*.npz')]

  def history(self) -> list[Record]:
    """Its records as far as it has got."""
    path = self.workdir / 'metrics.jsonl'
    if not path.exists():
      return []
    return [json.loads(line) for line in path.read_text().splitlines()]

  def done(self) -> dict[str, Any]:
    """What it ran on, and when; of one that is done."""
    return json.loads((self.workdir / DONE).read_text())


def taken_field(row: Row, changes: Mapping[str, Any]) -> str:
  """A field of `changes` that a row sets itself, or ''."""
  return next((key for key in (*row.changes, 'seed') if key in changes), '')


def make_job(
  row: Row,
  dataset: str,
  seed: int,
  folder: pathlib.Path,
  changes: Mapping[str, Any],
  truth: GroundTruth,
) -> Job:
  """One run of a row.

  Args:
    row: of an experiment.
    dataset: as after the colon of --config.
    seed: of the run.
    folder: of all runs.
    changes: of fields in all runs; those of the row come before them.
    truth: of the data set; only whether it has cameras matters.

  Raises:
    ValueError: a field or a value that there is not, or a data set.
  """
  config = config_files.load_config(f'{row.config}:{dataset}')
  if taken := taken_field(row, changes):
    raise ValueError(
      f'--config.{taken}: the row {row.name} sets it itself; leave it out, '
      'or leave the row out by --rows'
    )
  own = {**changes, **row.changes, 'seed': seed}
  config = config_lib.with_added_fields(config_files.with_changes(config, own))
  config_lib.check_config(config)
  name = f'{row.name}-seed{seed}'
  workdir = folder / dataset.replace(',', '-') / name
  config = build.with_network(config, workdir)
  config = build.with_cameras(config, truth)
  return Job(row, dataset, seed, workdir, own, config)


def check_same(jobs: Sequence[Job]) -> None:
  """Raises ValueError if a folder holds a run of another config."""
  for job in jobs:
    if differences := job.differences():
      raise ValueError(
        f'--workdir: {job.workdir} holds a run of another config '
        f'({differences}); choose another --workdir, give the same '
        '--config flags, or delete that folder'
      )


def listing(jobs: Sequence[Job], estimates: Sequence[float | None]) -> str:
  """Lines that name each run, how it stands and what it may take."""
  lines = [('run', 'stands', 'estimate')]
  for job, seconds in zip(jobs, estimates, strict=True):
    stages = len(job.history())
    stands = 'done' if job.is_done() else f'{stages} stages' if stages else ''
    text = '' if job.is_done() else duration(seconds)
    lines.append(
      (f'{job.workdir.parent.name}/{job.workdir.name}', stands, text)
    )
  return '\n'.join(aligned(lines, num_left=2))
