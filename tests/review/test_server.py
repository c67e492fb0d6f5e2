"""The page's server, by plain HTTP: what it answers, and to whom."""

import base64
import concurrent.futures
import http.client
import json
import socket
import urllib.parse

import numpy as np
import pytest
import reviews

from dbc_jax.data.decode import decode_image
from dbc_jax.review import pictures
from dbc_jax.review.server import PageServer
from dbc_jax.run import features_file, identities
from dbc_jax.run.corrections import digest_of, read_corrections


@pytest.fixture
def run(tmp_path):
  return reviews.make_run(tmp_path)


@pytest.fixture
def served(run):
  with reviews.Served(reviews.session_of(run)) as served:
    yield served


def request(served, method, path, body=None, headers=None):
  """Status, headers and body of any request, as it is written."""
  port = served.server.server_port
  connection = http.client.HTTPConnection('127.0.0.1', port, timeout=60)
  try:
    connection.putrequest(method, path, skip_host='Host' in (headers or {}))
    for name, value in (headers or {}).items():
      connection.putheader(name, value)
    if body is not None and 'Content-Length' not in (headers or {}):
      connection.putheader('Content-Length', str(len(body)))
    connection.endheaders(body)
    answer = connection.getresponse()
    return answer.status, answer.headers, answer.read()
  finally:
    connection.close()


def get(served, name, /, **given):
  path = f'/{served.server.token}/{name}?{urllib.parse.urlencode(given)}'
  status, headers, body = request(served, 'GET', path)
  if headers['Content-Type'] != 'application/json':
    return status, body
  return status, json.loads(body)


def post(served, name, given=None, /, **headers):
  path = f'/{served.server.token}/{name}'
  body = json.dumps(given or {}).encode()
  headers = {'Content-Type': 'application/json'} | headers
  status, _, answer = request(served, 'POST', path, body, headers)
  return status, json.loads(answer)


def on_disk(run):
  return read_corrections(run.workdir / 'corrections.csv')


def test_the_page_allows_a_browser_itself_and_nothing_else(served):
  path = f'/{served.server.token}/'
  status, headers, body = request(served, 'GET', path)
  assert status == 200
  assert headers['Content-Type'] == 'text/html; charset=utf-8'
  policy = headers['Content-Security-Policy']
  assert "default-src 'none'" in policy
  assert "frame-ancestors 'none'" in policy
  assert 'http' not in policy
  assert 'unsafe' not in policy
  assert headers['Cache-Control'] == 'no-store'
  assert headers['Referrer-Policy'] == 'no-referrer'
  assert headers['X-Content-Type-Options'] == 'nosniff'
  assert b'http://' not in body
  assert b'https://' not in body
  assert b'innerHTML' not in body


def test_it_listens_on_this_machine_alone(served):
  assert served.server.server_address[0] == '127.0.0.1'
  with pytest.raises(OSError, match='refused'):
    socket.create_connection(('127.0.0.2', served.server.server_port), 5)


@pytest.mark.parametrize(
  'host',
  [
    'example.com',
    'localhost.example.com',
    '127.0.0.1.example.com:80',
    '127.0.0.1@example.com',
    '127.0.0.1:80:80',
    '',
    'LOCALHOST evil',
  ],
)
def test_a_foreign_host_is_refused(served, host):
  path = f'/{served.server.token}/state'
  status, _, body = request(served, 'GET', path, headers={'Host': host})
  assert status == 403
  assert 'Host' in json.loads(body)['error']


def test_a_forwarded_port_is_no_foreign_host(served):
  path = f'/{served.server.token}/state'
  for host in ('localhost:9999', '127.0.0.1:9999', 'localhost'):
    assert request(served, 'GET', path, headers={'Host': host})[0] == 200
    headers = {'Host': host, 'Origin': f'http://{host}'}
    assert request(served, 'GET', path, headers=headers)[0] == 200


@pytest.mark.parametrize(
  'origin',
  ['http://example.com', 'https://127.0.0.1', 'null', 'http://localhost:1', ''],
)
def test_a_foreign_origin_is_refused_and_changes_nothing(served, run, origin):
  given = {'clusters': [0, 1]}
  status, answer = post(served, 'merge', given, Origin=origin)
  assert status == 403
  assert 'Origin' in answer['error']
  assert on_disk(run) == []


def test_without_its_token_there_is_nothing(served):
  token = served.server.token
  wrong = token[:-1] + ('a' if token[-1] != 'a' else 'b')
  for path in ('/', '/state', f'/{wrong}/state', f'/{wrong}/', f'/{token}'):
    status, _, body = request(served, 'GET', path)
    assert status == 404
    assert token.encode() not in body
  assert len(token) >= 32


