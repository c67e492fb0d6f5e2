"""What a run says of its data and its config before any work."""

import numpy as np
import pytest
import runs

from dbc_jax.configs import ecluster
from dbc_jax.data import GroundTruth, load_configured
from dbc_jax.run import build, start_checks


def _truth(valid: int) -> GroundTruth:
  """Eight queries of camera 1; so many have a match under camera 2."""
  pids = np.arange(8)
  return GroundTruth(
    query_pids=pids,
    query_camids=np.full(8, 1),
    gallery_pids=pids,
    gallery_camids=np.where(pids < valid, 2, 1),
  )


@pytest.mark.parametrize(('valid', 'told'), [(1, True), (3, True), (4, False)])
def test_few_queries_that_count_are_told(caplog, valid, told):
  start_checks.check_matches(_truth(valid), camera_rule=True)
  assert (f'only {valid} of the 8 queries can be scored' in caplog.text) == told


def test_without_the_camera_rule_all_count(caplog):
  start_checks.check_matches(_truth(1), camera_rule=False)
  assert not caplog.text


def _config(**fields):
  config = ecluster.get_config('folder,small')
  config.update_from_flattened_dict(fields)
  return config


def _told(caplog, tmp_path, images, **fields):
  names = [f'{i:02}.png' for i in range(len(images))]
  root = runs.write_images(tmp_path / 'crops', names, images)
  config = _config(**{'data.root': str(root)} | fields)
  data = build.load_data(config, *load_configured(config.data))
  start_checks.tell_of_images(config, data)
  return caplog.text


