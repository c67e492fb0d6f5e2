"""Tests of the report: well-formed, self-contained, and what it says."""

import base64
import html.parser
import io
import json
import pathlib
import re
import time

import numpy as np
import pytest
from PIL import Image

from dbc_jax.reporting import report
from dbc_jax.reporting.report import page as page_lib
from dbc_jax.reporting.report import ranks, scatter

VOID = {'meta', 'img', 'link', 'br', 'hr', 'input'}
CONFIG = {
  'data': {'name': 'demo', 'root': '<&>'},
  'cluster': {'criterion': 'dbc', 'reg_weight': 0.005},
  'seed': 0,
}
LABELS = np.repeat([0, 1, 2, 3], [20, 3, 2, 1])
PIDS = np.where(np.arange(26) < 18, 5, 6)
NAMES = tuple(f'<{i:02d}>"&</script>\n.jpg' for i in range(26))
FEATURES = np.random.default_rng(1).normal(size=(26, 8)).astype(np.float16)
PLACES = np.random.default_rng(2).normal(size=(26, 2)).astype(np.float32)
CAMIDS = np.arange(26) % 3
IMAGES = np.random.default_rng(0).integers(0, 256, (26, 128, 64, 3), np.uint8)

RANKED = ranks.RankedList(
  '<query>.jpg',
  IMAGES[0],
  [
    ranks.Found('<a>.jpg', IMAGES[1], 0.25, True),
    ranks.Found('<b>.jpg', IMAGES[2], 0.5, False),
  ],
  7,
)


class Page(html.parser.HTMLParser):
  """Tags with their attributes, the text, and whether all tags match."""

  def __init__(self, text: str) -> None:
    super().__init__()
    self.tags: list[tuple[str, dict]] = []
    self.text = ''
    self.scripts: list[str] = []
    self._open: list[str] = []
    self.feed(text)
    self.close()
    assert not self._open

  def handle_starttag(self, tag, attrs):
    assert len(dict(attrs)) == len(attrs)
    self.tags.append((tag, dict(attrs)))
    if tag not in VOID:
      self._open.append(tag)

  def handle_startendtag(self, tag, attrs):
    self.tags.append((tag, dict(attrs)))

  def handle_endtag(self, tag):
    assert self._open.pop() == tag

  def handle_data(self, data):
    if self._open[-1:] == ['script']:
      self.scripts.append(data)
    elif self._open[-1:] != ['style']:
      self.text += data

  def find(self, tag: str) -> list[dict]:
    return [attrs for name, attrs in self.tags if name == tag]


def make_history(num_stages: int, **extra: float) -> list[dict]:
  return [
    {'stage': s, 'num_clusters': 26 - s, 'loss': 2.5 - s / 10, **extra}
    for s in range(num_stages)
  ]


def write(path, history, kept_stage=1, **options) -> str:
  args = (
    history,
    kept_stage,
    'best mAP',
    {'last': history[-1]['stage'], 'best by labels': kept_stage},
    CONFIG,
    NAMES,
    LABELS,
    IMAGES.__getitem__,
  )
  report.write_report(path / 'report.html', *args, **options)
  return (path / 'report.html').read_text()


@pytest.fixture(scope='module')
def full(tmp_path_factory) -> str:
  history = make_history(
    3,
    rank1=0.412,
    rank5=0.6,
    map=0.225,
    pair_f=0.31,
    ari=0.3,
    nmi=0.8,
    seconds_train=7.5,
    seconds_embed=2.5,
  )
  return write(
    tmp_path_factory.mktemp('report'),
    history,
    features=FEATURES,
    places=PLACES,
    pids=PIDS,
    camids=CAMIDS,
    silhouettes=np.linspace(-0.1, 0.9, 26),
    ranked=[RANKED],
    root=pathlib.Path('/crops'),
  )


def test_the_page_is_well_formed_and_small(full):
  Page(full)
  assert len(full) < 2_000_000


def test_the_page_needs_nothing_beside_it(full):
  page = Page(full)
  assert not page.find('link')
  assert not [a for a in page.find('script') if 'src' in a]
  assert all(a['src'].startswith('data:') for a in page.find('img'))
  assert not re.search(r'https?:|@import|url\(|\bfetch\(|XMLHttp', full)
  assert all(a['href'].startswith('#') for a in page.find('a'))
  (policy,) = (a['content'] for a in page.find('meta') if 'http-equiv' in a)
  assert "default-src 'none'" in policy
  folder = pathlib.Path(page_lib.__file__).parent
  assert (folder / 'page.js').stat().st_size < 30_000


