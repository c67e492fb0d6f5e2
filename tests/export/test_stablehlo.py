"""StableHLO beside JAX: the plain forms exactly, the fast ones closely."""

import json
import sys

import jax
import numpy as np
import pytest
from exported_networks import make_run

from dbc_jax import export
from dbc_jax.commands import export as command
from dbc_jax.data.augment import resize
from dbc_jax.models import layers
from dbc_jax.models.weight_files import flatten

pytest.importorskip('flatbuffers')


def write(path, run):
  return export.write_stablehlo(
    path, run.parts, run.variables, metadata={'network': 'x'}
  )


def pixels(*shape):
  rng = np.random.default_rng(0)
  return rng.integers(0, 256, (*shape, 3)).astype(np.uint8)


SHAPES = ((3, 64, 32), (1, 64, 32), (5, 51, 37), (2, 130, 64))


@pytest.mark.slow
@pytest.mark.parametrize(
  ('name', 'options'),
  [
    ('resnet8', {}),
    ('resnet8', {'last_stride': 1, 'pooling': 'gem', 'neck': True}),
    ('wide_resnet8_2', {'parts': 4, 'camids': (1, 2)}),
    ('resnet_tiny', {'parts': 2, 'parts_and_global': True, 'pooling': 'gem'}),
    ('basic-1-1-1-1', {'neck': True}),
    ('small_networks:one_block', {}),
    ('resnet50', {'last_stride': 1}),
  ],
)
def test_features_are_those_of_jax(name, options, tmp_path):
  run = make_run(name, **options)
  path = tmp_path / 'f.stablehlo'
  write(path, run)
  network = {key: run.variables[key] for key in ('params', 'batch_stats')}

  def by_hand(images):
    images = resize(images, run.parts.image_size)
    return run.parts.encoder.apply(network, images)[1]

  read = export.read_stablehlo(path)
  # Each is compiled three times, which takes long for a large network.
  for shape in SHAPES[2:3] if name == 'resnet50' else SHAPES:
    images = pixels(*shape)
    found = np.asarray(read(images))
    assert found.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)
    own = jax.jit(lambda x: by_hand(x))(images)
    np.testing.assert_allclose(found, own, atol=1e-5)
    with layers.plain_forms():
      plain = jax.jit(lambda x: by_hand(x))(images)
    np.testing.assert_array_equal(found, plain)


def test_it_is_of_plain_operations_for_all_platforms(tmp_path):
  run = make_run('resnet_tiny', embedding_dim=2048)
  path = tmp_path / 'f.stablehlo'
  write(path, run)
  exported = jax.export.deserialize(bytearray(path.read_bytes()))
  assert exported.platforms == ('cpu', 'cuda', 'tpu')
  backbone = flatten(run.variables['params']['backbone'])
  kernels = [x for x in backbone.values() if x.ndim == 4]
  text = exported.mlir_module()
  # Of each there is one a platform. The products are of the resizing.
  copies = len(exported.platforms)
  assert text.count('stablehlo.convolution(') == copies * len(kernels)
  assert text.count('stablehlo.dot_general') == copies * 2
  # The training head is not in it.
  size = sum(x.nbytes for x in flatten(run.variables).values())
  head = sum(
    x.nbytes for x in flatten(run.variables['params']['head']).values()
  )
  assert path.stat().st_size < size - head + 100_000


def test_the_forms_of_a_cpu_come_back():
  assert layers.is_cpu()
  with layers.plain_forms():
    assert not layers.is_cpu()
  assert layers.is_cpu()


@pytest.mark.slow
def test_the_command_writes_two_files_that_say_what_they_are(tmp_path, capsys):
  path = tmp_path / 'reid.stablehlo'
  command.main(['--workdir=demo', '--format=stablehlo', f'--out={path}'])
  text = capsys.readouterr().out
  assert 'uint8 [batch, height, width, 3]' in text
  assert f'of jax {jax.__version__}' in text
  assert 'resized as the file does' in text
  facts = json.loads((tmp_path / 'reid.stablehlo.json').read_text())
  assert facts['jax'] == jax.__version__
  assert (facts['input'], facts['network']) == ('raw', 'wide_resnet8_2')
  assert len(json.loads(facts['thresholds'])) == 3
  assert sorted(p.name for p in tmp_path.iterdir()) == [
    'reid.stablehlo',
    'reid.stablehlo.json',
  ]


def test_a_file_that_cannot_be_read_says_which_jax_wrote_it(tmp_path):
  path = tmp_path / 'f.stablehlo'
  with pytest.raises(ValueError, match='does not exist'):
    export.read_stablehlo(path)
  write(path, make_run('resnet8'))
  path.write_bytes(path.read_bytes()[:50])
  beside = tmp_path / 'f.stablehlo.json'
  beside.write_text('{"jax": "99.1"}')
  with pytest.raises(
    ValueError, match=r'and was written by jax 99\.1; a file of'
  ):
    export.read_stablehlo(path)
  beside.unlink()
  with pytest.raises(ValueError, match='a damaged file has to be exported'):
    export.read_stablehlo(path)


def test_without_its_package_it_says_so(tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, 'flatbuffers', None)
  path = tmp_path / 'f.stablehlo'
  with pytest.raises(SystemExit, match=r'needs flatbuffers: .*\[stablehlo\]'):
    command.main(['--workdir=demo', '--format=stablehlo', f'--out={path}'])
