"""embed, search and report on a small run, as a user calls them."""

import collections
import csv
import json
import re
import shutil
import sys

import numpy as np
import pytest
import runs

from dbc_jax import FeatureExtractor, __main__, verbs
from dbc_jax.commands import assign, embed, report, search
from dbc_jax.reporting.clusters import write_clusters
from dbc_jax.run import identities, job, restore

pytestmark = pytest.mark.slow

# More folders than a path has.
_DEEP = f'--pattern={30 * "a/"}{{{{camid}}}}'


@pytest.fixture(scope='module')
def crops(tmp_path_factory):
  names = [f'{"ab"[i % 2]}/{i:02d}.png' for i in range(30)]
  folder = tmp_path_factory.mktemp('crops')
  return runs.write_images(folder, names, runs.make_images(30, 6))


@pytest.fixture(scope='module')
def workdir(crops, tmp_path_factory):
  folder = tmp_path_factory.mktemp('run')
  with pytest.MonkeyPatch.context() as monkeypatch:
    runs.one_device(monkeypatch)
    job.run(runs.small_config('folder', crops), folder)
  return folder


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
  return tmp_path / 'cache' / 'dbc_jax' / 'features'


def test_embed_gives_the_extractors_features(workdir, crops, tmp_path, capsys):
  out = tmp_path / 'f.npz'
  arguments = [f'--workdir={workdir}', f'--images={crops}', f'--out={out}']
  embed.main(arguments)
  assert '30 features of' in capsys.readouterr().out
  found = verbs.read_features(out)
  expected = FeatureExtractor.from_workdir(workdir)(
    [crops / name for name in found.names]
  )
  np.testing.assert_allclose(found.features, expected, atol=1e-6)
  with pytest.raises(SystemExit, match='--overwrite replaces it'):
    embed.main(arguments)
  embed.main([*arguments, '--overwrite', f'--projector={tmp_path / "p"}'])
  assert 'tensorboard --logdir=' in capsys.readouterr().out
  assert sorted(path.name for path in (tmp_path / 'p').iterdir()) == [
    'features.tsv',
    'metadata.tsv',
    'projector_config.pbtxt',
    'sprite.png',
  ]
  again = [*arguments[:2], f'--out={tmp_path / "g.npz"}']
  with pytest.raises(SystemExit, match=r'Error: --projector: .* has a proj'):
    embed.main([*again, f'--projector={tmp_path / "p"}'])


def test_search_among_the_runs_own_images_tells_clusters(
  workdir, crops, tmp_path, capsys
):
  files = {kind: tmp_path / f'found.{kind}' for kind in ('json', 'csv', 'html')}
  search.main(
    [
      f'--workdir={workdir}',
      f'--query={crops / "a" / "04.png"}',
      '--top=5',
      *(f'--{kind}={path}' for kind, path in files.items()),
    ]
  )
  text = capsys.readouterr().out
  rows = json.loads(files['json'].read_text())
  assert [row['rank'] for row in rows] == [1, 2, 3, 4, 5]
  assert rows[0]['path'] == 'a/04.png'
  # Features of the run are kept in half precision.
  assert rows[0]['distance'] < 2e-3
  with (workdir / 'clusters.csv').open() as file:
    clusters = {r['path']: int(r['cluster']) for r in csv.DictReader(file)}
  assert all(row['cluster'] == clusters[row['path']] for row in rows)
  assert f'cluster {clusters["a/04.png"]}' in text
  with files['csv'].open() as file:
    assert [row['path'] for row in csv.DictReader(file)] == [
      row['path'] for row in rows
    ]
  page = files['html'].read_text()
  assert page.count('<img') == 6
  assert 'http' not in page


def test_a_search_says_of_which_images_it_has_no_picture(
  workdir, crops, tmp_path, capsys
):
  page = tmp_path / 'found.html'
  query = f'--query={crops / "a" / "04.png"}'
  arguments = [f'--workdir={workdir}', query, '--top=5', f'--html={page}']
  search.main(arguments)
  assert capsys.readouterr().out.endswith(f'{page}: the pictures\n')
  moved = ['--overwrite', f'--root={tmp_path / "moved"}']
  search.main([*arguments, *moved])
  last = capsys.readouterr().out.splitlines()[-1]
  assert last == (
    f'{page}: the pictures, but for 5 that are no files here; --root=DIR says '
    "where the run's images are now"
  )
  assert page.read_text().count('<img') == 1


