"""A run goes on with the data it was begun with, and says what differs."""

import shutil

import numpy as np
import pytest
import runs

from dbc_jax.commands import evaluate
from dbc_jax.run import checkpoint, job, same_data

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures('one_device')]


def _config(root, **fields):
  config = runs.small_config('market1501', root)
  config.update_from_flattened_dict(fields)
  return config


@pytest.fixture(scope='module')
def half(tmp_path_factory, market):
  """A run, killed before its last stage."""
  workdir = tmp_path_factory.mktemp('half')
  with pytest.MonkeyPatch.context() as monkeypatch:
    runs.one_device(monkeypatch)
    runs.run_until(3, _config(market), workdir)
  return workdir


@pytest.fixture
def copy(half, tmp_path):
  shutil.copytree(half, tmp_path / 'run')
  return tmp_path / 'run'


@pytest.fixture
def root(market, tmp_path):
  shutil.copytree(market, tmp_path / 'market')
  return tmp_path / 'market'


def _rename(root, folder, before, now):
  for path in sorted((root / folder).glob(f'{before}*')):
    path.rename(path.with_name(path.name.replace(before, now, 1)))


def _refused(root, workdir, *words):
  with pytest.raises(ValueError, match=r'workdir: .*on other data') as caught:
    job.run(_config(root), workdir)
  message = str(caught.value)
  for word in words:
    assert word in message
  assert '\n' not in message
  assert message.endswith(
    'Bring the data back as they were, or choose another --workdir'
  )
  return message


def test_a_training_image_that_differs(copy, root):
  path = root / 'bounding_box_train' / '0001_c1s1_000000_00.jpg'
  other = root / 'query' / '0101_c1s1_000000_00.jpg'
  path.write_bytes(other.read_bytes())
  message = _refused(
    root,
    copy,
    f'1 of 30 training images differ: {path.relative_to(root)}.',
  )
  assert 'OpenCV' not in message


def test_gallery_images_and_identities(copy, root):
  first, *_ = sorted((root / 'bounding_box_test').iterdir())
  name = first.name
  first.unlink()
  _rename(root, 'query', '0101', '0102')
  _refused(
    root,
    copy,
    f'1 of 12 gallery images are missing: bounding_box_test/{name}',
    '1 of 4 query identities changed',
  )


def test_what_is_as_it_was_resumes_elsewhere(copy, root, tmp_path):
  moved = tmp_path / 'elsewhere'
  root.rename(moved)
  job.run(_config(moved), copy)
  assert (copy / 'report.html').exists()


def test_training_cameras_count_where_they_are_used(root, tmp_path):
  used = {'cluster.camera_centring': True}
  for name, fields in (('without', {}), ('with', used)):
    runs.run_until(2, _config(root, **fields), tmp_path / name)
  _rename(root, 'bounding_box_train', '0001_c1', '0001_c2')
  job.run(_config(root), tmp_path / 'without')
  with pytest.raises(ValueError, match=r'\d+ of 30 training cameras changed'):
    job.run(_config(root, **used), tmp_path / 'with')


def test_without_its_list_it_is_refused_all_the_same(copy, root):
  (copy / same_data.NAME).write_bytes(b'PK\x03\x04')
  _rename(root, 'query', '0101', '0102')
  _refused(root, copy, 'the same training images, and other queries')


def test_a_list_that_was_lost_is_written_again(copy, market):
  before = (copy / same_data.NAME).read_bytes()
  (copy / same_data.NAME).write_bytes(before[:-9])
  job.run(_config(market), copy)
  with np.load(copy / same_data.NAME) as saved:
    assert len(saved['train_marks']) == 30


def test_an_earlier_build_knows_of_training_images_alone(
  copy, root, caplog, monkeypatch
):
  read = checkpoint.CheckpointStore.read_record

  def earlier(self, stage):
    record = dict(read(self, stage))
    del record['data'], record['decoders']
    return record

  monkeypatch.setattr(checkpoint.CheckpointStore, 'read_record', earlier)
  (copy / same_data.NAME).unlink()
  _rename(root, 'query', '0101', '0102')
  with caplog.at_level('INFO', 'dbc_jax'):
    job.run(_config(root), copy)
  assert caplog.text.count('an earlier build began this run') == 1


def test_another_decoder_is_named(copy, root, monkeypatch, capsys):
  monkeypatch.setattr(
    same_data, 'decoders', lambda: {'OpenCV': '9 (libjpeg 9)', 'Pillow': '8'}
  )
  path = root / 'bounding_box_train' / '0001_c1s1_000000_00.jpg'
  path.write_bytes((root / 'query' / '0101_c1s1_000000_00.jpg').read_bytes())
  told = 'here are OpenCV 9 (libjpeg 9) and Pillow 8'
  _refused(root, copy, 'The run decoded, or drew, them by OpenCV', told)
  with pytest.raises(SystemExit) as caught:
    evaluate.main([f'--workdir={copy}', f'--root={root}'])
  assert told in str(caught.value)


def test_another_decoder_of_the_same_pixels_says_nothing(
  copy, market, monkeypatch
):
  monkeypatch.setattr(same_data, 'decoders', lambda: {'OpenCV': '9'})
  job.run(_config(market), copy)
  assert (copy / 'report.html').exists()
