"""The report in a real browser: what one sees, hovers, types and presses."""

import shutil

import numpy as np
import pytest

from dbc_jax.reporting import report
from dbc_jax.reporting.report import ranks, scatter

CHROMIUM = shutil.which('chromium') or shutil.which('chromium-browser')
HOSTILE = (
  '<script>hacked=1</script><img src=x onerror=hacked=1>"\'&\n\u202e.jpg'
)
# The same as the page prints it.
PRINTED = HOSTILE.replace('\n', '\\u000a').replace('\u202e', '\\u202e')
COUNT = 60
NAMES = [HOSTILE, *(f'cam{i % 3}/{i:03d}.jpg' for i in range(1, COUNT))]
# 25 clusters, of which the first has eight; the last five are in none.
LABELS = np.array([0] * 7 + [k % 25 for k in range(48)] + [-1] * 5)
CONFIG = {
  'data': {'name': '</title>demo'},
  'cluster': {'criterion': 'dbc'},
}


@pytest.fixture(scope='module')
def browser():
  api = pytest.importorskip(
    'playwright.sync_api', reason="pip install 'dbc_jax[browser]' brings it"
  )
  if CHROMIUM is None:
    pytest.skip('there is no chromium: apt install chromium')
  with api.sync_playwright() as playwright:
    found = playwright.chromium.launch(
      executable_path=CHROMIUM, args=['--no-sandbox']
    )
    yield found
    found.close()


@pytest.fixture(scope='module')
def path(tmp_path_factory):
  path = tmp_path_factory.mktemp('page') / 'report.html'
  rng = np.random.default_rng(0)
  images = rng.integers(0, 256, (COUNT, 64, 32, 3), np.uint8)
  features = rng.normal(size=(COUNT, 8)).astype(np.float16)
  history = [
    {'stage': s, 'num_clusters': 25, 'loss': 2.0, 'map': 0.2, 'rank1': 0.4}
    for s in range(3)
  ]
  report.write_report(
    path,
    history,
    2,
    'the last',
    {'last': 2},
    CONFIG,
    NAMES,
    LABELS,
    images.__getitem__,
    features=features,
    places=scatter.places_of_map(features),
    pids=np.arange(COUNT) % 30 - 1,
    camids=np.arange(COUNT) % 3,
    silhouettes=np.linspace(-0.2, 0.9, COUNT),
    titles=['<b>Anna</b>', *(f'Cluster {k}' for k in range(1, 25))],
    ranked=[
      ranks.RankedList(
        HOSTILE, images[0], [ranks.Found(HOSTILE, images[1], 0.5, True)], 2
      )
    ],
    root=path.parent,
  )
  return path


@pytest.fixture
def opened(browser, path):
  """Opens the page; at the end nothing was asked of elsewhere or went wrong."""
  faults, requests, contexts = [], [], []

  def open_page(file=path, **options):
    context = browser.new_context(offline=True, **options)
    contexts.append(context)
    page = context.new_page()
    page.set_default_timeout(10_000)
    page.on('console', lambda message: faults.append(message.text))
    page.on('pageerror', lambda error: faults.append(str(error)))
    page.on('request', lambda request: requests.append(request.url))
    page.goto(file.as_uri())
    return page

  yield open_page
  for context in contexts:
    context.close()
  assert not faults
  others = [url for url in requests if not url.startswith('data:')]
  assert {url.partition('#')[0] for url in others} <= {
    path.as_uri(),
    path.with_name('progress.html').as_uri(),
  }


@pytest.mark.parametrize('scheme', ['light', 'dark'])
@pytest.mark.parametrize('width', [390, 1280])
def test_it_opens_in_any_light_and_width(opened, scheme, width):
  page = opened(viewport={'width': width, 'height': 800}, color_scheme=scheme)
  assert page.title() == '</title>demo clustered by dbc'
  # Nothing but tables is wider than the window.
  assert page.evaluate('document.documentElement.scrollWidth') == width
  background = page.evaluate('getComputedStyle(document.body).backgroundColor')
  light = sum(map(int, background[4:-1].split(','))) > 3 * 128
  assert light == (scheme == 'light')
  assert page.locator('#course svg').count() == 3
  assert page.locator('#rows details').count() == 20
  assert page.evaluate(
    '[...document.images].every(i => i.complete && i.naturalWidth)'
  )


def place_of(page, row: int) -> tuple[float, float]:
  """Where an image stands on the map, in the window."""
  canvas = page.locator('#canvas')
  canvas.scroll_into_view_if_needed()
  box = canvas.bounding_box()
  places = page.evaluate(
    "JSON.parse(document.getElementById('data').textContent).places"
  )
  side = min(box['width'], 640)
  ((x, y),) = (place for other, *place in places if other == row)
  return (
    box['x'] + (box['width'] - side) / 2 + 12 + x / 1000 * (side - 24),
    box['y'] + 12 + y / 1000 * (side - 24),
  )


def test_hovering_shows_the_picture(opened):
  page = opened()
  tip = page.locator('#tip')
  assert not tip.is_visible()
  page.mouse.move(*place_of(page, 0))
  assert tip.is_visible()
  assert tip.locator('img').evaluate('image => image.naturalHeight') == 64
  assert tip.locator('div').all_inner_texts() == [
    PRINTED,
    '<b>Anna</b>, 9 images',
    'camera 0',
    'identity not known',
  ]
  box = page.locator('#canvas').bounding_box()
  page.mouse.move(box['x'] - 5, box['y'] - 5)
  assert not tip.is_visible()


