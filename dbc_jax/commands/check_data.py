"""Command line: checks a data set and prints what it found."""

import argparse
import dataclasses
import json
import sys
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from dbc_jax import reporting
from dbc_jax.commands import arguments
from dbc_jax.data import (
  Samples,
  find_reader,
  inspection,
  load_dataset,
  loading,
)
from dbc_jax.data.readers.checks import listed
from dbc_jax.data.readers.pattern import compile_pattern, match_of
from dbc_jax.data.samples import printable
from dbc_jax.reporting.identities import write_identities
from dbc_jax.reporting.summary import aligned

_EXAMPLE = """examples:
  dbc check-data --dataset=market1501 --root=Market-1501
  dbc check-data --dataset=folder --root=crops --pattern='cam{camid}/*'

Exit status: 0 fine, 1 something is wrong, 2 it could not be checked.
"""
# Of images with equal pixels: groups, and names of each.
_GROUPS_SHOWN = 5
_NAMES_SHOWN = 3
_EXAMPLES = 5


def main(argv: list[str] | None = None) -> int:
  """Checks a data set; what it found goes to standard output.

  Args:
    argv: the arguments; None takes those of the process.

  Returns:
    0 if it is fine, 1 if something is wrong with it.

  Raises:
    SystemExit: of status 2, it could not be checked: bad arguments, or files
      that its reader does not know.
  """
  args = _parse(argv)
  with arguments.one_line('', status=2):
    return _check(args)


def _parse(argv: list[str] | None) -> argparse.Namespace:
  parser = arguments.parser('check_data', __doc__, _EXAMPLE)
  parser.add_argument('--dataset', required=True, help='such as market1501')
  parser.add_argument('--root', help='folder of its files')
  parser.add_argument('--csv', help='folder: list of its images')
  parser.add_argument(
    '--pattern',
    help="folder: tells cameras by paths, as 'cam{camid}/{tracklet}_{frame}'",
  )
  parser.add_argument(
    '--tracklets',
    type=arguments.boolean,
    nargs='?',
    const=True,
    default=False,
    help='folder: each sub-folder is one tracklet',
  )
  parser.add_argument(
    '--out',
    type=arguments.folder,
    default=Path(),
    help='folder of the figure DATASET_identities.png; default: this one',
  )
  parser.add_argument(
    '--decode',
    type=arguments.boolean,
    default=True,
    help='whether all images are read; default: True',
  )
  parser.add_argument(
    '--json',
    type=arguments.path,
    metavar='F.json',
    help='what was found, for a program',
  )
  return parser.parse_args(argv)


