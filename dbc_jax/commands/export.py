"""Command line: writes the network of a run for programs without JAX."""

import argparse
import json
from typing import Any

from dbc_jax.commands import arguments

_EXAMPLE = """examples:
  dbc export --workdir=W --format=onnx --for=boxmot --out=reid.boxmot.onnx
  dbc export --workdir=W --format=onnx --for=own --out=reid.raw.onnx
  dbc export --workdir=W --format=safetensors --out=reid.safetensors
  dbc export --workdir=W --format=stablehlo --out=reid.stablehlo
  dbc export --workdir=W --format=hub --out=reid_hub [--push=USER/NAME]

A file for one consumer gives bad features in another without a word, because
they feed other values: name it by what it is for.
"""
_SUFFIXES = {
  'onnx': '.onnx',
  'safetensors': '.safetensors',
  'stablehlo': '.stablehlo',
  'hub': None,
}
_NEEDED = {'onnx': 'onnx', 'stablehlo': 'flatbuffers'}
_RESIZED = {
  'boxmot': 'resized as boxmot does (INTER_LINEAR)',
  'ultralytics': 'resized as ultralytics does (INTER_LINEAR)',
  'own': 'resized as the file does',
  None: 'resized as in the run',
}
_CHOSEN = {
  'chosen': 'chosen without labels',
  'oracle': 'chosen by test identities',
}


def main(argv: list[str] | None = None) -> None:
  """Writes the network, and prints how to load it."""
  args = _parse(argv)
  with arguments.one_line('Nothing was written.'):
    _export(args)


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
  parser.add_argument(
    '--out',
    type=arguments.path,
    required=True,
    help='a file; of hub a folder',
  )
  parser.add_argument(
    '--camera',
    type=int,
    help='number of a camera, where the run used them: the file is for its '
    'images alone',
  )
  parser.add_argument(
    '--push',
    metavar='USER/NAME',
    help='hub: uploads the folder, too; a new repository is private',
  )
  parser.add_argument('--overwrite', action='store_true')
  args = parser.parse_args(argv)
  if (args.format == 'onnx') != (args.use is not None):
    parser.error('--for goes with --format=onnx, which needs it')
  if args.push is not None and args.format != 'hub':
    parser.error('--push goes with --format=hub')
  return args


def _export(args: argparse.Namespace) -> None:
  from dbc_jax import export
  from dbc_jax.reporting.model_card import start_of
  from dbc_jax.run.extractor import FeatureExtractor
  from dbc_jax.verbs import uses_cameras

  _check_out(args)
  if args.format in _NEEDED:
    export.require(_NEEDED[args.format])
  if args.push is not None:
    export.require('huggingface_hub')
  extractor = FeatureExtractor.from_workdir(args.workdir, args.stage)
  run = extractor.run
  network = None
  if args.format in ('onnx', 'safetensors'):
    network = export.network_of_run(run, args.camera)
  thresholds, calibrated_on = _thresholds(extractor, args)
  begin = start_of(run.parts.config.train.init)
  height, width = run.parts.image_size
  metadata = {
    'network': run.parts.config.model.name,
    'image_size': json.dumps([height, width]),
    'trained': f'on {len(run.labels)} images of its user, without identities, '
    f'from {begin}',
    'thresholds': json.dumps(thresholds),
    'thresholds_on': calibrated_on,
    'camera': 'all' if args.camera is None else str(args.camera),
  }
  head = f'{args.out}: {metadata["network"]}, H x W = {height} x {width}'
  match args.format:
    case 'onnx':
      assert network is not None
      export.write_onnx(args.out, network, use=args.use, metadata=metadata)
      use = export.USES[args.use]
      print(head)
      print(f'for {args.use}: {use.what}\n{use.how.format(file=args.out)}')
    case 'safetensors':
      assert network is not None
      lines = export.write_safetensors(args.out, network, metadata=metadata)
      print('\n'.join([f'{head}, float32', '', *lines]))
    case 'stablehlo':
      variables = export.variables_of_run(run, args.camera)
      lines = export.write_stablehlo(
        args.out, run.parts, variables, metadata=metadata
      )
      print('\n'.join([head, *lines]))
    case 'hub':
      names = _write_hub(args, run, thresholds, metadata)
      print(f'{head}\n{", ".join(names)}')
      print(f"in Python: FeatureExtractor.from_pretrained('{args.out}')")
  if uses_cameras(extractor) and args.camera is None and args.format != 'hub':
    print(
      'the run used its cameras; the file has the statistics of all of them. '
      '--camera=ID makes one for the images of a camera'
    )
  _print_thresholds(thresholds, args.use, calibrated_on)
  if args.push is not None:
    print(f'\npushed to {export.push(args.out, args.push)}')


