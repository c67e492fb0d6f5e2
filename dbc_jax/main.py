"""Command line: trains and clusters what a config describes."""

import difflib
import errno
import logging
import pathlib
import re
import signal
import sys
import traceback
from typing import Any

import jax
from absl import app, flags
from absl import logging as absl_logging
from ml_collections import config_flags

from dbc_jax import values
from dbc_jax.devices import interrupts, mesh, peers, processes
from dbc_jax.devices.compilation_cache import use_compilation_cache
from dbc_jax.devices.host_memory import keep_freed_memory
from dbc_jax.reporting.plain_warnings import use_plain_warnings
from dbc_jax.run import checkpoint, config_files, job
from dbc_jax.run import config as config_lib

_CONFIG = config_flags.DEFINE_config_file(
  'config',
  None,
  'Config file, or the name of one that comes with the package, with the data '
  'set after a colon: configs/ecluster.py:demo, best:folder,small.',
  lock_config=True,
)
_WORKDIR = flags.DEFINE_string(
  'workdir',
  None,
  'Where everything is written and resumed from; default runs/CONFIG-DATASET. '
  'Several processes must all see it.',
)
_DISTRIBUTED = flags.DEFINE_bool(
  'distributed',
  False,
  'One of several processes, started by SLURM, Open MPI or on a TPU pod.',
)
_COORDINATOR = flags.DEFINE_string(
  'coordinator', None, 'Elsewhere: HOST:PORT of process 0, on a free port.'
)
_NUM_PROCESSES = flags.DEFINE_integer(
  'num_processes', None, 'Elsewhere: how many processes there are.'
)
_PROCESS_ID = flags.DEFINE_integer(
  'process_id', None, 'Elsewhere: which one this is, from 0.'
)
_CACHE = flags.DEFINE_bool(
  'compilation_cache',
  True,
  'Keeps compiled programs, 1 GiB at most, for the next run: in '
  "JAX_COMPILATION_CACHE_DIR, else in dbc_jax/programs of the user's cache "
  'folder.',
)

_NO_MEMORY = (
  'there is too little memory; lower extract_batch_size, train.batch_size, '
  'data.image_size or data.stored_size'
)
# A disk that is full, a quota that is used up, a file that may not grow.
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def main(argv: list[str]) -> None:
  """Runs or resumes the job; a bad value ends it with one clear line."""
  if len(argv) > 1:
    sys.exit(
      f'Error: got {" ".join(argv[1:])!r}, expected flags alone; --help lists '
      'them'
    )
  # Libraries log through absl; what a user should read goes to our own log.
  absl_logging.set_verbosity(absl_logging.WARNING)
  # What they log with a traceback, from threads of theirs, is raised as well.
  absl_logging.get_absl_handler().addFilter(lambda line: not line.exc_info)
  use_plain_warnings()
  handler = logging.StreamHandler(sys.stderr)
  handler.setFormatter(logging.Formatter('%(asctime)s %(message)s', '%H:%M:%S'))
  log = logging.getLogger('dbc_jax')
  log.addHandler(handler)
  log.setLevel(logging.INFO)
  log.propagate = False

  if _CACHE.value:
    use_compilation_cache()
  config = config_lib.with_added_fields(_CONFIG.value)
  workdir = _WORKDIR.value
  if workdir is None:
    path = config_flags.get_config_filename(flags.FLAGS['config'])
    path, _, dataset = path.partition(':')
    dataset = dataset.replace(',', '-') or config.data.name
    workdir = f'runs/{pathlib.Path(path).stem}-{dataset}'
  try:
    processes.start(
      _COORDINATOR.value,
      _NUM_PROCESSES.value,
      _PROCESS_ID.value,
      detect=_DISTRIBUTED.value,
    )
  except ValueError as error:
    sys.exit(f'Error: {error}')
  watch = peers.Watch(_COORDINATOR.value)
  try:
    status = _run(config, workdir, watch)
  except KeyboardInterrupt as error:
    told = interrupts.Interrupted(signal.SIGINT)
    if isinstance(error, interrupts.Interrupted):
      told = error
    sys.stderr.write(f'\n{told}\n')
    status = 128 + told.number
  except BaseException:
    watch.leave(traceback.format_exc())
    raise
  watch.leave(status)
  if status:
    sys.exit(status)


