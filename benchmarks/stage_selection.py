"""Which stage each label-free rule would keep, and what it loses.

  python -m benchmarks.stage_selection --features=F.npz --figures=docs

Takes the runs that benchmarks.stage_runs has cached and, if --features names a
file of `features` [N, D], `pids` and `camids` [N], merges those features down
without any training; each criterion is then a run of its own, scored by pair
F. A loss is what the chosen stage has less than the best by labels.

Results are appended to --out, one JSON object a run; what is there already is
not computed again.
"""

import json
import pathlib
import statistics
from collections.abc import Callable, Iterator

import matplotlib.pyplot as plt
import numpy as np
from absl import app, flags
from scipy.cluster import hierarchy

from dbc_jax import cluster, evaluation, selection

# What features alone are merged by: the best setting, then the papers' own.
# Criterion and lambda, Jaccard's k1 and k2 or None, cameras centred.
HIERARCHIES = (
  ('average', 0.002, (20, 3), True),
  ('average', 0.002, (30, 6), False),
  ('average', 0.0, None, False),
  ('ecluster', 0.9, None, False),
  ('dbc', 0.1, None, False),
  ('estat', 0.1, None, False),
  ('buc', 0.003, None, False),
)
MERGE_SHARE = 0.05

_CACHE = flags.DEFINE_string(
  'cache', 'runs/stages', 'Of benchmarks.stage_runs.'
)
_FEATURES = flags.DEFINE_string('features', '', 'F.npz, or none.')
_OUT = flags.DEFINE_string(
  'out', 'runs/stage_selection.jsonl', 'Results, read and appended.'
)
_FIGURES = flags.DEFINE_string('figures', '', 'Folder of the figures, or none.')

Stages = list[dict[str, float]]


def main(argv: list[str]) -> None:
  """Computes what is missing in --out, then prints the tables."""
  del argv
  out = pathlib.Path(_OUT.value)
  out.parent.mkdir(parents=True, exist_ok=True)
  for name, stages in _missing_runs(set(_read(out))):
    with out.open('a') as file:
      file.write(json.dumps({'run': name, 'stages': stages}) + '\n')
    print(name, flush=True)
  runs = _read(out)
  trained = {name: run for name, run in runs.items() if 'map' in run[0]}
  fixed = {name: run for name, run in runs.items() if name not in trained}
  print(_table(trained, 'map'))
  print(_table(fixed, 'pair_f'))
  if _FIGURES.value:
    _draw(runs, pathlib.Path(_FIGURES.value))


def _missing_runs(known: set[str]) -> Iterator[tuple[str, Stages]]:
  for path in sorted(pathlib.Path(_CACHE.value).glob('*.npz')):
    if path.stem not in known:
      yield path.stem, _trained(path)
  for name, weight, jaccard, centred in HIERARCHIES if _FEATURES.value else ():
    title = f'{name} {weight}, {"Jaccard" if jaccard else "Euclidean"}'
    title += ', centred' * centred
    if title not in known:
      criterion = cluster.Criterion(name, weight)
      yield title, _merged(criterion, jaccard, centred)


def _trained(path: pathlib.Path) -> Stages:
  """Scores and indices of every stage of a cached run."""
  with np.load(path) as file:
    run = {key: file[key] for key in file.files}
  history = json.loads(str(run['history']))
  criterion = cluster.Criterion('ecluster', 0.9)
  num_merges = int(np.ptp(run['labels'].max(axis=1)[:2]))
  stages, before = [], np.inf
  for record, labels, features, *views in zip(
    history,
    *(run[key] for key in ('labels', 'features', 'first_view', 'second_view')),
    strict=True,
  ):
    # As many merges from the last stage too, that no run would do.
    merges = cluster.merge_clusters(
      features,
      labels,
      min(num_merges, record['num_clusters'] - 1),
      criterion,
    )
    stages.append(
      {
        key: record[key]
        for key in ('num_clusters', 'map', 'pair_f', 'accuracy')
      }
      | selection.measure(features, labels)
      | {
        'merge_rise': float(merges.scores[0] / before),
        'stage_agreement': _agreement(labels, merges.labels),
        'view_agreement': _view_agreement(labels, *views),
      }
    )
    before = merges.scores[-1]
  return stages


def _merged(
  criterion: cluster.Criterion, jaccard: tuple[int, int] | None, centred: bool
) -> Stages:
  """The same of one hierarchy on features that stay as they are."""
  with np.load(_FEATURES.value) as file:
    pids, x = file['pids'], file['features'].astype(np.float32)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    if centred:
      x = np.asarray(cluster.center_cameras(x, file['camids']))
  distances = None
  if jaccard:
    k1, k2 = jaccard
    distances = cluster.jaccard_distances(x, k1=k1, k2=k2)
  num_merges = int(len(x) * MERGE_SHARE)
  counts = range(len(x), num_merges, -num_merges)
  tree = cluster.to_scipy_linkage(
    cluster.merge_clusters(
      x,
      np.arange(len(x)),
      len(x) - counts[-1],
      criterion,
      distances=distances,
    )
  )
  stages: Stages = []
  for count in counts:
    labels = hierarchy.fcluster(tree, count, 'maxclust') - 1
    scores = evaluation.clustering_scores(labels, pids)
    stages.append({'pair_f': scores['pair_f']} | selection.measure(x, labels))
  return stages


