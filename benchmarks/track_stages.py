"""Whether tracklets choose a better stage than the label-free rule.

  python -m benchmarks.track_stages

The network of the demo embeds --draws drawings of demo_video, of persons that
it has never seen. Each is merged from single tracklets by each criterion, and
cut at the cluster counts of the papers' 20 stages. Of these one is chosen, and
loses what its pair F has less than the best of the 20:

  rule       `cluster.choose_clustering`, which knows no tracklets
  estimated  the highest pair F as estimated from pairs that are surely two
             persons: with q their share inside clusters, of the n pairs inside
             clusters n - q N (N - 1) / 2 are of one person; the highest of
             these over the stages stands for all pairs of one person
  half       the latest at which by the same count at least half of the pairs
             inside clusters are of one person

The pairs are tracklets of one camera that overlap, and with `walks` those
between whose cameras nobody walks in that time, too.
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
from dbc_jax.run import rules

CRITERIA = (('ecluster', 0.9), ('average', 0.002), ('average', 0.0))
_STAGES = 20
_FIRST = 1000  # Drawings before it are others' trainings.
_CHUNK = 25


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
    assert truth.train_pids is not None
    for name, weight in CRITERIA:
      title = f'{name} {weight}'
      stages = merged(x, cluster.Criterion(name, weight))
      scores = [
        clustering_scores(labels, truth.train_pids)['pair_f']
        for labels in stages
      ]
      told = [f'best {max(scores):.3f} at {np.argmax(scores)}']
      for way, stage in choices(x, stages, truth).items():
        losses[title, way].append(max(scores) - scores[stage])
        told.append(f'{way} {losses[title, way][-1]:.3f} at {stage}')
      print(f'draw {draw}, {title}: {"; ".join(told)}', flush=True)
  for (title, way), found in losses.items():
    values = np.array(found)
    error = values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else 0
    print(f'{title}, {way}: loses {values.mean():.3f} ± {error:.3f}')
  print(f'jax {jax.__version__}, {jax.devices()[0].device_kind}')


def embed(extractor: FeatureExtractor, samples: data_lib.Samples) -> np.ndarray:
  """Features [N, D] of tracklets."""
  bounds = samples.bounds.tolist()
  items = [
    [samples.read(frame) for frame in range(*ends)]
    for ends in itertools.pairwise(bounds)
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
  x: np.ndarray, stages: list[np.ndarray], truth: GroundTruth
) -> dict[str, int]:
  """From each way of choosing to the place of its stage."""
  indices = [cluster.validity_indices(x, labels) for labels in stages]
  found = {'rule': cluster.choose_clustering(indices)[0]}
  for what, apart in pairs_of_two(truth).items():
    inside, same = np.array([_counts(labels, apart) for labels in stages]).T
    estimated = 2 * same / (inside + same.max())
    found[f'estimated, {what}'] = int(np.argmax(estimated))
    enough = np.flatnonzero(2 * same >= inside)
    found[f'half, {what}'] = int(enough.max(initial=0))
  return found


def _counts(labels: np.ndarray, apart: np.ndarray) -> tuple[float, float]:
  """Pairs inside clusters, and how many of them seem to be of one person."""
  sizes = np.bincount(labels)
  inside = float((sizes * (sizes - 1) / 2).sum())
  share = float((labels[apart[:, 0]] == labels[apart[:, 1]]).mean())
  return inside, inside - share * len(labels) * (len(labels) - 1) / 2


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