def test_a_click_on_the_map_opens_the_cluster(opened):
  page = opened()
  page.mouse.click(*place_of(page, 0))
  opened_one = page.locator('#rows details[open]')
  assert opened_one.locator('b').inner_text() == '<b>Anna</b>'
  assert opened_one.locator('li').count() == 9


def test_the_map_takes_keys(opened):
  page = opened()
  page.locator('#canvas').focus()
  told = page.locator('#told')
  seen = set()
  for key in ('Right', 'Right', 'Left', 'Down', 'Up', 'Down'):
    page.keyboard.press(f'Arrow{key}')
    seen.add(told.inner_text())
  assert len(seen) > 2
  page.keyboard.press('Enter')
  title = page.evaluate('document.activeElement.innerText').split('\n')[0]
  assert title.split(' ')[0] in told.inner_text()
  assert page.locator('#rows details[open]').count() == 1


def test_colours_tell_clusters_cameras_and_identities(opened):
  page = opened()
  key = page.locator('#key')
  assert key.inner_text().startswith('25 colours')
  assert 'not placed' in key.inner_text()
  before = page.locator('#canvas').screenshot()
  page.locator('#colour').select_option('Camera')
  cameras = page.locator('#key span').all_inner_texts()
  assert cameras == ['Camera 0', 'Camera 1', 'Camera 2']
  assert page.locator('#canvas').screenshot() != before
  page.locator('#colour').select_option('Identity')
  assert 'not known' in key.inner_text()


def test_the_search_finds_a_path_and_a_title(opened):
  page = opened()
  find = page.get_by_label('Find a path or a cluster')
  find.fill('cam1/052')
  assert page.locator('#found').inner_text() == (
    '1 image and 1 clusters found.'
  )
  (cluster,) = page.locator('#rows details').all()
  assert cluster.locator('b').inner_text() == f'Cluster {LABELS[52]}'
  assert cluster.locator('mark').inner_text() == 'cam1/052'
  link = cluster.locator('a').first
  assert link.inner_text() == 'cam1/052.jpg'
  assert link.get_attribute('href').endswith('/cam1/052.jpg')
  find.fill('ANNA')
  assert page.locator('#rows details').count() == 1
  find.fill('onerror=hacked')
  assert page.locator('#rows mark').inner_text() == 'onerror=hacked'
  find.fill('nowhere')
  assert page.locator('#rows details').count() == 0
  find.fill('')
  assert page.locator('#rows details').count() == 20


def test_keys_turn_pages_and_open_clusters(opened):
  page = opened()
  first = page.locator('#rows summary').first
  number = page.locator('#page')
  first.focus()
  assert number.inner_text() == 'Page 1 of 2'
  assert page.locator('#before').is_disabled()
  page.keyboard.press('PageDown')
  assert number.inner_text() == 'Page 2 of 2'
  # The rest of 25 clusters, and what is in none.
  assert page.locator('#rows details').count() == 6
  assert page.locator('#rows b').last.inner_text() == 'Not placed'
  assert page.locator('#found').inner_text() == 'Page 2 of 2'
  page.keyboard.press('Enter')
  assert page.locator('#rows details').first.get_attribute('open') is not None
  page.keyboard.press('PageUp')
  assert number.inner_text() == 'Page 1 of 2'
  page.keyboard.press('End')
  assert number.inner_text() == 'Page 2 of 2'
  page.keyboard.press('Home')
  assert number.inner_text() == 'Page 1 of 2'
  assert page.locator('#rows summary').first.evaluate(
    'summary => summary === document.activeElement'
  )


def test_orders_are_what_they_say(opened):
  page = opened()
  order = page.get_by_label('Order')

  def facts(word):
    texts = page.locator('#rows summary').all_inner_texts()
    return [float(text.split(word)[1].split(',')[0]) for text in texts]

  order.select_option('doubt')
  doubts = facts('silhouette ')
  assert doubts == sorted(doubts)
  order.select_option('joined')
  joined = facts('joined last at ')
  assert joined == sorted(joined, reverse=True)
  order.select_option('number')
  assert page.locator('#rows b').nth(3).inner_text() == 'Cluster 3'


def test_a_button_at_a_sheet_leads_to_the_list(opened):
  page = opened()
  page.locator('#sheets button').first.click()
  assert page.locator('#rows details[open] b').inner_text() == '<b>Anna</b>'
  page.get_by_role('button', name='see all').last.click()
  assert page.locator('#rows details[open] b').inner_text() == 'Not placed'
  assert page.locator('#rows details[open] li').count() == 5


def test_a_hostile_name_is_text(opened):
  page = opened()
  page.locator('#rows summary').first.click()
  assert page.locator('#rows li').first.inner_text().startswith(PRINTED)
  assert page.locator('#ranks b').inner_text().startswith('<script>hacked=1')
  assert page.evaluate('typeof hacked') == 'undefined'
  assert page.locator('img[src="x"]').count() == 0


def test_without_scripts_curves_and_sheets_are_there(opened):
  page = opened(java_script_enabled=False)
  assert page.locator('#sheets img').first.is_visible()
  assert page.locator('#course svg').first.is_visible()
  assert page.get_by_text('The list takes JavaScript').is_visible()
  assert not page.locator('button.see').first.is_visible()


def test_before_the_end(opened, path):
  history = [{'stage': 0, 'num_clusters': 60, 'loss': 2.0}]
  other = path.with_name('progress.html')
  report.write_progress(other, history, 0, {'last': 0}, CONFIG, np.arange(60))
  page = opened(other)
  assert page.get_by_text('The run is not finished').is_visible()
  assert page.locator('svg').count() == 3