def test_ids_are_unique_and_references_resolve(full):
  page = Page(full)
  ids = [attrs['id'] for _, attrs in page.tags if 'id' in attrs]
  assert len(ids) == len(set(ids))
  for key in ('aria-labelledby', 'aria-describedby'):
    assert {a[key] for _, a in page.tags if key in a} <= set(ids)
  references = {a['href'][1:] for a in page.find('a')}
  assert {'course-h', 'tsne-h', 'clusters-h', 'ranks-h'} <= references
  assert references <= set(ids)


def test_charts_say_what_they_show_and_have_no_colour_of_their_own(full):
  charts = re.findall(r'<svg.*?</svg>', full, re.DOTALL)
  # Four groups of curves, times, two histograms of sizes, one of silhouettes.
  assert len(charts) == 8
  for chart in charts:
    assert re.match(
      '<svg viewBox="[^"]*" role="img" aria-label="[^"]+">', chart
    )
    assert not re.search('(fill|stroke|style)=|#[0-9a-f]{3}', chart)
  for title in ('Retrieval (%)', 'Cluster quality', 'Training loss'):
    assert title in full
  assert 'rank-1 from 41.2 to 41.2' in charts[0]
  assert charts[0].count('<circle') == 3 * 3


def test_times_are_told_by_part(full):
  cells = re.findall(r'<th scope="row">train</th>(.*?)</tr>', full)
  assert cells == ['<td>22.5 s</td><td>75 %</td>']


def test_ranked_lists_tell_right_from_wrong(full):
  text = full[full.index('id="ranks"') :]
  assert '&lt;query&gt;.jpg</b>: 1 of the first 2 are right, of 7' in text
  tags = {a['alt']: a['class'] for a in Page(full).find('img') if 'class' in a}
  assert tags['1, right: <a>.jpg'] == 'same'
  assert tags['2, wrong: <b>.jpg'] == 'other'


def data_of(text: str) -> dict:
  """What the page's script reads."""
  return json.loads(Page(text).scripts[0])


def test_the_script_gets_every_path_and_cluster(full):
  data = data_of(full)
  assert data['names'] == list(NAMES)
  assert data['labels'] == LABELS.tolist()
  assert data['persons'] == PIDS.tolist()
  assert data['cameras'] == CAMIDS.tolist()
  assert data['titles'] == [f'Cluster {k}' for k in range(4)]
  assert data['joined'][3] == 0
  assert min(data['joined'][:3]) > 0
  assert data['root'] == 'file:///crops'
  assert sorted(row for row, _, _ in data['places']) == [*range(26)]
  assert all(0 <= v <= 1000 for _, *place in data['places'] for v in place)
  # Each image once: on a sheet, or here.
  shown = {
    int(a['data-row']) for a in Page(full).find('img') if 'data-row' in a
  }
  assert shown | set(map(int, data['pictures'])) == {*range(26)}
  assert not shown & set(map(int, data['pictures']))
  assert '26 of the images are\npictured' in full


def test_pictures_end_where_their_room_does(tmp_path, monkeypatch):
  monkeypatch.setattr(page_lib, '_PICTURE_BYTES', 0)
  text = write(tmp_path, make_history(2), features=FEATURES, places=PLACES)
  sheets = {a['data-row'] for a in Page(text).find('img')}
  assert f'; {len(sheets)} of the images are' in text
  assert data_of(text)['pictures'] == {}
  taken = sum(map(len, re.findall(r'<img[^>]*>', text)))
  room = taken + 15_000
  monkeypatch.setattr(page_lib, '_PICTURE_BYTES', room)
  text = write(tmp_path, make_history(2), features=FEATURES, places=PLACES)
  pictures = data_of(text)['pictures']
  assert 0 < len(pictures) < 26 - len(sheets)
  assert f'; {len(sheets) + len(pictures)} of the images are' in text
  assert sum(map(len, pictures.values())) < 15_000


def test_equal_features_have_no_map(tmp_path):
  places = scatter.places_of_map(np.ones((26, 4)))
  text = write(tmp_path, make_history(2), places=places)
  assert data_of(text)['places'] == []
  assert 'id="map"' not in text


def test_before_the_end_curves_sizes_and_tables_alone(tmp_path):
  history = make_history(30, rank1=0.4, map=0.2, seconds_train=1.0)
  path = tmp_path / 'report.html'
  labels = np.arange(12_936) // 17
  stages = {'last': 29, 'chosen without labels': 12}
  report.write_progress(path, history, 12, stages, CONFIG, labels)
  start = time.process_time()
  report.write_progress(path, history, 12, stages, CONFIG, labels)
  assert time.process_time() - start < 0.2
  text = path.read_text()
  page = Page(text)
  assert 'The run is not finished: it has got to stage 29' in page.text
  assert 'Stage 12 would be kept now' in page.text
  assert len(re.findall('<svg', text)) == 5
  assert not page.find('img')
  assert not page.find('script')
  assert 'not finished' not in write(tmp_path, history, 12)


