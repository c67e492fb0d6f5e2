"""What an experiment leaves in its folder: table, figures, page."""

import pathlib
from collections.abc import Sequence

import numpy as np

from dbc_jax.data import GroundTruth
from dbc_jax.reporting import write_atomically
from dbc_jax.reporting.identities import write_identities
from dbc_jax.reproduce import figures, leak, tables
from dbc_jax.reproduce.experiments import EXPERIMENTS
from dbc_jax.reproduce.jobs import Job
from dbc_jax.reproduce.page import write_page

_AXES = {
  'lambda': 'lambda',
  'merge_percent': 'merges a stage, share of the images',
}


def write(
  folder: pathlib.Path,
  experiment: str,
  dataset: str,
  jobs: Sequence[Job],
  command: str,
  truth: GroundTruth,
) -> None:
  """Writes EXPERIMENT-DATASET.csv, .html and figures, and prints the table.

  Args:
    folder: where to.
    experiment: a key of EXPERIMENTS.
    dataset: as after the colon of --config.
    jobs: all runs; those that are done count.
    command: that made them.
    truth: of the data set.
  """
  done = [job for job in jobs if job.is_done()]
  if not done:
    return
  name = f'{experiment}-{dataset.replace(",", "-")}'
  write_atomically(folder / f'{name}.csv', tables.csv_of_stages(done))
  shown = []
  if experiment in _AXES:
    shown.append((f'{name}.svg', f'Chosen stage by {_AXES[experiment]}'))
    figures.draw_curves(folder / shown[-1][0], done, _AXES[experiment])
  shown.append((f'{name}-stages.svg', 'Stage by stage'))
  figures.draw_stages(folder / shown[-1][0], done)
  if experiment in ('ablation', 'stages', 'recipe'):
    path = folder / f'{name}-tsne.svg'
    if figures.draw_tsne(path, done):
      shown.append((path.name, 't-SNE of 100 identities, a colour each'))
  if truth.train_pids is not None:
    known = truth.train_pids[truth.train_pids >= 0]
    counts = np.unique(known, return_counts=True)[1]
    shown.append((f'{name}-identities.svg', 'Images per identity'))
    write_identities(
      folder / shown[-1][0], dataset, 'images', {'train': counts}
    )
  title = f'{experiment} on {dataset}'
  page = folder / f'{name}.html'
  write_page(page, title, EXPERIMENTS[experiment], command, jobs, shown)
  print(tables.text_table(done))
  if experiment == 'leak' and (text := leak.table(done)):
    print(f'\n{text}')
  print(f'\n{page}  table and figures\n{folder / name}.csv  every stage')
