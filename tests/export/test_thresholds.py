"""Thresholds of a consumer: on its own resizing, and decided alike outside."""

import json
import shutil

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
import runs
from exported_networks import make_run

from dbc_jax import FeatureExtractor, export
from dbc_jax.commands import export as command
from dbc_jax.data import load_dataset
from dbc_jax.data.augment import MEAN, STD
from dbc_jax.run import job, restore
from dbc_jax.verbs import thresholds

SIZE = 16, 8
COUNT, PEOPLE = 64, 16


@pytest.fixture(scope='module')
def crops(tmp_path_factory):
  names = [f'{i:02d}.png' for i in range(COUNT)]
  folder = tmp_path_factory.mktemp('crops')
  return runs.write_images(folder, names, runs.make_images(COUNT, PEOPLE))


@pytest.fixture(scope='module')
def run(crops):
  """Random weights on crops of 24 x 12 that are kept so, and seen at 16 x 8."""
  made = make_run('resnet8', size=SIZE, pooling='gem')
  made.parts.config.data.update(
    {'name': 'folder', 'root': str(crops), 'stored_size': runs.SHAPE}
  )
  data = restore.load_data(
    made.parts.config, None, identities=False, cameras=False
  )
  people = [int(name[:2]) % PEOPLE for name in data.names['train']]
  return made._replace(
    labels=np.array(people, np.int32), digest=data.digest
  ), data.names['train']


def fed(use, image):
  """What a consumer feeds, of an image uint8 RGB, by OpenCV alone."""
  if use == 'own':
    return image
  if use == 'ultralytics':
    image = np.float32(image) / 255
  small = cv2.resize(image, SIZE[::-1], interpolation=cv2.INTER_LINEAR)
  if use == 'boxmot':
    small = (small / 255 - MEAN) / STD
  return np.float32(small.transpose(2, 0, 1))


RESIZERS = {
  'boxmot': thresholds.as_boxmot,
  'ultralytics': thresholds.as_ultralytics,
  'own': thresholds.as_raw_file,
}


def distances(features):
  return np.linalg.norm(features[:, None] - features[None], axis=2)


@pytest.mark.parametrize('use', RESIZERS)
def test_onnxruntime_decides_as_jax_does(use, run, crops, tmp_path):
  run, names = run
  variables = export.variables_of_run(run)
  features, labels = thresholds.embed_resized(
    run, variables, RESIZERS[use], root=None, camera=None
  )
  np.testing.assert_array_equal(labels, run.labels)
  path = tmp_path / 'f.onnx'
  export.write_onnx(path, export.network_of_run(run), use=use, metadata={})
  images = [cv2.imread(str(crops / name))[..., ::-1] for name in names]
  session = onnxruntime.InferenceSession(
    path, providers=['CPUExecutionProvider']
  )
  batch = np.stack([fed(use, image) for image in images])
  found = session.run(None, {'images': np.ascontiguousarray(batch)})[0]
  np.testing.assert_allclose(found, features, atol=1e-5)
  given = thresholds.thresholds_of(features, labels)
  assert [*given] == ['0.01']  # Of 64 images there are too few pairs for more.
  for threshold in given.values():
    ours, theirs = (distances(x) < threshold for x in (features, found))
    assert COUNT < ours.sum() < COUNT**2 / 2
    np.testing.assert_array_equal(theirs, ours)


def test_the_resizings_differ(run):
  variables = export.variables_of_run(run[0])
  found = [
    thresholds.embed_resized(run[0], variables, resize, root=None, camera=None)[
      0
    ]
    for resize in RESIZERS.values()
  ]
  assert np.abs(found[0] - found[2]).max() > 1e-3
  assert (
    0 < np.abs(found[0] - found[1]).max() < np.abs(found[0] - found[2]).max()
  )


def test_whole_clusters_are_drawn_of_many(run, monkeypatch):
  monkeypatch.setattr(thresholds, '_MOST_IMAGES', 10)
  variables = export.variables_of_run(run[0])
  features, labels = thresholds.embed_resized(
    run[0], variables, thresholds.as_boxmot, root=None, camera=None
  )
  # Four images each; three clusters would be twelve.
  assert len(features) == len(labels) == 8
  assert (np.bincount(labels)[np.unique(labels)] == 4).all()


@pytest.mark.slow
@pytest.mark.parametrize(
  'options', [['--format=onnx', '--for=own'], ['--format=hub']]
)
def test_of_one_camera_its_images_alone_count(options, tmp_path, capsys):
  out = tmp_path / 'f.onnx'
  command.main(['--workdir=demo', '--camera=2', f'--out={out}', *options])
  count = (load_dataset('demo')[1].train_camids == 2).sum()
  assert f"of {count} of the run's images resized" in capsys.readouterr().out


@pytest.mark.slow
def test_the_runs_own_way_is_that_of_its_features(run):
  extract = FeatureExtractor(run[0])
  found, _ = thresholds.embed_resized(
    run[0],
    run[0].variables,
    thresholds.as_run(run[0]),
    root=None,
    camera=None,
  )
  root = run[0].parts.config.data.root
  expected = extract([f'{root}/{name}' for name in run[1]])
  np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.fixture(scope='module')
def workdir(crops, tmp_path_factory):
  folder = tmp_path_factory.mktemp('run')
  config = runs.small_config('folder', crops)
  config.model.name = 'resnet8'
  config.data.image_size = SIZE
  with pytest.MonkeyPatch.context() as monkeypatch:
    runs.one_device(monkeypatch)
    job.run(config, folder)
  return folder


@pytest.mark.slow
def test_without_the_images_it_says_whose_resizing_it_is(
  workdir, crops, tmp_path, capsys
):
  path = tmp_path / 'f.onnx'
  arguments = [f'--workdir={workdir}', '--format=onnx', '--for=boxmot']
  arguments += [f'--out={path}', '--overwrite']

  def told(*more):
    command.main([*arguments, *more])
    properties = {p.key: p.value for p in onnx.load(path).metadata_props}
    assert properties['thresholds_on'] in capsys.readouterr().out
    return properties['thresholds_on'], json.loads(properties['thresholds'])

  there, thresholds_there = told()
  assert there.endswith('resized as boxmot does (INTER_LINEAR)')
  moved = tmp_path / 'moved'
  shutil.move(crops, moved)
  try:
    gone, thresholds_gone = told()
    assert 'images resized as in the run, not resized as boxmot' in gone
    assert str(crops) in gone
    assert thresholds_there != thresholds_gone
    # Where somebody says where they are, they must be there.
    assert told(f'--root={moved}') == (there, thresholds_there)
    with pytest.raises(SystemExit, match=r'Error: .*nowhere'):
      command.main([*arguments, f'--root={tmp_path / "nowhere"}'])
  finally:
    shutil.move(moved, crops)