def test_a_run_without_its_features_gets_them_at_the_first_search(
  workdir, crops, capsys
):
  path = workdir / 'features.npz'
  with np.load(path) as file:
    before = dict(file)
  query = f'--query={crops / "a" / "04.png"}'
  path.unlink()
  # Of another stage nothing is kept.
  search.main([f'--workdir={workdir}', '--stage=last', query])
  is_chosen = str(before['stage']) == '3'
  assert path.exists() == is_chosen
  search.main([f'--workdir={workdir}', query])
  with np.load(path) as file:
    # What the report alone shows comes with the next report.
    for key in ('features', 'paths', 'stage', 'digest'):
      np.testing.assert_array_equal(file[key], before[key])


def test_search_in_another_gallery_embeds_it_once(
  workdir, crops, tmp_path, cache, monkeypatch, capsys
):
  arguments = [f'--workdir={workdir}', f'--query={crops / "a" / "04.png"}']
  folder = [*arguments, f'--gallery={crops / "b"}', '--json']
  search.main([*folder, str(tmp_path / '1.json')])
  (kept,) = cache.iterdir()
  # The second time the gallery is read from there, the query is not.
  calls = []
  plain = FeatureExtractor.__call__

  def counted(self, items, cameras=None):
    calls.append(len(items))
    return plain(self, items, cameras)

  monkeypatch.setattr(FeatureExtractor, '__call__', counted)
  search.main([*folder, str(tmp_path / '2.json')])
  assert calls == [1]
  first, second = ((tmp_path / f'{i}.json').read_text() for i in (1, 2))
  assert first == second
  assert 'cluster' not in json.loads(first)[0]
  # A file that is spoilt, and another content, are embedded anew.
  kept.write_bytes(b'spoilt')
  search.main([*folder, str(tmp_path / '3.json')])
  assert calls == [1, 15, 1]
  assert (tmp_path / '3.json').read_text() == first
  # And features that were saved before.
  embed.main(
    [
      f'--workdir={workdir}',
      f'--images={crops / "b"}',
      f'--out={tmp_path / "b.npz"}',
    ]
  )
  saved = [*arguments, f'--gallery={tmp_path / "b.npz"}', '--json']
  search.main([*saved, str(tmp_path / '4.json')])
  assert json.loads((tmp_path / '4.json').read_text()) == json.loads(first)


def test_images_by_cluster(workdir, crops, tmp_path, capsys):
  before = (workdir / 'clusters.csv').read_bytes()
  (workdir / 'report.html').unlink()
  for options, is_link in (([], True), (['--copy'], False)):
    to = tmp_path / f'sorted{is_link}'
    report.main([f'--workdir={workdir}', f'--sort_into={to}', *options])
    assert (workdir / 'report.html').exists()
    assert (workdir / 'clusters.csv').read_bytes() == before
    with (workdir / 'clusters.csv').open() as file:
      rows = [*csv.DictReader(file)]
    for row in rows:
      home = f'cluster_{int(row["cluster"]):02d}'
      path = to / home / row['path'].replace('/', '__')
      assert path.is_symlink() == is_link
      assert path.read_bytes() == (crops / row['path']).read_bytes()
    assert sum(1 for _ in to.rglob('*.png')) == len(rows) == 30
  with pytest.raises(SystemExit, match='is not empty'):
    report.main([f'--workdir={workdir}', f'--sort_into={tmp_path}'])


def test_the_demo_has_no_report(capsys):
  with pytest.raises(SystemExit, match='demo is the network that comes with'):
    report.main(['--workdir=demo'])


