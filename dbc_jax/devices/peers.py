"""The processes of a run watch each other, so that none waits for a dead one.

JAX sees after a minute that a process is gone, and then aborts the others with
a dump of their stacks. Here each has a connection to the first process, which
the kernel closes with the process, however that ends. Nothing of the run itself
goes over it.
"""

import contextlib
import os
import secrets
import socket
import sys
import threading
import time
from collections.abc import Callable

from dbc_jax.devices import processes

# A process that loses another one has so long to end by itself, with the better
# words; then it is ended.
GRACE_SECONDS = 5.0
# Without an answer of its machine for about so long, a process is lost.
_SILENCE_SECONDS = 25
_WELL, _BADLY = b'.', b'!'


class Watch:
  """The connections of one process, to be made by all of them together."""

  def __init__(
    self, coordinator: str | None, end: Callable[[int], None] = os._exit
  ):
    """Waits for the other processes, and connects.

    Args:
      coordinator: 'HOST:PORT' of process 0; None: by the name of its machine.
      end: ends this process, with a status.
    """
    self._end = end
    self._lost: str | None = None
    self._is_lost = threading.Event()
    self._is_left = threading.Event()
    self._peers: dict[int, socket.socket] = {}
    self._gone: set[int] = set()
    if processes.count() == 1:
      return
    token = secrets.token_hex(16)
    if processes.is_first():
      listener = socket.create_server(('', 0), backlog=processes.count())
      told = f'{socket.gethostname()} {listener.getsockname()[1]} {token}'
      processes.text_of_first(told)
      _start(self._accept, listener, token)
    else:
      host, port, token = processes.text_of_first('').split()
      if coordinator is not None:
        host = coordinator.rpartition(':')[0].strip('[]')
      self._join(host, int(port), token)

  def _join(self, host: str, port: int, token: str) -> None:
    number = processes.own_number()
    try:
      peer = socket.create_connection((host, port), timeout=10)
      peer.sendall(f'{token} {number}\n'.encode())
    except OSError as error:
      _say(
        f'process {number} cannot reach process 0 at {host}:{port} '
        f'({error}): if one of them ends, the other may wait for a minute'
      )
      return
    self._add(0, peer)

  def _accept(self, listener: socket.socket, token: str) -> None:
    with listener:
      while len(self._peers) < processes.count() - 1:
        peer, _ = listener.accept()
        peer.settimeout(10)
        said = b''
        with contextlib.suppress(OSError):
          while not said.endswith(b'\n') and len(said) < 99:
            said += peer.recv(1) or b'\n'
        given, _, number = said.decode(errors='replace').strip().partition(' ')
        if secrets.compare_digest(given.encode(), token.encode()):
          self._add(int(number), peer)
        else:
          peer.close()

  def _add(self, number: int, peer: socket.socket) -> None:
    peer.settimeout(None)
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
      ('TCP_KEEPIDLE', 10),
      ('TCP_KEEPINTVL', 5),
      ('TCP_KEEPCNT', (_SILENCE_SECONDS - 10) // 5),
    ):
      if hasattr(socket, name):
        peer.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    self._peers[number] = peer
    _start(self._read, number, peer)

  def _read(self, number: int, peer: socket.socket) -> None:
    """Waits until a peer says that it ends, or is no more."""
    said = b''
    with contextlib.suppress(OSError):
      said = peer.recv(1)
    self._gone.add(number)
    if said != _WELL:
      self._lose(number)
    peer.close()

  def _lose(self, number: int) -> None:
    """Ends this process, unless it does so by itself."""
    if self._is_left.is_set() or self._is_lost.is_set():
      return
    self._lost = (
      f'process {number} has ended, and without it this one cannot go on; the '
      'same commands go on from the last checkpoint'
    )
    self._is_lost.set()
    self._tell(_BADLY)
    if not self._is_left.wait(GRACE_SECONDS):
      _say(f'Error: {self._lost}')
      self._end(1)

  def lost(self) -> str | None:
    """What to say if another process has ended; waits a little for that."""
    self._is_lost.wait(GRACE_SECONDS if processes.count() > 1 else 0)
    return self._lost

  def leave(self, status: int | str) -> None:
    """Tells the others that this process ends; returns if it ends well.

    JAX has all processes wait for each other at their end. Where they end
    badly it could abort them, and so they end here.

    Args:
      status: as `sys.exit` takes it.
    """
    if processes.count() == 1:
      return
    self._is_left.set()
    self._tell(_BADLY if status else _WELL)
    if not status:
      for peer in [*self._peers.values()]:
        with contextlib.suppress(OSError):
          peer.shutdown(socket.SHUT_RDWR)  # Ends what reads from it.
      return
    sys.stdout.flush()
    if isinstance(status, str):
      sys.stderr.write(f'{status}\n')
    sys.stderr.flush()
    # The first one last: JAX aborts the others when it goes.
    deadline = time.monotonic() + GRACE_SECONDS + 1
    while processes.is_first() and time.monotonic() < deadline:
      if self._gone >= self._peers.keys():
        time.sleep(0.5)
        break
      time.sleep(0.1)
    self._end(1 if isinstance(status, str) else status)

  def _tell(self, word: bytes) -> None:
    for peer in [*self._peers.values()]:
      with contextlib.suppress(OSError):
        peer.sendall(word)


def _start(target: Callable[..., None], *args: object) -> None:
  threading.Thread(target=target, args=args, daemon=True).start()


def _say(line: str) -> None:
  with contextlib.suppress(OSError):
    os.write(2, f'\n{line}\n'.encode())
