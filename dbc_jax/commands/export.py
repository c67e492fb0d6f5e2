"""Command line: writes the network of a run for programs without JAX."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from dbc_jax.commands import arguments

_EXAMPLE = """examples:
  dbc export --workdir=W --format=onnx --for=boxmot --out=reid.boxmot.onnx
  dbc export --workdir=W --format=onnx --for=own --out=reid.raw.onnx
  dbc export --workdir=W --format=safetensors --out=reid.safetensors

A file for one consumer gives bad features in another without a word, because
they feed other values: name it by what it is for.
"""
_RATES = (1e-2, 1e-3, 1e-4)
_SUFFIXES = {'onnx': '.onnx', 'safetensors': '.safetensors'}


def main(argv: list[str] | None = None) -> None:
  """Writes the network, and prints how to load it."""
  args = _parse(argv)
  try:
    _export(args)
  except (ValueError, OSError) as error:
    sys.exit(f'Error: {error}')
  except KeyboardInterrupt:
    sys.exit('\nInterrupted. Nothing was written.')


def _parse(argv: list[str] | None) -> argparse.Namespace:
  parser = arguments.parser('export', __doc__, _EXAMPLE)
  arguments.add_network(parser)
  parser.add_argument('--format', required=True, choices=_SUFFIXES)
  parser.add_argument(
    '--for',
    dest='use',
    choices=('boxmot', 'ultralytics', 'own'),
    help='onnx: which program reads the file',
  )
  parser.add_argument('--out', type=arguments.path, required=True)
  parser.add_argument(
    '--camera',
    type=int,
    help='number of a camera, where the run used them: the file is for its '
    'images alone',
  )
  parser.add_argument('--overwrite', action='store_true')
  args = parser.parse_args(argv)
  if (args.format == 'onnx') != (args.use is not None):
    parser.error('--for goes with --format=onnx, which needs it')
  return args


def _export(args: argparse.Namespace) -> None:
  from dbc_jax import export
  from dbc_jax.run.extractor import FeatureExtractor
  from dbc_jax.run.workdir import find_workdir
  from dbc_jax.verbs import uses_cameras

  suffix = _SUFFIXES[args.format]
  if args.out.suffix != suffix:
    raise ValueError(f'--out: {args.out} does not end in {suffix}; rename it')
  if args.out.exists() and not args.overwrite:
    raise ValueError(f'--out: {args.out} exists; --overwrite replaces it')
  if not args.out.absolute().parent.is_dir():
    raise ValueError(f'--out: there is no folder {args.out.absolute().parent}')
  extractor = FeatureExtractor.from_workdir(args.workdir, args.stage)
  run = extractor.run
  network = export.network_of_run(run, args.camera)
  thresholds = _thresholds(extractor, find_workdir(args.workdir), args.root)
  train = run.parts.config.train
  metadata = {
    'network': network.name,
    'image_size': json.dumps(network.image_size),
    'trained': f'on {len(run.labels)} images of its user, without identities; '
    f'initial weights: {train.init}',
    'thresholds': json.dumps(thresholds),
    'camera': 'all' if args.camera is None else str(args.camera),
  }
  height, width = network.image_size
  if args.format == 'safetensors':
    lines = export.write_safetensors(args.out, network, metadata=metadata)
    print(f'{args.out}: {network.name}, {height} x {width}, float32')
    print('\n'.join(['', *lines]))
    return
  use = export.USES[args.use]
  export.write_onnx(args.out, network, use=args.use, metadata=metadata)
  print(
    f'{args.out}: {network.name}, H x W = {height} x {width}\n'
    f'for {args.use}: {use.what}\n{use.how.format(file=args.out)}'
  )
  if uses_cameras(extractor) and args.camera is None:
    print(
      'the run used its cameras; the file has the statistics of all of them. '
      '--camera=ID makes one for the images of a camera'
    )
  _print_thresholds(thresholds, args.use)


def _thresholds(
  extractor: Any, workdir: Path, root: str | None
) -> dict[str, float]:
  """Euclidean distances at false-match rates, of pairs of the run's images."""
  from dbc_jax import verbs
  from dbc_jax.verbs.searching import calibration_of

  own = verbs.of_run(extractor, workdir, root=root)
  assert own.clusters is not None
  found = calibration_of(own.features, own.clusters)
  thresholds: dict[str, float] = {}
  if found is None:
    return thresholds
  for rate in _RATES:
    try:
      thresholds[f'{rate:g}'] = round(float(found[0].threshold(rate)), 4)
    except ValueError:  # Too few pairs for so small a rate.
      continue
  return thresholds


def _print_thresholds(thresholds: dict[str, float], use: str) -> None:
  if not thresholds:
    return
  from dbc_jax.reporting.summary import aligned

  heads = ['false matches', 'distance', 'cosine distance']
  rows = []
  for rate, distance in thresholds.items():
    cosine = distance**2 / 2
    row = [rate, f'{distance:.3f}', f'{cosine:.3f}']
    if use == 'ultralytics':
      row.append(f'{1 - cosine / 2:.3f}')
    elif use == 'boxmot':
      row.append(f'{cosine:.3f}')
    rows.append(row)
  if use != 'own':
    heads.append('appearance_thresh')
  print('\n'.join(['', *aligned([heads, *rows])]))
  print(
    'by the clusters of the run and its own resizing of the images; that of a '
    'tracker differs, most where it shrinks crops by 4 or more'
  )


if __name__ == '__main__':
  main()
