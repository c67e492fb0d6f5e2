"""ONNX, for trackers and for one's own code; written with `onnx` alone.

One network makes three files, because consumers feed it different values. The
graph is of IR 8 and opset 18, which all of onnxruntime 1.16 to 1.32, its web
build, and OpenCV 4.14 and 5 read; it has no node that one of them lacks.
"""

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dbc_jax import values
from dbc_jax.data.augment import MEAN, STD
from dbc_jax.export.network import Network
from dbc_jax.export.packages import require
from dbc_jax.models.layers import BatchNorm

_IR_VERSION, _OPSET = 8, 18
_LEAST_LENGTH = 1e-12
_LEAST_OF_GEM = 1e-6


class Use(NamedTuple):
  """A consumer, and what its file is fed.

  Attributes:
    given: the metadata's `input`: 'normalised' (ImageNet's mean and deviation
      are off), 'unit' (values in [0, 1]) or 'raw' (uint8 of any size).
    what: the input in words.
    how: to name the file there; `{file}` is its path.
  """

  given: str
  what: str
  how: str


USES = {
  'boxmot': Use(
    'normalised',
    "float32 [batch, 3, H, W], RGB, ImageNet's mean and deviation taken off",
    "in boxmot: reid_weights=Path('{file}')",
  ),
  'ultralytics': Use(
    'unit',
    'float32 [batch, 3, H, W], RGB in [0, 1]',
    "in ultralytics' tracker YAML: with_reid: True, model: {file}",
  ),
  'own': Use(
    'raw',
    'uint8 [batch, height, width, 3], RGB, of any size',
    "onnxruntime.InferenceSession('{file}').run(None, {{'images': crops}})",
  ),
}


def write_onnx(
  path: Path, network: Network, *, use: str, metadata: Mapping[str, str]
) -> None:
  """Writes a file, whole or not at all.

  Its input is `images`, its output `features` [batch, D] float32 of unit
  length. BatchNorms are folded into the convolutions before them.

  Args:
    path: ends in .onnx.
    network: of `network_of_run`.
    use: a key of USES.
    metadata: that is written into it, beside `input`.

  Raises:
    ValueError: no path, no such use, or onnx is not installed.
  """
  path = values.path(path, 'path')
  values.choice(use, 'use', tuple(USES))
  onnx = require('onnx')
  helper, kinds = onnx.helper, onnx.TensorProto
  graph = _Graph(onnx)
  given, (height, width) = USES[use].given, network.image_size
  x = 'images'
  shape: list[Any] = ['batch', 3, height, width]
  kind = kinds.FLOAT
  if given == 'raw':
    shape, kind = ['batch', 'height', 'width', 3], kinds.UINT8
    x = graph.node('Cast', x, to=kinds.FLOAT)
    x = graph.node('Transpose', x, perm=[0, 3, 1, 2])
    x = _normalised(graph, x, 255.0)
    # The border is as jax.image.resize and Pillow have it with this alone.
    x = graph.node(
      'Resize',
      x,
      '',
      '',
      graph.constant([height, width], np.int64),
      mode='linear',
      coordinate_transformation_mode='half_pixel',
      axes=[2, 3],
      antialias=1,
      exclude_outside=1,
    )
  elif given == 'unit':
    x = _normalised(graph, x, 1.0)
  x, channels, rows = _backbone(graph, x, network)
  x = _pooled(graph, x, network, rows)
  count = network.parts + network.parts_and_global
  width_out = channels * count
  if network.neck:
    stats = network.stats['neck']['bn']
    factor, shift = _scale_and_shift(network.params['neck']['bn'], stats)
    x = graph.node('Mul', x, graph.constant(factor))
    x = graph.node('Add', x, graph.constant(shift))
  length = graph.node('ReduceL2', x, graph.constant([1], np.int64), keepdims=1)
  length = graph.node('Max', length, graph.constant(_LEAST_LENGTH))
  graph.node('Div', x, length, output='features')
  model = helper.make_model(
    helper.make_graph(
      graph.nodes,
      network.name,
      [helper.make_tensor_value_info('images', kind, shape)],
      [
        helper.make_tensor_value_info(
          'features', kinds.FLOAT, ['batch', width_out]
        )
      ],
      graph.constants,
    ),
    opset_imports=[helper.make_opsetid('', _OPSET)],
    ir_version=_IR_VERSION,
    producer_name='dbc_jax',
  )
  helper.set_model_props(model, {'input': given, **metadata})
  onnx.checker.check_model(model, full_check=True)
  partial = path.with_name(f'{path.name}.tmp')
  partial.write_bytes(model.SerializeToString())
  os.replace(partial, path)


