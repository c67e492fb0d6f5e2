"""What the readers of Market-1501, DukeMTMC-reID and MSMT17 have in common."""

import shutil
import subprocess
import sys
import types
import warnings

import layouts
import numpy as np
import pytest

from dbc_jax.data import load_images
from dbc_jax.data.readers import dukemtmc_reid, market1501, msmt17

# Module, what writes a copy, and the title in messages.
READERS = {
  'market1501': (market1501, layouts.write_market1501, 'Market-1501'),
  'dukemtmc_reid': (
    dukemtmc_reid,
    layouts.write_dukemtmc_reid,
    'DukeMTMC-reID',
  ),
  'msmt17': (msmt17, layouts.write_msmt17, 'MSMT17'),
}


@pytest.fixture(params=READERS)
def reader(request):
  module, write, title = READERS[request.param]

  def load(root, **options):
    with warnings.catch_warnings():
      warnings.simplefilter('ignore')  # The sizes are not the official ones.
      return module.load(root, **options)

  return types.SimpleNamespace(
    module=module, write=write, title=title, load=load
  )


@pytest.fixture(params=['market1501', 'dukemtmc_reid'])
def folders(request):
  """A reader of the three folders; `image(pid, camid)` is a file name."""
  module, write, title = READERS[request.param]
  form = {
    'market1501': '{:04}_c{}s1_000001_00.jpg',
    'dukemtmc_reid': '{:04}_c{}_f0000001.jpg',
  }[request.param]
  return types.SimpleNamespace(
    module=module, write=write, title=title, image=form.format
  )


def splits_of(loaded):
  dataset, truth = loaded
  return (
    (dataset.train, truth.train_pids, truth.train_camids),
    (dataset.query, truth.query_pids, truth.query_camids),
    (dataset.gallery, truth.gallery_pids, truth.gallery_camids),
  )


def test_splits_agree_with_their_truth(reader, tmp_path):
  for samples, pids, camids in splits_of(reader.load(reader.write(tmp_path))):
    assert len(samples) == len(pids) == len(camids) > 0
    assert pids.dtype == camids.dtype == np.int32
    assert len(set(samples.names)) == len(samples)
    assert all((tmp_path / name).is_file() for name in samples.names)


def test_images_are_decoded_to_rgb(reader, tmp_path):
  dataset, _ = reader.load(reader.write(tmp_path))
  for samples in (dataset.train, dataset.query, dataset.gallery):
    images = load_images(samples, (32, 16))
    top = images[:, :8]  # Red, as the pictures were drawn.
    assert top[..., 0].min() > 240
    assert top[..., 1:].max() < 15


def test_samples_know_no_identities(reader, tmp_path):
  dataset, _ = reader.load(reader.write(tmp_path))
  assert set(vars(dataset)) == {'train', 'query', 'gallery'}
  known = {'names', 'read', 'starts', 'frame_names'}
  assert set(vars(dataset.train)) == known
  assert dataset.train.starts is None


def test_root_may_have_spaces_and_letters_of_any_script(reader, tmp_path):
  root = tmp_path / 'Fußgänger im Bild' / '行人 数据'
  root.mkdir(parents=True)
  dataset, _ = reader.load(reader.write(root))
  assert dataset.query.read(0).shape[1:] == (16, 3)


def test_root_may_be_the_folder_above(reader, tmp_path):
  name = f'{reader.title.upper()}_copy'
  reader.write(tmp_path / name)
  (tmp_path / 'other').mkdir()
  above, inside = reader.load(tmp_path)[0], reader.load(tmp_path / name)[0]
  assert above.query.names == tuple(f'{name}/{n}' for n in inside.query.names)
  np.testing.assert_array_equal(above.query.read(0), inside.query.read(0))


def test_several_copies_are_an_error(reader, tmp_path):
  copies = [f'{reader.title}-{letter}' for letter in 'ab']
  for name in copies:
    reader.write(tmp_path / name)
  with pytest.raises(ValueError, match=f'{", ".join(copies)}\\. Name one'):
    reader.load(tmp_path)


def test_missing_folder_is_named_with_what_was_found(reader, tmp_path):
  dataset, _ = reader.load(reader.write(tmp_path))
  folder = dataset.query.names[0].split('/')[0]
  (tmp_path / folder).rename(tmp_path / 'away')
  with pytest.raises(ValueError, match='is not laid out like') as caught:
    reader.load(tmp_path)
  message = str(caught.value)
  assert f'like {reader.title}: expected the folders ' in message
  assert f', {folder}' in message.split('; found ')[0]
  assert 'found away' in message


@pytest.mark.parametrize('number', [None, 1])
def test_test_folders_alone_are_a_test_set(folders, tmp_path, number):
  whole = tmp_path / 'whole'
  folders.write(whole)
  module = folders.module
  with pytest.warns(UserWarning, match='differs'):
    expected, known = module.load(whole, num_identities=number)
  shutil.rmtree(whole / 'bounding_box_train')
  with pytest.warns(UserWarning, match='differs') as caught:
    dataset, truth = module.load(whole, num_identities=number)
  assert 'training' not in str(caught[0].message)
  assert not len(dataset.train)
  assert truth.train_pids is truth.train_camids is None
  for split in ('query', 'gallery'):
    assert dataset.of(split).names == expected.of(split).names
    for mine, other in zip(truth.of(split), known.of(split), strict=True):
      np.testing.assert_array_equal(mine, other)