def test_the_verdict_names_data_criterion_stage_and_scores(full):
  text = ' '.join(Page(full).text.split())
  assert 'demo clustered by dbc' in text
  assert '26 training images were grouped, without labels, into 4' in text
  assert 'Stage 1 is kept (best mAP)' in text
  assert 'rank-1 41.2 %' in text
  assert 'mAP 22.5 %' in text
  assert 'skipped' not in text


def test_images_are_embedded_and_small(full):
  images = Page(full).find('img')
  # 12 of the 20, then 3 and 2; so again where they are doubtful; and, of their
  # last merges, at most 6 a side. Lastly a query and what it found.
  assert len(images) >= 2 * (12 + 3 + 2) + 3 + 3 + 2
  for attrs in images:
    data = base64.b64decode(attrs['src'].split(',')[1])
    image = Image.open(io.BytesIO(data))
    assert image.size == (int(attrs['width']), int(attrs['height']))
    assert image.size == (48, 96)


def test_names_and_settings_are_escaped(full):
  page = Page(full)
  alts = {a['alt'] for a in page.find('img') if 'data-row' in a}
  assert alts <= set(NAMES)
  assert '<0' not in full
  # The data and the script itself.
  assert full.count('</script>') == len(page.find('script')) == 2
  assert 'data.root' in page.text
  assert '<&>' in page.text
  assert 'cluster.reg_weight' in page.text
  assert '0.005' in page.text


def test_captions_count_identities_and_frames_mark_the_others(full):
  page = Page(full)
  assert (
    'Cluster 0: 20 images, silhouette 0.28, 12 shown; 2 identities, the most'
    ' frequent has 18' in page.text
  )
  assert 'Cluster 1: 3 images, silhouette 0.74; one identity' in page.text
  for attrs in page.find('img'):
    if 'data-row' in attrs:
      assert ('class' in attrs) == (attrs['data-row'] in ('18', '19'))


def test_the_stage_table_marks_the_kept_stage(full):
  (kept,) = re.findall(r'<tr class="kept">(.*?)</tr>', full)
  cells = re.findall(r'<t[hd][^>]*>(.*?)</t[hd]>', kept)
  assert cells[:4] == ['1*', '25', '2.40', '41.2 %']


def test_without_identities_the_page_says_so(tmp_path):
  page = Page(write(tmp_path, make_history(2)))
  text = ' '.join(page.text.split())
  assert 'skipped because the data set has no identities' in text
  for word in ('Retrieval', 'Cluster quality', 'rank-1', 'identity', 'NMI'):
    assert word not in text
  assert not [a for a in page.find('img') if 'class' in a]
  assert not [a for _, a in page.tags if a.get('id') in ('ranks', 'tsne')]


def test_one_stage_of_single_images_makes_a_report(tmp_path):
  report.write_report(
    tmp_path / 'report.html',
    make_history(1),
    0,
    'last stage',
    {'last': 0},
    {'data': {'name': 'folder'}, 'cluster': {'criterion': 'buc'}},
    NAMES,
    np.arange(26),
    IMAGES.__getitem__,
  )
  page = Page((tmp_path / 'report.html').read_text())
  assert 'folder clustered by buc' in page.text
  assert 'Every cluster holds a single image.' in page.text


def test_wrong_arguments_are_named(tmp_path):
  with pytest.raises(ValueError, match='kept_stage: got 9'):
    write(tmp_path, make_history(2), kept_stage=9)
  with pytest.raises(ValueError, match='labels: got 26 values for 25 images'):
    report.write_report(
      tmp_path / 'report.html',
      make_history(2),
      1,
      'best mAP',
      {'last': 1},
      CONFIG,
      NAMES[:25],
      LABELS,
      IMAGES.__getitem__,
    )
  assert not list(tmp_path.iterdir())


def test_it_says_how_sure_the_clusters_are(tmp_path):
  values = np.linspace(-0.1, 0.9, 26)
  page = Page(write(tmp_path, make_history(2), silhouettes=values))
  assert 'How sure the clusters are' in page.text
  # -0.1, -0.06 and -0.02.
  assert 'another is nearer: 3 of 26 images' in page.text
  assert 'above 0.57' in page.text
  assert 'below 0.23' in page.text
  assert 'silhouette 0.28' in page.text


def test_without_silhouettes_it_says_nothing_of_it(tmp_path):
  assert 'sure' not in Page(write(tmp_path, make_history(2))).text