class _Graph:
  """Collects nodes and constants; `node` returns the name of its output."""

  def __init__(self, onnx: Any):
    self._onnx = onnx
    self.nodes: list[Any] = []
    self.constants: list[Any] = []

  def constant(self, value: Any, dtype: Any = np.float32) -> str:
    name = f'constant{len(self.constants)}'
    array = np.asarray(value, dtype)
    self.constants.append(self._onnx.numpy_helper.from_array(array, name))
    return name

  def node(
    self, op: str, *inputs: str, output: str | None = None, **attributes: Any
  ) -> str:
    output = output or f'{op.lower()}{len(self.nodes)}'
    node = self._onnx.helper.make_node(op, inputs, [output], **attributes)
    self.nodes.append(node)
    return output


def _normalised(graph: _Graph, x: str, largest: float) -> str:
  mean, std = (
    largest * np.array(values).reshape(1, 3, 1, 1) for values in (MEAN, STD)
  )
  x = graph.node('Sub', x, graph.constant(mean))
  return graph.node('Div', x, graph.constant(std))


def _scale_and_shift(
  params: Mapping[str, Any], stats: Mapping[str, Any]
) -> tuple[np.ndarray, np.ndarray]:
  """A BatchNorm as y = x scale + shift, in float64."""
  mean, var = (np.asarray(stats[key], np.float64) for key in ('mean', 'var'))
  factor = np.asarray(params['scale'], np.float64)
  factor = factor / np.sqrt(var + BatchNorm.EPSILON)
  bias = np.asarray(params.get('bias', 0.0), np.float64)
  return factor, bias - mean * factor


def _backbone(graph: _Graph, x: str, network: Network) -> tuple[str, int, int]:
  """The last map, its channels and its rows."""
  spec = network.spec
  params, stats = network.params['backbone'], network.stats['backbone']
  rows = network.image_size[0]

  def conv(x: str, stride: int, path: Sequence[str]) -> str:
    """A convolution and its BatchNorm: path to both, '_conv' and '_bn'."""
    *block, name = path
    kernel_of, norm_of, norms = params, params, stats
    for part in block:
      kernel_of, norm_of, norms = kernel_of[part], norm_of[part], norms[part]
    bn = name.replace('conv', 'bn')
    factor, shift = _scale_and_shift(norm_of[bn], norms[bn])
    kernel = np.asarray(kernel_of[name]['kernel'], np.float64) * factor
    size = kernel.shape[0]
    return graph.node(
      'Conv',
      x,
      graph.constant(kernel.transpose(3, 2, 0, 1)),
      graph.constant(shift),
      kernel_shape=[size, size],
      strides=[stride, stride],
      pads=[size // 2] * 4,
    )

  x = graph.node('Relu', conv(x, 2, ['stem_conv']))
  rows = math.ceil(rows / 2)
  if spec.stem == 'imagenet':
    x = graph.node(
      'MaxPool', x, kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4
    )
    rows = math.ceil(rows / 2)
  last = len(spec.stage_sizes) - 1
  for stage, count in enumerate(spec.stage_sizes):
    first = 1 if stage == 0 else 2
    if stage == last:
      first = min(first, network.last_stride)
    rows = math.ceil(rows / first)
    for block in range(count):
      name = f'layer{stage + 1}_{block}'
      stride = first if block == 0 else 1
      if spec.block == 'bottleneck':
        y = graph.node('Relu', conv(x, 1, [name, 'conv1']))
        y = graph.node('Relu', conv(y, stride, [name, 'conv2']))
        y = conv(y, 1, [name, 'conv3'])
      else:
        y = graph.node('Relu', conv(x, stride, [name, 'conv1']))
        y = conv(y, 1, [name, 'conv2'])
      if 'downsample_conv' in params[name]:
        x = conv(x, stride, [name, 'downsample_conv'])
      x = graph.node('Relu', graph.node('Add', x, y))
  channels = spec.width * 2**last * (4 if spec.block == 'bottleneck' else 1)
  return x, channels, rows


def _pooled(graph: _Graph, x: str, network: Network, rows: int) -> str:
  """Stripes of the map and, where asked, the whole; side by side."""
  maps = [x] if network.parts == 1 or network.parts_and_global else []
  if network.parts > 1:
    each = rows // network.parts
    stripes = [
      graph.node(
        'Slice',
        x,
        *(
          graph.constant([value], np.int64)
          for value in (part * each, (part + 1) * each, 2)
        ),
      )
      for part in range(network.parts)
    ]
    maps = stripes + maps
  elif network.parts_and_global:
    maps = [x, x]
  vectors = [_pool(graph, each, network) for each in maps]
  if len(vectors) == 1:
    return vectors[0]
  return graph.node('Concat', *vectors, axis=1)


def _pool(graph: _Graph, x: str, network: Network) -> str:
  if network.pooling == 'mean':
    return graph.node('Flatten', graph.node('GlobalAveragePool', x), axis=1)
  p = float(np.asarray(network.params['pooling']['p']))
  x = graph.node('Max', x, graph.constant(_LEAST_OF_GEM))
  x = graph.node('Pow', x, graph.constant(p))
  x = graph.node('Flatten', graph.node('GlobalAveragePool', x), axis=1)
  return graph.node('Pow', x, graph.constant(1.0 / p))
