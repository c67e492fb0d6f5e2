"""What a run ends with: the files of its chosen stage."""

from pathlib import Path
from typing import Any

import numpy as np

from dbc_jax import reporting
from dbc_jax.cluster.linked import Links
from dbc_jax.data.pipeline import LoadedDataset
from dbc_jax.devices import processes
from dbc_jax.run import (
  build,
  corrections,
  features_file,
  ranked,
  rules,
  selection,
)
from dbc_jax.run.workdir import Outputs


def write_result(
  parts: build.Parts,
  data: LoadedDataset,
  workdir: Path,
  history: list[dict[str, Any]],
  variables: dict[str, Any],
  labels: np.ndarray,
  last: np.ndarray | None = None,
  root: str | None = None,
) -> None:
  """Writes features, clusters and the report, and prints the summary.

  All processes of a run come here: what is not known is embedded.

  Args:
    parts: of the run's config.
    data: its data set.
    workdir: of the run.
    history: of all stages.
    variables: of the chosen one.
    labels: [N] int32, the clusters that it trained on.
    last: [N, D], features of the training images in the last stage, if known.
    root: where the images are now, if they moved.
  """
  stages = selection.select(history)
  features = last if stages.chosen == stages.last else None
  shown = None
  # Of several processes each could find another file, or none.
  if processes.count() == 1:
    which = workdir, stages.chosen, data.digest
    saved = features_file.read(*which)
    if features is None and saved is not None:
      features, shown = saved[0], features_file.read_shown(*which)
  if features is None:
    with reporting.busy('embedding'):
      camids = data.truth.train_camids
      features = parts.embed(variables, data.train, camids)[0]
  # As they are read again, so that a finished run writes the same.
  features = np.asarray(features, np.float16)
  rule = parts.config.camera_rule
  if shown is None or not ranked.are_of(shown.queries, shown.found, data):
    ranking = ranked.rank(parts.embed, variables, data, rule)
    with reporting.busy('map of the images'):
      shown = features_file.Shown(reporting.places_of_map(features), *ranking)
  Outputs(parts.config, workdir, data).write_result(
    history,
    stages,
    labels,
    features,
    shown,
    ranked.as_lists(*shown[1:], data, rule),
    parts.config.data.root if root is None else root,
  )
  if len(data.ruled):
    names, links = data.names['train'], _links(workdir, data)
    if processes.is_first():
      ruled = links.cannot[len(links.cannot) - links.ruled :]
      rules.write_violations(workdir, names, features, labels, ruled)
  processes.wait_for_all()


def _links(workdir: Path, data: LoadedDataset) -> Links:
  """Of a run; of what is loaded for a report those in its workdir."""
  if data.links is not None:
    return data.links()
  said = corrections.read_corrections(workdir / corrections.NAME)
  found = corrections.links(said, data.names['train'], data.first_frames)
  return rules.with_rules(found, data.ruled)
