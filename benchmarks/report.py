"""What the report of a run costs, and how large it is.

  python -m benchmarks.report --root=DIR [--dim=512] [--out=report.html]

DIR is a folder of images, such as Market-1501's bounding_box_train. Their
features are random, in groups of 17, and so are their clusters: what a run
would have to compute them from is no part of this. Identities are the groups.
"""

import pathlib
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from absl import app, flags

from benchmarks.measuring import Peak, chromium
from dbc_jax import cluster, reporting
from dbc_jax.data import load_dataset, loading

_ROOT = flags.DEFINE_string('root', None, 'Of the images.', required=True)
_DIM = flags.DEFINE_integer('dim', 512, 'Of the features.')
_GROUP = flags.DEFINE_integer('group', 17, 'Images of one person.')
_OUT = flags.DEFINE_string('out', '', 'Where to keep the page, if at all.')
_SIZE = (128, 64)
_STAGES = 20


def made_up(count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Features [N, D] float16, clusters and identities [N] int32."""
  rng = np.random.default_rng(0)
  pids = np.arange(count, dtype=np.int32) // _GROUP.value
  centres = rng.normal(size=(pids[-1] + 1, _DIM.value))
  features = centres[pids] + rng.normal(0, 0.7, (count, _DIM.value))
  features /= np.linalg.norm(features, axis=1, keepdims=True)
  # Each person is cut into parts, and one image in twenty is elsewhere.
  labels = 2 * pids + rng.integers(0, 2, count, np.int32)
  moved = rng.random(count) < 0.05
  labels[moved] = rng.permutation(labels[moved])
  labels = np.unique(labels, return_inverse=True)[1].astype(np.int32)
  return features.astype(np.float16), labels, pids


def timed(what: str, call: Callable[[], Any]) -> Any:
  """Its result; prints the seconds on the wall and of this process."""
  wall, own = time.perf_counter(), time.process_time()
  found = call()
  wall, own = time.perf_counter() - wall, time.process_time() - own
  print(f'{what}: {wall:.2f} s, {own:.2f} s of CPU', flush=True)
  return found


def main(argv: list[str]) -> None:
  del argv
  root = pathlib.Path(_ROOT.value)
  samples = load_dataset('folder', root)[0].train
  count = len(samples)
  features, labels, pids = made_up(count)
  print(f'{count:,} images in {labels.max() + 1:,} clusters')
  history = [
    {
      **{'stage': s, 'num_clusters': count - s, 'loss': 2.0, 'map': 0.2},
      **{'rank1': 0.4, 'pair_f': 0.5, 'silhouette': 0.3, 'seconds_train': 9.0},
    }
    for s in range(_STAGES)
  ]
  config = {'data': {'name': 'folder'}, 'cluster': {'criterion': 'average'}}
  stages = {'last': _STAGES - 1, 'chosen without labels': 7}
  peak = Peak()
  with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(_OUT.value or f'{folder}/report.html')
    for which in ('first', 'later'):
      timed(
        f'a {which} page before the end',
        lambda: reporting.write_progress(
          path, history, 7, stages, config, labels
        ),
      )
    start, own = time.perf_counter(), time.process_time()
    places = timed('t-SNE', lambda: reporting.places_of_map(features))
    silhouettes = timed(
      'silhouettes', lambda: cluster.simplified_silhouettes(features, labels)
    )
    timed(
      'the page',
      lambda: reporting.write_report(
        *(path, history, 7, 'a reason', stages, config),
        *(samples.names, labels),
        lambda i: loading.resize_image(samples.read(i), _SIZE),
        features=features,
        places=places,
        pids=pids,
        silhouettes=silhouettes,
        root=root,
      ),
    )
    rows = reporting.rows_of_map(count)
    timed(
      'the projector',
      lambda: reporting.write_projector(
        pathlib.Path(folder) / 'tensorboard',
        features[rows],
        [samples.names[i] for i in rows],
        {'cluster': labels[rows]},
        lambda i: loading.resize_image(samples.read(int(rows[i])), _SIZE),
      ),
    )
    wall, own = time.perf_counter() - start, time.process_time() - own
    with chromium() as browser:
      if browser is not None:
        page = browser.new_page()
        timed('the page in a Chromium', lambda: page.goto(path.as_uri()))
    print(
      f'in all: {wall:.1f} s, {own:.1f} s of CPU; '
      f'{path.stat().st_size / 1e6:.1f} MB'
    )
  print(f'memory beside the features: {peak.increase() / 1e9:.2f} GB')


if __name__ == '__main__':
  app.run(main)
