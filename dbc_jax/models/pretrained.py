"""Pre-trained weights into an encoder's variables."""

import os
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dbc_jax.models import weight_files
from dbc_jax.models.backbones import resnet
from dbc_jax.models.torch_names import backbone_of

Shapes = Mapping[str, tuple[int, ...]]

_FLOATS = (np.float32, np.float16, jnp.bfloat16)
_LISTED = 10

# Torchvision's form, under its own name and under timm's.
_PLAIN = re.compile(r'(tv_)?(resnet|wide_resnet)\d+(_\d)?')

_DEPTHS: dict[tuple[str, tuple[int, ...]], int] = {
  ('basic', (2, 2, 2, 2)): 18,
  ('basic', (3, 4, 6, 3)): 34,
  ('bottleneck', (3, 4, 6, 3)): 50,
  ('bottleneck', (3, 4, 23, 3)): 101,
  ('bottleneck', (3, 8, 36, 3)): 152,
}


def load_pretrained(
  path: str | os.PathLike[str],
  variables: Any,
  *,
  torch_name: Callable[[str], str] = resnet.torch_name,
) -> Any:
  """An encoder's variables with the weights of a file in their place.

  Weights in torchvision's and timm's names fill the backbone and leave the
  head as it is; a file of `save_npz` fills both.

  Args:
    path: one of
      - a .safetensors file;
      - a file of torch.save, which takes torch to read. Its tensors may lie in
        an entry such as 'state_dict', 'model', 'net' or 'teacher', and their
        names may have a prefix such as 'module.encoder_q.' or 'backbone.';
      - an .npz file of `save_npz`;
      With a suffix that is none of theirs, its content says which it is.
      - 'hf:OWNER/NAME', a model on the Hugging Face hub, which takes the
        package huggingface_hub.
    variables: 'params' and 'batch_stats' of the encoder.
    torch_name: of the family of its backbone; see `models.backbones`.

  Returns:
    The same tree, the weights in float32: float16 and bfloat16 are widened.

  Raises:
    ValueError: the file cannot be found or read; a name is missing, has
      another shape or is too many (the classifier's may be); a tensor has
      another dtype, a value that is not finite or a variance below 0. A pickle
      of other things than tensors is refused and never executed.
  """
  file = weight_files.locate(path)
  found = weight_files.read(file)
  leaves = weight_files.flatten(variables)
  from_torch = weight_files.kind(file) != '.npz'
  if from_torch:
    found = backbone_of(str(file), found)
    if torch_name is resnet.torch_name:  # Other families have other variants.
      _check_variant(str(file), weight_files.architecture(file))
    keys = {
      torch_name(key.split('/', 2)[2]): key
      for key in leaves
      if key.startswith(('params/backbone/', 'batch_stats/backbone/'))
    }
  else:
    keys = {key: key for key in leaves}
  expected = {name: leaves[key].shape for name, key in keys.items()}
  if from_torch:
    expected = {name: _torch_shape(x) for name, x in expected.items()}
  _check_shapes(
    str(file), {name: x.shape for name, x in found.items()}, expected
  )
  loaded = {}
  for name, key in keys.items():
    array = _checked_float32(f'{file}: {name}', found[name])
    if from_torch and array.ndim == 4:
      array = array.transpose(2, 3, 1, 0)
    loaded[key] = jnp.asarray(array)
  values = [loaded[key] if key in loaded else leaves[key] for key in leaves]
  return jax.tree.unflatten(jax.tree.structure(variables), values)


def network_of(path: str | os.PathLike[str]) -> str:
  """The name of the ResNet that a file's arrays make up.

  Args:
    path: as `load_pretrained` takes it.

  Returns:
    What `create_encoder` calls it: 'resnet50', or by its blocks, as
    'basic-2-2-2-4'.

  Raises:
    ValueError: the file cannot be found or read, or holds another network.
  """
  file = weight_files.locate(path)
  found = weight_files.read(file)
  if weight_files.kind(file) == '.npz':
    inner = {key.split('/', 2)[-1]: x for key, x in found.items()}
    shapes = {
      resnet.torch_name(key): _torch_shape(x.shape) for key, x in inner.items()
    }
  else:
    found = backbone_of(str(file), found)
    shapes = {name: x.shape for name, x in found.items()}
    _check_variant(str(file), weight_files.architecture(file))
  name = resnet.name_of(shapes)
  if name is None:
    looks = _kind(shapes)
    raise ValueError(
      f'{file}: holds no ResNet of the kinds here'
      f'{f"; it looks like {looks}" if looks else ""}. Name its network in '
      'model.name, or take another file'
    )
  return name


