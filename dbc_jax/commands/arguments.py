"""Command lines: what commands share, and values that a text stands for."""

import argparse
import contextlib
import os
import signal
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NoReturn

from dbc_jax import reporting
from dbc_jax.reporting.plain_warnings import use_plain_warnings


def prog(name: str) -> str:
  """A command as it was called."""
  if Path(sys.argv[0]).stem in ('dbc', '__main__'):
    return f'dbc {name.replace("_", "-")}'
  return f'python -m dbc_jax.commands.{name}'


class Parser(argparse.ArgumentParser):
  """One line for a bad argument, and for a warning of what follows."""

  def __init__(self, *args: Any, **options: Any):
    super().__init__(*args, **options)
    use_plain_warnings()

  def error(self, message: str) -> NoReturn:
    self.exit(2, f'Error: {message}; --help lists the arguments\n')


def parser(
  name: str, about: str | None, epilog: str
) -> argparse.ArgumentParser:
  """A parser whose usage names the command as it was called."""
  what = (about or '').partition(': ')[2]
  return Parser(
    prog=prog(name),
    description=what[:1].upper() + what[1:],
    epilog=epilog,
    formatter_class=argparse.RawDescriptionHelpFormatter,
    allow_abbrev=False,
  )


@contextlib.contextmanager
def one_line(interrupted: str, status: int | None = None) -> Iterator[None]:
  """A fault ends the command with one line, and Ctrl-C with the given one.

  Args:
    interrupted: what else to say after Ctrl-C.
    status: the exit status of both; 1 by default.
  """
  try:
    yield
    sys.stdout.flush()
    return
  except BrokenPipeError:
    # `| head` has seen enough. What Python has not written yet goes nowhere.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(128 + signal.SIGPIPE)
  except MemoryError as error:
    told = f'Error: there is too little memory ({error or "none is left"})'
  except (ValueError, OSError) as error:
    told = f'Error: {error}'
  except KeyboardInterrupt:
    told = f'\nInterrupted. {interrupted}'.rstrip()
  if status is None:
    sys.exit(told)
  sys.stderr.write(f'{told}\n')
  sys.exit(status)


def add_network(to: argparse.ArgumentParser, *, root: bool = True) -> None:
  """--workdir, --stage and --root: which network, and of which images."""
  to.add_argument(
    '--workdir',
    type=folder,
    required=True,
    help='of a run; demo is the one that comes with the package',
  )
  to.add_argument(
    '--stage',
    default='chosen',
    help='chosen (without labels; the default), last, oracle (best by test '
    'identities), warmup or a number',
  )
  if root:
    to.add_argument('--root', help="where the run's images are, if they moved")


def add_pattern(to: argparse.ArgumentParser, of: str) -> None:
  """--pattern: which camera took an image."""
  to.add_argument(
    '--pattern',
    default='',
    help=f'tells cameras by the paths of {of}, as '
    "'cam{camid}/{tracklet}_{frame}' (docs/data.md); default: that of the run, "
    'where it matches',
  )


def add_images(to: argparse.ArgumentParser) -> None:
  """--images, --tracklets and --pattern; `images` reads them."""
  to.add_argument(
    '--images',
    type=path,
    required=True,
    help='a folder, an image, or a .csv with a column path, perhaps camid and '
    'tracklet',
  )
  to.add_argument(
    '--tracklets',
    action='store_true',
    help='each sub-folder of --images is one tracklet',
  )
  add_pattern(to, '--images')


def images(args: argparse.Namespace, extractor: Any) -> Any:
  """The `verbs.Sources` of `add_images`; says where cameras are missing."""
  from dbc_jax.verbs import uses_cameras

  found = sources(
    '--images',
    args.images,
    extractor,
    tracklets=args.tracklets,
    pattern=args.pattern,
  )
  if uses_cameras(extractor) and found.camids is None:
    warn_of_cameras('--images')
  return found


def sources(option: str, where: Path, extractor: Any, **options: Any) -> Any:
  """`verbs.find_sources_like`, whose errors begin with the option."""
  from dbc_jax.verbs import find_sources_like

  own = extractor.run.parts.config.data.pattern
  try:
    return find_sources_like(own, where, **options)
  except ValueError as error:
    of_pattern = str(error).startswith(('pattern:', 'tracklets:'))
    prefix = '--' if of_pattern else f'{option}: '
    raise ValueError(f'{prefix}{error}') from error


def warn_of_cameras(option: str) -> None:
  """Says that features would be better with their images' cameras."""
  print(
    f'{option}: the run used its cameras, and these images tell none; '
    '--pattern does, or a .csv with a column camid (docs/use.md)',
    file=sys.stderr,
  )


def warn_of_stage(extractor: Any) -> None:
  """Says that another stage's clusters have numbers of their own."""
  run = extractor.run
  if run.stage != run.kept:
    print(
      f'--stage: {run.stage} is not the kept stage, {run.kept}: the numbers of '
      'its clusters are its own, and not those of clusters.csv',
      file=sys.stderr,
    )


def write(path: Path, text: str) -> None:
  """Writes a file as a whole and says so."""
  reporting.write_atomically(path, text)
  print(f'{path}: written')


def write_table(path: Path, rows: Iterable[Iterable[Any]]) -> None:
  """Writes rows as CSV and says so."""
  reporting.write_table(path, rows)
  print(f'{path}: written')


def boolean(text: str) -> bool:
  """True or False."""
  if text not in ('True', 'False'):
    raise argparse.ArgumentTypeError(f'expected True or False, got {text!r}')
  return text == 'True'


def path(text: str) -> Path:
  """A file or folder; ~ is the user's own."""
  try:
    return Path(text).expanduser()
  except RuntimeError as error:  # Of no user that is known.
    raise argparse.ArgumentTypeError(f'got {text!r}, {error}') from error


def folder(text: str) -> Path:
  """A folder, which need not be there yet."""
  found = path(text)
  for each in (found, *found.parents):
    if each.exists() and not each.is_dir():
      raise argparse.ArgumentTypeError(f'expected a folder, {each} is a file')
  return found
