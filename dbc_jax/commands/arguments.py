"""Values of command lines: what a text stands for, or why for none."""

import argparse
from pathlib import Path


def boolean(text: str) -> bool:
  """True or False."""
  if text not in ('True', 'False'):
    raise argparse.ArgumentTypeError(f'expected True or False, got {text!r}')
  return text == 'True'


def folder(text: str) -> Path:
  """A folder, which need not be there yet."""
  path = Path(text).expanduser()
  if path.exists() and not path.is_dir():
    raise argparse.ArgumentTypeError(f'expected a folder, {text} is a file')
  return path
