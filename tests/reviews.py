"""A small run to review, as its workdir has it, without a training."""

import dataclasses
import os
import threading
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import runs

from dbc_jax.reporting.clusters import write_clusters
from dbc_jax.review.background import Background
from dbc_jax.review.pictures import Pictures, samples_of_run
from dbc_jax.review.server import PageServer
from dbc_jax.review.session import Session
from dbc_jax.run import build, features_file, identities
from dbc_jax.run.restore import RestoredRun

HOSTILE = [
  '<script>alert(1)<',
  '<img src=x onerror=alert(1)>.png',
  '"\'&amp;.png',
  'line\nbreak.png',
  os.fsdecode(b'\xff\xfe.png'),
]
PERSONS, EACH = 5, 6
DIM = 8


def names() -> list[str]:
  """Paths of 30 images, of which i shows person i % 5."""
  plain = [f'cam{i % 2}/{i:02d}.png' for i in range(PERSONS * EACH)]
  return [f'{HOSTILE[0]}/script>.png', *HOSTILE[1:], *plain[len(HOSTILE) :]]


@dataclasses.dataclass(frozen=True)
class Extractor:
  """Features of pixels, in place of a network."""

  run: RestoredRun

  def __call__(self, items: Any) -> np.ndarray:
    means = [np.resize(item[::6, ::6].reshape(-1), DIM) for item in items]
    features = np.array(means, np.float32) - 128
    return features / np.linalg.norm(features, axis=1, keepdims=True)


class Run(NamedTuple):
  """A workdir with clusters, each of one person, and its images."""

  workdir: Path
  images: Path
  extractor: Extractor


def make_run(folder: Path) -> Run:
  """30 images of 5 persons in as many clusters, and two in none."""
  paths = names()
  pixels = runs.make_images(len(paths), PERSONS)
  images = runs.write_images(folder / 'crops', paths, pixels)
  workdir = folder / 'run'
  workdir.mkdir()
  labels = (np.arange(len(paths)) % PERSONS).astype(np.int32)
  config = runs.small_config('folder', images, 'average')
  config.cluster.reg_weight = 0.0
  run = RestoredRun(
    build.Parts(config), 1, {}, labels, 'digest', 1, num_clusters=PERSONS
  )
  extractor = Extractor(run)
  features_file.write(workdir, extractor(pixels), paths, 1, 'digest')
  (workdir / 'config.json').write_text(config.to_json())
  write_clusters(
    workdir / identities.CLUSTERS,
    paths,
    labels,
    camids=np.arange(len(paths)) % 2,
    silhouettes=np.linspace(0.9, -0.1, len(paths)),
  )
  identities.write(workdir, identities.first(PERSONS))
  return Run(workdir, images, extractor)


def session_of(run: Run, root: Path | None = None) -> Session:
  """As the command makes it, but for the network."""

  def load() -> Any:
    found = features_file.read(run.workdir, 1, 'digest')
    assert found is not None
    features = found[0].astype(np.float32)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    return run.extractor, features, found[1]

  return Session(
    run.workdir,
    lambda found: Pictures(
      lambda: samples_of_run(run.workdir, root and str(root)), found.names
    ),
    lambda found: Background(run.workdir, found, load),
  )


class Served:
  """A page on a port, for a `with`."""

  def __init__(self, session: Session):
    """Listens on a free port."""
    self.session = session
    self.server = PageServer(0, session.gets(), session.posts())
    self.address = self.server.address

  def __enter__(self) -> 'Served':
    threading.Thread(target=self.server.serve_forever, daemon=True).start()
    return self

  def __exit__(self, *_: object) -> None:
    self.server.shutdown()
    self.server.server_close()
