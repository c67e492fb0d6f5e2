"""What tracklets tell without labels: of distances, and of clusters.

  python -m benchmarks.tracks

Trains configs/ecluster.py on demo_video, each seed in a workdir under --runs,
or takes up what is there. At the stage that was chosen without labels:

Calibration, as benchmarks.calibration_study, on pairs of a query and a gallery
tracklet of persons that are not in the training set. Where pairs of one person
come from, and where pairs of two:
  leeway      `calibrate_pairs` on the clusters, by its leeway
  apart       the same, with the overlaps given to it
  clusters    all pairs inside a cluster
  halves      both halves of each training tracklet, embedded apart
  overlaps    training tracklets of one camera that overlap
  walks       those and tracklets of two cameras with too little time between
  identities  those of the training tracklets
Where fewer than ten pairs of two decide about a threshold, there is none.

Clusters: the network embeds --draws other drawings of demo_video, of persons
that it has never seen, and each is merged by the config's criterion from single
tracklets to as many clusters as persons, without and with the rules.
"""

import functools
import itertools
import pathlib
import tempfile

import jax
import numpy as np
from absl import app, flags, logging

from benchmarks import calibration_study as study
from dbc_jax import data as data_lib
from dbc_jax.cluster import merge_clusters
from dbc_jax.configs import ecluster
from dbc_jax.data import GroundTruth, Samples, pipeline
from dbc_jax.data.synthetic import clock
from dbc_jax.evaluation import (
  PairCalibration,
  calibrate_pairs,
  clustering_scores,
)
from dbc_jax.evaluation.calibration import fit
from dbc_jax.run import job, restore, rules
from dbc_jax.run.merger import make_criterion

RATES = (5e-2, 1e-2, 1e-3)
RULES = ('none', 'frame_rule', 'walks', 'both')
DRAWS = flags.DEFINE_integer('draws', 3, 'Drawings of other persons a network.')
flags.FLAGS.set_default('runs', 'runs/tracks')
_CAMERAS = range(5)

Distances = dict[str, np.ndarray]


def main(argv: list[str]) -> None:
  """Trains what is missing, then prints the tables."""
  del argv
  logging.set_verbosity(logging.WARNING)
  folder = pathlib.Path(flags.FLAGS.runs)
  with tempfile.TemporaryDirectory() as scratch:
    walks = write_walks(scratch)
    seeds, scores = [], []
    for seed in flags.FLAGS.seeds:
      run = _run(int(seed), folder / seed)
      seeds.append(_calibrated(run, walks))
      scores += [
        _clustered(run, draw, walks) for draw in range(1, 1 + DRAWS.value)
      ]
  for name in seeds[0][0]:
    print(_table(name, seeds))
  print(_table_of_rules(scores))
  print(f'jax {jax.__version__}, {jax.devices()[0].device_kind}')


def write_walks(folder: str) -> pathlib.Path:
  """Writes how long nobody walks from one camera of demo_video to another."""
  path = pathlib.Path(folder) / 'walks.csv'
  path.write_text(
    ''.join(
      f'{a},{b},{clock.WALK * (b - a):g}\n'
      for a, b in itertools.combinations(_CAMERAS, 2)
    )
  )
  return path


def _run(seed: int, folder: pathlib.Path) -> restore.RestoredRun:
  config = ecluster.get_config('demo_video')
  config.seed = seed
  config.train.later_decay = False  # as in the runs of docs/same_person.md
  job.run(config, folder)
  return restore.restore_run(folder)


def _embed(run: restore.RestoredRun, samples: Samples) -> np.ndarray:
  """Features [N, D] float64, in the order of the samples."""
  size = tuple(run.parts.config.data.stored_size)
  split = pipeline.load_split(samples, size=size).split
  features, _ = run.parts.embed(run.variables, split, None)
  return np.asarray(features, np.float64)


def _halves(samples: Samples) -> Samples:
  """Twice as many samples, each of half of a tracklet's frames."""
  starts = samples.bounds
  middles = (starts[:-1] + starts[1:]) // 2
  bounds = np.append(np.stack([starts[:-1], middles], axis=1), starts[-1])
  names = tuple(f'{name}/{half}' for name in samples.names for half in 'ab')
  return Samples(names, samples.read, bounds, samples.frame_names)


def _ruled(truth: GroundTruth, walks: pathlib.Path, rule: str) -> np.ndarray:
  config = ecluster.get_config('demo_video')
  if rule in ('frame_rule', 'both'):
    config.cluster.frame_rule = 'hard'
  if rule in ('walks', 'both'):
    config.data.walks = str(walks)
  return rules.pairs(config, truth)