def _agreement(labels: np.ndarray, other: np.ndarray) -> float:
  """Adjusted Rand index of two partitions; none of them is the truth."""
  return evaluation.clustering_scores(labels, other)['ari']


def _view_agreement(
  labels: np.ndarray, first: np.ndarray, second: np.ndarray
) -> float:
  """Share of images nearest to the same cluster mean in both their views."""
  sizes = np.bincount(labels)[:, None]
  nearest = []
  for rows, others in ((first, second), (second, first)):
    means = np.zeros((len(sizes), rows.shape[1]))
    np.add.at(means, labels, others)
    means /= sizes
    squared = np.sum(means**2, axis=1) - 2.0 * rows @ means.T
    nearest.append(np.argmin(squared, axis=1))
  return float(np.mean(nearest[0] == nearest[1]))


def _highest(key: str) -> Callable[[Stages], int | None]:
  def choose(stages: Stages) -> int | None:
    known = [i for i, stage in enumerate(stages) if key in stage]
    return max(known, key=lambda i: stages[i][key]) if known else None

  return choose


def _before_largest_rise(key: str) -> Callable[[Stages], int]:
  def choose(stages: Stages) -> int:
    return int(np.argmax(np.diff([stage[key] for stage in stages])))

  return choose


def _by_share(stages: Stages) -> int:
  return selection.select(
    [{'stage': i, **stage} for i, stage in enumerate(stages)]
  ).chosen


RULES: dict[str, Callable[[Stages], int | None]] = {
  'silhouette: latest with 80 % of the highest': _by_share,
  'silhouette: highest': _highest('silhouette'),
  'dispersion validity: before its largest rise': _before_largest_rise(
    'dispersion_validity'
  ),
  'merge scores: before their largest rise': _highest('merge_rise'),
  'next clusters like these: highest': _highest('stage_agreement'),
  'two views in one cluster: highest': _highest('view_agreement'),
  'training accuracy: highest': _highest('accuracy'),
  'last': lambda stages: len(stages) - 1,
}


def _table(runs: dict[str, Stages], key: str) -> str:
  """Markdown: the best by labels, and each rule's mean loss and stages."""
  groups: dict[str, list[Stages]] = {}
  for name, stages in runs.items():
    groups.setdefault(name.rpartition('-')[0] or name, []).append(stages)
  if key == 'pair_f':
    groups = {name: [stages] for name, stages in runs.items()}
  heads = [f'{name} ({len(group)})' for name, group in groups.items()]
  lines = [f'| | {" | ".join(heads)} |', f'|{"---|" * (len(heads) + 1)}']
  cells = []
  for group in groups.values():
    values = [[stage[key] for stage in stages] for stages in group]
    best = statistics.mean(map(max, values))
    at = ', '.join(str(int(np.argmax(x))) for x in values)
    cells.append(f'{100 * best:.1f} at {at}')
  lines.append(f'| best by labels | {" | ".join(cells)} |')
  for rule, choose in RULES.items():
    cells = []
    for group in groups.values():
      chosen = [choose(stages) for stages in group]
      if None in chosen:
        cells.append('')
        continue
      losses = [
        max(stage[key] for stage in stages) - stages[i][key]
        for stages, i in zip(group, chosen, strict=True)
      ]
      if key == 'pair_f':
        losses = [losses[0] / max(stage[key] for stage in group[0])]
      at = ', '.join(map(str, chosen))
      cells.append(f'{100 * statistics.mean(losses):.1f} at {at}')
    lines.append(f'| {rule} | {" | ".join(cells)} |')
  return '\n'.join(lines)


def _draw(runs: dict[str, Stages], folder: pathlib.Path) -> None:
  """stage_selection.svg: score and silhouette by stage, and what is chosen."""
  names = [n for n in runs if n.endswith('-0')]
  names += [n for n in runs if 'map' not in runs[n][0]][:3]
  columns = 4
  rows = -(-len(names) // columns)
  with plt.rc_context({'svg.hashsalt': 'x', 'font.size': 8}):
    figure, panels = plt.subplots(
      rows, columns, figsize=(9, 2.1 * rows), layout='constrained'
    )
    for panel in panels.flat[len(names) :]:
      panel.set_axis_off()
    for name, panel in zip(names, panels.flat, strict=False):
      stages = runs[name]
      key = 'map' if 'map' in stages[0] else 'pair_f'
      scores = [100 * stage[key] for stage in stages]
      silhouettes = [stage['silhouette'] for stage in stages]
      panel.plot(scores, 'C0', label='mAP or pair F, %')
      panel.set_title(name, fontsize=8)
      other = panel.twinx()
      other.plot(silhouettes, 'C1', label='silhouette')
      other.set_yticks([])
      panel.axvline(_by_share(stages), color='C1', linestyle=':')
      panel.axvline(int(np.argmax(scores)), color='C0', linestyle=':')
    panels.flat[0].set_ylabel('mAP or pair F (%)')
    figure.savefig(folder / 'stage_selection.svg', metadata={'Date': None})
    plt.close(figure)


def _read(out: pathlib.Path) -> dict[str, Stages]:
  lines = out.read_text().splitlines() if out.exists() else []
  return {line['run']: line['stages'] for line in map(json.loads, lines)}


if __name__ == '__main__':
  app.run(main)