def _check_out(args: argparse.Namespace) -> None:
  """Raises ValueError unless --out can be written."""
  from dbc_jax.reporting import check_new
  from dbc_jax.run import hub

  suffix = _SUFFIXES[args.format]
  if suffix is None:
    if args.out.exists() and not args.out.is_dir():
      raise ValueError(f'--out: {args.out} is a file; name a folder')
    if not args.out.absolute().parent.is_dir():
      raise ValueError(f'--out: there is no folder {args.out.parent}')
    if args.out.exists() and any(args.out.iterdir()):
      if not hub.is_folder(args.out):
        raise ValueError(
          f'--out: {args.out} holds other files; name a new folder'
        )
      if not args.overwrite:
        raise ValueError(f'--out: {args.out} exists; --overwrite replaces it')
  else:
    if args.out.suffix != suffix:
      raise ValueError(f'--out: {args.out} does not end in {suffix}; rename it')
    check_new('--out', args.out, overwrite=args.overwrite)
  if args.format == 'stablehlo':
    facts = args.out.with_name(f'{args.out.name}.json')
    check_new('--out', facts, overwrite=args.overwrite)


def _write_hub(
  args: argparse.Namespace,
  run: Any,
  thresholds: dict[str, float],
  metadata: dict[str, str],
) -> list[str]:
  from dbc_jax import export
  from dbc_jax.run.restore import read_history
  from dbc_jax.run.workdir import find_workdir

  return export.write_hub_folder(
    args.out,
    run,
    read_history(find_workdir(args.workdir)),
    chosen=_CHOSEN.get(args.stage, 'chosen by hand'),
    camera=args.camera,
    thresholds=thresholds,
    metadata=metadata,
  )


def _thresholds(
  extractor: Any, args: argparse.Namespace
) -> tuple[dict[str, float], str]:
  """Euclidean distances at false-match rates, and what they are of.

  They are of the run's images as the consumer resizes them. Where the images
  are not there, they are of the features that the run kept.
  """
  from dbc_jax import export, verbs
  from dbc_jax.run.workdir import find_workdir
  from dbc_jax.verbs import thresholds

  resizers = {
    'boxmot': thresholds.as_boxmot,
    'ultralytics': thresholds.as_ultralytics,
    'own': thresholds.as_raw_file,
    None: thresholds.as_run(extractor.run),
  }
  use = 'own' if args.format == 'stablehlo' else args.use
  variables = export.variables_of_run(extractor.run, args.camera)
  whose = why = ''
  # The features that the run kept are by the statistics of each camera.
  mixed = args.format == 'safetensors' and verbs.uses_cameras(extractor)
  if use is not None or args.camera is not None or mixed:
    try:
      features, labels = thresholds.embed_resized(
        extractor.run,
        variables,
        resizers[use],
        root=args.root,
        camera=args.camera,
      )
      found = thresholds.thresholds_of(features, labels)
      return found, f"{len(labels):,} of the run's images {_RESIZED[use]}"
    except thresholds.TrackletsError as error:
      why = _instead(use, args.camera, error)
    except ValueError as error:
      if args.root is not None:
        raise
      why = _instead(use, args.camera, error)
    if args.camera is not None:
      whose = ' of all cameras'
  own = verbs.of_run(extractor, find_workdir(args.workdir), root=args.root)
  assert own.clusters is not None
  found = thresholds.thresholds_of(own.features, own.clusters)
  return found, f'{len(own.clusters):,} images{whose} {_RESIZED[None]}{why}'


def _instead(use: str | None, camera: int | None, error: ValueError) -> str:
  """Why thresholds are of what the run kept."""
  wanted = [] if use is None else [_RESIZED[use]]
  if camera is not None:
    wanted.append(f'of camera {camera} alone')
  return f', not {" and ".join(wanted)}, because {error}' if wanted else ''


def _print_thresholds(
  thresholds: dict[str, float], use: str | None, calibrated_on: str
) -> None:
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
  if use == 'ultralytics':
    heads.append('appearance_thresh')
  elif use == 'boxmot':
    heads.append('appearance_thresh, max_cos_dist')
  print('\n'.join(['', *aligned([heads, *rows])]))
  print(f'by the clusters of the run, of {calibrated_on}')
  if use == 'boxmot':
    print("boxmot's DeepOcSort has no threshold of appearance")


if __name__ == '__main__':
  main()
