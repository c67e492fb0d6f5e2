"""A split of a data set, ready for training: batches and frames by sample."""

from collections.abc import Iterator, Sequence

import jax
import numpy as np

from dbc_jax.data.frames import Frames


class Split:
  """N samples, images or tracklets, whose numbers carry no information.

  Attributes:
    is_video: whether samples are tracklets.
  """

  def __init__(
    self, frames: Frames, order: np.ndarray, starts: np.ndarray | None = None
  ):
    """Arranges the frames of a data set.

    Args:
      frames: where they come from, in any order.
      order: [F] int, the frames of sample 0, then those of 1, ...
      starts: [N + 1] int, sample i has order[starts[i] : starts[i + 1]]; None
        for one frame each.
    """
    self.is_video = starts is not None
    self._frames = frames
    self._order = order
    self._starts = np.arange(len(order) + 1) if starts is None else starts

  def __len__(self) -> int:
    return len(self._starts) - 1

  def subset(self, samples: np.ndarray) -> 'Split':
    """Some samples [n], in this order; one may be there more than once."""
    if not self.is_video:
      return Split(self._frames, self._order[samples])
    lengths = np.diff(self._starts)[samples]
    starts = np.concatenate([[0], np.cumsum(lengths)])
    place = np.arange(starts[-1]) - np.repeat(starts[:-1], lengths)
    order = self._order[np.repeat(self._starts[:-1][samples], lengths) + place]
    return Split(self._frames, order, starts)

  def image(self, sample: int) -> np.ndarray:
    """Uint8 [H, W, 3]; of a tracklet the frame in the middle."""
    middle = (self._starts[sample] + self._starts[sample + 1]) // 2
    return self._frames.read(int(self._order[middle]))

  def draw_frames(
    self, samples: np.ndarray, num_frames: int, seed: Sequence[int]
  ) -> np.ndarray:
    """The frames of batches.

    Args:
      samples: [S, B] int, the samples of each batch.
      num_frames: T, frames drawn of each tracklet; without effect on images.
      seed: of what is drawn.

    Returns:
      [S, B] int, or [S, B, T] of tracklets: T different frames, or, if there
      are fewer, each as often as another, or once more.
    """
    if not self.is_video:
      return self._order[samples]
    rng = np.random.default_rng([*seed, 1])
    chosen = np.zeros((*samples.shape, num_frames), np.int64)
    for place in np.ndindex(samples.shape):
      start, end = self._starts[samples[place] : samples[place] + 2]
      rounds = -(-num_frames // (end - start))
      drawn = [rng.permutation(end - start) for _ in range(rounds)]
      chosen[place] = start + np.concatenate(drawn)[:num_frames]
    return self._order[chosen]

  def batches(self, frames: np.ndarray) -> Iterator[jax.Array]:
    """The images of frames from `draw_frames`, as `Frames.batches` has them."""
    return self._frames.batches(frames)

  def resident_images(self) -> jax.Array | None:
    """All frames [F, H, W, 3] on every device, if devices keep them.

    None where they are streamed, or the device is the host itself.
    """
    return self._frames.on_devices()

  def frame_batches(
    self, batch_size: int, max_frames: int
  ) -> Iterator[tuple[np.ndarray, np.ndarray, jax.Array]]:
    """All samples in order, a tracklet's frames one after another.

    Args:
      batch_size: B, frames at a time.
      max_frames: of a tracklet, spread evenly over it.

    Yields:
      The samples [b] that the frames are of, ascending; the share of each
      frame in its sample [b] float32; and uint8 [n, B/n, H, W, 3], of which
      the first b are meant, b = B but for the last batch.
    """
    lengths = np.diff(self._starts)
    counts = np.minimum(lengths, max_frames)
    owners = np.repeat(np.arange(len(self)), counts)
    place = np.arange(len(owners)) - (np.cumsum(counts) - counts)[owners]
    step = lengths[owners] / counts[owners]
    chosen = self._starts[owners] + (place * step).astype(np.int64)
    weights = (1.0 / counts).astype(np.float32)[owners]
    index = np.resize(chosen, (-(-len(chosen) // batch_size), batch_size))
    index.reshape(-1)[len(chosen) :] = chosen[:1]
    for k, images in enumerate(self._frames.batches(self._order[index])):
      rows = slice(k * batch_size, (k + 1) * batch_size)
      yield owners[rows], weights[rows], images
