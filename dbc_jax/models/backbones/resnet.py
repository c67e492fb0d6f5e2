"""ResNet-50 and its small siblings, one linen module.

Source: He et al. 2016, in the v1.5 form that torchvision and timm ship (the
stride of a block sits in its 3x3 convolution), so that their weights fit.
"""

import functools
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from dbc_jax import values
from dbc_jax.models import layers

ModuleDef = Any


class ResNetSpec(NamedTuple):
  """Shape of one member of the family."""

  block: str  # 'bottleneck' or 'basic'.
  stage_sizes: tuple[int, ...]  # Blocks in each stage.
  # Of the stem and of the first stage's blocks; doubles with every stage. A
  # bottleneck puts out four times its width.
  width: int
  # 'imagenet' is the 7x7 stride-2 convolution and the 3x3 stride-2 max-pool;
  # 'small' is one 3x3 stride-2 convolution, for small crops.
  stem: str


# 'basic-2-2-2-3': the blocks of each stage.
_BY_BLOCKS = re.compile('(basic|bottleneck)((?:-[1-9][0-9]?){4})')


class _Members(dict[str, ResNetSpec]):
  """Networks by their names, and any other of width 64 by its blocks."""

  def __contains__(self, name: object) -> bool:
    return super().__contains__(name) or bool(_BY_BLOCKS.fullmatch(str(name)))

  def __missing__(self, name: str) -> ResNetSpec:
    match = _BY_BLOCKS.fullmatch(name)
    if match is None:
      raise KeyError(name)
    sizes = tuple(map(int, match[2][1:].split('-')))
    return ResNetSpec(match[1], sizes, 64, 'imagenet')


RESNETS = _Members(
  resnet18=ResNetSpec('basic', (2, 2, 2, 2), 64, 'imagenet'),
  resnet34=ResNetSpec('basic', (3, 4, 6, 3), 64, 'imagenet'),
  resnet50=ResNetSpec('bottleneck', (3, 4, 6, 3), 64, 'imagenet'),
  resnet101=ResNetSpec('bottleneck', (3, 4, 23, 3), 64, 'imagenet'),
  # A ResNet-18 with a block more in its last stage.
  resnet2223=ResNetSpec('basic', (2, 2, 2, 3), 64, 'imagenet'),
  resnet_tiny=ResNetSpec('bottleneck', (1, 1, 1), 16, 'small'),
  # The 6n + 2 family of He et al. (sec. 4.2), with a stem of stride 2.
  resnet8=ResNetSpec('basic', (1, 1, 1), 16, 'small'),
  # Twice as wide: Zagoruyko and Komodakis, Wide residual networks (2016).
  wide_resnet8_2=ResNetSpec('basic', (1, 1, 1), 32, 'small'),
)
MEMBERS = RESNETS

_TORCH_NAMES = {
  'stem_conv': 'conv1',
  'stem_bn': 'bn1',
  'downsample_conv': 'downsample.0',
  'downsample_bn': 'downsample.1',
  'kernel': 'weight',
  'scale': 'weight',
  'mean': 'running_mean',
  'var': 'running_var',
}


def create(name: str, **options: Any) -> 'ResNet':
  """The network of a name; the options are attributes of `ResNet`."""
  return ResNet(**RESNETS[name]._asdict(), **options)


def groups(name: str) -> int:
  """How many block groups there are, each of which can be frozen."""
  return len(RESNETS[name].stage_sizes)


def frozen_prefixes(frozen_stages: int) -> tuple[str, ...]:
  """How the names of the parts begin that `frozen_stages` freezes."""
  if not values.whole(frozen_stages, 'frozen_stages', 0, 1000):
    return ()
  return ('stem_', *(f'layer{i + 1}_' for i in range(frozen_stages)))


frozen = frozen_prefixes


def torch_name(key: str) -> str:
  """'layer1.0.bn1.running_var' of 'layer1_0/bn1/var'."""
  return '.'.join(
    _TORCH_NAMES[part] if part in _TORCH_NAMES else part.replace('_', '.')
    for part in key.split('/')
  )


