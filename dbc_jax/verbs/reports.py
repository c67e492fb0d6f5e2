"""The report of a run, written anew by this build."""

from pathlib import Path

from dbc_jax.data.pipeline import LoadedDataset
from dbc_jax.run import result, selection
from dbc_jax.run.restore import RestoredRun, read_history


def rewrite_report(
  workdir: Path, run: RestoredRun, data: LoadedDataset, root: str
) -> None:
  """Writes what a run writes at its end, and prints its summary.

  Args:
    workdir: of the run.
    run: its chosen stage.
    data: its data set.
    root: the folder of its images.

  Raises:
    ValueError: the run has chosen another stage since.
  """
  history = read_history(workdir)
  if selection.select(history).chosen != run.stage:
    raise ValueError(
      f'workdir: the run in {workdir} has gone on meanwhile; start this again'
    )
  result.write_result(
    run.parts,
    data,
    workdir,
    history,
    run.variables,
    run.labels,
    root=root,
  )
