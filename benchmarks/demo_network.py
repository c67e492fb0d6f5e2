"""Puts the network of a run on the demo where the package ships it from.

  python -m dbc_jax.main --config=best --workdir=runs/best-demo
  python -m benchmarks.demo_network --workdir=runs/best-demo

Of the run it takes settings, records, clusters, features and the chosen stage's
checkpoint, and writes a card beside them. What it prints is the size.
"""

import json
import pathlib
import shutil

from absl import app, flags, logging

import dbc_jax
from dbc_jax.reporting.model_card import format_card
from dbc_jax.run import restore

_DATA = (
  'They are drawn by a program: synthetic pedestrians seen by five cameras. It '
  'is for a first try, not for real crops.'
)
_HOW = """\
```python
from dbc_jax import FeatureExtractor

features = FeatureExtractor.demo()(paths)  # [N, D] float32
```"""

_FILES = ('config.json', 'metrics.jsonl', 'clusters.csv', 'features.npz')

_WORKDIR = flags.DEFINE_string('workdir', 'runs/best-demo', 'Of the run.')


def main(argv: list[str]) -> None:
  del argv
  logging.set_verbosity(logging.WARNING)
  workdir = pathlib.Path(_WORKDIR.value)
  run = restore.restore_run(workdir)
  to = pathlib.Path(dbc_jax.__file__).parent / 'demo'
  shutil.rmtree(to, ignore_errors=True)
  checkpoints = to / 'checkpoints'
  checkpoints.mkdir(parents=True)
  for name in _FILES:
    shutil.copy(workdir / name, to)
  stage = str(run.stage)
  shutil.copytree(workdir / 'checkpoints' / stage, checkpoints / stage)
  # They say where the run was; that they are there is what counts.
  for path in checkpoints.rglob('commit_success.txt'):
    path.write_text('Committed.\n')
  lines = (to / 'metrics.jsonl').read_text().splitlines()
  card = format_card(
    'The network of the demo',
    json.loads((to / 'config.json').read_text()),
    [json.loads(line) for line in lines],
    run.stage,
    num_images=len(run.labels),
    about_data=_DATA,
    how=_HOW,
    licence='apache-2.0',
  )
  (to / 'README.md').write_text(card)
  size = sum(path.stat().st_size for path in to.rglob('*') if path.is_file())
  print(f'{to}: stage {stage}, {size / 1e6:.1f} MB')


if __name__ == '__main__':
  app.run(main)
