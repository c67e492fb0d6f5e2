"""Whether tracklets choose a better stage than the label-free rule.

  python -m benchmarks.track_stages

The network of the demo embeds --draws drawings of demo_video, of persons that
it has never seen. Each is merged from single tracklets by each criterion, and
cut at the cluster counts of the papers' 20 stages. Of these one is chosen, and
loses what its pair F has less than the best of the 20:

  rule       `cluster.choose_clustering`, which knows no tracklets
  estimated  the highest pair F as pairs that are surely two persons let
             estimate it (`selection.choose_by_pairs`)

The pairs are tracklets of one camera that overlap, and with `walks` those
between whose cameras nobody walks in that time, too. Shares of the overlaps
tell what fewer would do, and doubled tracklets what a tracker would that sees
some persons twice at once.
"""

import argparse
import collections
import itertools
import tempfile

import jax
import numpy as np

from benchmarks import tracks
from dbc_jax import FeatureExtractor, cluster
from dbc_jax import data as data_lib
from dbc_jax.cluster.hierarchy import labels_after
from dbc_jax.configs import ecluster
from dbc_jax.data import GroundTruth
from dbc_jax.devices.compilation_cache import use_compilation_cache
from dbc_jax.evaluation import clustering_scores
from dbc_jax.run import record, rules, selection

CRITERIA = (('ecluster', 0.9), ('average', 0.002), ('average', 0.0))
_STAGES = 20
_FIRST = 1000  # Drawings before it are others' trainings.
_CHUNK = 25
# Of the overlaps that are known, and of wrong ones beside them.
SHARES, WRONG = (0.5, 0.25, 0.125), (0.0, 0.01, 0.02, 0.05, 0.1)


def main() -> None:
  """Prints a line a drawing, and the table."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--draws', type=int, default=8)
  args = parser.parse_args()
  use_compilation_cache()
  extractor = FeatureExtractor.demo()
  losses: dict[tuple[str, str], list[float]] = collections.defaultdict(list)
  for draw in range(args.draws):
    dataset, truth = data_lib.load_dataset('demo_video', seed=_FIRST + draw)
    x = embed(extractor, dataset.train)
    halves = embed(extractor, dataset.train, half=True)
    assert truth.train_pids is not None
    for name, weight in CRITERIA:
      title = f'{name} {weight}'
      stages = merged(x, cluster.Criterion(name, weight))
      scores = [
        clustering_scores(labels, truth.train_pids)['pair_f']
        for labels in stages
      ]
      told = [f'best {max(scores):.3f} at {np.argmax(scores)}']
      for way, stage in choices(x, stages, truth, draw).items():
        losses[title, way].append(max(scores) - scores[stage])
        told.append(f'{way} {losses[title, way][-1]:.3f} at {stage}')
      overlaps = rules.overlapping(truth)
      for share in WRONG:
        rng = np.random.default_rng(draw)
        y, rows, of_two = doubled(x, halves, overlaps, rng, share)
        stages = merged(y, cluster.Criterion(name, weight))
        scores = [
          clustering_scores(labels, truth.train_pids[rows])['pair_f']
          for labels in stages
        ]
        way = f'estimated, {share:g} of the overlaps wrong'
        stage = _estimated(y, stages, of_two)
        losses[title, way].append(max(scores) - scores[stage])
      print(f'draw {draw}, {title}: {"; ".join(told)}', flush=True)
  for (title, way), found in losses.items():
    values = np.array(found)
    error = values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else 0
    print(f'{title}, {way}: loses {values.mean():.3f} ± {error:.3f}')
  print(f'jax {jax.__version__}, {jax.devices()[0].device_kind}')


def embed(
  extractor: FeatureExtractor, samples: data_lib.Samples, half: bool = False
) -> np.ndarray:
  """Features [N, D] of tracklets, or of their second halves."""
  bounds = samples.bounds.tolist()
  items = [
    [samples.read(i) for i in range((start + end) // 2 if half else start, end)]
    for start, end in itertools.pairwise(bounds)
  ]
  parts = [
    extractor(items[start : start + _CHUNK])
    for start in range(0, len(items), _CHUNK)
  ]
  return np.concatenate(parts)


def merged(x: np.ndarray, criterion: cluster.Criterion) -> list[np.ndarray]:
  """Labels [N] at each stage but the first, whose tracklets are alone."""
  count = len(x)
  step = count // _STAGES
  tree = cluster.merge_clusters(
    x, np.arange(count), step * (_STAGES - 1), criterion
  )
  return [
    labels_after(tree.pairs, np.arange(count), step * stage)
    for stage in range(1, _STAGES)
  ]


def choices(
  x: np.ndarray, stages: list[np.ndarray], truth: GroundTruth, seed: int
) -> dict[str, int]:
  """From each way of choosing to the place of its stage."""
  found = {'rule': _by_rule(x, stages)}
  known = pairs_of_two(truth)
  for what, of_two in known.items():
    found[f'estimated, {what}'] = _estimated(x, stages, of_two)
  rng, overlaps = np.random.default_rng(seed), known['overlaps']
  for share in SHARES:
    part = rng.permutation(overlaps)[: round(share * len(overlaps))]
    found[f'estimated, {share:g} of the overlaps'] = _estimated(x, stages, part)
  return found


def _estimated(
  x: np.ndarray, stages: list[np.ndarray], of_two: np.ndarray
) -> int:
  of_two = rules.unlike(x, of_two)
  if not len(of_two):  # As in runs.
    return _by_rule(x, stages)
  records = [record.measure_pairs(labels, of_two) for labels in stages]
  return selection.choose_by_pairs(records)[0]


def _by_rule(x: np.ndarray, stages: list[np.ndarray]) -> int:
  indices = [cluster.validity_indices(x, labels) for labels in stages]
  return cluster.choose_clustering(indices)[0]


def doubled(
  x: np.ndarray, halves: np.ndarray, of_two: np.ndarray, rng, share: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """As a tracker would see some persons twice at once.

  Args:
    x: [N, D] of tracklets.
    halves: [N, D] of their second halves.
    of_two: [P, 2] pairs that overlap.
    rng: draws who is doubled.
    share: of the pairs that are wrong then, about.

  Returns:
    Features, the tracklet that each is of, and pairs that overlap.
  """
  count = round(share * len(of_two) / (1 - share))
  drawn = rng.permutation(len(x))[:count]
  wrong = np.stack([drawn, len(x) + np.arange(count)], axis=1)
  rows = np.append(np.arange(len(x)), drawn)
  return (
    np.concatenate([x, halves[drawn]]),
    rows,
    np.concatenate([of_two, wrong]),
  )


def pairs_of_two(truth: GroundTruth) -> dict[str, np.ndarray]:
  """Rows [P, 2] that are surely of two persons, by what tells so."""
  config = ecluster.get_config('demo_video')
  config.cluster.frame_rule = 'hard'
  found = {'overlaps': rules.pairs(config, truth)}
  with tempfile.TemporaryDirectory() as folder:
    config.data.walks = str(tracks.write_walks(folder))
    found['walks'] = rules.pairs(config, truth)
  return found


if __name__ == '__main__':
  main()