def _check_variant(source: str, name: str | None) -> None:
  """Raises ValueError where the file itself says that it is a variant.

  A variant such as timm's resnetaa50 has the same names and shapes, and
  computes something else.
  """
  if name is not None and not _PLAIN.fullmatch(name):
    raise ValueError(
      f'{source}: is of the network {name!r} by its own account, which '
      'computes something else with arrays of the same names. Take weights of '
      'a plain ResNet, as torchvision has them'
    )


def _torch_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
  """[O, I, H, W] of a convolution's [H, W, I, O]."""
  if len(shape) != 4:
    return shape
  height, width, inputs, outputs = shape
  return outputs, inputs, height, width


def _checked_float32(what: str, array: np.ndarray) -> np.ndarray:
  if array.dtype not in _FLOATS:
    raise ValueError(
      f'{what} is {array.dtype}, expected float32, float16 or bfloat16; '
      'convert the file to float32'
    )
  array = array.astype(np.float32)
  bad = array.size - np.isfinite(array).sum()
  if bad:
    raise ValueError(
      f'{what} has {bad} values of {array.size} that are NaN or infinite; '
      'take another file'
    )
  if what.endswith(('running_var', '/var')) and (array < 0).any():
    raise ValueError(
      f'{what} has {(array < 0).sum()} values of {array.size} below 0, '
      'expected variances; take another file'
    )
  return array


def _check_shapes(source: str, found: Shapes, expected: Shapes) -> None:
  """Raises ValueError with all that is missing, extra or of another shape."""
  other_shapes = [
    f'{name} {list(found[name])} for {list(shape)}'
    for name, shape in expected.items()
    if name in found and found[name] != shape
  ]
  faults = {
    'missing': [name for name in expected if name not in found],
    'extra': [name for name in found if name not in expected],
    'of another shape': other_shapes,
  }
  listed = [
    f'{len(names)} {fault}: {_abridged(names)}'
    for fault, names in faults.items()
    if names
  ]
  if not listed:
    return
  seen, wanted = _kind(found), _kind(expected)
  looks = (
    f' It looks like {seen}, expected {wanted}.'
    if seen not in ('', wanted)
    else ''
  )
  raise ValueError(
    f'{source}: does not fit the network.{looks} {"; ".join(listed)}. Take '
    'weights of the same network, or set model.name and the other fields of '
    'model to what the weights are of'
  )


def _abridged(names: list[str]) -> str:
  more = len(names) - _LISTED
  return ', '.join(names[:_LISTED]) + (f' and {more} more' if more > 0 else '')


def _kind(shapes: Shapes) -> str:
  """What names in torchvision's manner tell of a network; '' if nothing."""
  if _any_begins(shapes, 'cls_token', 'class_token', 'patch_embed.'):
    return 'a vision transformer'
  if _any_begins(shapes, 'resnet.embedder.', 'embedder.embedder.'):
    return 'a ResNet in the names of the package transformers'
  blocks = [re.match(r'layer(\d)\.(\d+)\.', name) for name in shapes]
  stages: dict[str, int] = {}
  for match in filter(None, blocks):
    stage, block = match.groups()
    stages[stage] = max(stages.get(stage, 0), int(block) + 1)
  if not stages:
    return ''
  sizes = tuple(stages[stage] for stage in sorted(stages))
  block = 'bottleneck' if 'layer1.0.conv3.weight' in shapes else 'basic'
  if (block, sizes) not in _DEPTHS:
    return f'a ResNet of {" + ".join(map(str, sizes))} {block} blocks'
  name = f'ResNet-{_DEPTHS[block, sizes]}'
  if _any_begins(shapes, 'conv1.0.'):
    return f'{name} with a deep stem'
  # The shape of the first block's second convolution, [O, I, 3, 3].
  kernel = shapes.get('layer1.0.conv2.weight', ())
  if len(kernel) == 4 and kernel[0] != kernel[1]:
    return f'{name} with grouped convolutions (ResNeXt)'
  if len(kernel) == 4 and kernel[0] != 64:
    return f'{name} of another width'
  return name


def _any_begins(names: Iterable[str], *prefixes: str) -> bool:
  return any(name.startswith(prefixes) for name in names)