def _check(args: argparse.Namespace) -> int:
  given = {
    'csv': args.csv,
    'tracklets': args.tracklets,
    'pattern': args.pattern,
  }
  options: dict[str, Any] = {key: got for key, got in given.items() if got}
  if args.json:
    reporting.check_new('--json', args.json, overwrite=True)
  with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter('always', UserWarning)
    dataset, truth = load_dataset(args.dataset, args.root, **options)
  args.out.mkdir(parents=True, exist_ok=True)
  faults, told = [], []
  print(f'{args.dataset} in {args.root}' if args.root else args.dataset)
  for warning in caught:
    if issubclass(warning.category, UserWarning):
      print(f'Warning: {warning.message}')
      told.append(str(warning.message))
      faults.append('see the warning above')
  facts = inspection.inspect_lists(dataset, truth)
  print()
  _print_table(_split_rows(facts))
  if 'train' not in facts.splits:
    print('No training images: it can be scored, and not trained on.')
  if args.pattern:
    _print_examples(args.pattern, dataset.train, truth.train_camids)
  official = find_reader(args.dataset).RELEASE.sizes
  sizes = inspection.compare_sizes(facts, official) if official else {}
  if sizes:
    rows = [['', 'here', 'official', '']]
    for what, (here, there) in sizes.items():
      mark = '' if here == there else 'differs'
      rows.append([what, f'{here:,}', f'{there:,}', mark])
    _print_table(rows)
  _print_identities(facts)
  if facts.per_person:
    path = args.out / f'{args.dataset}_identities.png'
    write_identities(path, args.dataset, facts.unit, facts.per_person)
    print(f'Figure of {facts.unit} per identity: {path}')
  if facts.queries:
    print(_describe_queries(facts.queries))
    if not facts.queries.matched:
      faults.append('no query has a match')
  pixels = None
  if args.decode:
    pixels = inspection.inspect_pixels(dataset)
    _print_pixels(pixels)
    if pixels.unreadable:
      faults.append(f'unreadable images: {len(pixels.unreadable):,}')
    if pixels.repaired:
      faults.append(f'damaged images: {len(pixels.repaired):,}')
    if pixels.blank:
      faults.append(f'images of a single colour: {len(pixels.blank):,}')
    surplus = sum(len(group) - 1 for group in pixels.duplicates)
    if 2 * surplus > pixels.files:
      faults.append('most images are equal to others')
  print()
  faults = [*dict.fromkeys(faults)]
  if args.json:
    found = {
      'dataset': args.dataset,
      'root': args.root,
      'wrong': faults,
      'warnings': told,
      'official': {
        what: {'here': here, 'official': there}
        for what, (here, there) in sizes.items()
      },
      **_as_json(facts, pixels),
    }
    text = json.dumps(found, indent=2, default=np.ndarray.tolist)
    arguments.write(args.json, f'{text}\n')
  if faults:
    print(f'Wrong: {"; ".join(faults)}')
    return 1
  print('OK' if args.decode else 'OK, but for the pixels: nothing was decoded')
  return 0


def _as_json(
  facts: inspection.ListFacts, pixels: inspection.PixelFacts | None
) -> dict[str, Any]:
  """All facts; `pixels` are None where nothing was decoded."""
  found = dataclasses.asdict(facts) | {'unit': facts.unit, 'pixels': None}
  if facts.queries:
    found['queries']['matched'] = facts.queries.matched
  if pixels:
    found['pixels'] = dataclasses.asdict(pixels) | {
      'sizes': [
        {'height': height, 'width': width, 'files': files}
        for (height, width), files in pixels.sizes.items()
      ]
    }
  return found


def _print_examples(
  text: str, samples: Samples, camids: np.ndarray | None
) -> None:
  """What a pattern reads out of some paths."""
  pattern = compile_pattern(text)
  rows = []
  spread = np.linspace(0, len(samples) - 1, _EXAMPLES).round().astype(int)
  for i in np.unique(spread):
    path = samples.frame_name(int(samples.bounds[i]))
    match = match_of(pattern, text, path)
    assert match is not None  # Else it would not have been loaded.
    row = {'by the pattern': printable(path), **match.groupdict()}
    if camids is not None:
      row['camera'] = str(camids[i])
    if samples.starts is not None:
      row['frames'] = str(samples.bounds[i + 1] - samples.bounds[i])
    rows.append(row)
  if all(row.get('camera') == row.get('camid') for row in rows):
    rows = [{k: v for k, v in row.items() if k != 'camera'} for row in rows]
  _print_table([[*rows[0]], *([*row.values()] for row in rows)])


def _split_rows(facts: inspection.ListFacts) -> Iterator[list[str]]:
  """The table of the splits, one a column."""
  splits = list(facts.splits.values())
  yield ['', *facts.splits]
  yield _row(facts.unit, [split.samples for split in splits])
  for name, field in (
    ('unknown (pid -1)', 'unknown'),
    ('junk (pid -1)', 'junk'),
    ('distractors (pid 0)', 'distractors'),
    ('without a query', 'unqueried'),
  ):
    counts = [getattr(split, field) for split in splits]
    if any(counts):
      yield _row(f'  {name}', counts)
  persons = [split.persons for split in splits]
  yield _row('identities', [None if p is None else len(p) for p in persons])
  lengths = [s.lengths for s in splits if s.lengths is not None]
  if lengths:
    yield _row('frames', [each.sum() for each in lengths])
    yield _row('  shortest tracklet', [each.min() for each in lengths])
    yield _row('  median', [np.median(each) for each in lengths])
    yield _row('  longest', [each.max() for each in lengths])
  cameras = [split.cameras for split in splits]
  yield _row('cameras', [None if c is None else len(c) for c in cameras])
  for camid in sorted(set().union(*(c or () for c in cameras))):
    counts = [None if c is None else c.get(camid, 0) for c in cameras]
    yield _row(f'  camera {camid}', counts)


