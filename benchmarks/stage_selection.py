"""Which stage each label-free rule would keep, and what it loses.

  python -m dbc_jax.commands.reproduce --experiment=stages --workdir=papers \
      --keep_stages
  python -m benchmarks.stage_selection --cache=papers --figures=docs

Takes the runs that were made with --keep_stages and, if
--features names a file of `features` [N, D], `pids` and `camids` [N], merges
those features down without any training; each criterion is then a run of its
own, scored by pair F. A loss is what the chosen stage has less than the best by
labels.

Results on features are appended to --out, one JSON object a run; what is there
already is not computed again.
"""

import json
import pathlib
import statistics
from collections.abc import Callable

import matplotlib.pyplot as plt
import numpy as np
from absl import app, flags
from scipy.cluster import hierarchy

from dbc_jax import cluster, evaluation
from dbc_jax.run import record as record_lib
from dbc_jax.run import selection

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
  'cache', 'runs/papers', 'Folder of dbc_jax.commands.reproduce.'
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
  trained = {}
  for folder in sorted(pathlib.Path(_CACHE.value).glob('runs/*/*/stages')):
    run = folder.parent
    name = f'{run.parent.name}-{run.name.replace("-seed", "-")}'
    trained[name] = _measured(run)
  merged = _read(out)
  for name, weight, jaccard, centred in HIERARCHIES if _FEATURES.value else ():
    title = f'{name} {weight}, {"Jaccard" if jaccard else "Euclidean"}'
    title += ', centred' * centred
    if title not in merged:
      stages = _merged(cluster.Criterion(name, weight), jaccard, centred)
      merged[title] = stages
      with out.open('a') as file:
        file.write(json.dumps({'run': title, 'stages': stages}) + '\n')
  print(_table(trained, 'map'))
  print(_table(merged, 'pair_f'))
  if _FIGURES.value:
    _draw(trained | merged, pathlib.Path(_FIGURES.value))


def _measured(run: pathlib.Path) -> Stages:
  """Records of a run whose stages are kept, measured as this build does."""
  stages = []
  for line in (run / 'metrics.jsonl').read_text().splitlines():
    record = json.loads(line)
    path = run / 'stages' / f'{record["stage"]}.npz'
    if path.exists():
      with np.load(path) as file:
        features = file['features'].astype(np.float32)
        stages.append(record | record_lib.measure(features, file['labels']))
  return stages


def _merged(
  criterion: cluster.Criterion, jaccard: tuple[int, int] | None, centred: bool
) -> Stages:
  """Pair F and indices of one hierarchy on features that stay as they are."""
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
    stages.append({'pair_f': scores['pair_f']} | record_lib.measure(x, labels))
  return stages


def _highest(key: str) -> Callable[[Stages], int | None]:
  def choose(stages: Stages) -> int | None:
    known = [i for i, stage in enumerate(stages) if key in stage]
    return max(known, key=lambda i: stages[i][key]) if known else None

  return choose


def _before_largest_rise(key: str) -> Callable[[Stages], int]:
  def choose(stages: Stages) -> int:
    return int(np.argmax(np.diff([stage[key] for stage in stages])))

  return choose


def _chosen(stages: Stages) -> int:
  return selection.select(
    [{'stage': i, **stage} for i, stage in enumerate(stages)]
  ).chosen


def _latest_with_share(stages: Stages) -> int:
  silhouettes = np.array([stage['silhouette'] for stage in stages])
  return int(np.flatnonzero(silhouettes >= 0.8 * silhouettes.max())[-1])


RULES: dict[str, Callable[[Stages], int | None]] = {
  'what runs do': _chosen,
  'silhouette: latest with 80 % of the highest': _latest_with_share,
  'silhouette: highest': _highest('silhouette'),
  'neighbours: highest pair F': _highest('neighbour_f'),
  'dispersion validity: before its largest rise': _before_largest_rise(
    'dispersion_validity'
  ),
  'merge scores: before their largest rise': _highest('merge_gap'),
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
  """stage_selection.svg: score and indices by stage, and what is chosen."""
  names = [n for n in runs if n.endswith('-0')]
  names += [n for n in runs if 'map' not in runs[n][0]]
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
      panel.plot(scores, 'C0')
      panel.set_title(name, fontsize=8)
      other = panel.twinx()
      for line, index in (('C1', 'silhouette'), ('C2--', 'neighbour_f')):
        values = np.array([stage[index] for stage in stages])
        other.plot(values / values.max(), line)
      other.set_yticks([])
      panel.axvline(_chosen(stages), color='C1', linestyle=':')
      panel.axvline(int(np.argmax(scores)), color='C0', linestyle=':')
    panels.flat[0].set_ylabel('mAP or pair F (%)')
    figure.savefig(folder / 'stage_selection.svg', metadata={'Date': None})
    plt.close(figure)


def _read(out: pathlib.Path) -> dict[str, Stages]:
  lines = out.read_text().splitlines() if out.exists() else []
  return {line['run']: line['stages'] for line in map(json.loads, lines)}


if __name__ == '__main__':
  app.run(main)
