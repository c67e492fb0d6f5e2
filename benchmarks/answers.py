"""What answers are worth, on the demo: the table in docs/corrections.md.

    python -m benchmarks.answers --figure=docs/corrections.svg

Each seed draws 1,000 images of persons that the network of the demo has never
seen, which that network embeds. An oracle that knows who is who then answers
100 questions: the least certain pairs, random ones, and random ones among the
10 nearest neighbours. After every 10 the images are clustered again, as `dbc
review` does it. The score is pair F.
"""

import argparse
import pathlib
from typing import Any, NamedTuple

import numpy as np

from dbc_jax import FeatureExtractor, evaluation
from dbc_jax.cluster.linked import Links
from dbc_jax.data import load_dataset, load_images
from dbc_jax.devices.compilation_cache import use_compilation_cache
from dbc_jax.run import restore
from dbc_jax.run.merger import Merger
from dbc_jax.verbs import reclustering
from dbc_jax.verbs.questions import least_certain_pairs
from dbc_jax.verbs.searching import nearest

ROUND, COUNT = 10, 100
SHOWN = (0, 20, 50, 100)
NEIGHBOURS = 10
WAYS = ('least certain', 'random neighbours', 'random')
# A fixed seed, for draws of pairs.
_DRAWS = 17
_FAR = 1000


class Images(NamedTuple):
  """Images that a network embedded, and who is on them."""

  run: restore.RestoredRun
  features: np.ndarray
  camids: np.ndarray
  pids: np.ndarray


def main() -> None:
  """Prints a table, and draws it if asked."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--seeds', default='1,2,3,4,5')
  parser.add_argument('--figure', type=pathlib.Path)
  args = parser.parse_args()
  use_compilation_cache()
  scores: dict[str, list[list[float]]] = {way: [] for way in WAYS}
  for seed in map(int, args.seeds.split(',')):
    images = draw_images(seed)
    for way in WAYS:
      found = after_answers(images, way, seed)
      scores[way].append(found)
      told = ', '.join(f'{found[n // ROUND]:.3f}' for n in SHOWN)
      print(f'seed {seed}, {way}: {told}', flush=True)
  print(f'\npair F after {", ".join(map(str, SHOWN))} answers')
  for way, rows in scores.items():
    values = np.array(rows)
    means, errors = values.mean(axis=0), _error(values)
    told = ', '.join(
      f'{means[n // ROUND]:.3f} +- {errors[n // ROUND]:.3f}' for n in SHOWN
    )
    gains = values[:, -1] - values[:, 0]
    print(
      f'{way}: {told}; gain {gains.mean():.3f} +- {_error(gains):.3f}',
      flush=True,
    )
  if args.figure:
    draw(args.figure, scores)


def _error(values: np.ndarray) -> Any:
  """The standard error of the mean over seeds."""
  return values.std(axis=0, ddof=1) / np.sqrt(len(values))


def draw_images(seed: int) -> Images:
  """Of persons, and before cameras, that no training saw."""
  extractor = FeatureExtractor.demo()
  dataset, truth = load_dataset('demo', seed=seed)
  camids, pids = truth.train_camids, truth.train_pids
  assert camids is not None
  assert pids is not None
  # Another number is another camera.
  features = extractor([*load_images(dataset.train)], (_FAR + camids).tolist())
  return Images(extractor.run, features, camids, pids)


def after_answers(images: Images, way: str, seed: int) -> list[float]:
  """Pair F after 0, 10, 20, ... answers."""
  rng = np.random.default_rng([_DRAWS, seed])
  pairs = np.zeros((0, 2), np.int64)
  scores = []
  while True:
    same = images.pids[pairs[:, 0]] == images.pids[pairs[:, 1]]
    links = Links(pairs[same], pairs[~same])
    labels = clustered(images, links)
    found = evaluation.clustering_scores(labels, images.pids)
    scores.append(found['pair_f'])
    if len(pairs) >= COUNT:
      return scores
    if way == 'least certain':
      asked = least_certain_pairs(images.features, labels, links, ROUND).pairs
    else:
      asked = _random(images.features, rng, is_near=way != 'random')
    pairs = np.concatenate([pairs, asked])


def clustered(images: Images, links: Links) -> np.ndarray:
  """The labels [N] that `recluster` gives, where these are a run's images."""
  run = images.run
  return Merger(run.parts.config.cluster).again(
    images.features,
    len(images.features),
    *reclustering.clustering_of(run),
    camids=images.camids,
    links=links,
  )


def _random(
  features: np.ndarray, rng: np.random.Generator, *, is_near: bool
) -> np.ndarray:
  """So many pairs [ROUND, 2] at random."""
  count = len(features)
  first = rng.choice(count, ROUND, replace=False)
  if not is_near:
    second = (first + rng.integers(1, count, ROUND)) % count
    return np.column_stack([first, second])
  found = nearest(features[first], features, 1 + NEIGHBOURS)
  second = [
    rng.choice([i for i in ids.tolist() if i != row][:NEIGHBOURS])
    for row, (ids, _) in zip(first.tolist(), found, strict=True)
  ]
  return np.column_stack([first, second])


def draw(path: pathlib.Path, scores: dict[str, list[list[float]]]) -> None:
  """The figure: pair F by answers, and its standard error over seeds."""
  import matplotlib

  matplotlib.use('Agg')
  from matplotlib import pyplot as plt

  with plt.rc_context({'svg.hashsalt': 'x', 'font.size': 9}):
    figure, axes = plt.subplots(figsize=(5, 3.2), layout='constrained')
    answers = np.arange(0, COUNT + 1, ROUND)
    for way, rows in scores.items():
      values = np.array(rows)
      means, errors = values.mean(axis=0), _error(values)
      axes.plot(answers, means, label=way)
      axes.fill_between(answers, means - errors, means + errors, alpha=0.2)
    axes.set_xlabel('answers')
    axes.set_ylabel('pair F of the clusters')
    axes.legend(frameon=False)
    figure.savefig(path, metadata={'Date': None})


if __name__ == '__main__':
  main()
