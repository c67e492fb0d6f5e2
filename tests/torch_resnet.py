"""ResNets in torch, in torchvision's names; for parity tests and benchmarks.

An independent implementation: it shares nothing with `dbc_jax.models`.
"""

import torch
import torch.nn.functional as F
from torch import nn


def _relu(x: torch.Tensor) -> torch.Tensor:
  return F.relu(x, inplace=True)  # As torchvision does.


def _shortcut(inputs: int, outputs: int, stride: int) -> nn.Module | None:
  if stride == 1 and inputs == outputs:
    return None
  return nn.Sequential(
    nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
  )


class Bottleneck(nn.Module):
  expansion = 4

  def __init__(self, inputs: int, width: int, stride: int):
    super().__init__()
    outputs = 4 * width
    self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
    self.bn1 = nn.BatchNorm2d(width)
    self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
    self.bn2 = nn.BatchNorm2d(width)
    self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
    self.bn3 = nn.BatchNorm2d(outputs)
    self.downsample = _shortcut(inputs, outputs, stride)

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    y = _relu(self.bn1(self.conv1(x)))
    y = _relu(self.bn2(self.conv2(y)))
    y = self.bn3(self.conv3(y))
    return _relu(y + (x if self.downsample is None else self.downsample(x)))


class Basic(nn.Module):
  expansion = 1

  def __init__(self, inputs: int, width: int, stride: int):
    super().__init__()
    self.conv1 = nn.Conv2d(inputs, width, 3, stride, 1, bias=False)
    self.bn1 = nn.BatchNorm2d(width)
    self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
    self.bn2 = nn.BatchNorm2d(width)
    self.downsample = _shortcut(inputs, width, stride)

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    y = _relu(self.bn1(self.conv1(x)))
    y = self.bn2(self.conv2(y))
    return _relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet(nn.Module):
  """Normalised images [B, 3, H, W] to pooled features [B, D]."""

  def __init__(
    self,
    sizes: tuple[int, ...],
    last_stride: int = 2,
    block: type[Bottleneck] | type[Basic] = Bottleneck,
    width: int = 64,
    pools: bool = True,
  ):
    super().__init__()
    stem = 7 if pools else 3
    self.conv1 = nn.Conv2d(3, width, stem, 2, stem // 2, bias=False)
    self.bn1 = nn.BatchNorm2d(width)
    inputs = width
    for stage, size in enumerate(sizes):
      stride = 1 if stage == 0 else 2
      if stage == len(sizes) - 1:
        stride = min(stride, last_stride)
      blocks = []
      for i in range(size):
        blocks.append(block(inputs, width, 1 if i else stride))
        inputs = block.expansion * width
      width *= 2
      setattr(self, f'layer{stage + 1}', nn.Sequential(*blocks))
    self.fc = nn.Linear(inputs, 10)
    self.sizes, self.pools = sizes, pools

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    x = _relu(self.bn1(self.conv1(x)))
    if self.pools:
      x = F.max_pool2d(x, 3, 2, 1)
    for stage in range(len(self.sizes)):
      x = getattr(self, f'layer{stage + 1}')(x)
    return x.mean(dim=(2, 3))


def create(name: str, last_stride: int = 2) -> ResNet:
  """The twin of a network of `dbc_jax.models`."""
  if name == 'resnet_tiny':
    return ResNet((1, 1, 1), last_stride, Bottleneck, 16, pools=False)
  if name == 'wide_resnet8_2':
    return ResNet((1, 1, 1), last_stride, Basic, 32, pools=False)
  block, *sizes = {
    'resnet18': 'basic-2-2-2-2',
    'resnet34': 'basic-3-4-6-3',
    'resnet50': 'bottleneck-3-4-6-3',
    'resnet101': 'bottleneck-3-4-23-3',
    'resnet2223': 'basic-2-2-2-3',
  }.get(name, name).split('-')
  kind = {'basic': Basic, 'bottleneck': Bottleneck}[block]
  return ResNet(tuple(map(int, sizes)), last_stride, kind)


def randomize(net: ResNet, seed: int) -> None:
  """Gives weights, and statistics and scales of BatchNorm, at random.

  Variances follow the activations, so that differences between images live
  through 50 layers; all else is drawn.
  """
  torch.manual_seed(seed)
  images = torch.randn(4, 3, 64, 32)
  for module in net.modules():
    if isinstance(module, nn.BatchNorm2d):
      nn.init.uniform_(module.weight, 0.5, 1.5)
      nn.init.normal_(module.bias, std=0.3)
      module.momentum = None  # the statistics of this one batch
  net.train()(images)
  for module in net.modules():
    if isinstance(module, nn.BatchNorm2d):
      module.running_mean += 0.1 * torch.randn_like(module.running_mean)
      module.running_var *= 0.5 + torch.rand_like(module.running_var)
  net.eval()
