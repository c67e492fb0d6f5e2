"""Backbone, pooling and training head as one network."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from dbc_jax import values
from dbc_jax.models.backbones import find_family
from dbc_jax.models.layers import BatchNorm

_EPSILON = 1e-12
_WIDEST = 2**16


def l2_normalize(x: jax.Array) -> jax.Array:
  """Scales the last axis to unit length; a zero vector stays zero.

  Args:
    x: [..., D] float.

  Returns:
    [..., D]: x / max(||x||, 1e-12), with a finite gradient everywhere.
  """
  squared = jnp.sum(jnp.square(x), axis=-1, keepdims=True)
  return x * jax.lax.rsqrt(jnp.maximum(squared, _EPSILON**2))


class GlobalDropout(nn.Module):
  """Dropout whose mask depends on a row's place in the global batch.

  flax's own draws one mask for the rows of a device, so that the same step
  on one and on four devices would drop different units.
  """

  rate: float
  axis_name: str | None

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
    if not train or self.rate == 0.0:
      return x
    rng = self.make_rng('dropout')
    position = jnp.arange(x.shape[0])
    if self.axis_name is not None:
      position += jax.lax.axis_index(self.axis_name) * x.shape[0]
    keep = jax.vmap(
      lambda p: jax.random.bernoulli(
        jax.random.fold_in(rng, p), 1.0 - self.rate, x.shape[1:]
      )
    )(position)
    return jnp.where(keep, x / (1.0 - self.rate), 0.0)


class GeM(nn.Module):
  """Generalised mean over places: [B, H, W, C] to [B, C].

      (mean_i max(x_i, 1e-6)^p)^(1/p)

  p is learned, from 3; 1 is the mean, infinity the maximum.

  Source: Radenovic et al., Fine-tuning CNN image retrieval (2018), Eq. 3.
  """

  @nn.compact
  def __call__(self, maps: jax.Array) -> jax.Array:
    p = self.param('p', nn.initializers.constant(3.0), (), jnp.float32)
    mean = jnp.mean(jnp.maximum(maps, 1e-6) ** p, axis=(1, 2))
    return mean ** (1.0 / p)


class Neck(nn.Module):
  """BatchNorm without a bias between pooled outputs [B, D] and the head.

  Source: Luo et al., Bag of tricks (2019), BNNeck.
  """

  axis_name: str | None

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
    return BatchNorm(
      use_running_average=not train,
      axis_name=self.axis_name if train else None,
      use_bias=False,
      name='bn',
    )(x)


class Head(nn.Module):
  """Linear -> BatchNorm -> dropout -> L2 norm: what meets the memory.

  With two layers, Linear -> BatchNorm -> ReLU comes before (DBC, IV-A: "a
  two layer fully connected layer"). With none, dropout and the norm are all:
  the feature itself meets the memory, E-cluster's Eq. 2 taken at its word.

  DEVIATION(BUC's public code): it drops units after the norm, which leaves
  embeddings that are not of unit length; the papers' text has them so.
  """

  embedding_dim: int
  num_layers: int
  dropout: float
  axis_name: str | None

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
    for layer in range(self.num_layers):
      if layer:
        x = nn.relu(x)
      x = nn.Dense(
        self.embedding_dim,
        name=f'linear{layer + 1}',
        kernel_init=nn.initializers.variance_scaling(2.0, 'fan_out', 'normal'),
      )(x)
      x = BatchNorm(
        use_running_average=not train,
        axis_name=self.axis_name if train else None,
        name=f'bn{layer + 1}',
      )(x)
    x = GlobalDropout(self.dropout, self.axis_name, name='dropout')(
      x, train=train
    )
    return l2_normalize(x)


class Encoder(nn.Module):
  """Images to (embedding, feature); see `create_encoder`."""

  backbone: nn.Module
  head: Head
  pooling: GeM | None = None  # or the mean
  neck: Neck | None = None
  parts: int = 1
  parts_and_global: bool = False

  def __call__(
    self, images: jax.Array, *, train: bool = False
  ) -> tuple[jax.Array, jax.Array]:
    """Runs the network.

    Args:
      images: [B, H, W, 3] float, normalised, or frames of tracklets
        [B, T, H, W, 3].
      train: batch statistics and dropout (needs the 'dropout' rng, and
        `mutable=['batch_stats']`) instead of the running ones and none.

    Returns:
      embedding [B, E] and feature [B, D], float32, both of unit length. A
      tracklet's is that of the mean of its frames' pooled outputs (DBC IV-B).
    """
    frames = images.shape[1] if images.ndim == 5 else None
    if frames is not None:
      images = images.reshape((-1, *images.shape[2:]))
    pooled = self.pool(images, train=train)
    if frames is not None:
      pooled = pooled.reshape((-1, frames, pooled.shape[-1]))
      pooled = jnp.mean(pooled, axis=1)
    return self.finish(pooled, train=train)

  def pool(self, images: jax.Array, *, train: bool = False) -> jax.Array:
    """The backbone's output [B, D] for images [B, H, W, 3], not normalised."""
    maps = self.backbone(images, train=train)
    maps = maps.astype(jnp.promote_types(maps.dtype, jnp.float32))
    count, rows, *rest = maps.shape
    if rows % self.parts:
      raise ValueError(
        f'model.parts: got {self.parts}, expected a divisor of {rows}: so many '
        f'rows has the last map of images {images.shape[1]} pixels high'
      )
    stripes = maps.reshape(count * self.parts, rows // self.parts, *rest)
    pooled = self._pool_places(stripes).reshape(count, -1)
    if self.parts_and_global:
      pooled = jnp.concatenate([pooled, self._pool_places(maps)], axis=1)
    return pooled

  def _pool_places(self, maps: jax.Array) -> jax.Array:
    if self.pooling is not None:
      return self.pooling(maps)
    return jnp.mean(maps, axis=(1, 2))

  def finish(
    self, pooled: jax.Array, *, train: bool = False
  ) -> tuple[jax.Array, jax.Array]:
    """(embedding, feature) of pooled outputs, or means of them, [B, D]."""
    if self.neck is not None:
      pooled = self.neck(pooled, train=train)
    return self.head(pooled, train=train), l2_normalize(pooled)


def create_encoder(
  name: str = 'resnet50',
  *,
  embedding_dim: int = 2048,
  head_layers: int = 1,
  dropout: float = 0.5,
  last_stride: int = 2,
  frozen_stages: int = 0,
  pooling: str = 'mean',
  neck: bool = False,
  parts: int = 1,
  parts_and_global: bool = False,
  axis_name: str | None = None,
  dtype: str = 'float32',
) -> Encoder:
  """The network of both papers, or a smaller one of the same kind.

  `apply(variables, images, train=...)` returns (embedding, feature): the
  feature is what is clustered and retrieved by, the embedding meets the
  memory in training.

  Args:
    name: 'resnet18', 'resnet34', 'resnet50', 'resnet101', any other by its
      block and the blocks of each stage, as 'basic-2-2-2-3'; 'resnet_tiny',
      'resnet8' or 'wide_resnet8_2' for small crops; or 'package.module:NAME'
      of a family elsewhere.
    embedding_dim: width E of the head's output; without effect where
      head_layers is 0.
    head_layers: 1 (E-cluster's and BUC's code), 2 (DBC's text), or 0: no
      head, the embedding is the feature.
    dropout: share of the head's units dropped in training, in [0, 1).
    last_stride: stride of the last stage, 2 or 1.
    frozen_stages: how many early stages keep their weights and statistics
      (with them the stem); 0 trains everything.
    pooling: of the backbone's maps: 'mean', or 'gem', the generalised mean.
    neck: whether a BatchNorm comes behind the pooling, and so makes part of
      the feature.
    parts: horizontal stripes of the backbone's maps, each pooled by itself; the
      feature is all of them side by side, D times as wide. For crops of
      standing persons (Sun et al., Beyond part models, 2018). 1: the whole map.
    parts_and_global: whether the whole map's pooled output comes behind them.
    axis_name: pmap axis over which BatchNorm averages, or None.
    dtype: 'float32' or 'bfloat16', of the backbone's arithmetic.

  Returns:
    A linen module, whose variables are 'params' and 'batch_stats'.

  Raises:
    ValueError: an argument is outside what is listed here.
  """
  family, member = find_family(name)
  groups = family.groups(member)
  try:
    values.whole(embedding_dim, 'embedding_dim', 1, _WIDEST)
    values.whole(head_layers, 'head_layers', 0, 2)
    if values.number(dropout, 'dropout', 0, 1) == 1:
      raise ValueError(f'dropout: got {dropout}, expected a number in [0, 1)')
    values.whole(last_stride, 'last_stride', 1, 2)
    values.whole(frozen_stages, 'frozen_stages', 0, groups)
    values.choice(pooling, 'pooling', ('mean', 'gem'))
    neck = values.flag(neck, 'neck')
    values.whole(parts, 'parts', 1)
    parts_and_global = values.flag(parts_and_global, 'parts_and_global')
    if parts == 1 and parts_and_global:
      raise ValueError(
        'parts_and_global: got True, expected False, or more than one of '
        'model.parts'
      )
    values.choice(dtype, 'dtype', ('float32', 'bfloat16'))
  except ValueError as error:
    raise ValueError(f'model.{error}') from error
  backbone = family.create(
    member,
    last_stride=last_stride,
    frozen_stages=frozen_stages,
    axis_name=axis_name,
    dtype=jnp.dtype(dtype),
  )
  head = Head(embedding_dim, head_layers, dropout, axis_name)
  return Encoder(
    backbone,
    head,
    GeM() if pooling == 'gem' else None,
    Neck(axis_name) if neck else None,
    parts,
    parts_and_global,
  )