def test_assign_finds_known_clusters_and_groups_the_new(
  workdir, crops, tmp_path, capsys
):
  out = tmp_path / 'who.csv'
  others = runs.make_images(12, 2, seed=7)
  folder = runs.write_images(
    tmp_path / 'more', [f'new/{i:02d}.png' for i in range(12)], others
  )
  shutil.copytree(crops / 'a', folder / 'old')
  arguments = [f'--workdir={workdir}', f'--images={folder}', f'--out={out}']
  with pytest.raises(SystemExit, match=r'expected at least 0\.0323: 30 images'):
    assign.main(arguments)
  as_json = tmp_path / 'who.json'
  arguments += ['--false_match_rate=0.2', f'--json={as_json}']
  assign.main(arguments)
  told = capsys.readouterr().out
  with out.open() as file:
    rows = [*csv.DictReader(file)]
  assert [row['path'] for row in rows] == [
    *(f'new/{i:02d}.png' for i in range(12)),
    *(f'old/{i:02d}.png' for i in range(0, 30, 2)),
  ]
  assert [*rows[0]] == [*verbs.Answer._fields]
  listed = json.loads(as_json.read_text())
  assert [{k: str(v) for k, v in row.items()} for row in listed] == rows
  with (workdir / 'clusters.csv').open() as file:
    clusters = {r['path']: r['cluster'] for r in csv.DictReader(file)}
  free = 1 + max(map(int, clusters.values()))
  counts = collections.Counter(row['answer'] for row in rows)
  assert counts['known'] >= 5
  for row in rows:
    if row['answer'] == 'known':
      assert row['cluster'] == row['nearest']
    if row['answer'] == 'unsure':
      assert row['cluster'] == '-1'
    if row['answer'] == 'new':
      assert int(row['cluster']) >= free
    assert row['second'] != row['nearest']
    assert row['second'] in clusters.values()
    name = row['path'].replace('old/', 'a/')
    if row['answer'] == 'known' and name in clusters:
      assert row['nearest'] == clusters[name]
  fresh = {row['cluster'] for row in rows if row['answer'] == 'new'}
  assert fresh == {str(free + i) for i in range(len(fresh))}
  for answer in ('known', 'new', 'unsure'):
    assert f'{counts[answer]} {answer}' in told
  with pytest.raises(SystemExit, match='--overwrite replaces it'):
    assign.main(arguments)


def test_numbers_and_names_of_clusters_stay(workdir, crops, tmp_path, capsys):
  was = identities.read(workdir)
  assert [x.id for x in was] == [x.cluster for x in was] == [*range(len(was))]
  changed = [x._replace(id=x.id + 40, name=f'<{x.id}>') for x in was]
  before = (workdir / 'clusters.csv').read_text()
  labels = restore.restore_run(workdir).labels
  names = verbs.of_run(FeatureExtractor.from_workdir(workdir), workdir).names
  try:
    identities.write(workdir, changed)
    write_clusters(workdir / 'clusters.csv', names, labels + 40)
    report.main([f'--workdir={workdir}', f'--sort_into={tmp_path / "sorted"}'])
    assert identities.read(workdir) == changed
    assert not (workdir / identities.MOVED).exists()
    assert (tmp_path / 'sorted' / 'cluster_40').is_dir()
    most = np.bincount(labels).argmax()
    title = f'Cluster {most + 40}, &lt;{most}&gt;: '
    assert title in (workdir / 'report.html').read_text()
    with (workdir / 'clusters.csv').open() as file:
      assert {int(row['cluster']) for row in csv.DictReader(file)} == {
        x.id for x in changed
      }
    search.main([f'--workdir={workdir}', f'--query={crops / "a" / "04.png"}'])
    number = labels[names.index('a/04.png')] + 40
    told = capsys.readouterr().out
    assert f'cluster {number}, <{number - 40}>' in told
    (workdir / 'clusters.csv').unlink()
    with pytest.raises(SystemExit, match='bring that file back, or move this'):
      report.main([f'--workdir={workdir}'])
  finally:
    (workdir / identities.NAME).unlink()
    report.main([f'--workdir={workdir}'])
  assert (workdir / 'clusters.csv').read_text() == before


