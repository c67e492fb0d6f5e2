"""What C libraries say of images that they repair: they write it to stderr.

libjpeg decodes what is left of a damaged file, fills in the rest, and tells
nobody but the terminal, without a name.
"""

import contextlib
import os
import re
import sys
import tempfile
import threading
from collections.abc import Iterator
from typing import TextIO

# Bytes behind the end of an image are no damage.
_DAMAGE = re.compile(
  r'^(Corrupt JPEG data(?!.*extraneous bytes before marker 0xd9)'
  r'|Premature end of JPEG).*$',
  re.MULTILINE,
)
_LIBJPEG = re.compile(r'^(Corrupt JPEG|Premature end of JPEG).*\n?', re.M)
_lock = threading.Lock()


class Messages:
  """What was written while they were collected."""

  damage = ''  # The first line that tells of damage.


@contextlib.contextmanager
def collected() -> Iterator[Messages]:
  """Keeps libjpeg's messages from the terminal; others go there afterwards.

  Python's own stderr still goes where it went. Of several threads one collects.
  """
  messages = Messages()
  if sys.stderr is None or not _lock.acquire(blocking=False):
    yield messages
    return
  try:
    sys.stderr.flush()
    try:
      terminal = os.dup(2)
    except OSError:  # It is closed: nothing is written there.
      yield messages
      return
    before = sys.stderr
    with (
      os.fdopen(terminal, 'w', errors='backslashreplace') as shown,
      tempfile.TemporaryFile() as file,
    ):
      os.dup2(file.fileno(), 2)
      if _is_terminal(before):
        sys.stderr = shown
      try:
        yield messages
      finally:
        sys.stderr = before
        before.flush()
        shown.flush()
        os.dup2(terminal, 2)
        file.seek(0)
        text = file.read().decode(errors='replace')
        found = _DAMAGE.search(text)
        messages.damage = found[0] if found else ''
        sys.stderr.write(_LIBJPEG.sub('', text))
  finally:
    _lock.release()


def _is_terminal(stream: TextIO) -> bool:
  try:
    return stream.fileno() == 2
  except (AttributeError, OSError, ValueError):  # Of a notebook, or a test.
    return False
