"""Tests of the report: well-formed, self-contained, and what it says."""

import base64
import html.parser
import io
import re

import numpy as np
import pytest
from PIL import Image

from dbc_jax.reporting import report

VOID = {'meta', 'img', 'link', 'br', 'hr'}
CONFIG = {
  'data': {'name': 'demo', 'root': '<&>'},
  'cluster': {'criterion': 'dbc', 'reg_weight': 0.005},
  'seed': 0,
}
LABELS = np.repeat([0, 1, 2, 3], [20, 3, 2, 1])
PIDS = np.where(np.arange(26) < 18, 5, 6)
NAMES = tuple(f'<{i:02d}>"&.jpg' for i in range(26))
IMAGES = np.random.default_rng(0).integers(0, 256, (26, 128, 64, 3), np.uint8)


class Page(html.parser.HTMLParser):
  """Tags with their attributes, the text, and whether all tags match."""

  def __init__(self, text: str) -> None:
    super().__init__()
    self.tags: list[tuple[str, dict]] = []
    self.text = ''
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
    3, rank1=0.412, rank5=0.6, map=0.225, pair_f=0.31, ari=0.3, nmi=0.8
  )
  return write(tmp_path_factory.mktemp('report'), history, pids=PIDS)


def test_the_page_is_well_formed_and_small(full):
  Page(full)
  assert len(full) < 2_000_000


def test_the_page_needs_nothing_beside_it(full):
  page = Page(full)
  assert 'http' not in full
  assert not page.find('script')
  assert not page.find('link')
  assert all(a['src'].startswith('data:') for a in page.find('img'))
  assert '@import' not in full
  for reference in re.findall(r'(?:url\(|href=")(.)', full):
    assert reference == '#'


def test_ids_are_unique_and_references_resolve(full):
  page = Page(full)
  ids = [attrs['id'] for _, attrs in page.tags if 'id' in attrs]
  assert len(ids) == len(set(ids))
  references = set(re.findall(r'(?:url\(|href=")#([^")]+)', full))
  assert references
  assert references <= set(ids)


def test_curves_take_the_colour_of_the_page(full):
  svgs = re.findall(r'<svg.*?</svg>', full, re.DOTALL)
  assert len(svgs) == 2
  for svg in svgs:
    assert 'currentColor' in svg
    assert '#000000' not in svg
    assert '#ffffff' not in svg
  for title in ('Retrieval (%)', 'Cluster quality', 'Training loss'):
    assert title in svgs[0]


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
  # 12 of the 20, then clusters of 3 and 2; a single image is not shown.
  assert len(images) == 12 + 3 + 2
  for attrs in images:
    data = base64.b64decode(attrs['src'].split(',')[1])
    image = Image.open(io.BytesIO(data))
    assert image.size == (int(attrs['width']), int(attrs['height']))
    assert image.size == (48, 96)


def test_names_and_settings_are_escaped(full):
  page = Page(full)
  assert {attrs['alt'] for attrs in page.find('img')} <= set(NAMES)
  assert '<0' not in full
  assert 'data.root' in page.text
  assert '<&>' in page.text
  assert 'cluster.reg_weight' in page.text
  assert '0.005' in page.text


def test_captions_count_identities_and_frames_mark_the_others(full):
  page = Page(full)
  assert (
    'Cluster 0: 20 images, 12 shown; 2 identities, the most frequent has 18'
    in page.text
  )
  assert 'Cluster 1: 3 images; one identity' in page.text
  for attrs in page.find('img'):
    index = NAMES.index(attrs['alt'])
    assert ('class' in attrs) == (index in (18, 19))


def test_the_stage_table_marks_the_kept_stage(full):
  (kept,) = re.findall(r'<tr class="kept">(.*?)</tr>', full)
  cells = re.findall(r'<td>(.*?)</td>', kept)
  assert cells[:4] == ['1*', '25', '2.40', '41.2 %']


def test_without_identities_the_page_says_so(tmp_path):
  page = Page(write(tmp_path, make_history(2)))
  text = ' '.join(page.text.split())
  assert 'skipped because the data set has no identities' in text
  for word in ('Retrieval', 'Cluster quality', 'rank-1', 'identity', 'NMI'):
    assert word not in text
  assert not [a for a in page.find('img') if 'class' in a]


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
