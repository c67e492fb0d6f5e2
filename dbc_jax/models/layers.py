"""Convolution, BatchNorm and max-pool, in the form that a backend is fast at.

On a GPU or a TPU each is the plain operation. On a CPU, XLA 0.10 to 0.12 runs
some of them, or their gradients, several times faster when they are written
otherwise (docs/performance.md has the measurements):

- a 1x1 convolution as the product of two matrices: the gradient of its kernel
  runs at a tenth of the product's rate when it is a convolution;
- the gradient of a stride-2 convolution's input as four convolutions of stride
  1, in place of one over a gradient that is mostly zeros;
- the gradient of a max-pool from the places of the maxima, in place of a
  search for them;
- BatchNorm's sums over rows [B H W, C], in place of sums over three axes.

Only the order of the arithmetic differs. `is_cpu` makes the choice, and
`plain_forms` takes it away, for what is traced here and runs elsewhere.
"""

import contextlib
import contextvars
import functools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

_plain = contextvars.ContextVar('plain', default=False)


@contextlib.contextmanager
def plain_forms() -> Iterator[None]:
  """Traces the plain operations inside, on every backend."""
  token = _plain.set(True)
  try:
    yield
  finally:
    _plain.reset(token)


def is_cpu() -> bool:
  """Whether what is traced now is in the forms of a CPU."""
  return jax.default_backend() == 'cpu' and not _plain.get()


class Conv(nn.Module):
  """A convolution without bias, padded by half its kernel, as torch's.

  [B, H, W, C] to [B, ceil(H / strides), ceil(W / strides), features]. The
  parameter is linen's: 'kernel' [size, size, C, features].

  Attributes:
    features: channels of the output.
    size: rows and columns of the kernel, odd.
    strides: 1 or 2.
    dtype: of the arithmetic; parameters are float32.
  """

  features: int
  size: int
  strides: int = 1
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    kernel = self.param(
      'kernel',
      nn.initializers.variance_scaling(2.0, 'fan_out', 'normal'),
      (self.size, self.size, x.shape[-1], self.features),
      jnp.float32,
    )
    x, kernel = (jnp.asarray(a, self.dtype) for a in (x, kernel))
    return conv(x, kernel, self.strides)


class BatchNorm(nn.Module):
  """Normalises the last axis by the statistics of all others.

  Parameters 'scale' and 'bias' and the running 'mean' and 'var' in
  'batch_stats' are linen's.

  Attributes:
    use_running_average: normalise by the running statistics.
    axis_name: pmap axis over which the batch's statistics are averaged.
    use_bias: whether there is a 'bias'.
    dtype: of the arithmetic; None for the input's. Parameters and statistics
      are float32 at least.
  """

  use_running_average: bool
  axis_name: str | None = None
  use_bias: bool = True
  dtype: Any = None

  # PARITY(torch): its momentum 0.1, and its epsilon.
  MOMENTUM = 0.9
  EPSILON = 1e-5

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    channels = x.shape[-1:]
    running = [
      self.variable('batch_stats', name, make, channels, jnp.float32)
      for name, make in (('mean', jnp.zeros), ('var', jnp.ones))
    ]
    scale = self.param('scale', nn.initializers.ones, channels, jnp.float32)
    bias: jax.Array | float = 0.0
    if self.use_bias:
      bias = self.param('bias', nn.initializers.zeros, channels, jnp.float32)
    if self.use_running_average:
      mean, var = (variable.value for variable in running)
    else:
      mean, square = _moments(x)
      if self.axis_name is not None and not self.is_initializing():
        mean, square = lax.pmean((mean, square), self.axis_name)
      var = jnp.maximum(square - mean * mean, 0.0)
      if not self.is_initializing():
        for variable, value in zip(running, (mean, var), strict=True):
          variable.value = (
            self.MOMENTUM * variable.value + (1.0 - self.MOMENTUM) * value
          )
    factor = scale * lax.rsqrt(var + self.EPSILON)
    dtype = self.dtype or x.dtype
    y = (x - mean) * factor + bias
    return y.astype(dtype)


