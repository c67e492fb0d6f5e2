"""Serves the page to one person on this machine, and to nobody else.

Listens on 127.0.0.1. Every address begins with a random token. A request whose
Host is no name of this machine is refused (another site's name may be made to
lead here), and so is one whose Origin is another site. Files are never named by
a request: what there is to ask for is a list of functions.
"""

import base64
import hashlib
import hmac
import http
import http.server
import json
import logging
import os
import re
import secrets
import socket
import sys
import urllib.parse
from collections.abc import Callable, Mapping
from importlib import resources
from typing import Any, NamedTuple

log = logging.getLogger('dbc_jax')

_HOSTS = ('127.0.0.1', 'localhost')
_MAX_BYTES = 32 * 2**20
# A connection without a request for so long is closed.
_IDLE_SECONDS = 120


class Answer(NamedTuple):
  """What goes back: bytes and what they are."""

  body: bytes
  kind: str = 'application/json'


# From the parameters of a request to an answer, or to what JSON holds; a
# ValueError is told.
Route = Callable[[dict[str, Any]], Any]


class PageServer(http.server.ThreadingHTTPServer):
  """Serves a page and the functions that it calls."""

  daemon_threads = True

  def __init__(
    self,
    port: int,
    gets: Mapping[str, Route],
    posts: Mapping[str, Route],
  ):
    """Begins to listen.

    Args:
      port: 0 for a free one.
      gets: by name; parameters are those of the query, texts.
      posts: by name; parameters are an object of JSON.

    Raises:
      ValueError: the port is in use, or may not be used.
    """
    self.token = secrets.token_urlsafe(24)
    self.gets, self.posts = gets, posts
    self.page, self.policy = _read_page()
    try:
      super().__init__(('127.0.0.1', port), _Handler)
    except (OSError, OverflowError) as error:
      raise ValueError(
        f'--port: {port} cannot be used ({error.strerror or error})'
        if isinstance(error, OSError)
        else f'--port: got {port}, expected 0..65535'
      ) from error

  @property
  def address(self) -> str:
    """What to open in a browser."""
    return f'http://127.0.0.1:{self.server_port}/{self.token}/'

  def server_bind(self) -> None:
    # Without a look-up of the machine's name, which may take long.
    if os.name != 'nt':  # There it would let two programs share a port.
      self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    self.socket.bind(self.server_address)
    self.server_address = self.socket.getsockname()
    self.server_name = '127.0.0.1'
    self.server_port = int(self.server_address[1])

  def handle_error(self, request: Any, client_address: Any) -> None:
    """One line for a fault; a browser that is gone is none."""
    error = sys.exception()
    if not isinstance(error, OSError):
      log.error('review: %s: %s', type(error).__name__, error)


def _read_page() -> tuple[bytes, str]:
  """The page, and the policy that lets a browser run it and nothing else."""
  page = resources.files('dbc_jax.review').joinpath('page.html').read_bytes()
  hashes = {}
  for tag in (b'script', b'style'):
    inside = re.findall(b'<%s>(.*?)</%s>' % (tag, tag), page, re.DOTALL)
    hashes[tag.decode()] = ' '.join(
      f"'sha256-{base64.b64encode(hashlib.sha256(text).digest()).decode()}'"
      for text in inside
    )
  policy = (
    f"default-src 'none'; script-src {hashes['script']}; "
    f"style-src {hashes['style']}; img-src 'self' blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
  )
  return page, policy


class _RefusedError(Exception):
  def __init__(self, status: int, why: str):
    super().__init__(why)
    self.status = status


