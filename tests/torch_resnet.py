"""A ResNet of bottlenecks in torch, in torchvision's names; for parity tests.

An independent implementation: it shares nothing with `dbc_jax.models`.
"""

import torch
import torch.nn.functional as F
from torch import nn


class Bottleneck(nn.Module):
  def __init__(self, inputs: int, width: int, stride: int):
    super().__init__()
    outputs = 4 * width
    self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
    self.bn1 = nn.BatchNorm2d(width)
    self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
    self.bn2 = nn.BatchNorm2d(width)
    self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
    self.bn3 = nn.BatchNorm2d(outputs)
    self.downsample = None
    if stride > 1 or inputs != outputs:
      self.downsample = nn.Sequential(
        nn.Conv2d(inputs, outputs, 1, stride, bias=False),
        nn.BatchNorm2d(outputs),
      )

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    y = F.relu(self.bn1(self.conv1(x)))
    y = F.relu(self.bn2(self.conv2(y)))
    y = self.bn3(self.conv3(y))
    return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet(nn.Module):
  """Normalised images [B, 3, H, W] to pooled features [B, 2048]."""

  def __init__(self, sizes: tuple[int, ...], last_stride: int = 2):
    super().__init__()
    self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
    self.bn1 = nn.BatchNorm2d(64)
    inputs = 64
    for stage, size in enumerate(sizes):
      width = 64 * 2**stage
      stride = (1, 2, 2, last_stride)[stage]
      blocks = []
      for block in range(size):
        blocks.append(Bottleneck(inputs, width, 1 if block else stride))
        inputs = 4 * width
      setattr(self, f'layer{stage + 1}', nn.Sequential(*blocks))
    self.fc = nn.Linear(inputs, 10)
    self.sizes = sizes

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    x = F.relu(self.bn1(self.conv1(x)))
    x = F.max_pool2d(x, 3, 2, 1)
    for stage in range(len(self.sizes)):
      x = getattr(self, f'layer{stage + 1}')(x)
    return x.mean(dim=(2, 3))


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
