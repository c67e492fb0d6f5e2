"""What a label says: the cluster of a sample, or that it is in none."""

import numpy as np

# The label of a sample that no cluster takes.
NOT_PLACED = -1


def apart(labels: np.ndarray) -> np.ndarray:
  """Labels [N] in which each sample of no cluster (-1) is one of its own, last.

  Contiguous ones stay so.

  Raises:
    ValueError: a label below -1.
  """
  if labels.min(initial=0) < NOT_PLACED:
    raise ValueError(
      f'labels: {(labels < NOT_PLACED).sum()} are below -1. A sample that '
      'belongs to no cluster has the label -1.'
    )
  alone = labels == NOT_PLACED
  return np.where(alone, labels.max(initial=-1) + np.cumsum(alone), labels)
