"""The report of a run, written anew by this build."""

from pathlib import Path

import numpy as np

from dbc_jax.data.pipeline import LoadedDataset
from dbc_jax.reporting import busy
from dbc_jax.run import features_file, selection
from dbc_jax.run.restore import RestoredRun, read_history
from dbc_jax.run.workdir import Outputs


def rewrite_report(
  workdir: Path, run: RestoredRun, data: LoadedDataset
) -> None:
  """Writes what a run writes at its end, and prints its summary.

  Args:
    workdir: of the run.
    run: its chosen stage.
    data: its data set.

  Raises:
    ValueError: the run has chosen another stage since.
  """
  history = read_history(workdir)
  if selection.select(history).chosen != run.stage:
    raise ValueError(
      f'workdir: the run in {workdir} has gone on meanwhile; start this again'
    )
  saved = features_file.read(workdir, run.stage, run.digest)
  if saved is None:
    camids = data.truth.train_camids
    with busy('embedding'):
      features: np.ndarray = run.parts.embed(run.variables, data.train, camids)[
        0
      ]
  else:
    features = saved[0]
  outputs = Outputs(run.parts.config, workdir, data)
  outputs.write_result(history, selection.select(history), run.labels, features)
