"""`dbc` and `python -m dbc_jax`: one command, and what it can do."""

import difflib
import importlib
import sys

_COMMANDS = {
  'train': 'trains and clusters: dbc train best:folder,small --root=DIR',
  'embed': 'features of images: --workdir=W --images=DIR --out=F.npz',
  'search': 'the nearest images: --workdir=W --query=IMAGE',
  'assign': 'known, new or unsure: --workdir=W --images=DIR --out=F.csv',
  'cluster': 'clusters of any features: --features=F.npz --out=F.csv',
  'forget': 'takes a person out of a run: --workdir=W ID|PATH ...',
  'export': 'the network as ONNX, StableHLO, safetensors, or for a hub',
  'review': 'a page to look at the clusters of a run, and to correct them',
  'report': 'the page of a run anew; its images by cluster',
  'evaluate': 'scores a run, or saved features',
  'reproduce': "the papers' tables and figures",
  'check-data': 'looks at a data set before training',
  'prepare-data': 'writes a data set as TFDS records',
}
_USAGE = 'usage: dbc COMMAND [ARGUMENTS]; dbc COMMAND --help tells more'
_SHORT = {
  '--root': '--config.data.root',
  '--continue_from': '--config.train.continue_from',
}
_TRAIN = """\
usage: dbc train CONFIG[:DATASET[,small]] [--root=DIR] [--workdir=DIR]
                 [--continue_from=WORKDIR] [--config.KEY=VALUE ...]

Trains and clusters. CONFIG is a name (best, buc, dbc, ecluster, estat,
pretrained) or a file. The same command in the same workdir goes on where it was
interrupted.

examples:
  dbc train best                                   the demo
  dbc train best:folder,small --root=DIR           your own crops
  dbc train best:folder,small --root=DIR --config.data.pattern='cam{camid}_*'
                                                   cameras in their names
  dbc train ecluster:market1501 --root=DIR         the paper's, on Market-1501
  dbc train best:folder,small --root=DIR --continue_from=OLD --workdir=NEW
                                                   more crops, the same numbers
"""


def main() -> None:
  """Hands over to a command; Ctrl-C while it is loaded is one line, too."""
  try:
    _hand_over()
  except KeyboardInterrupt:
    sys.stderr.write('\nInterrupted.\n')
    sys.exit(130)


def _hand_over() -> None:
  name, rest = [*sys.argv, '--help'][1], sys.argv[2:]
  if name in ('--help', '-h', 'help'):
    width = max(map(len, _COMMANDS))
    lines = [f'  {key:{width}}  {what}' for key, what in _COMMANDS.items()]
    print('\n'.join([_USAGE, '', *lines]))
    return
  command = name.replace('_', '-')
  if command not in _COMMANDS:
    near = difflib.get_close_matches(command, _COMMANDS, 1)
    hint = f'did you mean {near[0]}?' if near else 'dbc lists them'
    sys.exit(f'Error: there is no command {name}; {hint}')
  if command == 'train':
    _train(rest)
    return
  module = importlib.import_module(
    f'dbc_jax.commands.{command.replace("-", "_")}'
  )
  sys.exit(module.main(rest))


def _train(rest: list[str]) -> None:
  if not rest or {'--help', '-h'} & {*rest}:
    print(_TRAIN, end='')
    return
  arguments = []
  for i, argument in enumerate(rest):
    if i == 0 and not argument.startswith('-'):
      argument = f'--config={argument}'
    flag = argument.partition('=')[0]
    if flag in _SHORT:
      argument = argument.replace(flag, _SHORT[flag], 1)
    arguments.append(argument)
  # Flags and overrides of fields are read from there.
  sys.argv = [sys.argv[0], *arguments]
  from dbc_jax.main import run

  run()


if __name__ == '__main__':
  main()