@pytest.mark.parametrize(
  'rest',
  [
    '../etc/passwd',
    '..%2f..%2fetc%2fpasswd',
    '/etc/passwd',
    'config.json',
    'clusters.csv',
    'small/../../config.json',
    'page.html',
    'small?row=../config.json',
    'large?row=%2e%2e%2fconfig.json',
    'small?row=-1',
    'small?row=30',
    'small?row=1e3',
    'small?row=99999999999999999999999',
    'small',
    'merge',
    '%00',
  ],
)
def test_no_other_file_can_be_read(served, rest):
  status, _, body = request(served, 'GET', f'/{served.server.token}/{rest}')
  assert status in (400, 404)
  assert list(json.loads(body)) == ['error']


def test_what_is_said_is_json_by_post_alone(served, run):
  path = f'/{served.server.token}/merge'
  body = json.dumps({'clusters': [0, 1]}).encode()
  kinds = {'Content-Type': 'text/plain'}
  assert request(served, 'GET', f'{path}?clusters=0')[0] == 404
  assert request(served, 'POST', path, body, kinds)[0] == 415
  kinds = {'Content-Type': 'application/json'}
  assert request(served, 'POST', path, b'[1, 2', kinds)[0] == 400
  assert request(served, 'POST', path, b'[' * 100_000, kinds)[0] == 400
  assert request(served, 'POST', path, None, kinds)[0] == 411
  long = kinds | {'Content-Length': str(2**40)}
  assert request(served, 'POST', path, b'', long)[0] == 413
  for method in ('PUT', 'DELETE', 'OPTIONS'):
    assert request(served, method, path, body, kinds)[0] == 501
  assert on_disk(run) == []


def test_pictures_are_those_of_their_rows(served, run):
  names = served.session.collection.names
  pixels = [decode_image((run.images / name).read_bytes()) for name in names]
  for row in range(len(names)):
    status, small = get(served, 'small', row=row)
    assert status == 200
    found = decode_image(small).astype(int)
    gaps = [np.abs(found - each).mean() for each in pixels]
    assert np.argmin(gaps) == row
    # Nothing but pixels goes out.
    assert small[6:10] == b'JFIF'
  status, large = get(served, 'large', row=3)
  assert decode_image(large).shape == pixels[3].shape


def test_small_pictures_in_memory_have_a_bound(served, monkeypatch):
  made = served.session.pictures
  monkeypatch.setattr(pictures, 'CACHE_BYTES', 3000)
  for row in range(30):
    made.small(row)
  assert sum(map(len, made._cache.values())) <= 3000
  assert made._cache


def test_images_that_have_moved_are_told_and_all_else_works(run):
  gone = run.images.rename(run.images.with_name('elsewhere'))
  with reviews.Served(reviews.session_of(run)) as served:
    status, answer = get(served, 'small', row=0)
    assert status == 400
    assert '--root=DIR' in answer['error']
    assert '--root=DIR' in get(served, 'state')[1]['pictures']
    assert get(served, 'clusters')[1]['total'] == reviews.PERSONS
    assert post(served, 'merge', {'clusters': [0, 1]})[0] == 200
  (gone / 'cam1/07.png').unlink()
  with reviews.Served(reviews.session_of(run, gone)) as served:
    row = served.session.collection.row_of['cam1/07.png']
    assert get(served, 'small', row=row)[0] == 400
    assert get(served, 'small', row=row + 1)[0] == 200
    assert get(served, 'state')[1]['pictures'] is None


def test_a_merge_is_on_disk_before_its_answer_and_an_undo_takes_it_back(
  served, run
):
  status, answer = post(served, 'merge', {'clusters': [0, 3]})
  assert status == 200
  assert answer['said'] == 'Kept: clusters 0, 3 are one person'
  said = on_disk(run)
  assert [x.same for x in said] == [True]
  shown = served.session.collection
  owners = {int(shown.ids[shown.row_of[x]]) for x in (said[0].a, said[0].b)}
  assert owners == {0, 3}
  assert answer['state']['pending'] == 1
  cards = {c['id']: c for c in get(served, 'clusters')[1]['clusters']}
  assert cards[0]['marks'] == ['will join 3']
  assert cards[1]['marks'] == []
  status, answer = post(served, 'undo')
  assert 'clusters 0, 3 are one' in answer['said']
  assert on_disk(run) == []
  assert post(served, 'undo')[0] == 400


def test_an_image_is_taken_out_and_marked(served, run):
  members = get(served, 'cluster', id=2)[1]['images']
  row = members[0]['row']
  assert post(served, 'take_out', {'rows': [row]})[0] == 200
  said = on_disk(run)
  name = served.session.collection.names[row]
  assert [x.a for x in said] == [name] * (reviews.EACH - 1)
  assert not any(x.same for x in said)
  images = get(served, 'cluster', id=2)[1]['images']
  assert [x['row'] for x in images if x['apart']] == [row]
  rows = [x['row'] for x in members]
  status, answer = post(served, 'take_out', {'rows': rows})
  assert status == 400
  assert 'leave one' in answer['error']


