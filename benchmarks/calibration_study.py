"""Same person or not: a calibration on clusters, measured on new persons.

  python -m benchmarks.calibration_study --figure=docs/same_person.svg
  python -m benchmarks.calibration_study --features=F.npz

Trains configs/ecluster.py on the demo, each seed in a workdir under --runs, or
takes up what is there; calibrates on the features and clusters of the training
images at the stage that was chosen without labels; and compares what that says
with the truth on pairs of a query and a gallery image, of persons that are not
in the training set. Pairs, of other cameras, as re-ID scores them, and of all:
  same       a query and an image of its person
  different  a query and an image of another, distractors among them
Junk, which shows nobody as a whole, is in neither.

Rows, by the `leeway` of `calibrate_pairs`:
  1           clusters taken at their word
  3           the default; others beside it
  identities  the same, with true identities in place of clusters

With --features, of any network, there is no training: half of the identities
are merged to a tenth as many clusters as images, by E-cluster as in its config,
and 500 images of the other half are queries of the rest. F.npz holds features
[N, D], pids and camids [N].

At a prior of 0.5 both sides of the pairs have half of the weight.
"""

import functools
import pathlib
from typing import NamedTuple

import jax
import matplotlib.pyplot as plt
import numpy as np
from absl import app, flags, logging

from dbc_jax.cluster import Criterion, merge_clusters
from dbc_jax.configs import ecluster
from dbc_jax.evaluation import PairCalibration, calibrate_pairs
from dbc_jax.evaluation.truth import JUNK_PID
from dbc_jax.run import job, restore

RATES = (1e-2, 1e-3, 1e-4)
BELIEVED, DEFAULT = ('clusters', 1), ('clusters', 3)
ROWS = (
  BELIEVED,
  DEFAULT,
  ('clusters', 2),
  ('clusters', 4),
  ('identities', 1),
  ('identities', 3),
)
Row = tuple[str, int]

_SEEDS = flags.DEFINE_list('seeds', ['0', '1', '2'], 'Seeds of the runs.')
_RUNS = flags.DEFINE_string('runs', 'runs/calibration', 'Their workdirs.')
_FEATURES = flags.DEFINE_string('features', '', 'Saved ones, not the demo.')
_STAGE = flags.DEFINE_string('stage', 'chosen', 'Of the runs.')
_FIGURE = flags.DEFINE_string('figure', '', 'Where the plot is drawn, or none.')


class Pairs(NamedTuple):
  """Distances [P] of pairs of test images, and whether of one person."""

  distances: np.ndarray
  same: np.ndarray


class Seed(NamedTuple):
  """One run: its test pairs by name, and its calibrations by row."""

  pairs: dict[str, Pairs]
  calibrations: dict[Row, PairCalibration]


def main(argv: list[str]) -> None:
  """Trains what is missing, then prints the tables."""
  del argv
  logging.set_verbosity(logging.WARNING)
  if _FEATURES.value:
    seeds = [_saved(_FEATURES.value)]
  else:
    seeds = [_run(int(seed)) for seed in _SEEDS.value]
  for name in seeds[0].pairs:
    print(_table(name, seeds))
  print(f'jax {jax.__version__}, {jax.devices()[0].device_kind}')
  if _FIGURE.value:
    with plt.rc_context({'svg.hashsalt': 'x', 'font.size': 9}):
      _draw(seeds).savefig(_FIGURE.value, metadata={'Date': None})


def _run(seed: int) -> Seed:
  config = ecluster.get_config('demo')
  config.seed = seed
  config.train.later_decay = False  # as in the runs of docs/same_person.md
  folder = pathlib.Path(_RUNS.value) / str(seed)
  job.run(config, folder)
  run = restore.restore_run(folder, _STAGE.value)
  data = restore.load_data(
    run.parts.config, run.digest, identities=True, cameras=True
  )
  arrays = restore.extract_arrays(run, data, ('train', 'query', 'gallery'))
  print(
    f'seed {seed}: stage {run.stage}, {run.labels.max() + 1} clusters of '
    f'{len(run.labels)} images of {len(np.unique(data.truth.train_pids))}',
    flush=True,
  )
  return _calibrate(arrays, run.labels, data.truth.train_pids)


