// The dashboard: puts its parts on the page and hands them each snapshot. Runs in a browser, from the page itself.
//
// Invariant: the page shows one snapshot, whole; while it is not the newest, the page says so. A change of state is
// said once in a live region; figures that change each second are not.
import { bytes, count, duration, figure, percent, perSecond } from '../units.js';
import { Chart } from './charts.mjs';
import { Connection } from './connection.mjs';
import { element, setAttribute, setText } from './dom.mjs';
import { Graph, stateWords } from './graph.mjs';
import { Requests } from './requests.mjs';
import { Tables } from './tables.mjs';

const live = element('div', { class: 'unseen', role: 'status', 'aria-live': 'polite' });
let said = '';
const say = (words) => {
  if (words === said) return;
  said = words;
  setText(live, words);
};

// ---- Head

const title = element('h1', {}, 'onepiece');
const about = element('span', { class: 'about' });
const health = element('span', { class: 'pill', 'data-state': 'starting' }, 'connecting');
const link = element('span', { class: 'link', 'data-state': 'connecting' }, 'connecting');
const pause = element(
  'button',
  { type: 'button', 'aria-pressed': 'false', 'aria-keyshortcuts': 'p', onclick: togglePause },
  'Pause',
);
const tokenInput = element('input', { type: 'password', autocomplete: 'off', 'aria-label': 'Token', required: true });
const tokenForm = element(
  'form',
  { class: 'token card', hidden: true },
  element('p'),
  tokenInput,
  element('button', {}, 'Connect'),
);
let paused = false;
let newest;

function togglePause() {
  paused = !paused;
  setAttribute(pause, 'aria-pressed', String(paused));
  setText(pause, paused ? 'Resume' : 'Pause');
  document.documentElement.classList.toggle('paused', paused);
  if (!paused && newest !== undefined) show(newest);
}

// ---- Figures on top

const tiles = new Map();
const tileRow = element('div', { class: 'tiles' });
for (const [key, name] of [
  ['done', 'Done'],
  ['p50', 'Latency p50'],
  ['p99', 'Latency p99'],
  ['flight', 'In flight'],
  ['queued', 'Queued'],
  ['bad', 'Failed, late'],
  ['rejected', 'Rejected'],
]) {
  const value = element('dd', { class: 'value' });
  const more = element('dd', { class: 'more' });
  const tile = element('dl', { class: 'tile' }, element('dt', {}, name), value, more);
  tiles.set(key, { tile, value, more });
  tileRow.append(tile);
}

function tile(key, value, more, state) {
  const parts = tiles.get(key);
  setText(parts.value, value);
  setText(parts.more, more);
  setAttribute(parts.tile, 'data-state', state);
}

// ---- Parts

const graph = new Graph();
const charts = [
  new Chart(
    'Requests a second',
    [
      { label: 'done', color: '--good', pick: ({ requests }) => requests.perSecond?.done },
      { label: 'failed or late', color: '--bad', pick: ({ requests: { perSecond: r } }) => r && r.failed + r.late },
      { label: 'rejected', color: '--warn', pick: ({ requests }) => requests.perSecond?.rejected },
    ],
    figure,
    2,
  ),
  new Chart(
    'Latency of the last minute',
    ['p50', 'p95', 'p99'].map((which, i) => ({
      label: which,
      color: ['--blue', '--violet', '--warn'][i],
      pick: ({ requests: { latency } }) => (latency?.recent ? latency[`${which}Us`] : null),
    })),
    duration,
    1000,
  ),
  new Chart(
    'Requests here',
    [
      { label: 'in flight', color: '--blue', pick: ({ gateway }) => gateway.inFlight },
      { label: 'queued', color: '--warn', pick: ({ gateway }) => gateway.queued },
    ],
    count,
    4,
  ),
];

const requests = new Requests();
const tables = new Tables();

const section = (name, ...children) =>
  element('section', { class: 'card', 'aria-label': name }, element('h2', {}, name), ...children);
const lanesSection = element(
  'details',
  { class: 'card' },
  element('summary', {}, element('h2', {}, 'Lanes')),
  tables.lanes.node,
);