def _moments(x: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Means of x [..., C] and of its squares over all axes but the last."""
  x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
  if is_cpu():
    x = x.reshape(-1, x.shape[-1])
  axes = tuple(range(x.ndim - 1))
  return jnp.mean(x, axes), jnp.mean(x * x, axes)


def conv(x: jax.Array, kernel: jax.Array, strides: int) -> jax.Array:
  """Convolves [B, H, W, C] with [k, k, C, O], padded by k // 2 on all sides."""
  if not is_cpu():
    return _plain_conv(x, kernel, strides)
  if len(kernel) == 1:
    x = x[:, ::strides, ::strides]
    rows = x.reshape(-1, x.shape[-1]) @ kernel[0, 0]
    return rows.reshape(*x.shape[:-1], -1)
  even = x.shape[1] % 2 == x.shape[2] % 2 == 0
  if len(kernel) == 3 and strides == 2 and even:
    return _halving_conv(x, kernel)
  return _plain_conv(x, kernel, strides)


def _plain_conv(x: jax.Array, kernel: jax.Array, strides: int) -> jax.Array:
  # 'SAME' would pad (0, 1) at stride 2.
  around = (len(kernel) // 2,) * 2
  return _convolve(x, kernel, strides, (around, around))


def _convolve(
  x: jax.Array, kernel: jax.Array, strides: int, padding: Any
) -> jax.Array:
  return lax.conv_general_dilated(
    x,
    kernel,
    (strides, strides),
    padding,
    dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
  )


@jax.custom_vjp
def _halving_conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
  """A 3x3 convolution of stride 2 on even heights and widths."""
  return _plain_conv(x, kernel, 2)


def _halving_forward(x: jax.Array, kernel: jax.Array) -> tuple[jax.Array, Any]:
  return _plain_conv(x, kernel, 2), (x, kernel)


def _halving_backward(saved: Any, grad: jax.Array) -> tuple[Any, Any]:
  x, kernel = saved
  # Output t meets the inputs 2t - 1, 2t and 2t + 1 with the kernel's 0, 1, 2.
  # So input 2t gets a gradient of output t alone, and input 2t + 1 those of
  # outputs t and t + 1: each parity of rows and columns is a convolution.
  flipped = kernel.swapaxes(2, 3)
  even, odd = (slice(1, 2), (0, 0)), (slice(2, None, -2), (0, 1))

  def columns(rows: slice, below: tuple[int, int]) -> jax.Array:
    found = [
      _convolve(grad, flipped[rows, part], 1, (below, right))
      for part, right in (even, odd)
    ]
    return _interleave(found, 2)

  grad_x = _interleave([columns(*even), columns(*odd)], 1)
  _, kernel_gradient = jax.vjp(lambda k: _plain_conv(x, k, 2), kernel)
  return grad_x, *kernel_gradient(grad)


_halving_conv.defvjp(_halving_forward, _halving_backward)


def _interleave(parts: list[jax.Array], axis: int) -> jax.Array:
  """parts[0][0], parts[1][0], parts[0][1], ... along an axis."""
  shape = list(parts[0].shape)
  shape[axis] *= len(parts)
  return jnp.stack(parts, axis + 1).reshape(shape)


def max_pool(x: jax.Array) -> jax.Array:
  """The maxima of 3x3 windows at stride 2: [B, H, W, C] to [B, H/2, W/2, C].

  Padded by 1 on all sides. A gradient goes to the first of equal maxima.
  """
  if not is_cpu() or x.shape[1] % 2 or x.shape[2] % 2:
    around: Any = ((1, 1), (1, 1))  # flax's type hint knows names alone.
    return nn.max_pool(x, (3, 3), (2, 2), padding=around)
  # The first maximum, row by row, is the first row's that has it.
  return _pool_axis(_pool_axis(x, 2), 1)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def _pool_axis(x: jax.Array, axis: int) -> jax.Array:
  """Maxima of each three neighbours around the even places of an axis."""
  return _pool_forward(x, axis)[0]


def _pool_forward(x: jax.Array, axis: int) -> tuple[jax.Array, jax.Array]:
  size = x.shape[axis]
  here, after = (
    lax.slice_in_dim(x, first, size, 2, axis=axis) for first in (0, 1)
  )
  before = _moved(after, 1, axis, -jnp.inf)
  y = jnp.maximum(jnp.maximum(before, here), after)
  place = jnp.where(before == y, 0, jnp.where(here == y, 1, 2))
  return y, place.astype(jnp.uint8)


def _pool_backward(
  axis: int, place: jax.Array, grad: jax.Array
) -> tuple[jax.Array]:
  to_before, to_here, to_after = (
    jnp.where(place == which, grad, 0) for which in range(3)
  )
  odd = to_after + _moved(to_before, -1, axis, 0.0)
  return (_interleave([to_here, odd], axis),)


_pool_axis.defvjp(_pool_forward, _pool_backward)


def _moved(x: jax.Array, by: int, axis: int, fill: float) -> jax.Array:
  """Moved one place along an axis, forwards (1) or backwards (-1)."""
  width = [(0, 0, 0)] * x.ndim
  width[axis] = (by, -by, 0)
  return lax.pad(x, jnp.asarray(fill, x.dtype), width)
