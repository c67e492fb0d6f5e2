'use strict';
// The map and the list of all clusters. Every name becomes text, never markup.
(() => {
  const data = JSON.parse(document.getElementById('data').textContent);
  const $ = (id) => document.getElementById(id);
  const { names, labels, titles, doubts, joined, cameras, persons } = data;
  const PER_PAGE = 20;

  // An element with attributes and children; strings become text.
  function make(tag, attributes, ...children) {
    const element = document.createElement(tag);
    for (const [key, value] of Object.entries(attributes || {}))
      element.setAttribute(key, value);
    element.append(...children.filter((child) => child !== null));
    return element;
  }

  // Signs that would not show, or turn the line around, as escapes.
  const hidden =
    /[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069]/g;
  const printed = (text) =>
    text.replace(
      hidden,
      (sign) =>
        '\\u' + sign.charCodeAt(0).toString(16).padStart(4, '0'),
    );

  const onSheets = new Map();
  for (const image of document.querySelectorAll('img[data-row]'))
    onSheets.set(Number(image.dataset.row), image.src);
  function sourceOf(row) {
    const own = data.pictures[row];
    return own ? 'data:image/jpeg;base64,' + own : onSheets.get(row);
  }
  function pictureOf(row, alt) {
    const source = sourceOf(row);
    return source ? make('img', { src: source, alt }) : null;
  }

  const members = titles.map(() => []);
  const waiting = [];
  const byName = names.map((_, row) => row);
  byName.sort((a, b) =>
    names[a] < names[b] ? -1 : names[a] > names[b] ? 1 : a - b,
  );
  for (const row of byName)
    (labels[row] < 0 ? waiting : members[labels[row]]).push(row);
  const rowsOf = (label) => (label < 0 ? waiting : members[label]);
  const titleOf = (label) => (label < 0 ? 'Not placed' : titles[label]);
  const images = (count) => `${count} image${count === 1 ? '' : 's'}`;

  function about(row) {
    const parts = [];
    if (cameras) parts.push(`camera ${cameras[row]}`);
    if (persons)
      parts.push(
        persons[row] < 0 ? 'identity not known' : `identity ${persons[row]}`,
      );
    return parts;
  }

  // --- The list of all clusters.
  const lower = names.map((name) => name.toLowerCase());
  let page = 0;
  let rows = []; // Of labels, in order, of those that are found.
  let query = '';
  let matches = null; // From a label to the set of its rows that match.

  function sorted() {
    const order = $('order').value;
    const all = titles.map((_, label) => label);
    const by = {
      size: (a, b) => members[b].length - members[a].length,
      doubt: (a, b) => doubts[a] - doubts[b],
      joined: (a, b) => joined[b] - joined[a],
      number: () => 0,
    }[order];
    let known = all;
    // One image is in no doubt, and was joined with none: it comes last.
    if (order === 'doubt' || order === 'joined') {
      const single = (label) => Number(members[label].length < 2);
      known = all.sort((a, b) => single(a) - single(b) || by(a, b) || a - b);
    } else {
      known = all.sort((a, b) => by(a, b) || a - b);
    }
    return waiting.length ? [...known, -1] : known;
  }

  function search() {
    query = $('find').value.trim().toLowerCase();
    matches = null;
    rows = sorted();
    let count = 0;
    if (query) {
      matches = new Map();
      for (let row = 0; row < names.length; row++) {
        if (!lower[row].includes(query)) continue;
        count++;
        if (!matches.has(labels[row])) matches.set(labels[row], new Set());
        matches.get(labels[row]).add(row);
      }
      rows = rows.filter(
        (label) =>
          matches.has(label) || titleOf(label).toLowerCase().includes(query),
      );
    }
    $('found').textContent = query
      ? `${images(count)} and ${rows.length} clusters found.`
      : '';
    show(0);
  }

  function marked(row) {
    const text = printed(names[row]);
    const start = query ? text.toLowerCase().indexOf(query) : -1;
    if (start < 0) return [text];
    const end = start + query.length;
    return [
      text.slice(0, start),
      make('mark', {}, text.slice(start, end)),
      text.slice(end),
    ];
  }

  function linked(row, content) {
    if (!data.root) return content;
    try {
      const path = names[row].split('/').map(encodeURIComponent).join('/');
      return [
        make(
          'a',
          { href: `${data.root}/${path}`, target: '_blank', rel: 'noreferrer' },
          ...content,
        ),
      ];
    } catch {
      return content; // A name that is no text has no address.
    }
  }

  function fill(details, label) {
    if (details.querySelector('ul')) return;
    const list = make('ul');
    let own = rowsOf(label);
    const hits = matches && matches.get(label);
    if (hits)
      own = [
        ...own.filter((row) => hits.has(row)),
        ...own.filter((row) => !hits.has(row)),
      ];
    for (const row of own) {
      const words = about(row).join(', ');
      const text = make('span', {}, ...linked(row, marked(row)));
      if (words) text.append(make('br'), words);
      list.append(make('li', {}, pictureOf(row, ''), text));
    }
    details.append(list);
  }

  function entry(label) {
    const own = rowsOf(label);
    const facts = [images(own.length)];
    if (label >= 0 && own.length > 1) {
      if (doubts) facts.push(`silhouette ${doubts[label].toFixed(2)}`);
      if (joined) facts.push(`joined last at ${joined[label].toFixed(2)}`);
    }
    if (persons) {
      const count = new Set(
        own.map((row) => persons[row]).filter((pid) => pid >= 0),
      ).size;
      facts.push(`${count} identit${count === 1 ? 'y' : 'ies'}`);
    }
    const first = own.find((row) => sourceOf(row));
    const thumb = make('span', { class: 'thumb' });
    if (first !== undefined) thumb.append(pictureOf(first, ''));
    const summary = make(
      'summary',
      {},
      thumb,
      make('span', {}, make('b', {}, printed(titleOf(label))), ' ', facts.join(', ')),
    );
    const details = make('details', { class: 'cluster' }, summary);
    details.dataset.cluster = label;
    details.addEventListener('toggle', () => {
      if (details.open) fill(details, label);
    });
    if (matches && matches.has(label)) {
      fill(details, label);
      details.open = true;
    }
    return details;
  }

  function show(wanted) {
    const last = Math.max(0, Math.ceil(rows.length / PER_PAGE) - 1);
    page = Math.min(Math.max(wanted, 0), last);
    const shown = rows.slice(page * PER_PAGE, (page + 1) * PER_PAGE);
    $('rows').replaceChildren(...shown.map(entry));
    $('page').textContent = `Page ${page + 1} of ${last + 1}`;
    $('before').disabled = page === 0;
    $('after').disabled = page === last;
  }

  function turn(wanted) {
    show(wanted);
    const first = $('rows').querySelector('summary');
    if (first) first.focus();
    $('found').textContent = $('page').textContent;
  }

  // Opens a cluster where the list has it.
  function open(label) {
    if ($('find').value) {
      $('find').value = '';
      search();
    }
    show(Math.floor(rows.indexOf(label) / PER_PAGE));
    const details = $('rows').querySelector(`[data-cluster="${label}"]`);
    fill(details, label);
    details.open = true;
    details.scrollIntoView({ block: 'start' });
    details.querySelector('summary').focus({ preventScroll: true });
  }

  for (const option of [...$('order').options])
    if (
      (option.value === 'doubt' && !doubts) ||
      (option.value === 'joined' && !joined)
    )
      option.remove();
  $('find').addEventListener('input', search);
  $('find').form.addEventListener('submit', (event) => event.preventDefault());
  $('order').addEventListener('change', search);
  $('before').addEventListener('click', () => turn(page - 1));
  $('after').addEventListener('click', () => turn(page + 1));
  $('list').addEventListener('keydown', (event) => {
    const writes = event.target.matches('input, select');
    const to = { PageDown: page + 1, PageUp: page - 1 };
    if (!writes) Object.assign(to, { Home: 0, End: Infinity });
    if (!(event.key in to) || event.ctrlKey || event.altKey) return;
    event.preventDefault();
    turn(to[event.key]);
  });
  for (const button of document.querySelectorAll('button.see')) {
    button.hidden = false;
    button.addEventListener('click', () =>
      open(Number(button.dataset.cluster)),
    );
  }
  for (const each of document.querySelectorAll('.plain')) each.remove();
  $('list').hidden = false;
  search();

  // --- The map.
  if (!$('map')) return;
  $('map').hidden = false;
  const canvas = $('canvas');
  const tip = $('tip');
  const dark = matchMedia('(prefers-color-scheme: dark)');
  const places = data.places;
  let current = null; // A place in `places`.
  let side = 0;
  let left = 0;

  const unique = (values) =>
    [...new Set(values.filter((value) => value >= 0))].sort((a, b) => a - b);
  const colourings = { Cluster: labels };
  if (cameras) colourings.Camera = cameras;
  if (persons) colourings.Identity = persons;
  for (const name of Object.keys(colourings))
    $('colour').append(make('option', {}, name));
  let hues = new Map();

  function colourOf(value) {
    if (!hues.has(value)) return dark.matches ? '#777' : '#999';
    return `hsl(${hues.get(value)} 70% ${dark.matches ? 65 : 42}%)`;
  }

  function recolour() {
    const name = $('colour').value;
    const values = unique(places.map(([row]) => colourings[name][row]));
    const few = values.length <= 12;
    hues = new Map(
      values.map((value, i) => [
        value,
        few ? (360 * i) / values.length : (i * 137.508) % 360,
      ]),
    );
    const key = few
      ? values.map((value) => {
          const dot = make('i');
          dot.style.background = colourOf(value);
          const said =
            name === 'Cluster' ? titles[value] : `${name} ${value}`;
          return make('span', {}, dot, printed(said));
        })
      : [`${values.length} colours, some alike`];
    if (places.some(([row]) => colourings[name][row] < 0)) {
      const dot = make('i');
      dot.style.background = colourOf(-1);
      const said = name === 'Cluster' ? 'not placed' : 'not known';
      key.push(make('span', {}, dot, said));
    }
    $('key').replaceChildren(...key);
    draw();
  }

  const margin = 12;
  const pixel = ([, x, y]) => [
    left + margin + (x / 1000) * (side - 2 * margin),
    margin + (y / 1000) * (side - 2 * margin),
  ];

  function draw() {
    const scale = devicePixelRatio || 1;
    const width = canvas.clientWidth;
    side = Math.min(width, 640);
    left = (width - side) / 2;
    canvas.style.height = `${side}px`;
    canvas.width = width * scale;
    canvas.height = side * scale;
    const pen = canvas.getContext('2d');
    pen.scale(scale, scale);
    const values = colourings[$('colour').value];
    const label = current === null ? null : labels[places[current][0]];
    places.forEach((place, i) => {
      const [row] = place;
      const [x, y] = pixel(place);
      const own = label !== null && label >= 0 && labels[row] === label;
      pen.globalAlpha = label === null || own || i === current ? 0.9 : 0.3;
      pen.fillStyle = colourOf(values[row]);
      pen.beginPath();
      pen.arc(x, y, own ? 4.5 : 3.2, 0, 7);
      pen.fill();
      if (own || i === current) {
        pen.strokeStyle = dark.matches ? '#fff' : '#000';
        pen.lineWidth = i === current ? 2.5 : 1;
        pen.beginPath();
        pen.arc(x, y, i === current ? 8 : 4.5, 0, 7);
        pen.stroke();
      }
    });
  }

  function select(i) {
    if (i === current) return;
    current = i;
    draw();
    tip.hidden = i === null;
    $('told').textContent = '';
    if (i === null) return;
    const [row] = places[i];
    const label = labels[row];
    const count = rowsOf(label).length;
    const words = [
      printed(names[row]),
      `${printed(titleOf(label))}, ${images(count)}`,
      ...about(row),
    ];
    const image = pictureOf(row, '');
    tip.replaceChildren(
      ...(image ? [image] : []),
      ...words.map((word) => make('div', {}, word)),
    );
    $('told').textContent = words.join('; ');
    const [x, y] = pixel(places[i]);
    const beside = x + 16 + tip.offsetWidth > canvas.clientWidth;
    const from = beside ? x - 16 - tip.offsetWidth : x + 16;
    tip.style.left = `${Math.max(0, from)}px`;
    const most = Math.max(0, side - tip.offsetHeight - 4);
    tip.style.top = `${Math.min(Math.max(4, y - 40), most)}px`;
  }

  function nearest(event) {
    const box = canvas.getBoundingClientRect();
    const px = event.clientX - box.left;
    const py = event.clientY - box.top;
    let found = null;
    let least = 14 * 14;
    places.forEach((place, i) => {
      const [x, y] = pixel(place);
      const distance = (x - px) ** 2 + (y - py) ** 2;
      if (distance < least) [least, found] = [distance, i];
    });
    return found;
  }

  function step(dx, dy) {
    if (current === null) return select(0);
    const [, x, y] = places[current];
    let found = current;
    let least = Infinity;
    places.forEach(([, px, py], i) => {
      const along = (px - x) * dx + (py - y) * dy;
      const across = Math.abs((px - x) * dy) + Math.abs((py - y) * dx);
      if (along <= 0 || across > along) return;
      if (along + across < least) [least, found] = [along + across, i];
    });
    select(found);
  }

  let before = null; // What was shown when a finger came down.
  canvas.addEventListener('pointerdown', (event) => {
    before = event.pointerType === 'touch' ? current : undefined;
  });
  canvas.addEventListener('pointermove', (event) => select(nearest(event)));
  canvas.addEventListener('pointerleave', (event) => {
    if (event.pointerType !== 'touch') select(null);
  });
  canvas.addEventListener('click', (event) => {
    const found = nearest(event);
    // A first touch shows, a second one opens.
    const opens = before === undefined || before === found;
    select(found);
    if (found !== null && opens) open(labels[places[found][0]]);
  });
  canvas.addEventListener('keydown', (event) => {
    const steps = {
      ArrowLeft: [-1, 0],
      ArrowRight: [1, 0],
      ArrowUp: [0, -1],
      ArrowDown: [0, 1],
    };
    if (event.key in steps) step(...steps[event.key]);
    else if (event.key === 'Escape') select(null);
    else if (event.key === 'Enter' && current !== null)
      open(labels[places[current][0]]);
    else return;
    // Else Enter would close again what now has the focus.
    event.preventDefault();
  });
  $('colour').addEventListener('change', recolour);
  dark.addEventListener('change', recolour);
  new ResizeObserver(() => draw()).observe(canvas.parentElement);
  recolour();
})();