def _saved(path: str) -> Seed:
  with np.load(path) as file:
    columns = {key: file[key] for key in ('features', 'pids', 'camids')}
  features = columns['features'].astype(np.float32)
  norms = np.linalg.norm(features, axis=1, keepdims=True)
  columns['features'] = features / norms
  rng = np.random.default_rng(0)
  pids = rng.permutation(np.unique(columns['pids']))
  ours = np.isin(columns['pids'], pids[: len(pids) // 2])
  others = rng.permutation(np.flatnonzero(~ours))
  splits = {'train': ours, 'query': others[:500], 'gallery': others[500:]}
  arrays = {
    f'{split}_{key}': column[rows]
    for split, rows in splits.items()
    for key, column in columns.items()
  }
  size = int(ours.sum())
  config = ecluster.get_config().cluster
  labels = merge_clusters(
    arrays['train_features'],
    np.arange(size),
    size - size // 10,
    Criterion(config.criterion, config.reg_weight),
  ).labels
  return _calibrate(arrays, labels, arrays['train_pids'])


def _calibrate(
  arrays: dict[str, np.ndarray], clusters: np.ndarray, pids: np.ndarray
) -> Seed:
  labels = {'clusters': clusters, 'identities': pids}
  calibrations = {
    (kind, leeway): calibrate_pairs(
      arrays['train_features'], labels[kind], leeway=leeway
    )
    for kind, leeway in ROWS
  }
  return Seed(test_pairs(arrays), calibrations)


def test_pairs(arrays: dict[str, np.ndarray]) -> dict[str, Pairs]:
  """Every query with all of the gallery but junk."""
  known = arrays['gallery_pids'] != JUNK_PID
  query, gallery = (
    arrays[f'{side}_features'].astype(np.float64)
    for side in ('query', 'gallery')
  )
  distances = np.stack(
    [np.linalg.norm(gallery[known] - row, axis=1) for row in query]
  )
  same, camera = (
    arrays[f'query_{ids}'][:, None] == arrays[f'gallery_{ids}'][known]
    for ids in ('pids', 'camids')
  )
  return {
    'pairs of other cameras': Pairs(distances[~camera], same[~camera]),
    'all pairs': Pairs(distances.ravel(), same.ravel()),
  }


def reliability(
  probabilities: np.ndarray, same: np.ndarray, prior: float, bins: int = 10
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Predicted against true shares, in bins of equal width.

  Args:
    probabilities: [P].
    same: [P] bool.
    prior: weight of the pairs that are the same, of 1.
    bins: B.

  Returns:
    Of each bin that is not empty, [B'] each: its weight, all summing to 1; the
    mean probability in it; the share of its weight that is the same. Their
    mean absolute difference by weight is the expected calibration error.
  """
  weights = np.where(same, prior / same.sum(), (1 - prior) / (~same).sum())
  places = np.minimum((probabilities * bins).astype(int), bins - 1)
  count = functools.partial(np.bincount, places, minlength=bins)
  weight = count(weights)
  kept = weight > 0
  predicted = count(weights * probabilities)[kept] / weight[kept]
  true = count(weights * same)[kept] / weight[kept]
  return weight[kept], predicted, true


def calibration_error(
  calibration: PairCalibration, pairs: Pairs, prior: float
) -> float:
  probabilities = calibration.probability(pairs.distances, prior=prior)
  weight, predicted, true = reliability(probabilities, pairs.same, prior)
  return float(weight @ abs(predicted - true))


def loss(calibration: PairCalibration, pairs: Pairs) -> float:
  """Mean cross-entropy at even odds; 0.693 is to say 0.5 of each pair."""
  # A certain error would cost infinity; a millionth is certain enough.
  p = np.clip(calibration.probability(pairs.distances), 1e-6, 1 - 1e-6)
  right = np.log(p[pairs.same]).mean(), np.log(1 - p[~pairs.same]).mean()
  return float(-np.mean(right))


def below(pairs: Pairs, threshold: float) -> tuple[float, float]:
  """True false-match and true-match rate of a threshold."""
  nearer = pairs.distances < threshold
  return nearer[~pairs.same].mean(), nearer[pairs.same].mean()


def _table(name: str, seeds: list[Seed]) -> str:
  """Markdown: means over the seeds, and each seed's figure in brackets."""
  pairs = [seed.pairs[name] for seed in seeds]
  share = float(np.mean([p.same.mean() for p in pairs]))
  text = [
    f'\n{name}: {len(pairs[0].same):,} a seed, {share:.2%} of one person\n',
    f'| leeway | ECE at prior 0.5 | at {share:.4f} | log loss | '
    + ' | '.join(f'at {rate:g}: distance, FMR, TMR' for rate in RATES)
    + ' |',
    '|---' * (4 + len(RATES)) + '|',
  ]
  for row in ROWS:
    made = [(seed.calibrations[row], seed.pairs[name]) for seed in seeds]
    cells = [
      f'{row[1]}{", identities" * (row[0] == "identities")}',
      listed([calibration_error(*each, 0.5) for each in made], '.3f'),
      listed([calibration_error(*each, share) for each in made], '.4f'),
      listed([loss(*each) for each in made], '.2f'),
    ]
    for rate in RATES:
      limits = [calibration.threshold(rate) for calibration, _ in made]
      rates = [
        below(p, limit) for (_, p), limit in zip(made, limits, strict=True)
      ]
      cells.append(
        f'{np.mean(limits):.2f}, {listed([r[0] for r in rates], ".1e")}, '
        f'{np.mean([r[1] for r in rates]):.0%}'
      )
    text.append(f'| {" | ".join(cells)} |')
  best = [np.mean([_best(p, rate) for p in pairs], axis=0) for rate in RATES]
  cells = [
    f'{limit:.2f}, {rate:.1e}, {found:.0%}'
    for rate, (limit, found) in zip(RATES, best, strict=True)
  ]
  text.append(f'| *exact on these pairs* | | | | {" | ".join(cells)} |')
  return '\n'.join(text)


def _best(pairs: Pairs, rate: float) -> tuple[float, float]:
  """The threshold of exactly this rate, and its true-match rate."""
  limit = float(np.quantile(pairs.distances[~pairs.same], rate))
  return limit, below(pairs, limit)[1]


def listed(values: list[float], form: str) -> str:
  return (
    f'{np.mean(values):{form}} ({", ".join(f"{v:{form}}" for v in values)})'
  )


def _draw(seeds: list[Seed]) -> plt.Figure:
  """Reliability, and stated against true false-match rates."""
  figure, (left, right) = plt.subplots(
    1, 2, figsize=(8, 3.8), layout='constrained'
  )
  rates = np.geomspace(1e-4, 1e-1, 31)
  name = 'pairs of other cameras'
  styles = ((BELIEVED, 'C1', 'leeway 1'), (DEFAULT, 'C0', 'leeway 3'))
  for row, color, label in styles:
    for seed in seeds:
      made, pairs = seed.calibrations[row], seed.pairs[name]
      _, predicted, true = reliability(
        made.probability(pairs.distances), pairs.same, 0.5
      )
      left.plot(predicted, true, '.-', color=color, label=label)
      true_rates = [below(pairs, made.threshold(rate))[0] for rate in rates]
      right.plot(rates, true_rates, color=color, label=label)
      label = None
  left.plot([0, 1], [0, 1], 'k:')
  right.plot(rates, rates, 'k:')
  left.set(xlabel='probability said, at prior 0.5', ylabel='true share')
  right.set(xscale='log', yscale='log')
  right.set(xlabel='false-match rate asked for', ylabel='true one')
  left.legend(frameon=False)
  for panel in (left, right):
    panel.grid(alpha=0.3)
  return figure


if __name__ == '__main__':
  app.run(main)