def name_of(shapes: Mapping[str, Sequence[int]]) -> str | None:
  """Which network a file of torch holds, by its arrays' names and shapes.

  Args:
    shapes: of the arrays, by torchvision's names, without a classifier.

  Returns:
    A name that `create` takes, or None: it is none of this family.
  """
  stages: dict[int, int] = {}
  for match in filter(
    None, (re.match(r'layer(\d)\.(\d+)\.', x) for x in shapes)
  ):
    stage, block = map(int, match.groups())
    stages[stage] = max(stages.get(stage, 0), block + 1)
  stem = shapes.get('conv1.weight', ())
  if len(stem) != 4 or not stages:
    return None
  bottleneck = 'layer1.0.conv3.weight' in shapes
  spec = ResNetSpec(
    'bottleneck' if bottleneck else 'basic',
    tuple(stages[stage] for stage in sorted(stages)),
    stem[0],
    {7: 'imagenet', 3: 'small'}.get(stem[-1], ''),
  )
  for name, known in RESNETS.items():
    if spec == known:
      return name
  name = '-'.join([spec.block, *map(str, spec.stage_sizes)])
  return name if name in RESNETS and RESNETS[name] == spec else None


class Bottleneck(nn.Module):
  """1x1, 3x3, 1x1 convolutions with a shortcut; [B, H, W, C] in and out."""

  width: int
  stride: int
  conv: ModuleDef
  norm: ModuleDef

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    out_channels = 4 * self.width
    y = self.conv(self.width, 1, name='conv1')(x)
    y = nn.relu(self.norm(name='bn1')(y))
    y = self.conv(self.width, 3, self.stride, name='conv2')(y)
    y = nn.relu(self.norm(name='bn2')(y))
    y = self.conv(out_channels, 1, name='conv3')(y)
    y = self.norm(name='bn3')(y)
    return nn.relu(self.shortcut(x, out_channels) + y)

  def shortcut(self, x: jax.Array, out_channels: int) -> jax.Array:
    if self.stride == 1 and x.shape[-1] == out_channels:
      return x
    x = self.conv(out_channels, 1, self.stride, name='downsample_conv')(x)
    return self.norm(name='downsample_bn')(x)


class Basic(Bottleneck):
  """Two 3x3 convolutions with a shortcut; [B, H, W, C] in and out."""

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    y = self.conv(self.width, 3, self.stride, name='conv1')(x)
    y = nn.relu(self.norm(name='bn1')(y))
    y = self.conv(self.width, 3, name='conv2')(y)
    y = self.norm(name='bn2')(y)
    return nn.relu(self.shortcut(x, self.width) + y)


BLOCKS = {'bottleneck': Bottleneck, 'basic': Basic}


class ResNet(nn.Module):
  """Images [B, H, W, 3], normalised, to feature maps [B, h, w, C].

  Attributes:
    block, stage_sizes, width, stem: see ResNetSpec.
    last_stride: stride of the last stage, 2 or 1.
    frozen_stages: 0 trains everything; n > 0 keeps the stem and the first n
      stages, their BatchNorms included, as they are.
    axis_name: pmap axis over which BatchNorm averages in training, or None.
    dtype: dtype of the arithmetic; parameters and statistics are float32.
  """

  block: str
  stage_sizes: Sequence[int]
  width: int
  stem: str
  last_stride: int = 2
  frozen_stages: int = 0
  axis_name: str | None = None
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
    conv = functools.partial(layers.Conv, dtype=self.dtype)

    def norm_for(stage: int) -> ModuleDef:
      learn = train and stage >= self.frozen_stages
      return functools.partial(
        layers.BatchNorm,
        use_running_average=not learn,
        axis_name=self.axis_name if learn else None,
        dtype=self.dtype,
      )

    x = x.astype(self.dtype)
    size = 7 if self.stem == 'imagenet' else 3
    x = conv(self.width, size, 2, name='stem_conv')(x)
    # The stem freezes together with the first stage.
    x = nn.relu(norm_for(0)(name='stem_bn')(x))
    if self.stem == 'imagenet':
      x = layers.max_pool(x)
    for stage, num_blocks in enumerate(self.stage_sizes):
      first_stride = 1 if stage == 0 else 2
      if stage == len(self.stage_sizes) - 1:
        first_stride = min(first_stride, self.last_stride)
      for block in range(num_blocks):
        x = BLOCKS[self.block](
          width=self.width * 2**stage,
          stride=first_stride if block == 0 else 1,
          conv=conv,
          norm=norm_for(stage),
          name=f'layer{stage + 1}_{block}',
        )(x)
      if stage + 1 == self.frozen_stages:
        x = jax.lax.stop_gradient(x)
    return x