def test_an_answer_knows_its_images_by_their_pixels(served, run):
  served.session.pictures.open()
  post(served, 'pair', {'a': 3, 'b': 4, 'answer': 'same'})
  (said,) = on_disk(run)
  for name, digest in ((said.a, said.a_digest), (said.b, said.b_digest)):
    pixels = decode_image((run.images / name).read_bytes())
    assert digest == digest_of(pixels)
  post(served, 'undo')
  assert on_disk(run) == []


def test_a_cluster_is_named_and_the_name_taken_back(served, run):
  assert post(served, 'name', {'id': 1, 'name': ' Anna  B. '})[0] == 200
  assert [x.name for x in identities.read(run.workdir)][1] == 'Anna B.'
  assert get(served, 'clusters', name='anna')[1]['clusters'][0]['id'] == 1
  post(served, 'undo')
  assert [x.name for x in identities.read(run.workdir)][1] == ''
  for name in ('x' * 201, 'a\x00b'):
    assert post(served, 'name', {'id': 1, 'name': name})[0] == 400


def test_questions_are_asked_once(served, run):
  seen = set()
  for answer in ('same', 'unknown', 'different') * 3:
    asked = get(served, 'question')[1]
    if asked['pair'] is None:
      break
    a, b = (x['row'] for x in asked['pair'])
    assert frozenset((a, b)) not in seen
    seen.add(frozenset((a, b)))
    # Loading the page anew asks the same.
    assert get(served, 'question')[1] == asked
    given = {'a': a, 'b': b, 'answer': answer}
    assert post(served, 'pair', given)[0] == 200
  assert len(seen) > 3
  assert len(on_disk(run)) == 6
  # What nobody can tell is not asked later either.
  with reviews.Served(reviews.session_of(run)) as later:
    asked = get(later, 'question')[1]['pair']
    assert asked is None or frozenset(x['row'] for x in asked) not in seen


def test_what_a_rule_answers_is_not_asked(run):
  """Nor what follows from a rule and an answer."""
  config = run.extractor.run.parts.config
  config.cluster.frame_rule = 'hard'
  features, names = features_file.read(run.workdir, 1, 'digest')
  persons = np.arange(len(names)) % reviews.PERSONS
  first, second = np.triu_indices(len(names), 1)
  # One image of each person is kept apart from those of all others.
  far = (persons[first] != persons[second]) & (first < reviews.PERSONS)
  ruled = np.stack([first[far], second[far]], axis=1)
  features_file.write(run.workdir, features, names, 1, 'digest', ruled=ruled)
  told = {frozenset((names[a], names[b])) for a, b in ruled.tolist()}
  with reviews.Served(reviews.session_of(run)) as served:
    # All images of a person are one: so everything is known.
    for i in range(reviews.PERSONS, len(names)):
      asked = get(served, 'question')[1]['pair']
      if asked:
        rows = [x['row'] for x in asked]
        pair = frozenset(served.session.collection.names[x] for x in rows)
        assert pair not in told
      shown = served.session.collection.row_of
      a, b = (shown[names[x]] for x in (i, i % reviews.PERSONS))
      post(served, 'pair', {'a': a, 'b': b, 'answer': 'same'})
    assert get(served, 'question')[1]['pair'] is None


def test_a_cluster_is_split_as_it_was_shown(served, run):
  parts = get(served, 'parts', id=0, count=2)[1]['parts']
  assert sum(part['size'] for part in parts) == reviews.EACH
  assert post(served, 'split', {'id': 0, 'count': 2})[0] == 200
  said = on_disk(run)
  assert said
  assert not any(x.same for x in said)
  # The first of each part against all of the other.
  assert len(said) == reviews.EACH - 1
  status, answer = get(served, 'parts', id=0, count=7)
  assert status == 400
  assert 'expected 2..6' in answer['error']


def test_clustering_again_heeds_what_was_said_and_tells_what_moved(served, run):
  post(served, 'merge', {'clusters': [0, 3]})
  post(served, 'split', {'id': 1, 'count': 2})
  post(served, 'name', {'id': 0, 'name': 'Anna'})
  status, answer = post(served, 'recluster')
  assert status == 200, answer
  assert answer['count'] == sum(x['count'] for x in answer['moved']) > 0
  assert answer['state']['pending'] == 0
  shown = served.session.collection
  for each in on_disk(run):
    a, b = (shown.row_of[name] for name in (each.a, each.b))
    assert (shown.ids[a] == shown.ids[b]) == each.same
  for group in answer['moved']:
    assert group['before'] != group['now']
    for path in group['paths']:
      row = shown.shown_names.index(path)
      assert shown.image(row)['title'] == group['now']
  assert 'Cluster 0, Anna' in shown.titles
  # Rows, and so pictures, are those of before.
  assert get(served, 'question')[0] == 200
  # It says so with nothing to do, too.
  assert post(served, 'recluster')[1]['count'] == 0