def _row(name: str, numbers: Iterable[float | None]) -> list[str]:
  return [name, *('unknown' if n is None else f'{n:,}' for n in numbers)]


def _print_identities(facts: inspection.ListFacts) -> None:
  if not facts.per_person:
    print('No identities: it can be trained on, and nothing is scored.')
  for name, counts in facts.per_person.items():
    print(
      f'{name.capitalize()} {facts.unit} per identity: {counts.min():,} to '
      f'{counts.max():,}, median {np.median(counts):g}, mean '
      f'{counts.mean():.1f}; identities with only one: {(counts == 1).sum():,}'
    )
  if len(facts.per_person) == 2:
    shared = f'{len(facts.shared):,}, pid {listed(facts.shared)}'
    print(
      'Identities both in training and in test: '
      f'{shared if facts.shared else "none"}'
    )


def _describe_queries(facts: inspection.QueryFacts) -> str:
  line = (
    f'Queries with a match in the gallery: {facts.matched:,} of '
    f'{facts.queries:,}.'
  )
  if facts.absent:
    line += f' Person not in the gallery: {facts.absent:,}.'
  if facts.same_camera:
    line += (
      ' Person there only under the camera of the query: '
      f'{facts.same_camera:,}. The camera rule leaves these out; to count '
      'them, score with --config.camera_rule=False.'
    )
  if not facts.has_cameras:
    line += ' Cameras are unknown: score with --config.camera_rule=False.'
  return line


def _print_pixels(facts: inspection.PixelFacts) -> None:
  if facts.unreadable:
    print(loading.unreadable_message(facts.unreadable, facts.files))
  else:
    print(f'All {facts.files:,} images can be read.')
  if facts.repaired:
    print(
      f'Damaged, and repaired as far as can be: {len(facts.repaired):,}: '
      f'{listed(facts.repaired)}'
    )
  if facts.blank:
    print(
      f'Of a single colour: {len(facts.blank):,} images: {listed(facts.blank)}'
    )
  if facts.sizes:
    print(_describe_sizes(facts.sizes))
  if not facts.duplicates:
    print('Groups of images with equal pixels: none')
    return
  print(
    f'Groups of images with equal pixels: {len(facts.duplicates):,} '
    f'({sum(map(len, facts.duplicates)):,} images)'
  )
  for group in facts.duplicates[:_GROUPS_SHOWN]:
    more = len(group) - _NAMES_SHOWN
    end = f' and {more:,} more' if more > 0 else ''
    names = map(printable, group[:_NAMES_SHOWN])
    print(f'  {" = ".join(names)}{end}')
  if len(facts.duplicates) > _GROUPS_SHOWN:
    print('  ...')
  if facts.copies:
    query, twin = map(printable, facts.copies[0])
    print(
      f'Queries with equal pixels in the gallery: {len(facts.copies):,}, such '
      f'as {query} = {twin}. Unless the camera rule leaves them out, scores '
      'are too good.'
    )


def _describe_sizes(sizes: dict[tuple[int, int], int]) -> str:
  (height, width), number = next(iter(sizes.items()))
  line = f'Size (height x width): {height} x {width}'
  if len(sizes) == 1:
    return f'{line}, all'
  by_area = sorted(sizes, key=lambda size: (size[0] * size[1], size))
  (low, thin), (high, wide) = by_area[0], by_area[-1]
  share = number / sum(sizes.values())
  return (
    f'{line} is the most frequent of {len(sizes):,}, {share:.1%}; smallest '
    f'{low} x {thin}, largest {high} x {wide}'
  )


def _print_table(rows: Iterable[list[str]]) -> None:
  print(*aligned(rows, num_left=1), '', sep='\n')


if __name__ == '__main__':
  sys.exit(main())
