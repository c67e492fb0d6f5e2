"""Command line: opens a page on which clusters are looked at and corrected."""

import argparse
import functools
import os
import signal
import socket
import socketserver
import sys
import threading
import webbrowser
from pathlib import Path

from dbc_jax.commands import arguments

_EXAMPLE = """examples:
  dbc review --workdir=runs/best-folder
  dbc review --workdir=runs/best-folder --port=8765 --root=/new/place/of/crops

It prints an address for a browser on this machine, and serves nobody else. Each
answer is in corrections.csv of the workdir before the next question
(docs/correct.md).
"""
# The run that comes with the package. What else is known of it takes a second
# to import, and a page opens at once.
_DEMO = Path(__file__).resolve().parents[1] / 'demo'


def main(argv: list[str] | None = None) -> None:
  """Serves the page until Ctrl-C."""
  args = _parse(argv)
  with arguments.one_line(''):
    _review(args)
  # A thread may be in compiled code, at which an ordinary end would abort.
  sys.stdout.flush()
  os._exit(0)


def _parse(argv: list[str] | None) -> argparse.Namespace:
  parser = arguments.parser('review', __doc__, _EXAMPLE)
  parser.add_argument(
    '--workdir', type=arguments.folder, required=True, help='of a run'
  )
  parser.add_argument(
    '--root', help="where the run's images are, if they moved"
  )
  parser.add_argument(
    '--port', type=int, default=0, help='default: one that is free'
  )
  parser.add_argument(
    '--open', action='store_true', help='opens the page in a browser here'
  )
  return parser.parse_args(argv)


def _review(args: argparse.Namespace) -> None:
  from dbc_jax.review import background, pictures, session
  from dbc_jax.review.server import PageServer
  from dbc_jax.run import lock

  workdir: Path = args.workdir
  is_name = str(workdir) == _DEMO.name and not workdir.exists()
  if is_name or workdir.resolve() == _DEMO:
    raise ValueError(
      'workdir: demo comes with the package and stays as it is; '
      '`dbc train best` makes one of your own'
    )
  if not workdir.is_dir():
    raise ValueError(
      f'workdir: {workdir} does not exist; name the --workdir of a training'
    )
  with lock.hold(workdir) as held:
    load = functools.partial(background.load_run, workdir, args.root)
    samples = functools.partial(pictures.samples_of_run, workdir, args.root)
    look = session.Session(
      workdir,
      lambda found: pictures.Pictures(samples, found.names),
      lambda found: background.Background(workdir, found, load, args.root),
      check=held.check,
    )
    with PageServer(args.port, look.gets(), look.posts()) as server:
      _end_at_signals(server)
      port, host = server.server_port, socket.gethostname()
      print(
        f'Open in a browser: {server.address}\n'
        f'From another machine: ssh -L {port}:127.0.0.1:{port} {host}, then '
        'open it there.\nCtrl-C ends it.',
        flush=True,
      )
      if args.open and not webbrowser.open(server.address):
        print('--open: there is no browser here; open the address by hand')
      server.serve_forever()
      count = len(look.answers.all())
      told = f'{count:,} answers are in {workdir / "corrections.csv"}.'
      print(f'\nEnded. {told if count else "There are no answers."}')


def _end_at_signals(server: socketserver.BaseServer) -> None:
  """Lets Ctrl-C and the like end what the server does.

  Without an exception: Python drops one that comes within a callback, such as
  those of JAX at each collection of garbage.
  """

  def end(number: int, frame: object) -> None:
    del number, frame
    # It waits for the end of the server's loop, in which this may be.
    threading.Thread(target=server.shutdown, daemon=True).start()

  for name in ('SIGINT', 'SIGTERM', 'SIGHUP'):
    number = getattr(signal, name, None)
    if number and signal.getsignal(number) is not signal.SIG_IGN:
      signal.signal(number, end)


if __name__ == '__main__':
  main()
