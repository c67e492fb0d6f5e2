"""A folder for the hub: read back bit for bit, and by others."""

import json
import sys
import types

import numpy as np
import pytest
import runs
from exported_networks import make_run
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from dbc_jax import FeatureExtractor, export
from dbc_jax.commands import embed
from dbc_jax.commands import export as command

HISTORY = [{'stage': 0, 'num_clusters': 4}]


def write(folder, run, camera=None, thresholds=None):
  return export.write_hub_folder(
    folder,
    run,
    HISTORY,
    chosen='chosen by hand',
    camera=camera,
    thresholds=thresholds or {},
    metadata={'network': 'x'},
  )


@pytest.mark.slow
@pytest.mark.parametrize(
  ('name', 'options'),
  [
    ('resnet8', {'neck': True, 'pooling': 'gem', 'last_stride': 1}),
    (
      'wide_resnet8_2',
      {'parts': 2, 'parts_and_global': True, 'head_layers': 2},
    ),
    ('wide_resnet8_2', {'parts': 4, 'camids': (3, 7), 'neck': True}),
    ('resnet_tiny', {'head_layers': 0}),
    ('small_networks:one_block', {}),
    ('basic-1-1-1-1', {'dtype': 'bfloat16'}),
  ],
)
def test_it_gives_the_features_of_the_run(name, options, tmp_path):
  run = make_run(name, **options)
  images = [*runs.make_images(5, 5)]
  cameras = [None]
  if 'camids' in options:
    cameras.append([3, 7, 3, 8, 7])
  write(tmp_path / 'hub', run)
  extract = FeatureExtractor.from_pretrained(tmp_path / 'hub')
  for camids in cameras:
    expected = FeatureExtractor(run)(images, camids)
    np.testing.assert_array_equal(extract(images, camids), expected)
  assert extract.run.stage == 0


def test_of_one_camera_it_has_that_ones_statistics(tmp_path):
  run = make_run('resnet8', camids=(3, 7))
  images = [*runs.make_images(5, 5)]
  write(tmp_path / 'hub', run, camera=7)
  extract = FeatureExtractor.from_pretrained(tmp_path / 'hub')
  expected = FeatureExtractor(run)(images, [7] * 5)
  np.testing.assert_array_equal(extract(images), expected)
  assert np.abs(extract(images) - FeatureExtractor(run)(images)).max() > 1e-3
  with pytest.raises(ValueError, match='has no statistics of cameras'):
    extract(images, [7] * 5)


def test_a_folder_says_nothing_of_where_the_run_was(tmp_path):
  run = make_run('resnet8', camids=(3, 7))
  run.parts.config.data.root = '/home/me/crops'
  run.parts.config.train.init = '/home/me/weights.pth'
  names = write(tmp_path / 'hub', run, thresholds={'0.01': 0.5})
  assert names == ['README.md', 'config.json', 'model.safetensors']
  assert sorted(p.name for p in (tmp_path / 'hub').iterdir()) == sorted(names)
  for path in (tmp_path / 'hub').iterdir():
    assert b'/home/me' not in path.read_bytes()
  card = (tmp_path / 'hub' / 'README.md').read_text()
  assert "FeatureExtractor.from_pretrained('hub')" in card
  assert 'license' not in card
  assert 'Stage 0 of 0 to 0, chosen by hand, with 4 clusters.' in card
  assert 'The training cameras were 3, 7.' in card
  assert '| 0.01 | 0.500 | 0.125 |' in card
  assert 'reid' not in card.replace('re-id', '')
  with safe_open(tmp_path / 'hub' / 'model.safetensors', 'numpy') as file:
    assert file.metadata() == {'network': 'x'}
    assert 'params/backbone/stem_conv/kernel' in file.keys()  # noqa: SIM118


@pytest.mark.slow
def test_a_plain_resnet50_is_for_reid_as_well(tmp_path):
  folder = tmp_path / 'hub'
  run = make_run('resnet50')
  names = write(folder, run)
  assert {'weights.safetensors', 'reid_config.json'} < {*names}
  settings = json.loads((folder / 'reid_config.json').read_text())
  assert settings['architecture'] == 'timm:resnet50'
  assert settings['preprocessing'] == {
    'input_size': [64, 32],
    'mean': [0.485, 0.456, 0.406],
    'std': [0.229, 0.224, 0.225],
    'interpolation': 'bilinear',
  }
  arrays = load_file(folder / 'weights.safetensors')
  assert len(arrays) == 318
  np.testing.assert_array_equal(
    arrays['conv1.weight'].transpose(2, 3, 1, 0),
    run.variables['params']['backbone']['stem_conv']['kernel'],
  )
  images = [*runs.make_images(3, 3)]
  np.testing.assert_array_equal(
    FeatureExtractor.from_pretrained(folder)(images),
    FeatureExtractor(run)(images),
  )
  # reid builds no other stride, so such a file would mislead it; what another
  # export left there goes.
  for options in ({'last_stride': 1}, {'neck': True}, {'pooling': 'gem'}):
    assert len(write(folder, make_run('resnet50', **options))) == 3
    assert len([*folder.iterdir()]) == 3


