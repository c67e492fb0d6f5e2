"""A port of this machine that stands for one of another, and outlives it.

JAX aborts a process, with a dump of its stack, in the moment in which its
connection to process 0 breaks. By way of a relay the connection stays, and who
watches the processes has time to end this one with a word.
"""

import contextlib
import socket
import threading


def start(address: str) -> str:
  """Forwards connections until the process ends.

  Args:
    address: 'HOST:PORT' of another process, which need not be there yet.

  Returns:
    The address to connect to instead.
  """
  host, _, port = address.rpartition(':')
  listener = socket.create_server(('127.0.0.1', 0))

  def serve() -> None:
    while True:
      near, _ = listener.accept()
      try:
        far = socket.create_connection((host.strip('[]'), int(port)), 10)
      except (OSError, OverflowError):
        near.close()  # It is tried again.
        continue
      far.settimeout(None)
      for source, target in ((near, far), (far, near)):
        args = source, target, source is near
        threading.Thread(target=_pump, args=args, daemon=True).start()

  threading.Thread(target=serve, daemon=True).start()
  return f'127.0.0.1:{listener.getsockname()[1]}'


def _pump(source: socket.socket, target: socket.socket, closes: bool) -> None:
  with contextlib.suppress(OSError):
    while data := source.recv(2**16):
      target.sendall(data)
  if closes:
    with contextlib.suppress(OSError):
      target.shutdown(socket.SHUT_RDWR)