def test_split_given_as_root_points_above(reader, tmp_path):
  dataset, _ = reader.load(reader.write(tmp_path))
  folder = dataset.train.names[0].split('/')[0]
  with pytest.raises(ValueError, match='folder above') as caught:
    reader.load(tmp_path / folder)
  assert str(caught.value).endswith(f'is meant: {tmp_path}.')


def test_incomplete_copy_gives_one_warning_with_all_differences(
  reader, tmp_path
):
  with pytest.warns(UserWarning, match='differs from') as caught:
    loaded = reader.module.load(reader.write(tmp_path))
  assert len(caught) == 1
  message = str(caught[0].message)
  assert message.startswith(f'{tmp_path} differs from the official')
  official = reader.module.RELEASE.sizes
  names = ('training', 'query', 'gallery')
  for name, (samples, pids, _) in zip(names, splits_of(loaded), strict=True):
    found = {'images': len(samples), 'identities': len(np.unique(pids))}
    for what, number in found.items():
      if f'{name} {what}' in official:
        size = official[f'{name} {what}']
        assert f'{number} {name} {what} (official: {size:,})' in message


@pytest.mark.parametrize('number', [1, 2])
def test_reduced_set(reader, tmp_path, number):
  whole = reader.load(reader.write(tmp_path))
  part = reader.load(tmp_path, num_identities=number)
  (_, train, _), (_, query, _), (_, gallery, _) = splits_of(part)
  assert len(set(train.tolist())) == len(set(query.tolist())) == number
  # Queries and gallery are of the same persons: no distractors, no junk.
  assert set(gallery.tolist()) == set(query.tolist())
  assert not set(query.tolist()) & set(train.tolist())
  for (every, pids, camids), (kept, kept_pids, kept_camids) in zip(
    splits_of(whole), splits_of(part), strict=True
  ):
    chosen = np.isin(pids, kept_pids)
    assert kept.names == tuple(np.array(every.names)[chosen])
    np.testing.assert_array_equal(kept_pids, pids[chosen])
    np.testing.assert_array_equal(kept_camids, camids[chosen])
    kept.read(0)


@pytest.mark.parametrize('number', [0, -1, 4])
def test_num_identities_is_checked(reader, tmp_path, number):
  with pytest.raises(
    ValueError, match=rf'num_identities: expected 1 to 3, got {number}\.'
  ):
    reader.load(reader.write(tmp_path), num_identities=number)


def test_smaller_sets_are_nested_and_seeds_differ(folders, tmp_path):
  persons = range(30, 60)
  folders.write(
    tmp_path,
    {
      'bounding_box_train': [folders.image(i, 1) for i in range(2, 30)],
      'query': [folders.image(i, 1) for i in persons],
      'bounding_box_test': [folders.image(i, 2) for i in persons],
    },
  )

  def pids(**options):
    with pytest.warns(UserWarning, match='differs from the official'):
      truth = folders.module.load(tmp_path, **options)[1]
    return set(truth.train_pids.tolist()), set(truth.query_pids.tolist())

  small, large = pids(num_identities=5), pids(num_identities=9)
  assert small[0] < large[0]
  assert small[1] < large[1]
  assert pids(num_identities=9) == large
  assert pids(num_identities=9, seed=1) != large


@pytest.mark.parametrize('side', ['query', 'bounding_box_test'])
def test_identity_in_training_and_test_gives_a_warning(folders, tmp_path, side):
  files = {
    'bounding_box_train': [folders.image(i, 1) for i in (2, 3)],
    'query': [folders.image(5, 1)],
    'bounding_box_test': [folders.image(5, 2)],
  }
  files[side].append(folders.image(3, 1))
  with pytest.warns(UserWarning, match='both in training') as caught:
    folders.module.load(folders.write(tmp_path, files))
  messages = [str(warning.message) for warning in caught]
  assert len(messages) == 2
  assert messages[1].startswith(
    f'{folders.title} in {tmp_path}: 1 identities are both in training'
  )
  assert 'pid 3. ' in messages[1]


def test_empty_split_is_an_error(folders, tmp_path):
  files = {name: [] for name in ('bounding_box_train', 'query')}
  files['bounding_box_test'] = [folders.image(1, 1)]
  with pytest.raises(ValueError, match=r'box_train holds no images\.'):
    folders.module.load(folders.write(tmp_path, files))


@pytest.mark.parametrize('name', READERS)
def test_script_writes_a_copy(name, tmp_path):
  root = tmp_path / 'made' / name
  command = [sys.executable, layouts.__file__, name, str(root)]
  done = subprocess.run(command, check=True, capture_output=True, text=True)
  assert done.stdout == f'{root}\n'
  module, write, _ = READERS[name]
  write(tmp_path / 'same')
  with pytest.warns(UserWarning, match='differs from'):
    made, same = module.load(root)[0], module.load(tmp_path / 'same')[0]
  assert made.gallery.names == same.gallery.names
  np.testing.assert_array_equal(made.gallery.read(0), same.gallery.read(0))
