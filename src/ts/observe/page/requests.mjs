// The last requests, each with a bar of where its time went.
//
// Invariant: bars share one scale, that of the longest one shown. What the bar shows is in words behind the button of
// its row.
import { clockTime, duration } from '../units.js';
import { element, setAttribute, Table } from './dom.mjs';

const COLUMNS = [
  { title: 'Ended', kind: 'word' },
  { title: 'Request', kind: 'word' },
  { title: 'Tenant', kind: 'word' },
  { title: 'Outcome', kind: 'word' },
  { title: 'Total' },
  { title: 'Where the time went', kind: 'word', wide: true },
];
const KINDS = {
  gateway: 'gateway, waiting to be admitted',
  hop: 'hop',
  queue: 'waiting at a place',
  compute: 'handler',
};

export class Requests {
  constructor() {
    this.table = new Table('Recent requests', COLUMNS, 'No request has ended since the server began.', 'requests');
    const legend = Object.entries(KINDS).map(([kind, words]) =>
      element('span', { class: 'item' }, element('span', { class: `swatch ${kind}`, 'aria-hidden': 'true' }), words),
    );
    this.node = element('div', {}, element('div', { class: 'legend' }, ...legend), this.table.node);
    this.bars = new Map();
    this.open = undefined;
  }

  update({ recent }) {
    const longest = recent.reduce((most, { totalUs }) => Math.max(most, totalUs), 1);
    const kept = new Map();
    const rows = recent.map((record) => {
      const { number, outcome, request, tenant, startedAtMs, totalUs } = record;
      const bar = this.bars.get(number) ?? barOf(record);
      kept.set(number, bar);
      bar.scale(longest);
      const ended = clockTime(startedAtMs + totalUs / 1000);
      return {
        key: number,
        className: outcome,
        cells: [ended, request ?? `#${number}`, tenant, outcome, duration(totalUs), bar.node],
      };
    });
    this.bars = kept;
    this.table.update(rows);
  }
}

function barOf({ timeline, totalUs, error, number }) {
  const segments = (timeline ?? []).map(({ kind, name, startUs, durationUs }) => {
    const segment = element('span', { class: `segment ${kind}`, title: `${name}: ${duration(durationUs)}` });
    segment.style.left = `${(startUs / totalUs) * 100}%`;
    segment.style.width = `${(durationUs / totalUs) * 100}%`;
    return segment;
  });
  const track = element('span', { class: 'track', 'aria-hidden': 'true' }, ...segments);
  if (error !== undefined) return withWords(error.message);
  if (timeline === undefined) return withWords('not traced');
  const list = element('dl', { id: `request-${number}`, hidden: true });
  for (const { kind, name, startUs, durationUs } of timeline) {
    list.append(
      element('dt', {}, `${name} (${kind})`),
      element('dd', {}, `${duration(durationUs)} from ${duration(startUs)}`),
    );
  }
  const button = element(
    'button',
    {
      type: 'button',
      class: 'bar',
      'aria-expanded': 'false',
      'aria-controls': `request-${number}`,
      'aria-label': `Where the time of request ${number} went`,
      onclick: () => {
        list.hidden = !list.hidden;
        setAttribute(button, 'aria-expanded', String(!list.hidden));
      },
    },
    track,
  );
  return {
    node: element('div', {}, button, list),
    scale: (longest) => {
      track.style.width = `${Math.max(1, (totalUs / longest) * 100).toFixed(1)}%`;
    },
  };
}

function withWords(words) {
  return { node: element('span', { class: 'reason' }, words), scale: () => {} };
}