def _calibrated(
  run: restore.RestoredRun, walks: pathlib.Path
) -> tuple[dict[str, study.Pairs], dict[str, PairCalibration]]:
  """Test pairs by name, and calibrations by row."""
  data = restore.load_data(
    run.parts.config, run.digest, identities=True, cameras=True
  )
  arrays = restore.extract_arrays(run, data, ('train', 'query', 'gallery'))
  x, pids = arrays['train_features'].astype(np.float64), data.truth.train_pids
  assert pids is not None
  dataset, _ = data_lib.load_configured(run.parts.config.data)
  halves = _embed(run, _halves(dataset.train))
  first, second = np.triu_indices(len(x), 1)

  def gaps(pairs: np.ndarray) -> np.ndarray:
    return np.linalg.norm(x[pairs[:, 0]] - x[pairs[:, 1]], axis=1)

  one = pids[first] == pids[second]
  every = np.stack([first, second], axis=1)
  overlaps = _ruled(data.truth, walks, 'frame_rule')
  inside = run.labels[first] == run.labels[second]
  same = {
    'clusters': gaps(every[inside]),
    'halves': np.linalg.norm(halves[::2] - halves[1::2], axis=1),
    'identities': gaps(every[one]),
  }
  different = {
    'overlaps': gaps(overlaps),
    'walks': gaps(_ruled(data.truth, walks, 'both')),
    'identities': gaps(every[~one]),
  }
  made = {
    f'leeway {leeway}': calibrate_pairs(x, run.labels, leeway=leeway)
    for leeway in (1, 3)
  }
  made['leeway 3 and `apart`'] = calibrate_pairs(x, run.labels, apart=overlaps)
  for near, far in itertools.product(same, different):
    if (near == 'identities') == (far == 'identities'):
      made[f'{near} | {far}'] = _fitted(same[near], different[far])
  print(
    f'{len(x)} tracklets, {run.labels.max() + 1} clusters at stage {run.stage} '
    f'of {len(np.unique(pids))} persons; {len(overlaps)} overlaps, '
    f'{(pids[overlaps[:, 0]] == pids[overlaps[:, 1]]).sum()} of them wrong; '
    'median distances: '
    + ', '.join(
      f'{name} {np.median(x):.2f}'
      for side, known in (('same', same), ('different', different))
      for name, x in ((f'{k} ({side})', v) for k, v in known.items())
    ),
    flush=True,
  )
  return study.test_pairs(arrays), made


def _fitted(same: np.ndarray, different: np.ndarray) -> PairCalibration:
  line = fit(1 - same**2 / 2, 1 - different**2 / 2)
  return PairCalibration(*line, np.sort(different))


def _clustered(
  run: restore.RestoredRun, draw: int, walks: pathlib.Path
) -> dict[str, tuple[int, int, float]]:
  """Of persons never seen, by rule: see `_table_of_rules`."""
  dataset, truth = data_lib.load_dataset('demo_video', seed=1000 + draw)
  features = _embed(run, dataset.train).astype(np.float32)
  pids = truth.train_pids
  assert pids is not None
  count = len(np.unique(pids))
  criterion = make_criterion(run.parts.config.cluster)
  found, plain = {}, None
  for rule in RULES:
    apart = _ruled(truth, walks, rule)
    labels = merge_clusters(
      features,
      np.arange(len(features)),
      len(features) - count,
      criterion,
      cannot_link=apart,
    ).labels
    plain = labels if plain is None else plain
    broken = np.count_nonzero(plain[apart[:, 0]] == plain[apart[:, 1]])
    score = clustering_scores(labels, pids)['pair_f']
    found[rule] = len(apart), int(broken), score
  return found


def _table(
  name: str,
  seeds: list[tuple[dict[str, study.Pairs], dict[str, PairCalibration]]],
) -> str:
  """Markdown: means over the seeds, and each seed's figure in brackets."""
  share = float(np.mean([pairs[name].same.mean() for pairs, _ in seeds]))
  text = [
    f'\n{name}: {len(seeds[0][0][name].same):,} a seed, {share:.2%} of one '
    'person\n',
    '| one person / two from | ECE at prior 0.5 | log loss | '
    + ' | '.join(f'true FMR at {rate:g}' for rate in RATES)
    + ' |',
    '|---' * (3 + len(RATES)) + '|',
  ]
  for row in seeds[0][1]:
    made = [(known[row], pairs[name]) for pairs, known in seeds]
    cells = [
      row.replace(' | ', ' / '),
      study.listed([study.calibration_error(*x, 0.5) for x in made], '.3f'),
      study.listed([study.loss(*x) for x in made], '.2f'),
    ]
    for rate in RATES:
      try:
        limits = [calibration.threshold(rate) for calibration, _ in made]
      except ValueError:
        cells.append('too few pairs')
        continue
      rates = [
        study.below(pairs, limit)[0]
        for (_, pairs), limit in zip(made, limits, strict=True)
      ]
      cells.append(study.listed(rates, '.1e'))
    text.append(f'| {" | ".join(cells)} |')
  return '\n'.join(text)


def _table_of_rules(scores: list[dict[str, tuple[int, int, float]]]) -> str:
  """Markdown: mean and standard error over networks and drawings."""
  mean = functools.partial(np.mean, axis=0)
  text = [
    '\n| rule | pairs kept apart | in one cluster without it | pair F, '
    f'{len(scores)} drawings | more |',
    '|---|---|---|---|---|',
  ]
  plain = np.array([each['none'][2] for each in scores])
  for rule in RULES:
    pairs, broken, _ = mean([each[rule] for each in scores])
    values = np.array([each[rule][2] for each in scores])
    cells = [rule, f'{pairs:,.0f}', f'{broken:.0f}', _with_error(values)]
    cells.append('' if rule == 'none' else _with_error(values - plain))
    text.append(f'| {" | ".join(cells)} |')
  return '\n'.join(text)


def _with_error(values: np.ndarray) -> str:
  error = values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else 0
  return f'{values.mean():.3f} ± {error:.3f}'


if __name__ == '__main__':
  app.run(main)
