"""How well new images are assigned, on the demo: the table in docs/use.md.

    python -m benchmarks.assign --seeds=0,1,2,3,4

Of each seed one network is trained on 80 % of the training images, and one on
all. The other 20 % are assigned to the clusters of the first, by the clusters
alone, and so are the images of query and gallery, whose persons no run knows.
Identities are looked at in the end. Two minutes a training on an idle core.
"""

import argparse
import dataclasses
from typing import Any

import numpy as np
from sklearn.metrics import adjusted_rand_score

from dbc_jax import cluster
from dbc_jax.configs import best
from dbc_jax.data import load_configured
from dbc_jax.data.pipeline import LoadedDataset
from dbc_jax.devices.compilation_cache import use_compilation_cache
from dbc_jax.evaluation import learn_assignment
from dbc_jax.evaluation.assignment import KNOWN, NEW, UNSURE
from dbc_jax.labels import NOT_PLACED, apart
from dbc_jax.run import build, selection
from dbc_jax.run.merger import make_criterion
from dbc_jax.run.stage import StageRunner

SHARE = 0.8
RATES = (0.1, 0.05, 0.01)
COLUMNS = ('known', 'new', 'unsure', 'right', 'strangers', 'ari', 'ratio')


def main() -> None:
  """Prints the means over seeds, and the deviation of the ratio."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--seeds', default='0,1,2,3,4')
  args = parser.parse_args()
  use_compilation_cache()
  rows: dict[float, list[list[float]]] = {rate: [] for rate in RATES}
  for seed in map(int, args.seeds.split(',')):
    for rate, row in measure(seed).items():
      rows[rate].append(row)
      values = zip(COLUMNS, row, strict=True)
      text = ', '.join(f'{name} {value:.3f}' for name, value in values)
      print(f'seed {seed}, rate {rate}: {text}', flush=True)
  for rate, found in rows.items():
    means = np.mean(found, axis=0)
    values = zip(COLUMNS, means, strict=True)
    text = ', '.join(f'{name} {value:.3f}' for name, value in values)
    print(f'rate {rate}: {text} +- {np.std(found, axis=0)[-1]:.3f}')


def measure(seed: int) -> dict[float, list[float]]:
  """Of each rate the columns."""
  config: Any = best.get_config('demo')
  config.seed = seed
  dataset, truth = load_configured(config.data)
  config = build.with_cameras(config, truth)
  data = build.load_data(config, dataset, truth)
  pids = data.truth.train_pids
  assert pids is not None
  count = len(data.train)
  rng = np.random.default_rng(100 + seed)
  taken = np.sort(rng.permutation(count)[: round(SHARE * count)])
  asked = np.setdiff1d(np.arange(count), taken)
  parts = build.Parts(config)
  own, variables = train(parts, subset(data, taken))
  whole, _ = train(parts, data)
  best_ari = adjusted_rand_score(pids, apart(whole))

  camids = data.truth.train_camids
  features = parts.embed(variables, data.train, camids)[0]
  others = np.concatenate(
    [
      parts.embed(variables, split, cameras)[0]
      for split, cameras in (
        (data.query, data.truth.query_camids),
        (data.gallery, data.truth.gallery_camids),
      )
      if split is not None
    ]
  )
  assigner = learn_assignment(features[taken], own)
  owners = pids[taken]
  most = [np.bincount(owners[own == k]).argmax() for k in range(max(own) + 1)]
  criterion: cluster.Criterion = make_criterion(config.cluster)
  found = {}
  for rate in RATES:
    labels = np.full(count, NOT_PLACED)
    labels[taken] = own
    said, labels[asked] = assigner.place(
      features[asked],
      criterion,
      false_match_rate=rate,
      first_new=max(own) + 1,
    )
    right = np.array(most)[said.nearest] == pids[asked]
    strangers = assigner(others, false_match_rate=rate).answers
    ari = adjusted_rand_score(pids, apart(labels))
    found[rate] = [
      *(np.mean(said.answers == answer) for answer in (KNOWN, NEW, UNSURE)),
      right[said.answers == KNOWN].mean(),
      np.mean(strangers == KNOWN),
      ari,
      ari / best_ari,
    ]
  return found


def train(
  parts: build.Parts, data: LoadedDataset
) -> tuple[np.ndarray, dict[str, Any]]:
  """The clusters and the network of the chosen stage."""
  runner = StageRunner(parts, len(data.train))
  state = runner.start(data, runner.warm_up(data.train), is_warm=True)
  kept: dict[Any, tuple[np.ndarray, dict[str, Any]]] = {
    selection.WARMUP: (state.labels, state.variables)
  }
  for stage in range(runner.num_stages):
    labels = state.labels
    state = runner.run(stage, state, data)
    kept[stage] = labels, state.variables
  return kept[selection.select(state.history).chosen]


def subset(data: LoadedDataset, taken: np.ndarray) -> LoadedDataset:
  """A data set with some of its training images."""
  truth = data.truth
  assert truth.train_pids is not None
  assert truth.train_camids is not None
  names = [data.names['train'][i] for i in taken]
  return dataclasses.replace(
    data,
    train=data.train.subset(taken),
    names=data.names | {'train': names},
    truth=dataclasses.replace(
      truth,
      train_pids=truth.train_pids[taken],
      train_camids=truth.train_camids[taken],
    ),
  )


if __name__ == '__main__':
  main()
