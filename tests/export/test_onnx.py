"""ONNX files beside JAX: in onnxruntime, and in OpenCV where it reads them."""

import json

import cv2
import jax.numpy as jnp
import numpy as np
import onnx
import onnxruntime
import pytest
from exported_networks import make_network

from dbc_jax.data import augment
from dbc_jax.export import write_onnx

METADATA = {'network': 'x'}


def run_onnx(path, images):
  session = onnxruntime.InferenceSession(
    path, providers=['CPUExecutionProvider']
  )
  return session.run(None, {'images': images})[0]


def pixels(count, height, width, seed=0):
  rng = np.random.default_rng(seed)
  small = rng.integers(0, 256, (count, 8, 4, 3)).astype(np.uint8)
  large = [
    cv2.resize(x, (width, height), interpolation=cv2.INTER_CUBIC) for x in small
  ]
  return np.stack(large)


@pytest.mark.slow
@pytest.mark.parametrize(
  ('name', 'options'),
  [
    ('resnet8', {}),
    ('resnet8', {'last_stride': 1, 'pooling': 'gem', 'neck': True}),
    ('wide_resnet8_2', {'parts': 4}),
    ('wide_resnet8_2', {'parts': 2, 'parts_and_global': True}),
    ('resnet_tiny', {'parts_and_global': True, 'pooling': 'gem', 'parts': 2}),
    pytest.param('resnet50', {'last_stride': 1}, marks=pytest.mark.slow),
    pytest.param('resnet50', {}, marks=pytest.mark.slow),
    pytest.param('resnet2223', {}, marks=pytest.mark.slow),
    pytest.param('resnet2223', {'last_stride': 1}, marks=pytest.mark.slow),
  ],
)
def test_features_are_those_of_jax(name, options, tmp_path):
  network, features = make_network(name, **options)
  path = tmp_path / 'f.onnx'
  images = pixels(3, 64, 32)
  expected = features(augment.normalize(jnp.asarray(images)))
  inputs = {
    'own': images,
    'ultralytics': np.float32(images / 255).transpose(0, 3, 1, 2),
    'boxmot': np.asarray(augment.normalize(jnp.asarray(images))).transpose(
      0, 3, 1, 2
    ),
  }
  for use, given in inputs.items():
    write_onnx(path, network, use=use, metadata=METADATA)
    found = run_onnx(path, np.ascontiguousarray(given))
    np.testing.assert_allclose(found, expected, atol=1e-5, err_msg=use)
    assert found.dtype == np.float32
    # A batch of one, and OpenCV: it has no Resize that fits.
    one = run_onnx(path, np.ascontiguousarray(given[:1]))
    np.testing.assert_allclose(one, expected[:1], atol=1e-5)
    if use != 'own':
      net = cv2.dnn.readNetFromONNX(str(path))
      net.setInput(np.ascontiguousarray(given))
      np.testing.assert_allclose(net.forward(), expected, atol=1e-5)


@pytest.mark.parametrize('size', [(64, 32), (128, 64), (256, 128), (51, 37)])
def test_a_raw_file_resizes_as_jax_does(size, tmp_path):
  network, features = make_network('resnet8')
  path = tmp_path / 'f.onnx'
  write_onnx(path, network, use='own', metadata=METADATA)
  images = pixels(2, *size, seed=1)
  expected = features(augment.resize(jnp.asarray(images), (64, 32)))
  np.testing.assert_allclose(run_onnx(path, images), expected, atol=1e-4)


def test_a_file_says_what_it_wants(tmp_path):
  network, _ = make_network('resnet8')
  path = tmp_path / 'f.onnx'
  for use, given in (
    ('boxmot', 'normalised'),
    ('ultralytics', 'unit'),
    ('own', 'raw'),
  ):
    write_onnx(
      path, network, use=use, metadata={'image_size': json.dumps([64, 32])}
    )
    assert [p.name for p in tmp_path.iterdir()] == ['f.onnx']
    model = onnx.load(path)
    assert model.ir_version == 8
    assert [each.version for each in model.opset_import] == [18]
    told = {prop.key: prop.value for prop in model.metadata_props}
    assert told == {'input': given, 'image_size': '[64, 32]'}
    (entry,) = model.graph.input
    dims = [
      d.dim_param or d.dim_value for d in entry.type.tensor_type.shape.dim
    ]
    wanted = ['batch', 3, 64, 32]
    if use == 'own':
      wanted = ['batch', 'height', 'width', 3]
    assert dims == wanted
    assert len(model.graph.output) == 1