def _run(
  config: config_lib.Config, workdir: str, watch: peers.Watch
) -> int | str:
  """The job; returns what `sys.exit` takes: 0, a status, or what is wrong."""
  log = logging.getLogger('dbc_jax')
  try:
    interrupts.install()
    if mesh.host_is_device():
      keep_freed_memory()
    if not processes.is_first():
      log.setLevel(logging.WARNING)
    if processes.count() > 1:
      log.info(
        '%d processes: should one end, the others end within seconds, and '
        'within a minute if its machine is gone; the same commands go on from '
        'the last checkpoint',
        processes.count(),
      )
    config_files.check_paths(config)
    job.run(config, _as_folder(workdir))
  except OSError as error:
    if error.errno not in _NO_ROOM:
      return f'Error: {error}'
    return (
      f'Error: workdir: {error.filename or workdir} cannot be written '
      f'({error.strerror}); {checkpoint.MAKE_ROOM}'
    )
  except (ValueError, FloatingPointError) as error:
    return f'Error: {error}'
  except MemoryError as error:
    return f'Error: {_NO_MEMORY} ({error or "none is left"})'
  except jax.errors.JaxRuntimeError as error:
    lost = watch.lost()
    if lost is not None:
      return f'Error: {lost}'
    first = str(error).partition('\n')[0]
    if first.startswith('RESOURCE_EXHAUSTED') and processes.count() == 1:
      return f'Error: {_NO_MEMORY} ({first})'
    raise
  finally:
    interrupts.uninstall()
  return 0


def _as_folder(workdir: str) -> pathlib.Path:
  """--workdir as a path.

  Raises:
    ValueError: it is empty, an address, or of a user that is not known.
  """
  if not workdir or '://' in workdir:
    raise ValueError(
      f'workdir: got {workdir!r}, expected a folder of this machine'
    )
  return values.path(workdir, 'workdir')


def _with_config_found(argv: list[str]) -> list[str]:
  """Arguments in which --config names a file that is there."""
  found = list(argv)
  for i, argument in enumerate(argv):
    flag, equals, value = argument.partition('=')
    if flag not in ('--config', '-config'):
      continue
    if equals:
      value = config_files.find_config(value)
      found[i] = f'{flag}={value}'
    elif i + 1 < len(argv):
      value = found[i + 1] = config_files.find_config(argv[i + 1])
    # Later these would end in a traceback: a data set that it does not know, a
    # field that it has not.
    config = config_files.load_config(value)
    config_files.check_fields(config, _overridden(argv))
  return found


def _overridden(argv: list[str]) -> list[str]:
  """Dotted names of the fields that arguments set."""
  flag = re.compile(r'--?(?:no)?config\.([\w.]+)')
  return [match[1] for match in map(flag.match, argv) if match]


def _parse(argv: list[str]) -> list[str]:
  """Sets the flags and returns the rest; a bad one is one clear line."""
  try:
    return flags.FLAGS(argv)
  except flags.Error as error:
    text = f'{error}; --help lists the flags'
    if isinstance(error, flags.UnrecognizedFlagError):
      text = f'--{error.flagname}: there is no such flag; {_hint(error)}'
    elif 'config' not in _given(argv):
      text = '--config: got none, expected such as --config=best:folder,small'
    found = re.match(r'flag --([\w.]+)=(.*?): ', text, re.DOTALL)
    if found:
      name, given = found.groups()
      text = f'--{name}: got {given!r}, expected {_kind(name)}'
    sys.exit(f'Error: {" ".join(text.split())}')


def _given(argv: list[str]) -> set[str]:
  """Names of the flags in arguments."""
  return {each.lstrip('-').partition('=')[0] for each in argv[1:]}


def _hint(error: flags.UnrecognizedFlagError) -> str:
  config = flags.FLAGS['config'].value
  fields = config_lib.flat(config.to_dict()) if config is not None else {}
  for field in fields:
    if field.rpartition('.')[2] == error.flagname:
      return f'did you mean --config.{field}?'
  near = difflib.get_close_matches(error.flagname, list(flags.FLAGS), 1)
  return f'did you mean --{near[0]}?' if near else '--help lists them'


def _kind(name: str) -> str:
  """What a flag takes."""
  key = name.removeprefix('config.')
  if key == name:
    return flags.FLAGS[name].flag_type()
  # It is read before its fields are set.
  config: Any = flags.FLAGS['config'].value
  fields = config_lib.flat(config.to_dict())
  return config_files.kind(fields[key])


def run() -> None:
  """Parses the command line and runs `main`."""
  flags.mark_flag_as_required('config')
  try:
    # Overrides of fields are looked for in here, too.
    sys.argv = _with_config_found(sys.argv)
  except ValueError as error:
    sys.exit(f'Error: {error}')
  app.run(main, flags_parser=_parse)


if __name__ == '__main__':
  run()
