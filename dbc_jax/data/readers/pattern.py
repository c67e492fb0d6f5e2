"""Cameras, tracklets and frames out of the paths of images, by a pattern."""

import re
import warnings
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from dbc_jax.data.decode import image_files
from dbc_jax.data.readers.checks import (
  is_no_track,
  listed,
  warn_of_no_tracks,
)
from dbc_jax.data.samples import EMPTY, Loaded, assemble, spans

_FIELDS = ('camid', 'tracklet', 'frame', 'time')
_SHOWN = 5
_LARGEST = 2**31 - 1
_SECONDS = re.compile(r'-?\d+(\.\d+)?', re.ASCII)
_TOKEN = re.compile(r'(\{\w*\}|\*\*?)')


def compile_pattern(pattern: str) -> re.Pattern[str]:
  """What a pattern matches: paths without their suffix.

  Args:
    pattern: text with `{camid}`, `{tracklet}`, `{frame}` and `{time}`, each of
      one character or more, as few as fit, and none of them '/'; `*` is
      anything but '/', `**` anything.

  Raises:
    ValueError: an unknown field, one that comes twice, or neither a camera nor
      a tracklet.
  """
  if not isinstance(pattern, str):
    raise ValueError(
      f"pattern: got {pattern!r}, expected a text, such as 'cam{{camid}}/*'"
    )
  found, text = [], ''
  for token in _TOKEN.split(pattern):
    if token in ('*', '**'):
      text += '[^/]*?' if token == '*' else '.*?'
    elif token.startswith('{') and token.endswith('}'):
      name = token[1:-1]
      if name not in _FIELDS:
        raise ValueError(
          f'pattern: got {token} in {pattern!r}, expected '
          + ', '.join(f'{{{field}}}' for field in _FIELDS)
        )
      if name in found:
        raise ValueError(f'pattern: {token} stands twice in {pattern!r}')
      found.append(name)
      text += f'(?P<{name}>[^/]+?)'
    else:
      text += re.escape(token)
  if not {'camid', 'tracklet'} & {*found}:
    raise ValueError(
      f'pattern: got {pattern!r}, expected {{camid}} or {{tracklet}} in it, as '
      "in 'cam{camid}/{tracklet}_{frame}'"
    )
  return re.compile(text)


def load_pattern(root: Path, names: Sequence[str], pattern: str) -> Loaded:
  """The training samples of a folder, and their cameras, by their paths.

  Args:
    root: the folder.
    names: paths of its images, from there.
    pattern: of `compile_pattern`; without a '/' it is one of file names.

  Returns:
    Images, or with `{tracklet}` tracklets: images of one folder, camera and
    tracklet, by `{frame}`, or without one by `{time}` or name; numbers by their
    value. Cameras that are numbers keep them; others get one that follows from
    their text alone, so that it is the same in every folder. The truth has
    frames, where all are whole numbers, and times.

  Raises:
    ValueError: a bad pattern, images that it does not match, or a time that is
      no number of seconds.
  """
  compiled = compile_pattern(pattern)
  matches = [match_of(compiled, pattern, name) for name in names]
  others = [x for x, match in zip(names, matches, strict=True) if not match]
  if others:
    raise ValueError(
      f'pattern: {pattern!r} does not match {len(others)} of {len(names)} '
      f'images: {listed(others[:_SHOWN])}'
      + (', ...' if len(others) > _SHOWN else '')
      + '; it is matched with the whole path from the root without its suffix, '
      "or without a '/' in it with the file's name; * is anything."
    )
  found = [match.groupdict() for match in matches if match]
  numbers = _numbers([each.get('camid') for each in found])
  frames, times = _moments(pattern, found, names)
  owners = [[i] for i in range(len(found))]
  if 'tracklet' not in found[0]:
    samples = image_files(root, names)
    camids = numbers and [numbers[each['camid']] for each in found]
  else:
    groups: dict[tuple[str, str, str], list[int]] = {}
    alone = []
    for i, each in enumerate(found):
      path = PurePosixPath(names[i])
      tracklet = each['tracklet']
      if is_no_track(tracklet):
        tracklet = path.name
        alone.append(names[i])
      key = str(path.parent), each.get('camid') or '', tracklet
      groups.setdefault(key, []).append(i)
    warn_of_no_tracks(f'pattern: {pattern!r}', alone)
    _warn_of_frames_again(pattern, found, groups)
    for group in groups.values():
      if times is not None and 'frame' not in found[0]:
        group.sort(key=times.__getitem__)
      else:
        group.sort(key=lambda i: _by_value(found[i].get('frame') or names[i]))
    owners = [*groups.values()]
    titles = ['/'.join(filter(None, key)).removeprefix('./') for key in groups]
    paths = [[names[i] for i in group] for group in owners]
    samples = image_files(root, titles, paths)
    camids = numbers and [numbers[camid] for _, camid, _ in groups]
  column = np.array(camids, np.int32) if camids else None
  return assemble(
    (samples, None, column),
    (EMPTY, None, None),
    (EMPTY, None, None),
    frames=None if frames is None else spans(frames, owners),
    times=None if times is None else spans(times, owners),
  )


def _moments(
  pattern: str, found: Sequence[Mapping[str, str]], names: Sequence[str]
) -> tuple[np.ndarray | None, np.ndarray | None]:
  """Frames [F] int64 and times [F] float64 of images, where there are any."""
  frames = times = None
  texts = [each.get('frame', '') for each in found]
  if all(text.isascii() and text.isdigit() for text in texts):
    numbers = [*map(int, texts)]
    if max(numbers) <= _LARGEST:
      frames = np.array(numbers, np.int64)
  if 'time' in found[0]:
    texts = [each['time'] for each in found]
    for text, name in zip(texts, names, strict=True):
      if not _SECONDS.fullmatch(text):
        raise ValueError(
          f'pattern: {pattern!r} reads the time {text!r} out of {name}, '
          'expected seconds such as 12 or 12.5; write * where it is no time'
        )
    times = np.array([*map(float, texts)])
  return frames, times


def _warn_of_frames_again(
  pattern: str,
  found: Sequence[Mapping[str, str]],
  groups: Mapping[tuple[str, str, str], Sequence[int]],
) -> None:
  """A frame that a tracklet has twice is of another video's tracklet."""
  again = []
  for (folder, _, tracklet), group in groups.items():
    frames = [found[i].get('frame') for i in group]
    if None not in frames and len(set(frames)) < len(frames):
      again.append(f'{tracklet} in {folder}')
  if again:
    warnings.warn(
      f'pattern: {pattern!r} finds a frame twice in {len(again)} tracklets: '
      f'{listed(again)}. Where several videos count their tracklets from 1, '
      'put each into a folder of its own',
      stacklevel=2,
    )


def match_of(
  compiled: re.Pattern[str], pattern: str, name: str
) -> re.Match[str] | None:
  """How a pattern matches the path of an image, if it does."""
  path = PurePosixPath(name).with_suffix('')
  return compiled.fullmatch(str(path) if '/' in pattern else path.name)


def _numbers(texts: Sequence[str | None]) -> dict[str, int]:
  """Each camera's number; empty without cameras."""
  return {text: camera_number(text) for text in texts if text is not None}


def camera_number(text: str) -> int:
  """The same for the same text, whatever other cameras a folder has."""
  if text.isascii() and text.isdigit() and int(text) <= _LARGEST:
    return int(text)
  return zlib.crc32(text.encode('utf-8', 'surrogateescape')) >> 1


def _by_value(text: str) -> list[str | int]:
  return [
    int(part) if part.isdecimal() else part for part in re.split(r'(\d+)', text)
  ]
