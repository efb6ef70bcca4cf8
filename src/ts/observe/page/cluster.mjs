// The page of a cluster: its nodes, which place runs where, what has moved, what does not fit, what was decided.
//
// Invariant: all of it is one snapshot; while the server or the store cannot be asked, the page says so above what was
// seen last. Text that came from the server is never markup.
import { bytes, clockTime } from '../units.js';
import { element, setAttribute, setText, Table } from './dom.mjs';

const LOOK_MS = 1000;
const word = (title, wide) => ({ title, kind: 'word', wide });

const nodes = new Table(
  'Nodes',
  [word('Node'), word('State'), { title: 'Places' }, { title: 'Cores' }, { title: 'Memory' }, { title: 'GPUs' }],
  'No node is there.',
);
const places = new Table(
  'Places',
  [word('Place'), word('App'), word('Node'), word('State'), word('Reason', true)],
  'No place runs.',
);
const moves = new Table('Moves', [word('At'), word('Place'), word('From'), word('To')], 'No place has moved.');
const troubles = new Table(
  'What is wanted and is not there',
  [word('App'), word('Reason', true)],
  'All that is wanted is there.',
);
const events = new Table(
  'Decisions',
  [word('At'), word('Kind'), word('App'), { title: 'Term' }, word('What', true)],
  'No decision is kept.',
);
const plans = element('p', { id: 'plans' });
const state = element('p', { id: 'state', role: 'status', 'aria-live': 'polite' }, 'Asking the server');

const section = (id, title, table) =>
  element(
    'section',
    { class: 'card', id, 'aria-labelledby': `${id}-title` },
    element('h2', { id: `${id}-title` }, title),
    table.node,
  );

document.body.append(
  element(
    'main',
    {},
    element('header', {}, element('h1', {}, 'Cluster'), state, plans),
    section('nodes', 'Nodes', nodes),
    section('places', 'Places', places),
    section('troubles', 'Not placed', troubles),
    section('moves', 'Moves', moves),
    section('events', 'Decisions', events),
  ),
);

function show({ atMs, storeFailure, app: own, leader, nodes: nodeList, apps, moves: moveList, events: eventList }) {
  const led = leader === null ? 'Nobody leads' : `${leader.name} leads in term ${leader.term}`;
  setText(
    state,
    storeFailure === null
      ? `${led}.`
      : `The control store is away (${storeFailure}); seen at ${clockTime(atMs)}: ${led}.`,
  );
  setAttribute(state, 'data-state', storeFailure === null ? 'good' : 'away');
  const ROLES = { current: '', next: ', brought up', draining: ', has its last requests' };
  const planOf = ({ name, version, role, plan, gateways }) =>
    `${name} ${version}${ROLES[role]}${name === own ? ' (served here)' : ''}: ` +
    `${plan === null ? 'no plan' : `plan ${plan}`}, ${gateways.length} gateways`;
  setText(plans, apps.length === 0 ? 'No app is deployed.' : apps.map(planOf).join('; '));
  nodes.update(
    nodeList.map(({ name, draining, places: count, cores, memoryBytes, gpus }) => ({
      key: name,
      cells: [
        name,
        draining ? 'draining' : 'alive',
        String(count),
        String(cores),
        bytes(memoryBytes),
        String(gpus?.length ?? 0),
      ],
    })),
  );
  places.update(
    apps.flatMap(({ name, version, places: list }) =>
      list.map(({ place, node, state: is, reason }) => ({
        key: `${name} ${version} ${place}`,
        cells: [place, `${name} ${version}`, node, is, reason ?? ''],
      })),
    ),
  );
  troubles.update(
    apps.flatMap(({ name, version, unplaced, refused }) =>
      [...unplaced, ...(refused === null ? [] : [`taken back: ${refused}`])].map((reason) => ({
        key: `${name} ${version} ${reason}`,
        cells: [`${name} ${version}`, reason],
      })),
    ),
  );
  moves.update(
    moveList.map(({ place, from, to, atMs: at }) => ({
      key: `${at} ${place}`,
      cells: [clockTime(at), place, from, to],
    })),
  );
  events.update(
    eventList.map(({ sequence, atMs: at, type, app, term, words }) => ({
      key: String(sequence),
      cells: [clockTime(at), type, app, String(term), words],
    })),
  );
}

async function look() {
  try {
    const answer = await fetch('v1/cluster', { cache: 'no-store' });
    const document = await answer.json();
    if (answer.ok) show(document);
    else {
      setText(state, `The server answers ${answer.status}: ${document.detail ?? ''}`);
      setAttribute(state, 'data-state', 'away');
    }
  } catch {
    setText(state, 'The server does not answer.');
    setAttribute(state, 'data-state', 'away');
  }
  setTimeout(look, LOOK_MS);
}

look();