@pytest.mark.parametrize(
  ('arguments', 'message'),
  [
    (['--query=lost.png'], '^Error: --query: lost.png does not exist'),
    (['--query={crops}/a/04.png', '--gallery=no.npz'], 'does not exist'),
    (['--query={crops}/a/04.png', '--gallery={wide}'], '2 .* of one network'),
    (['--query={crops}/a/04.png', '--html={crops}'], '--html: .* is a folder'),
    (['--query={crops}/a/04.png', '--html={wide}'], '--overwrite replaces'),
    (['--query={crops}/a/04.png', '--csv=no/f.csv'], '--csv: there is no fol'),
    (
      ['--query={crops}/a/04.png', '--tracklets'],
      '^Error: --tracklets: neither',
    ),
    (['--query={crops}', '--pattern=x{{camid}}'], '^Error: --pattern: .* does'),
    (['--query={crops}/a/04.png', '--stage=9'], 'has checkpoints of'),
    (['--query={table}', '--pattern={{camid}}'], 'a .csv tells cameras by its'),
    (
      ['--query={shallow}', '--pattern=' + 30 * 'a/' + '{{camid}}'],
      'more folde',
    ),
    (
      ['--query={crops}', '--gallery={square}'],
      'square.npz: features: got a s',
    ),
    (['--query={crops}', '--gallery={texts}'], 'texts.npz: features are <U1'),
  ],
)
def test_bad_input_is_one_line(arguments, message, workdir, crops, tmp_path):
  wide = tmp_path / 'wide.npz'
  np.savez(wide, features=np.ones((3, 2)))
  square, texts = tmp_path / 'square.npz', tmp_path / 'texts.npz'
  x = np.random.default_rng(0).normal(size=(9, 4))
  np.savez(square, features=np.linalg.norm(x[:, None] - x, axis=2))
  np.savez(texts, features=np.array([['1', '2']]))
  table = tmp_path / 'list.csv'
  table.write_text('path\nno.png\n')
  paths = {
    'crops': crops,
    'wide': wide,
    'square': square,
    'texts': texts,
    'table': table,
    'shallow': crops / 'a' / '04.png',
  }
  arguments = [each.format(**paths) for each in arguments]
  with pytest.raises(SystemExit, match=message) as error:
    search.main([f'--workdir={workdir}', *arguments])
  assert str(error.value).startswith('Error: ')


@pytest.mark.parametrize(
  ('arguments', 'message'),
  [
    (['--full', '--out={tmp}/f.npz'], '--full goes with a .parquet'),
    (['--out={tmp}/d.npz', '--overwrite'], '--out: .* is a folder'),
    (
      ['--out={tmp}/f.npz', '--images={bad}'],
      r'bad\.png.*\n.*take them out\.$',
    ),
    (['--out={tmp}/f.npz', '--images={tmp}/d.npz'], '--images: .* is empty'),
    (['--out={tmp}/f.npz', '--images={bad}', '--tracklets'], '--tracklets: '),
  ],
)
def test_bad_input_of_embed(arguments, message, workdir, tmp_path):
  (tmp_path / 'd.npz').mkdir()
  bad = tmp_path / 'bad.png'
  bad.write_text('nothing')
  arguments = [each.format(tmp=tmp_path, bad=bad) for each in arguments]
  with pytest.raises(SystemExit, match=message) as error:
    embed.main([f'--workdir={workdir}', f'--images={bad}', *arguments])
  assert str(error.value).startswith('Error: ')
  assert not (tmp_path / 'f.npz').exists()


def test_dbc_lists_its_commands_and_knows_the_nearest(monkeypatch, capsys):
  monkeypatch.setattr(sys, 'argv', ['dbc'])
  __main__.main()
  listed = capsys.readouterr().out
  for name in ('train', 'embed', 'search', 'report', 'check-data'):
    assert f'  {name}' in listed
  monkeypatch.setattr(sys, 'argv', ['dbc', 'serch'])
  with pytest.raises(SystemExit, match='no command serch; did you mean search'):
    __main__.main()


def test_ctrl_c_while_a_command_is_loaded_is_one_line(monkeypatch, capsys):
  def interrupt(name):
    raise KeyboardInterrupt

  monkeypatch.setattr(sys, 'argv', ['dbc', 'embed'])
  monkeypatch.setattr(__main__.importlib, 'import_module', interrupt)
  with pytest.raises(SystemExit, match='130'):
    __main__.main()
  assert capsys.readouterr().err == '\nInterrupted.\n'


@pytest.mark.parametrize('name', sorted({*__main__._COMMANDS} - {'train'}))
def test_the_help_of_a_command_has_what_it_does_and_an_example(
  name, monkeypatch, capsys
):
  monkeypatch.setattr(sys, 'argv', ['dbc', name, '--help'])
  with pytest.raises(SystemExit) as error:
    __main__.main()
  assert error.value.code == 0
  told = capsys.readouterr().out
  assert told.startswith(f'usage: dbc {name} ')
  assert 'Command line' not in told
  assert re.search(rf'^examples?:\n  dbc {name} --', told, re.MULTILINE)