def test_images_like_one_come_nearest_first(served):
  status, found = get(served, 'like', row=4)
  assert status == 200
  assert found['query']['row'] == 4
  rows = [x['row'] for x in found['images']]
  assert sorted([*rows, 4]) == [*range(30)]
  distances = [x['distance'] for x in found['images']]
  assert distances == sorted(distances)
  assert all(
    x['cluster'] == found['query']['cluster'] for x in found['images'][:5]
  )


def test_a_picture_finds_itself(served, run):
  data = (run.images / 'cam1/17.png').read_bytes()
  sent = base64.b64encode(data).decode()
  status, found = post(served, 'find', {'picture': sent})
  assert status == 200
  assert found['images'][0]['path'] == 'cam1/17.png'
  for bad in ('no picture', base64.b64encode(b'GIF89a').decode(), ''):
    status, answer = post(served, 'find', {'picture': bad})
    assert status == 400
    assert answer['error'].startswith('picture: ')


@pytest.mark.parametrize(
  ('name', 'given', 'fault'),
  [
    ('merge', {'clusters': [0]}, 'two clusters or more'),
    ('merge', {'clusters': [0, 0]}, 'two clusters or more'),
    ('merge', {'clusters': [0, 99]}, 'no cluster 99'),
    ('merge', {'clusters': 'all'}, 'expected a list'),
    ('merge', {}, 'expected a list'),
    ('pair', {'a': 0, 'b': 0, 'answer': 'same'}, 'one image twice'),
    ('pair', {'a': 0, 'b': 1, 'answer': 'maybe'}, "got 'maybe'"),
    ('pair', {'a': 0, 'b': 1.5, 'answer': 'same'}, 'whole number'),
    ('pair', {'a': 0, 'b': True, 'answer': 'same'}, 'whole number'),
    ('pair', {'a': 0, 'b': 30, 'answer': 'same'}, 'expected 0..29'),
    ('take_out', {'rows': [0, 29]}, 'images of one cluster'),
    ('take_out', {'rows': []}, 'images of one cluster'),
    ('split', {'id': 0}, 'count: expected a whole number'),
    ('name', {'id': 77, 'name': 'x'}, 'no cluster 77'),
  ],
)
def test_what_cannot_be_said_is_one_line(served, run, name, given, fault):
  status, answer = post(served, name, given)
  assert status == 400
  assert fault in answer['error']
  assert '\n' not in answer['error']
  assert on_disk(run) == []


def test_a_cluster_of_one_has_no_parts(run):
  path = run.workdir / 'clusters.csv'
  path.write_bytes(
    path.read_bytes().replace(b'cam1/07.png,2', b'cam1/07.png,9')
  )
  with reviews.Served(reviews.session_of(run)) as served:
    status, answer = get(served, 'parts', id=9, count=2)
    assert status == 400
    assert answer['error'] == 'split: a cluster of one image has no parts'
    assert get(served, 'cluster', id=9)[1]['size'] == 1


def test_two_pages_at_once_lose_nothing(served, run):
  pairs = [{'a': i, 'b': i + 1, 'answer': 'same'} for i in range(29)]
  with concurrent.futures.ThreadPoolExecutor(8) as pool:
    found = [*pool.map(lambda x: post(served, 'pair', x)[0], pairs)]
  assert found == [200] * 29
  assert len(on_disk(run)) == 29


def test_a_browser_that_is_gone_is_no_fault(served, capfd):
  port, token = served.server.server_port, served.server.token
  for _ in range(5):
    with socket.create_connection(('127.0.0.1', port)) as connection:
      connection.sendall(
        f'GET /{token}/large?row=1 HTTP/1.1\r\nHost: localhost\r\n\r\n'.encode()
      )
  with socket.create_connection(('127.0.0.1', port)) as connection:
    connection.sendall(b'POST')
  assert get(served, 'state')[0] == 200
  assert capfd.readouterr().err == ''


def test_a_port_in_use_is_one_line(served):
  port = served.server.server_port
  with pytest.raises(ValueError, match=rf'^--port: {port} cannot be used \('):
    PageServer(port, {}, {})
  with pytest.raises(ValueError, match='--port: got 70000, expected 0'):
    PageServer(70000, {}, {})


def test_another_holder_of_the_workdir_ends_writing(run):
  session = reviews.session_of(run)

  def check():
    raise ValueError('workdir: was taken over by another run')

  session._check = check
  with reviews.Served(session) as served:
    status, answer = post(served, 'merge', {'clusters': [0, 1]})
  assert status == 400
  assert 'taken over' in answer['error']
  assert on_disk(run) == []
