"""What of a folder is not taken as its images, counted and told."""

import collections
import os
from pathlib import Path

from dbc_jax.data.decode import IMAGE_SUFFIXES, check_header
from dbc_jax.data.samples import printable

# Pictures and films that nothing here reads.
_OTHER_KINDS = (
  *('.avif', '.dng', '.gif', '.heic', '.heif', '.jp2', '.jxl', '.pgm', '.ppm'),
  *('.psd', '.raw', '.svg', '.tif', '.tiff', '.arw', '.cr2', '.cr3', '.nef'),
  *('.avi', '.mkv', '.mov', '.mp4'),
)
# Where file servers and systems keep thumbnails and what was deleted.
_SYSTEM_FOLDERS = frozenset(
  (
    '#recycle',
    '#snapshot',
    '$recycle.bin',
    '@eadir',
    '@recently-snapshot',
    '@recycle',
    '__macosx',
    'lost+found',
    'system volume information',
  )
)
# Of a file, what a header takes at most.
_HEADER = 2**16


def is_system_folder(name: str) -> bool:
  """Whether a folder of this name holds no pictures of the user."""
  return name.lower() in _SYSTEM_FOLDERS


def is_image(name: str) -> bool:
  """Whether a file of this name is read."""
  return name.lower().endswith(IMAGE_SUFFIXES)


class LeftOut:
  """Counts, by what they are; as text, a sentence for each."""

  def __init__(self, root: Path):
    self._root = root
    self._found: dict[str, list[str]] = collections.defaultdict(list)

  def add(self, what: str, path: Path) -> None:
    """Notes one."""
    self._found[what].append(path.relative_to(self._root).as_posix())

  def of_another_kind(self, path: Path) -> None:
    """Notes a file that is a picture, to judge by its suffix or header."""
    suffix = path.suffix.lower()
    if suffix in _OTHER_KINDS:
      self.add(f'{suffix} files, which are not read: convert them', path)
    elif not suffix and _begins_like_an_image(path):
      self.add('images without a suffix: give them one', path)

  def folder(self, path: Path) -> None:
    """Notes the images of a folder that is not entered."""
    for folder, _, files in os.walk(path):
      for name in filter(is_image, files):
        self.add(
          'images in hidden folders, thumbnails and bins', Path(folder, name)
        )

  def __bool__(self) -> bool:
    return bool(self._found)

  def __str__(self) -> str:
    if not self._found:
      return ''
    parts = [
      f'{len(names)} {what} (such as {printable(names[0])})'
      for what, names in self._found.items()
    ]
    return f'Left out of the folder are {"; ".join(parts)}.'


def _begins_like_an_image(path: Path) -> bool:
  try:
    if not path.is_file():  # A named pipe would wait for ever.
      return False
    with path.open('rb') as file:
      check_header(file.read(_HEADER))
  except (OSError, ValueError):
    return False
  return True
