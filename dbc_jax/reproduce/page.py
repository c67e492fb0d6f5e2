"""The page of an experiment: its table and figures, and how they came about."""

import html
import pathlib
from collections.abc import Sequence

from dbc_jax.reporting import write_atomically
from dbc_jax.reproduce import tables
from dbc_jax.reproduce.jobs import Job

_CSS = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 70rem;
  margin: 2rem auto; padding: 0 1rem; background: Canvas; color: CanvasText; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .7rem; text-align: right; white-space: nowrap;
  border-bottom: 1px solid #8884; }
th:first-child, td:first-child { text-align: left; }
img { max-width: 100%; background: white; }
"""


def conditions(job: Job) -> str:
  """Network, size, weights, batch and hardware of a run, in one line."""
  config, about = job.config, job.done()
  height, width = config.data.image_size
  init = {
    'random': 'random weights',
    'self_supervised': 'random weights and a label-free warm-up',
  }.get(config.train.init, pathlib.Path(config.train.init).name)
  return (
    f'{config.model.name}, {height} x {width}, from {init}, batch '
    f'{config.train.batch_size}; {about["device"]}, cores a run: '
    f'{about["cores"]}, jax {about["jax"]}, dbc_jax {about["dbc_jax"]}, '
    f'{about["date"]}'
  )


def write_page(
  path: pathlib.Path,
  title: str,
  about: str,
  command: str,
  jobs: Sequence[Job],
  figures: Sequence[tuple[str, str]],
) -> None:
  """Writes the page.

  Args:
    path: of the HTML file; replaced as a whole.
    title: of the experiment.
    about: what it is, in a sentence.
    command: that makes it.
    jobs: all runs; those that are done are shown.
    figures: name of a file beside the page, and its caption.
  """
  done = [job for job in jobs if job.is_done()]
  under = dict.fromkeys(map(conditions, done))
  text = [
    '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">',
    '<meta name="viewport" content="width=device-width, initial-scale=1">',
    f'<title>{html.escape(title)}</title><style>{_CSS}</style></head><body>',
    f'<h1>{html.escape(title)}</h1><p>{html.escape(about)}</p>',
    f'<p>{len(done)} of {len(jobs)} runs are done. Means over the seeds with '
    'their standard deviation, in %. <i>Printed</i> is what the papers have, '
    'with a ResNet-50 from ImageNet weights at 256 x 128; measured is under '
    'the conditions below. <i>Chosen</i> is without labels, <i>best by '
    'labels</i> is what the papers report.</p>',
    f'<div class="wide">{tables.html_table(jobs)}</div>',
    *(f'<p>{html.escape(line)}</p>' for line in under),
    f'<p><code>{html.escape(command)}</code></p>',
    *(
      f'<h2>{html.escape(caption)}</h2><img src="{name}" alt="">'
      for name, caption in figures
    ),
    '</body></html>\n',
  ]
  write_atomically(path, '\n'.join(text))
