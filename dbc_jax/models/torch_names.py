"""Which of a file's arrays are a backbone, in torchvision's names."""

import re
from collections.abc import Mapping

import numpy as np

Arrays = Mapping[str, np.ndarray]

# The first block that every ResNet has.
_BLOCK = 'layer1.0.conv1.weight'
_SEQUENCE = re.compile(r'((?:.*\.)?)(\d)\.0\.conv1\.weight')
# Of two networks in a file: that which learnt, and that which is the result.
_WANTED = re.compile(r'(^|\.)(encoder_q|teacher|model_ema)\.')
# Where nn.Sequential(*resnet.children()) has the parts: 2 is the ReLU, 3 the
# pooling, and neither has arrays.
_PARTS = {'0': 'conv1', '1': 'bn1'} | {
  str(3 + i): f'layer{i}' for i in range(1, 5)
}
_WITHOUT_RELU = '3'  # The first block group's number.
# What a file may have beyond a backbone.
_LEFT_OVER = re.compile(
  r'((fc|classifier|head\.fc)\.|(.*\.)?num_batches_tracked$)'
)


def backbone_of(source: str, found: Arrays) -> dict[str, np.ndarray]:
  """The arrays of the backbone alone, by their names in torchvision.

  Left out is what others put before them: DataParallel's `module.`, MoCo's
  `encoder_q.`, `backbone.`, `model.` and any other, with all arrays that do not
  have it. Of `nn.Sequential(*resnet.children())` the numbers become names.

  Args:
    source: what errors begin with.
    found: all arrays.

  Raises:
    ValueError: several networks, or one in numbers that has no ReLU.
  """
  if not found:
    raise ValueError(f'{source}: holds no arrays; take another file')
  if all(name.startswith('module.') for name in found):
    found = {name.removeprefix('module.'): x for name, x in found.items()}
  prefixes = [
    name.removesuffix(_BLOCK) for name in found if name.endswith(_BLOCK)
  ]
  # A name such as 'xlayer1.' is of something else.
  prefixes = [each for each in prefixes if not each or each.endswith('.')]
  if prefixes:
    prefix = _only(source, prefixes)
    found = _below(prefix, found)
  else:
    found = _from_sequence(source, found)
  return {name: x for name, x in found.items() if not _LEFT_OVER.match(name)}


def _below(prefix: str, found: Arrays) -> dict[str, np.ndarray]:
  return {
    name.removeprefix(prefix): x
    for name, x in found.items()
    if name.startswith(prefix)
  }


def _only(source: str, prefixes: list[str]) -> str:
  if len(prefixes) == 1 or '' in prefixes:
    return '' if '' in prefixes else prefixes[0]
  wanted = [prefix for prefix in prefixes if _WANTED.search(prefix)]
  if len(wanted) != 1:
    raise ValueError(
      f'{source}: holds several networks, of the prefixes '
      f'{", ".join(prefixes)}; save the arrays of one alone'
    )
  return wanted[0]


def _from_sequence(source: str, found: Arrays) -> Arrays:
  """With names for numbers, where the arrays are those of a sequence."""
  matches = [_SEQUENCE.fullmatch(name) for name in found]
  places: dict[str, set[str]] = {}
  for match in filter(None, matches):
    places.setdefault(match[1], set()).add(match[2])
  sequences = {k: min(v) for k, v in places.items() if min(v) in '34'}
  if not sequences:
    return found
  prefix = _only(source, [*sequences])
  if sequences[prefix] == _WITHOUT_RELU:
    raise ValueError(
      f'{source}: {prefix}3 is the first block group of a ResNet whose stem '
      'has no ReLU, as that of SpCL and of Cluster Contrast; it computes '
      'something else than the networks here. Take weights of a plain ResNet'
    )
  named = {}
  for name, x in _below(prefix, found).items():
    place, _, rest = name.partition('.')
    named[f'{_PARTS.get(place, place)}.{rest}'] = x
  return named
