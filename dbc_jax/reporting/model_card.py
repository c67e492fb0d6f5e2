"""The card of a trained network: what it is, of what, how good, what for."""

from collections.abc import Mapping, Sequence
from typing import Any

from dbc_jax.reporting import record

_INIT = {
  'random': 'random weights',
  'self_supervised': 'random weights and a label-free warm-up on the same ones',
}
_INTRODUCTION = """\
An embedding for re-identification: crops of one person lie close together. It
was trained without identities, on clusters of its own."""
_LIMITS = """\
It knows pictures like those it was trained on. It has not been tested on other
cameras, seasons or people, nor for fairness between groups of people. Two
images that lie close together are a hint for a person to check, not a proof of
identity: do not decide on people by it. Whoever records people needs the right
to do so."""


def format_card(
  title: str,
  config: Mapping[str, Any],
  history: Sequence[record.Record],
  kept_stage: record.Stage,
  *,
  num_images: int,
  about_data: str,
  how: str,
  chosen: str = 'chosen without labels',
  licence: str | None = None,
) -> str:
  """Markdown, with the head that Hugging Face reads.

  Args:
    title: of the card.
    config: settings of the run, nested.
    history: one record a stage.
    kept_stage: the stage whose network it is.
    num_images: N, training images.
    about_data: what they are, in a sentence.
    how: commands or code that use the network.
    chosen: how the stage was, in words.
    licence: of the weights, as Hugging Face names it; None where it is open.

  Raises:
    ValueError: no record of the kept stage.
  """
  kept = record.kept_record(history, kept_stage)
  model, data, train = config['model'], config['data'], config['train']
  height, width = data['image_size']
  cameras = 'used' if data.get('use_cameras') == 'True' else 'not used'
  lines = [
    '---',
    *([f'license: {licence}'] if licence else []),
    'library_name: dbc_jax',
    'pipeline_tag: image-feature-extraction',
    'tags: [re-identification, unsupervised, clustering]',
    '---',
    f'# {title}',
    '',
    _INTRODUCTION,
    '',
    '## What it is',
    '',
    f'- Network: `{model["name"]}`, {height} x {width} RGB in.',
    f'- Images: {num_images:,} of `{data["name"]}`. {about_data}',
    f'- Began with {start_of(train["init"])}; seed {config["seed"]}.',
    f'- Clusters: `{config["cluster"]["criterion"]}`, cut '
    f'`{config["cluster"]["cut"]}`; cameras {cameras}.',
    f'- Stage {kept_stage} of 0 to {history[-1]["stage"]}, {chosen}, '
    f'with {int(kept["num_clusters"])} clusters.',
    '',
    '## How good it is',
    '',
    *_figures(kept),
    '',
    '## How to use it',
    '',
    *how.splitlines(),
    '',
    '## What it is not for',
    '',
    _LIMITS,
  ]
  return '\n'.join(lines) + '\n'


def start_of(init: str) -> str:
  """What `train.init` says, in words; of a file its name, not its place."""
  name = init if init.startswith('hf:') else init.rpartition('/')[2]
  return _INIT.get(init, f'the weights in {name}')


def _figures(kept: record.Record) -> list[str]:
  keys = ('rank1', 'rank5', 'map', 'pair_f', 'silhouette')
  rows = [
    f'| {record.FIELDS[key].heading} | {record.format_value(key, kept[key])} |'
    for key in keys
    if key in kept
  ]
  if 'map' not in kept:
    return ['Not scored: there were no identities of queries and gallery.']
  return [
    'Retrieval is of identities of the same data set that training never saw.',
    'Pair F and silhouette are of the clusters of the training images:',
    '',
    '| | |',
    '|---|---|',
    *rows,
  ]
