"""Weights by 'hf:OWNER/NAME': the real client against a local server."""

import http.server
import re
import threading
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from dbc_jax import models

constants = pytest.importorskip('huggingface_hub.constants')


class _Hub(http.server.BaseHTTPRequestHandler):
  """Answers as the hub does to OWNER/NAME/resolve/REVISION/FILE."""

  files: ClassVar[dict[str, bytes]] = {}

  def do_GET(self):
    repo, _, revised = self.path.lstrip('/').partition('/resolve/')
    file = revised.partition('/')[2]
    content = self.files.get(f'{repo}/{file}')
    self.send_response(200 if content else 404)
    if content:
      self.send_header('ETag', f'"{repo}/{file}"')
      self.send_header('X-Repo-Commit', '0' * 40)
    else:
      known = any(name.startswith(f'{repo}/') for name in self.files)
      what = 'Entry' if known else 'Repo'
      self.send_header('X-Error-Code', f'{what}NotFound')
    self.send_header('Content-Length', str(len(content or b'')))
    self.end_headers()
    if content and self.command == 'GET':
      self.wfile.write(content)

  do_HEAD = do_GET

  def log_message(self, *_):
    pass


@pytest.fixture
def hub(monkeypatch, tmp_path):
  """Its files; the client talks to no other hub and has an empty cache."""
  with http.server.ThreadingHTTPServer(('127.0.0.1', 0), _Hub) as server:
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f'http://127.0.0.1:{server.server_port}'
    template = url + '/{repo_id}/resolve/{revision}/{filename}'
    monkeypatch.setattr(constants, 'ENDPOINT', url)
    monkeypatch.setattr(constants, 'HUGGINGFACE_CO_URL_TEMPLATE', template)
    monkeypatch.setattr(constants, 'HF_HUB_CACHE', str(tmp_path))
    monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', False)
    monkeypatch.setattr(_Hub, 'files', {})
    yield _Hub.files
    server.shutdown()


def _variables():
  encoder = models.create_encoder('resnet_tiny', embedding_dim=4)
  shapes = jax.eval_shape(
    encoder.init, jax.random.key(0), jnp.zeros((1, 64, 32, 3))
  )
  return jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes)


def _message(path):
  with pytest.raises(ValueError, match=r'^hf:|(safetensors|bin): ') as caught:
    models.load_pretrained(path, _variables())
  return str(caught.value)


def test_safetensors_come_first_and_stay_in_the_cache(hub, monkeypatch):
  hub['owner/name/pytorch_model.bin'] = b'not looked at'
  hub['owner/name/model.safetensors'] = safetensors.numpy.save(
    {'from_hub': np.zeros(1, np.float32)}
  )
  fetched = _message('hf:owner/name')
  assert '1 extra: from_hub' in fetched
  hub.clear()
  monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', True)
  assert _message('hf:owner/name') == fetched
  assert re.match(
    'hf:owner/other: is not in the cache, and the hub cannot be reached. '
    'Fetch model.safetensors where there is a network',
    _message('hf:owner/other'),
  )


def test_pytorch_model_is_taken_where_there_are_no_safetensors(hub):
  pytest.importorskip('torch')
  hub['owner/name/pytorch_model.bin'] = b'\x80\x02not of torch'
  assert re.search(
    r'pytorch_model\.bin: .*no file of torch\.save', _message('hf:owner/name')
  )


def test_what_is_not_there_is_named(hub):
  hub['owner/name/README.md'] = b'no weights'
  assert _message('hf:owner/name') == (
    'hf:owner/name: has neither model.safetensors nor pytorch_model.bin'
  )
  assert re.match('hf:owner/gone: .*404', _message('hf:owner/gone'))
  assert re.match('hf:a/b/c: .*Expected hf:OWNER/NAME', _message('hf:a/b/c'))
