"""Exported files in the programs that they are for, beside JAX.

  pip install -e '.[consumers]'
  python -m benchmarks.consumers

Writes the demo's network for boxmot and ultralytics, and a ResNet-50 of random
weights for torchvision, timm and reid. Each program computes features with its
own code; trackers follow three figures of the demo, one of them unseen for ten
frames. The demo's file for one's own code is fed crops of one, two and four
times the network's size, beside `dbc embed`. Prints a table, and ends with 1
where features of one tensor differ from JAX's.
"""

import importlib.metadata
import os
import pathlib
import sys
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

# ultralytics would install packages by itself.
os.environ.setdefault('YOLO_AUTOINSTALL', 'false')
os.environ.setdefault('YOLO_OFFLINE', 'true')

import cv2
import jax
import numpy as np

from dbc_jax import export
from dbc_jax.configs import dbc
from dbc_jax.data import load_dataset
from dbc_jax.data.augment import normalize
from dbc_jax.data.loading import resize_image
from dbc_jax.reporting.summary import aligned
from dbc_jax.run import build, restore
from dbc_jax.verbs import thresholds

_LEAST_COSINE = 0.9999
_FRAMES, _UNSEEN = 45, range(20, 30)
_FIGURE = 128, 64  # Pixels high and wide.
_CROPS = 100

Features = Callable[[np.ndarray], np.ndarray]


def main() -> None:
  rows, right = [], True
  with tempfile.TemporaryDirectory() as folder:
    for check in (_own, _boxmot, _ultralytics, _resnet50):
      for program, what, cosine in check(pathlib.Path(folder)):
        right &= (
          cosine is None
          or program == 'onnxruntime'
          or (cosine >= _LEAST_COSINE)
        )
        told = '' if cosine is None else f'{cosine:.6f}'
        rows.append([program, _version(program), what, told])
  heads = ['program', 'version', 'what', 'least cosine to JAX']
  print('\n'.join(aligned([heads, *rows], 3)))
  packages = ('jax', 'torch', 'onnxruntime')
  told = ', '.join(f'{name} {_version(name)}' for name in packages)
  print(f'{told}, OpenCV {cv2.__version__}')
  sys.exit(0 if right else 1)


def _version(package: str) -> str:
  return importlib.metadata.version(package)


def _cosine(found: Any, expected: np.ndarray) -> float:
  found = np.asarray(found, np.float64)
  found /= np.linalg.norm(found, axis=1, keepdims=True)
  return float((found * expected).sum(axis=1).min())


def _in_jax(run: restore.RestoredRun) -> Features:
  """From pixels [B, H, W, 3] in [0, 255], of the network's size."""
  network = {key: run.variables[key] for key in ('params', 'batch_stats')}
  apply: Any = jax.jit(run.parts.encoder.apply)
  return lambda images: np.asarray(apply(network, normalize(images))[1])


def _film() -> Iterator[tuple[np.ndarray, np.ndarray]]:
  """Frames BGR and boxes [n, 6]: corners, confidence, class."""
  dataset, truth = load_dataset('demo')
  assert truth.query_pids is not None
  _, first = np.unique(truth.query_pids, return_index=True)
  height, width = _FIGURE
  figures = [
    cv2.resize(dataset.query.read(int(i))[..., ::-1], (width, height))
    for i in first[:3]
  ]
  rng = np.random.default_rng(0)
  for t in range(_FRAMES):
    image = rng.integers(110, 130, (480, 640, 3)).astype(np.uint8)
    places = [(40 + 6 * t, 60), (500 - 6 * t, 60), (250, 300)]
    boxes = []
    for i, (x, y) in enumerate(places):
      if i == 0 and t in _UNSEEN:
        continue
      image[y : y + height, x : x + width] = figures[i]
      boxes.append([x, y, x + width, y + height, 0.9, 0])
    yield image, np.array(boxes, np.float32)


def _exported(
  folder: pathlib.Path, use: str
) -> tuple[str, restore.RestoredRun]:
  run = restore.restore_run(pathlib.Path('demo'))
  path = folder / f'demo.{use}.onnx'
  export.write_onnx(path, export.network_of_run(run), use=use, metadata={})
  return str(path), run


def _crops(
  image: np.ndarray,
  boxes: np.ndarray,
  resize: thresholds.Resizer,
  size: tuple[int, int],
) -> np.ndarray:
  found = [
    resize(np.ascontiguousarray(image[y0:y1, x0:x1, ::-1]), size)
    for x0, y0, x1, y1 in boxes.astype(int)
  ]
  return np.stack(found)


def _own(folder: pathlib.Path) -> Iterator[tuple[str, str, float | None]]:
  """The file resizes crops as Pillow does, `dbc embed` in whole numbers."""
  import onnxruntime

  path, run = _exported(folder, 'own')
  session = onnxruntime.InferenceSession(path)
  features = _in_jax(run)
  height, width = run.parts.image_size
  dataset, _ = load_dataset('demo')
  for factor in (1, 2, 4):
    shape = (width * factor, height * factor)
    crops = [
      cv2.resize(dataset.query.read(i), shape, interpolation=cv2.INTER_CUBIC)
      for i in range(_CROPS)
    ]
    (found,) = session.run(None, {'images': np.stack(crops)})
    kept = [resize_image(crop, (height, width)) for crop in crops]
    yield (
      'onnxruntime',
      f'own: crops {factor} times as high and wide, beside dbc embed',
      _cosine(found, features(np.stack(kept))),
    )