def _noise(count, height, width):
  rng = np.random.default_rng(0)
  return rng.integers(0, 256, (count, height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize(
  ('shape', 'stored', 'seen', 'expected'),
  [
    ((64, 32), (64, 32), (64, 32), None),
    # As Market-1501: no file holds more.
    ((64, 32), (64, 32), (128, 64), None),
    ((128, 64), (64, 32), (128, 64), 'stored_size to at least data.image_size'),
    ((128, 64), (64, 32), (64, 32), None),
    ((96, 96), (64, 32), (64, 32), 'data.stored_size and data.image_size to'),
    ((64, 32), (64, 32), (64, 64), 'data.stored_size and data.image_size to'),
  ],
)
def test_a_size_or_shape_that_is_not_the_images(
  caplog, tmp_path, shape, stored, seen, expected
):
  fields = {'data.stored_size': stored, 'data.image_size': seen}
  text = _told(caplog, tmp_path, _noise(4, *shape), **fields)
  assert not text if expected is None else expected in text


def test_blank_and_equal_images_are_told(caplog, tmp_path):
  images = _noise(9, 64, 32)
  images[0] = 7
  images[3:] = images[2]
  text = _told(caplog, tmp_path, images)
  assert '1 images are of a single colour, such as 00.png' in text
  assert 'only 3 of 9 samples differ in their pixels, such as 02.png' in text


def test_ordinary_images_are_not_talked_about(caplog, tmp_path):
  assert not _told(caplog, tmp_path, _noise(9, 64, 32))


@pytest.mark.parametrize(
  ('cameras', 'camera_rule', 'count'),
  [(None, False, 2), ('1', True, 0), ('1', False, 2), ('2', True, 2)],
)
def test_copies_of_queries_that_count_as_matches(
  caplog, tmp_path, cameras, camera_rule, count
):
  images = _noise(10, 64, 32)
  rows = [f'{i}.png,,1,' for i in range(4)]
  # Queries 4 and 5; their copies 6 and 7; and other pictures of each.
  images[6:8] = images[4:6]
  for i in range(4, 10):
    split = 'query' if i < 6 else 'gallery'
    camera = cameras if i in (6, 7) else '3' if i > 7 else '1'
    rows.append(f'{i}.png,{i % 2},{camera},{split}')
  root = runs.write_images(
    tmp_path / 'crops', [f'{i}.png' for i in range(10)], images
  )
  if cameras is None:
    rows = [
      ','.join([*row.split(',')[:2], '', row.split(',')[3]]) for row in rows
    ]
  (root / 'list.csv').write_text('\n'.join(['path,pid,camid,split', *rows]))
  config = _config(
    **{
      'data.root': str(root),
      'data.csv': 'list.csv',
      'camera_rule': camera_rule,
    }
  )
  data = build.load_data(config, *load_configured(config.data))
  start_checks.tell_of_images(config, data)
  told = f'{count} of 2 queries have an image of equal pixels' in caplog.text
  assert told == bool(count)


def _leave_one_out(tmp_path, count=8):
  """Queries that are in the gallery as well, and two of each person there."""
  images = _noise(4 + count, 64, 32)
  names = [f'{i}.png' for i in range(len(images))]
  queries = [f'q{i}.png' for i in range(count)]
  root = runs.write_images(
    tmp_path / 'crops', [*names, *queries], [*images, *images[4:]]
  )
  rows = [f'{name},,train' for name in names[:4]]
  rows += [f'{name},{i // 2},gallery' for i, name in enumerate(names[4:])]
  rows += [f'{name},{i // 2},query' for i, name in enumerate(queries)]
  (root / 'list.csv').write_text('\n'.join(['path,pid,split', *rows]))
  return {
    'data.root': str(root),
    'data.csv': 'list.csv',
    'camera_rule': False,
  }


def test_queries_without_themselves_are_offered_and_counted(caplog, tmp_path):
  caplog.set_level('INFO', 'dbc_jax')
  fields = _leave_one_out(tmp_path)
  for leave in (False, True):
    config = _config(**fields, leave_one_out=leave)
    data = build.load_data(config, *load_configured(config.data))
    caplog.clear()
    start_checks.check_leave_one_out(config, data)
    start_checks.tell_of_images(config, data)
    offered = 'query without them by --config.leave_one_out=True' in caplog.text
    told = '8 of 8 queries are ranked without their equals' in caplog.text
    assert (offered, told) == (not leave, leave)
  np.testing.assert_array_equal(data.copies[:, 0], data.copies[:, 1])


def test_leave_one_out_leaves_no_match_or_nothing_out(caplog, tmp_path):
  fields = _leave_one_out(tmp_path)
  path = tmp_path / 'crops' / 'list.csv'
  lines = path.read_text().splitlines()
  # Every other one of the gallery: each person has a single image there.
  path.write_text('\n'.join([*lines[:5], *lines[5:13:2], *lines[13::2]]))
  config = _config(**fields, leave_one_out=True)
  data = build.load_data(config, *load_configured(config.data))
  with pytest.raises(ValueError, match='is left out as the same image'):
    start_checks.check_leave_one_out(config, data)
  # The others: none of them is a query.
  path.write_text('\n'.join([*lines[:5], *lines[6:13:2], *lines[13::2]]))
  data = build.load_data(config, *load_configured(config.data))
  start_checks.check_leave_one_out(config, data)
  assert 'leave_one_out: no query has an image of equal' in caplog.text


@pytest.mark.parametrize(
  ('frozen', 'rate', 'init', 'told'),
  [
    (2, 1.0, 'random', ['model.frozen_stages: 2']),
    (0, 0.1, 'random', ['train.backbone_multiplier: 0.1']),
    (2, 0.1, 'weights.safetensors', []),
    (0, 1.0, 'random', []),
  ],
)
def test_random_weights_that_stay_are_told(caplog, frozen, rate, init, told):
  start_checks.tell_of_network(
    _config(
      **{
        'model.frozen_stages': frozen,
        'train.backbone_multiplier': rate,
        'train.init': init,
      }
    )
  )
  assert len(caplog.records) == len(told)
  assert all(part in caplog.text for part in told)


@pytest.mark.parametrize(
  ('camids', 'told'),
  [
    ([0, 0, 1, 1], None),
    ([0, 0, 0, 1, 1, 2], '1 of 3 cameras have'),
    ([0, 0, 1, 2], 'Most cameras have one'),
  ],
)
def test_cameras_of_a_single_image_are_told(caplog, camids, told):
  config = _config(**{'cluster.camera_centring': True})
  truth = GroundTruth(train_camids=np.array(camids))
  start_checks.tell_of_cameras(config, truth)
  assert (told in caplog.text) if told else not caplog.text


@pytest.mark.parametrize(
  ('distance', 'count', 'told'),
  [('jaccard', 30, True), ('jaccard', 31, False), ('euclidean', 30, False)],
)
def test_neighbourhoods_of_all_images_are_told(caplog, distance, count, told):
  fields = _config(**{'cluster.distance': distance}).cluster
  fields.jaccard_k1 = 30
  start_checks.tell_of_neighbours(fields, count)
  assert ('cluster.jaccard_k1: got 30 for 30 training' in caplog.text) == told
