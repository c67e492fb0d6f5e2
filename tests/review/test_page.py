"""The page in a real browser, by its keys."""

import shutil

import pytest
import reviews

from dbc_jax.run import identities
from dbc_jax.run.corrections import read_corrections

playwright = pytest.importorskip(
  'playwright.sync_api', reason="needs pip install 'dbc_jax[browser]'"
)
_BROWSERS = ('chromium', 'chromium-browser', 'google-chrome')


@pytest.fixture(scope='module')
def browser():
  own = next(filter(None, map(shutil.which, _BROWSERS)), None)
  with playwright.sync_playwright() as started:
    try:
      browser = started.chromium.launch(
        executable_path=own, args=['--no-sandbox']
      )
    except playwright.Error as error:
      pytest.skip(f'there is no chromium here: {str(error).splitlines()[0]}')
    yield browser
    browser.close()


@pytest.fixture
def run(tmp_path):
  return reviews.make_run(tmp_path)


class Opened:
  """A page, with all that it asked for and complained of."""

  def __init__(self, browser, address, **options):
    """Opens it and waits for its clusters."""
    self.page = browser.new_page(**options)
    self.page.set_default_timeout(20_000)
    self.faults, self.asked = [], []
    self.page.on('console', lambda x: self.faults.append(x.text))
    self.page.on('pageerror', lambda x: self.faults.append(str(x)))
    self.page.on('dialog', lambda x: self.faults.append('a dialog'))
    self.page.on('request', lambda x: self.asked.append(x.url))
    self.page.goto(address)
    self.page.wait_for_selector('[role=option]')

  def press(self, *keys):
    for key in keys:
      self.page.keyboard.press(key)

  def said(self, text):
    """Waits until the page says so."""
    self.page.wait_for_function(
      "x => document.getElementById('said').textContent.includes(x)", arg=text
    )


@pytest.fixture
def opened(browser, run):
  with reviews.Served(reviews.session_of(run)) as served:
    opened = Opened(browser, served.address)
    opened.served = served
    yield opened
    opened.page.close()
  # Whatever a test did.
  assert opened.faults == []
  assert {url for url in opened.asked if not url.startswith('blob:')}
  assert all(url.startswith(served.address) for url in opened.asked)


def on_disk(run):
  return read_corrections(run.workdir / 'corrections.csv')


def test_two_clusters_are_merged_by_keys_alone_and_an_undo_takes_it_back(
  opened, run
):
  # The first cluster has the focus.
  opened.press('Space', 'ArrowRight', 'ArrowRight', 'Space', 'm')
  opened.said('Kept: clusters 0, 2 are one person')
  assert [x.same for x in on_disk(run)] == [True]
  opened.page.wait_for_selector('text=will join 2')
  opened.press('u')
  opened.said('Taken back: clusters 0, 2 are one')
  assert on_disk(run) == []


def test_names_are_text_whatever_they_hold(opened):
  page = opened.page
  for number in range(reviews.PERSONS):
    page.evaluate('x => { location.hash = x }', f'cluster={number}')
    page.wait_for_function(
      "x => document.querySelector('h2').textContent === x",
      arg=f'Cluster {number}',
    )
    page.wait_for_selector('.images [role=option]')
    listed = page.locator('.images bdi').all_text_contents()
    shown = opened.served.session.collection
    expected = [shown.shown_names[row] for row in shown.members(number)]
    assert listed == expected
  opened.press('Enter')
  page.wait_for_selector('#full[open]')
  assert page.locator('script').count() == 1
  assert page.locator('img[src=x]').count() == 0
  assert page.locator('main img:not([src^="small?row="])').count() == 0


def test_a_picture_is_larger_under_the_mouse(opened):
  page = opened.page
  small = page.locator('.pictures img').first
  small.hover()
  page.wait_for_selector('#loupe img')
  page.wait_for_function(
    "() => document.querySelector('#loupe img').naturalWidth > 0"
  )
  large = page.locator('#loupe img')
  assert large.bounding_box()['height'] > 2 * small.bounding_box()['height']
  source = small.get_attribute('src').replace('small', 'large')
  assert large.get_attribute('src') == source
  assert page.locator('#loupe').inner_text()
  page.mouse.move(0, 0)
  page.wait_for_selector('#loupe', state='hidden')


def test_a_cluster_is_worked_on_by_keys_alone(opened, run):
  page = opened.page
  opened.press('ArrowRight', 'Enter')
  page.wait_for_selector('text=the most doubtful first')
  page.wait_for_selector('.images [role=option]:focus')
  opened.press('n')
  page.keyboard.type('Anna <b>')
  opened.press('Enter')
  opened.said('Cluster 1 is Anna <b>')
  assert identities.read(run.workdir)[1].name == 'Anna <b>'
  page.wait_for_function(
    "() => document.querySelector('h2').textContent === 'Cluster 1, Anna <b>'"
  )
  page.wait_for_selector('.images [role=option]:focus')
  opened.press('ArrowRight', 'o')
  opened.said('Kept: 1 image out of cluster 1')
  assert {x.same for x in on_disk(run)} == {False}
  page.wait_for_selector('.images >> text=will be taken apart')
  opened.press('u')
  opened.said('Taken back: 1 image out of cluster 1')
  page.wait_for_selector('.images [role=option]:focus')
  opened.press('s', 'ArrowRight')
  page.wait_for_selector('.part >> nth=1')
  opened.press('Enter')
  opened.said('Kept: cluster 1 in 2 parts')
  assert {x.same for x in on_disk(run)} == {False}
  # Back to where one came from.
  page.wait_for_selector('.images [role=option]:focus')
  opened.press('Escape')
  page.wait_for_selector('[role=option]:focus >> text=Cluster 1')