def _boxmot(folder: pathlib.Path) -> Iterator[tuple[str, str, float | None]]:
  from boxmot import BotSort, DeepOcSort, StrongSort
  from boxmot.reid.core.runtime import ReID

  path, run = _exported(folder, 'boxmot')
  image, boxes = next(_film())
  crops = _crops(
    image, boxes[:, :4], thresholds.as_boxmot, run.parts.image_size
  )
  found = ReID(path)(image, boxes=boxes[:, :4])
  yield 'boxmot', 'features', _cosine(found, _in_jax(run)(crops))
  for kind in (BotSort, DeepOcSort, StrongSort):
    tracker = kind(reid_weights=pathlib.Path(path), device='cpu', half=False)
    tracks = {
      int(row[4])
      for image, boxes in _film()
      for row in tracker.update(boxes, image)
    }
    yield 'boxmot', f'{kind.__name__}: {len(tracks)} tracks of 3 figures', None


def _ultralytics(
  folder: pathlib.Path,
) -> Iterator[tuple[str, str, float | None]]:
  import torch
  import ultralytics
  from ultralytics.engine.results import Boxes
  from ultralytics.trackers.bot_sort import BOTSORT
  from ultralytics.trackers.deep_oc_sort import DeepOCSORT
  from ultralytics.trackers.utils.reid import ReID
  from ultralytics.utils import YAML, IterableSimpleNamespace

  path, run = _exported(folder, 'ultralytics')
  image, boxes = next(_film())
  centres = (boxes[:, :2] + boxes[:, 2:4]) / 2
  sides = boxes[:, 2:4] - boxes[:, :2]
  found = ReID(path, device='cpu')(image, np.hstack([centres, sides]))
  half = (1.02 * sides + 10) / 2  # It cuts more than the box.
  corners = np.hstack([centres - half, centres + half]).clip(0)
  crops = _crops(
    image, corners, thresholds.as_ultralytics, run.parts.image_size
  )
  yield 'ultralytics', 'features', _cosine(found, _in_jax(run)(crops))
  settings = pathlib.Path(ultralytics.__file__).parent / 'cfg' / 'trackers'
  for name, kind in (('botsort', BOTSORT), ('deepocsort', DeepOCSORT)):
    own = {'with_reid': True, 'model': path, 'device': 'cpu'}
    fields = YAML.load(settings / f'{name}.yaml') | own | {'gmc_method': 'none'}
    tracker = kind(IterableSimpleNamespace(**fields))
    tracks = {
      int(row[4])
      for image, boxes in _film()
      for row in tracker.update(
        Boxes(torch.from_numpy(boxes), image.shape[:2]).cpu().numpy(), image
      )
    }
    yield 'ultralytics', f'{name}: {len(tracks)} tracks of 3 figures', None


def _random_resnet50() -> restore.RestoredRun:
  """Weights and statistics at random, for crops of 256 x 128."""
  parts = build.Parts(dbc.get_config('market1501'))
  rng = np.random.default_rng(0)
  variables = jax.tree.map(np.asarray, parts.init_variables())
  variables['batch_stats'] = jax.tree.map(
    lambda x: x + np.float32(rng.uniform(-0.1, 0.1, x.shape)),
    variables['batch_stats'],
  )
  return restore.RestoredRun(parts, 0, variables, np.zeros(1, np.int32), '')


def _resnet50(folder: pathlib.Path) -> Iterator[tuple[str, str, float | None]]:
  import reid
  import safetensors.torch
  import timm
  import torch
  import torchvision

  run = _random_resnet50()
  path = folder / 'resnet50.safetensors'
  export.write_safetensors(path, export.network_of_run(run), metadata={})
  export.write_hub_folder(
    folder / 'hub',
    run,
    [{'stage': 0, 'num_clusters': 1}],
    chosen='at random',
    camera=None,
    thresholds={},
    metadata={},
  )
  images = np.random.default_rng(1).integers(0, 256, (3, 256, 128, 3))
  expected = _in_jax(run)(images)
  given = torch.from_numpy(
    np.array(normalize(images)).transpose(0, 3, 1, 2).copy()
  )
  plain = torchvision.models.resnet50()
  plain.fc = torch.nn.Identity()
  safetensors.torch.load_model(plain, path)
  networks = {
    'torchvision': plain,
    'timm': timm.create_model(
      'resnet50', num_classes=0, checkpoint_path=str(path)
    ),
    'reid': reid.ReIDModel.from_pretrained(
      str(folder / 'hub'), device='cpu'
    )._backbone,
  }
  for program, network in networks.items():
    with torch.no_grad():
      found = network.eval()(given).numpy()
    what = 'hub folder' if program == 'reid' else 'safetensors'
    yield (
      program,
      f'resnet50 of random weights, {what}',
      _cosine(found, expected),
    )


if __name__ == '__main__':
  main()
