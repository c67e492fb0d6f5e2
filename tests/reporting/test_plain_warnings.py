"""What a person at the terminal sees of a warning."""

import subprocess
import sys

_SCRIPT = """
import warnings
from dbc_jax.reporting.plain_warnings import use_plain_warnings

use_plain_warnings()
use_plain_warnings()
warnings.warn('data: left out are 3 files', stacklevel=1)
warnings.warn('of a library', RuntimeWarning, stacklevel=1)
"""


def test_a_warning_is_one_line_without_a_place_in_the_code():
  done = subprocess.run(
    [sys.executable, '-c', _SCRIPT], capture_output=True, text=True, check=True
  )
  first, second, *_ = done.stderr.splitlines()
  assert first == 'Warning: data: left out are 3 files'
  assert 'RuntimeWarning: of a library' in second