class _Handler(http.server.BaseHTTPRequestHandler):
  protocol_version = 'HTTP/1.1'
  server_version, sys_version = 'dbc', ''
  timeout = _IDLE_SECONDS
  # Head and body of an answer go out together.
  wbufsize = -1
  disable_nagle_algorithm = True
  server: PageServer

  def do_GET(self) -> None:
    self._serve(self._get)

  def do_POST(self) -> None:
    self._serve(self._post)

  def _serve(self, work: Callable[[], Answer]) -> None:
    status, answer = http.HTTPStatus.OK, None
    try:
      answer = work()
    except _RefusedError as error:
      status, why = error.status, str(error)
      self.close_connection = True  # A body may not have been read.
    except ValueError as error:
      status, why = http.HTTPStatus.BAD_REQUEST, str(error)
    except Exception as error:  # noqa: BLE001  The page says it.
      status = http.HTTPStatus.INTERNAL_SERVER_ERROR
      why = f'{type(error).__name__}: {error}'
      log.error('review: %s', why)
    if answer is None:
      answer = Answer(json.dumps({'error': why}).encode())
    try:
      self.send_response(status)
      self.send_header('Content-Type', answer.kind)
      self.send_header('Content-Length', str(len(answer.body)))
      # Crops show people: nothing of them stays in a browser's files.
      self.send_header('Cache-Control', 'no-store')
      self.send_header('Content-Security-Policy', self.server.policy)
      self.send_header('Cross-Origin-Resource-Policy', 'same-origin')
      self.send_header('Cross-Origin-Opener-Policy', 'same-origin')
      self.send_header('Referrer-Policy', 'no-referrer')
      self.send_header('X-Content-Type-Options', 'nosniff')
      if self.close_connection:
        self.send_header('Connection', 'close')
      self.end_headers()
      self.wfile.write(answer.body)
      self.wfile.flush()
    except OSError:  # The browser is gone.
      self.close_connection = True

  def _name_and_query(self) -> tuple[str, dict[str, Any]]:
    """What is asked for, if whoever asks may."""
    host = self.headers.get_all('Host') or ['']
    name, _, port = host[0].partition(':')
    if len(host) > 1 or name not in _HOSTS or not re.fullmatch(r'\d*', port):
      raise _RefusedError(403, 'Host: this page is for this machine alone')
    origin = self.headers.get('Origin')
    if origin is not None and origin != f'http://{host[0]}':
      raise _RefusedError(403, 'Origin: another site may not ask here')
    path, _, query = self.path.partition('?')
    start, token, *rest = path.split('/')
    given, known = token.encode(errors='replace'), self.server.token.encode()
    if start or not hmac.compare_digest(given, known) or len(rest) != 1:
      raise _RefusedError(
        404, 'there is nothing here; open the address that dbc review printed'
      )
    asked = urllib.parse.parse_qsl(query, keep_blank_values=True)
    return rest[0], dict(asked)

  def _get(self) -> Answer:
    name, query = self._name_and_query()
    if not name:
      return Answer(self.server.page, 'text/html; charset=utf-8')
    return self._call(self.server.gets, name, query)

  def _post(self) -> Answer:
    name, _ = self._name_and_query()
    kind = self.headers.get_content_type()
    if kind != 'application/json':
      raise _RefusedError(415, f'got {kind}, expected application/json')
    length = self.headers.get('Content-Length', '')
    if not re.fullmatch(r'\d{1,18}', length):
      raise _RefusedError(411, 'Content-Length: expected a number')
    if int(length) > _MAX_BYTES:
      raise _RefusedError(
        413, f'got {int(length):,} bytes, expected at most {_MAX_BYTES:,}'
      )
    body = self.rfile.read(int(length))
    try:
      given = json.loads(body)
    except (ValueError, RecursionError):
      given = None
    if not isinstance(given, dict):
      raise ValueError('expected an object of JSON')
    return self._call(self.server.posts, name, given)

  def _call(
    self, routes: Mapping[str, Route], name: str, given: dict[str, Any]
  ) -> Answer:
    route = routes.get(name)
    if route is None:
      raise _RefusedError(404, 'there is nothing here')
    found = route(given)
    if isinstance(found, Answer):
      return found
    return Answer(json.dumps(found).encode())

  def log_message(self, format: str, *args: Any) -> None:
    """Says nothing: addresses hold the token."""
