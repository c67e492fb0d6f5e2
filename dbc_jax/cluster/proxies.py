"""The part of each cluster that one camera saw."""

from typing import NamedTuple

import numpy as np


class Proxies(NamedTuple):
  """Clusters, split by camera.

  Attributes:
    rows: [N] int32, the proxy of each sample, 0..R-1; -1 for one in no cluster.
    clusters: [R] int32, of which cluster each proxy is a part.
    groups: [R] int32, from 0: proxies of the same camera have the same.
  """

  rows: np.ndarray
  clusters: np.ndarray
  groups: np.ndarray


def split_clusters(labels: np.ndarray, camids: np.ndarray) -> Proxies:
  """A proxy for every camera in every cluster, in that order.

  Args:
    labels: [N] int, 0..K-1, or -1 for a sample in no cluster.
    camids: [N] int.

  Source: Wang et al., Camera-aware Proxies (AAAI 2021), sec. 3.2.
  """
  placed = labels >= 0
  _, groups = np.unique(camids, return_inverse=True)
  pairs, rows = np.unique(
    np.stack([labels[placed], groups[placed]], axis=1),
    axis=0,
    return_inverse=True,
  )
  out = np.full(len(labels), -1, np.int32)
  out[placed] = rows.reshape(-1)
  return Proxies(out, *pairs.T.astype(np.int32))