document.body.prepend(
  element('a', { class: 'skip', href: '#stages' }, 'To the tables'),
  element(
    'header',
    {},
    element('div', { class: 'title' }, title, health, about),
    element('div', { class: 'tools' }, link, pause),
  ),
  element(
    'main',
    {},
    live,
    tokenForm,
    tileRow,
    section('Graph', graph.node),
    element('div', { class: 'charts' }, ...charts.map(({ node }) => node)),
    element('div', { id: 'stages', tabindex: '-1' }, section('Stages', tables.stages.node)),
    section('Recent requests', requests.node),
    element(
      'div',
      { class: 'pair' },
      section('Failures and rejections', tables.refused, tables.reasons.node),
      section('Replaced instances', tables.restarts.node),
    ),
    element('div', { class: 'pair' }, section('Tenants', tables.tenants.node), lanesSection),
  ),
);

addEventListener('keydown', (event) => {
  if (event.key !== 'p' || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target instanceof HTMLInputElement) return;
  togglePause();
});
addEventListener('resize', () => newest !== undefined && graph.update(newest));
tokenForm.addEventListener('submit', (event) => {
  event.preventDefault();
  connection.setToken(tokenInput.value);
  tokenInput.value = '';
});

// ---- Each second

function show(snapshot) {
  const { workflow, device, plan, state, gateway, requests: counts, memory } = snapshot;
  document.title = state === 'ready' ? `${workflow} – onepiece` : `${state}: ${workflow} – onepiece`;
  setText(title, workflow);
  const all = memory.laneBytes + memory.processBytes + memory.poolBytes;
  setText(about, `${device} · plan ${plan} · ${bytes(all)} of memory`);
  setText(health, state);
  setAttribute(health, 'data-state', state);
  const rates = counts.perSecond;
  const { latency, total } = counts;
  tile('done', perSecond(rates?.done), `${count(total.done)} in all`);
  const since = latency?.recent === false ? 'since the start' : 'last minute';
  tile('p50', duration(latency?.p50Us), since);
  tile('p99', duration(latency?.p99Us), since);
  const { forecastError } = gateway;
  tile(
    'flight',
    count(gateway.inFlight),
    forecastError === null ? 'in the stages' : `forecasts ±${percent(forecastError)}`,
  );
  const oldest = gateway.oldestQueuedMs;
  tile(
    'queued',
    count(gateway.queued),
    gateway.queued === 0 ? 'wait to be admitted' : `oldest ${duration(oldest * 1000)}`,
  );
  const bad = rates === null ? null : rates.failed + rates.late;
  tile('bad', perSecond(bad), `${count(total.failed)} failed, ${count(total.late)} late`, bad > 0 ? 'bad' : undefined);
  tile(
    'rejected',
    perSecond(rates?.rejected),
    `${count(total.rejected)} in all`,
    rates?.rejected > 0 ? 'warn' : undefined,
  );
  graph.update(snapshot);
  tables.update(snapshot);
  requests.update(snapshot);
  const troubles = snapshot.stages.flatMap(({ name, instances }) => {
    const words = stateWords(instances);
    return words === '' ? [] : [`stage ${name}: ${words}`];
  });
  say(`${workflow} is ${state}. ${troubles.join('. ')}`);
  document.documentElement.dataset.drawn = String(snapshot.atMs);
}

const LINK_WORDS = { live: 'live', connecting: 'connecting', waiting: 'not connected', refused: 'not connected' };

const connection = new Connection({
  snapshot: (snapshot) => {
    newest = snapshot;
    // A chart keeps what came while the page was paused.
    for (const chart of charts) chart.add(snapshot);
    if (!paused) show(snapshot);
  },
  state: (state, words) => {
    setAttribute(link, 'data-state', state);
    setText(link, state === 'waiting' ? words : LINK_WORDS[state]);
    document.documentElement.classList.toggle('stale', state !== 'live' && newest !== undefined);
    tokenForm.hidden = state !== 'refused';
    if (state === 'refused') setText(tokenForm.firstChild, `${words[0].toUpperCase()}${words.slice(1)}.`);
    if (state === 'waiting' || state === 'refused') say('Not connected to the server.');
  },
});