def test_files_that_do_not_fit_are_named(tmp_path):
  folder = tmp_path / 'hub'
  with pytest.raises(
    ValueError, match=r'has no config\.json; expected a folde'
  ):
    FeatureExtractor.from_pretrained(folder)
  write(folder, make_run('resnet8'))
  config, weights = folder / 'config.json', folder / 'model.safetensors'
  right, arrays = config.read_text(), load_file(weights)

  def fails(message):
    with pytest.raises(ValueError, match=message):
      FeatureExtractor.from_pretrained(folder)

  for name, change in (
    ('extract_batch_size', lambda c: c.pop('extract_batch_size')),
    (r'data\.max_frames', lambda c: c['data'].pop('max_frames')),
    (r'model\.name', lambda c: c.pop('model')),
  ):
    changed = json.loads(right)
    change(changed)
    config.write_text(json.dumps(changed))
    fails(f'lacks {name};')
  changed = json.loads(right)
  changed['model']['later'] = 1
  config.write_text(json.dumps(changed))
  fails('is of a newer dbc_jax')
  for text in ('[]', '{'):
    config.write_text(text)
    fails(r'config\.json: (lacks|expected JSON)')
  config.write_text(right)
  save_file({**arrays, 'more': np.zeros(2)}, weights)
  fails(r'more is float64\[2\], expected absent')
  name = 'params/backbone/stem_conv/kernel'
  save_file({k: v for k, v in arrays.items() if k != name}, weights)
  fails(rf'{name} is absent, expected float32\[3, 3, 3, 16\]')
  weights.write_bytes(b'spoilt')
  fails('damaged')
  weights.unlink()
  fails('no such file')


def export_demo(out, *more):
  command.main(['--workdir=demo', '--format=hub', f'--out={out}', *more])


@pytest.mark.slow
def test_the_command_writes_it_and_a_run_it_is_not(tmp_path, capsys):
  folder = tmp_path / 'hub'
  export_demo(folder)
  text = capsys.readouterr().out
  assert f"FeatureExtractor.from_pretrained('{folder}')" in text
  assert 'false matches' in text
  images = [*runs.make_images(3, 3)]
  for cameras in (None, [1, 2, 2]):
    np.testing.assert_array_equal(
      FeatureExtractor.from_pretrained(folder)(images, cameras),
      FeatureExtractor.demo()(images, cameras),
    )
  with pytest.raises(SystemExit, match='--overwrite replaces it'):
    export_demo(folder)
  export_demo(folder, '--overwrite', '--camera=2')
  (crop,) = runs.write_images(tmp_path, ['a.png'], images[:1]).glob('*.png')
  with pytest.raises(SystemExit, match='from_pretrained reads it') as error:
    embed.main(
      [f'--workdir={folder}', f'--images={crop}', f'--out={tmp_path}/f.npz']
    )
  assert 'Error: ' in str(error.value)


@pytest.mark.slow
def test_a_push_is_asked_for_and_takes_a_package(tmp_path, monkeypatch, capsys):
  monkeypatch.setitem(sys.modules, 'huggingface_hub', None)
  with pytest.raises(SystemExit, match=r'--push needs .*dbc_jax\[hub\]'):
    export_demo(tmp_path / 'a', '--push=me/it')
  assert not (tmp_path / 'a').exists()
  calls = []

  class Hub(types.ModuleType):
    def create_repo(self, *arguments, **options):
      calls.append((arguments, options))

    def upload_folder(self, **options):
      calls.append(options)

  monkeypatch.setitem(sys.modules, 'huggingface_hub', Hub('huggingface_hub'))
  export_demo(tmp_path / 'b')
  assert not calls
  export_demo(tmp_path / 'c', '--push=me/it')
  assert calls[0] == (('me/it',), {'private': True, 'exist_ok': True})
  assert calls[1]['repo_id'] == 'me/it'
  assert calls[1]['folder_path'] == tmp_path / 'c'
  assert 'model.safetensors' in calls[1]['allow_patterns']
  assert 'https://huggingface.co/me/it' in capsys.readouterr().out

  def refuse(*arguments, **options):
    raise RuntimeError('401 Unauthorized. Log in')

  monkeypatch.setattr(Hub, 'create_repo', refuse)
  with pytest.raises(SystemExit, match='--push: me/it: RuntimeError: 401 Unau'):
    export_demo(tmp_path / 'd', '--push=me/it')
  assert (tmp_path / 'd' / 'README.md').exists()


@pytest.mark.parametrize(
  ('arguments', 'message'),
  [
    (['--format=onnx', '--for=own', '--push=a/b', '--out=f.onnx'], '--push'),
    (['--format=onnx', '--out=f.onnx'], '--for goes with'),
    (['--format=hub', '--for=own', '--out=f'], '--for goes with'),
  ],
)
def test_options_that_do_not_go_together(arguments, message, capsys):
  with pytest.raises(SystemExit):
    command.main(['--workdir=demo', *arguments])
  assert message in capsys.readouterr().err