def test_questions_are_answered_by_keys_and_are_on_disk_before_the_next(
  opened, run
):
  page = opened.page
  opened.press('2')
  page.wait_for_selector('.pair img')
  for key, text in (('y', 'the same person'), ('n', 'not the same')):
    before = page.locator('figcaption').all_text_contents()
    known = len(on_disk(run))
    opened.press(key)
    opened.said(f'Kept: {text}')
    assert len(on_disk(run)) == known + 1
    page.wait_for_function(
      "x => document.querySelectorAll('figcaption').length === 2 && "
      "[...document.querySelectorAll('figcaption')].map(y => y.textContent)"
      '.join() !== x.join()',
      arg=before,
    )
  opened.press('c')
  opened.said('Kept: cannot tell')
  assert len(on_disk(run)) == 2
  opened.press('u')
  opened.said('Taken back: cannot tell')


def test_clustering_again_tells_what_moved(opened, run):
  page = opened.page
  opened.press('Space', 'ArrowRight', 'Space', 'm')
  opened.said('Kept: clusters')
  page.wait_for_selector('[role=option]:focus')
  opened.press('r')
  page.wait_for_selector('#moved[open]', timeout=60_000)
  assert 'moved' in page.locator('#moved h2').inner_text()
  rows = page.locator('#moved td:last-child').all_text_contents()
  moved = int(page.locator('#moved h2').inner_text().split()[0])
  assert sum(int(row.split(':')[0]) for row in rows) == moved
  opened.press('Escape')
  shown = opened.served.session.collection
  assert len({int(shown.ids[shown.row_of[x.a]]) for x in on_disk(run)}) == 1


def test_a_search_finds_paths_and_pictures(opened, run):
  page = opened.page
  opened.press('/')
  page.keyboard.type('CAM1/07')
  page.wait_for_selector('strong:has-text("1 cluster")')
  assert page.locator('[role=option]').count() == 1
  opened.press('3')  # It is a text here.
  page.wait_for_selector('text=No cluster is like that')
  page.locator('nav >> text=Search').click()
  page.locator('#file').set_input_files(run.images / 'cam0/08.png')
  page.wait_for_selector('.images [role=option]')
  assert page.locator('.images bdi').first.inner_text() == 'cam0/08.png'
  opened.press('l')
  page.wait_for_selector('h2:has-text("Like cam0/08.png")')
  page.wait_for_selector('.images [role=option]:focus')
  name = page.locator('.images bdi').first.inner_text()
  opened.press('y')
  opened.said('Kept: the same person')
  (said,) = on_disk(run)
  assert {said.a, said.b} == {'cam0/08.png', name}


def test_all_keys_are_told_and_the_focus_is_seen(opened):
  page = opened.page
  opened.press('?')
  page.wait_for_selector('#keys[open]')
  told = page.locator('#keys kbd').all_text_contents()
  for key in 'mnosluyc?r':
    assert key in told
  opened.press('Escape')
  page.wait_for_selector('#keys', state='hidden')
  page.evaluate("document.querySelector('header button').focus()")
  walked = set()
  for _ in range(20):
    opened.press('Tab')
    tag, outline = page.evaluate(
      """() => [document.activeElement.tagName,
        getComputedStyle(document.activeElement).outlineStyle]"""
    )
    walked.add(tag)
    assert tag == 'BODY' or outline == 'solid'
  assert walked >= {'BUTTON', 'SELECT', 'INPUT', 'DIV'}


def test_everything_has_a_name_for_a_screen_reader(opened):
  page = opened.page
  for view in ('clusters', 'cluster=0', 'questions', 'search', 'like=0'):
    page.evaluate('x => { location.hash = x }', view)
    page.wait_for_timeout(300)
    nameless = page.evaluate(
      """() => [...document.querySelectorAll(
        'button, input, select, img, [role=option], [role=listbox], dialog')]
        .filter(x => !(x.getAttribute('aria-label') || x.labels?.length
          || x.textContent.trim() || x.alt
          || x.getAttribute('aria-labelledby')
          || x.closest('[aria-hidden=true]')))
        .map(x => x.outerHTML.slice(0, 80))"""
    )
    assert nameless == []
  assert page.locator('html').get_attribute('lang') == 'en'
  assert page.locator('[role=status]').count() == 1


@pytest.mark.parametrize('scheme', ['light', 'dark'])
def test_it_fits_a_phone_and_both_schemes(browser, run, scheme):
  with reviews.Served(reviews.session_of(run)) as served:
    size = {'width': 360, 'height': 640}
    opened = Opened(browser, served.address, viewport=size, color_scheme=scheme)
    for view in ('clusters', 'cluster=0', 'questions', 'search', 'like=0'):
      opened.page.evaluate('x => { location.hash = x }', view)
      opened.page.wait_for_timeout(300)
      wide = opened.page.evaluate('document.documentElement.scrollWidth')
      assert wide <= 360
    light = opened.page.evaluate(
      """() => {
        const found = getComputedStyle(document.body).backgroundColor;
        return found.match(/\\d+/g).slice(0, 3).reduce((x, y) => x + +y, 0);
      }"""
    )
    assert (light > 380) == (scheme == 'light')
    opened.page.close()
    assert opened.faults == []


def test_the_end_of_the_server_is_told(browser, run):
  with reviews.Served(reviews.session_of(run)) as served:
    opened = Opened(browser, served.address)
  opened.page.context.set_offline(True)
  opened.press('Space', 'ArrowRight', 'Space', 'm')
  opened.said('does not answer any more')
  opened.page.close()
