// The graph of stages as a drawing: laid out by dagre, brought up to date in place.
//
// Invariant: the layout is computed again only when a stage or an instance comes or goes, or the page becomes wide or
// narrow. Every box is a link to its row in the table of stages, which says the same in words. State is shape and word,
// not colour alone.
import dagre from '@dagrejs/dagre';
import { count, duration, percent, perSecond } from '../units.js';
import { element, setAttribute, setText, svgLink } from './dom.mjs';

const BOX = { wide: 176, narrow: 158 };
const DOT = 12;
const GAP = 4;
const DOTS_IN_ROW = 9;
/** So many leave room for words beside them. */
const DOTS_BESIDE_WORDS = 3;
const END = { width: 78, height: 34 };
/** How small it is drawn at most before it is laid out in another way, or moved sideways. */
const SMALLEST = 0.8;
const STATE_MARKS = { starting: '…', hung: '!', broken: '×', draining: '–' };

export function stateWords(instances) {
  const bad = instances.filter(({ state }) => state !== 'ready');
  if (bad.length === 0) return '';
  const states = [...new Set(bad.map(({ state }) => state))];
  return states
    .map((state) => `${bad.filter((one) => one.state === state).length} of ${instances.length} ${state}`)
    .join(', ');
}

/** The state of the instance that is worst off. */
export function worstOf(instances) {
  const order = ['broken', 'hung', 'starting', 'draining'];
  return order.find((state) => instances.some((one) => one.state === state)) ?? 'ready';
}

export class Graph {
  constructor() {
    this.svg = element('svg', { role: 'group', 'aria-label': 'Graph of the stages' });
    this.node = element('div', { class: 'graph scroll' }, this.svg);
    this.shape = '';
    this.stages = new Map();
    this.edges = new Map();
  }

  update(snapshot) {
    const { clientWidth } = this.node;
    const stages = snapshot.stages.map(({ name, after, instances }) => [
      name,
      after,
      instances.map(({ name }) => name),
    ]);
    const shape = JSON.stringify([Math.round(clientWidth / 40), stages]);
    if (shape !== this.shape) {
      this.shape = shape;
      // From left to right where that fits, otherwise downwards.
      const wide = layoutOf(snapshot, false);
      const narrow = clientWidth > 0 && wide.graph().width * SMALLEST > clientWidth;
      this.draw(snapshot, narrow ? layoutOf(snapshot, true) : wide, narrow);
    }
    for (const stage of snapshot.stages) this.updateStage(stage);
    for (const edge of snapshot.edges) this.updateEdge(edge);
    const { gateway, requests } = snapshot;
    setText(this.requestText, `${count(gateway.queued)} queued`);
    setText(this.resultText, perSecond(requests.perSecond?.done));
  }

  draw(snapshot, graph, narrow) {
    const { width, height } = graph.graph();
    setAttribute(this.svg, 'viewBox', `0 0 ${Math.ceil(width)} ${Math.ceil(height)}`);
    this.svg.style.width = `${Math.ceil(width)}px`;
    // A little too wide is made smaller; much too wide is moved sideways.
    this.svg.style.minWidth = `${Math.ceil(width * SMALLEST)}px`;
    this.svg.style.aspectRatio = `${width} / ${height}`;
    this.svg.replaceChildren();
    this.stages.clear();
    this.edges.clear();
    for (const { from, to } of snapshot.edges) this.drawEdge(from, to, graph.edge(from, to), narrow);
    this.requestText = this.drawEnd('request', 'requests', graph.node('request'));
    this.resultText = this.drawEnd('result', 'results', graph.node('result'));
    for (const stage of snapshot.stages) this.drawStage(stage, graph.node(stage.name));
  }

  drawEnd(kind, title, { x, y }) {
    const value = element('text', { class: 'quiet', x: END.width / 2, y: 28, 'text-anchor': 'middle' });
    this.svg.append(
      element(
        'g',
        { class: `end ${kind}`, transform: `translate(${x - END.width / 2} ${y - END.height / 2})` },
        element('rect', { width: END.width, height: END.height, rx: END.height / 2 }),
        element('text', { class: 'name', x: END.width / 2, y: 15, 'text-anchor': 'middle' }, title),
        value,
      ),
    );
    return value;
  }

  drawEdge(from, to, { points, x, y }, narrow) {
    const path = element('path', { class: 'edge', d: curve(points) });
    const last = points.at(-1);
    const before = points.at(-2);
    const angle = (Math.atan2(last.y - before.y, last.x - before.x) * 180) / Math.PI;
    const head = element('path', {
      class: 'head',
      d: 'M-7 -4L0 0L-7 4',
      transform: `translate(${last.x} ${last.y}) rotate(${angle})`,
    });
    const rate = element('text', {
      x,
      y: narrow ? y + 4 : y - 4,
      'text-anchor': narrow ? 'end' : 'middle',
      dx: narrow ? -6 : 0,
    });
    const hop = element('text', {
      class: 'quiet',
      x,
      y: narrow ? y + 4 : y + 13,
      'text-anchor': narrow ? 'start' : 'middle',
      dx: narrow ? 6 : 0,
    });
    const title = element('title');
    this.svg.append(element('g', { class: 'edge-group' }, path, head, rate, hop, title));
    this.edges.set(`${from} ${to}`, { path, rate, hop, title });
  }

  drawStage({ name, spread, instances }, { x, y, width, height }) {
    const link = svgLink({
      href: `#stage-${name}`,
      class: 'stage',
      transform: `translate(${x - width / 2} ${y - height / 2})`,
    });
    const parts = {
      link,
      frame: element('rect', { class: 'frame', width, height, rx: 8 }),
      busyBack: element('rect', { class: 'busy-back', x: 10, y: 27, width: width - 20, height: 4, rx: 2 }),
      busy: element('rect', { class: 'busy', x: 10, y: 27, width: 0, height: 4, rx: 2 }),
      rate: element('text', { class: 'value', x: 10, y: 47 }),
      time: element('text', { class: 'value', x: width - 10, y: 47, 'text-anchor': 'end' }),
      words: element('text', { class: 'words', x: width - 10, y: height - 10, 'text-anchor': 'end' }),
      dots: instances.map((_, i) => {
        const left = 10 + (i % DOTS_IN_ROW) * (DOT + GAP);
        const top = 56 + Math.floor(i / DOTS_IN_ROW) * (DOT + GAP);
        const back = element('rect', { class: 'dot-back', width: DOT, height: DOT, rx: 3 });
        const fill = element('rect', { class: 'dot-fill', width: DOT, y: DOT, height: 0, rx: 2 });
        const mark = element('text', { class: 'mark', x: DOT / 2, y: DOT - 2, 'text-anchor': 'middle' });
        const title = element('title');
        return {
          group: element('g', { class: 'dot', transform: `translate(${left} ${top})` }, back, fill, mark, title),
          fill,
          mark,
          title,
        };
      }),
    };
    const shown = name.length > 18 ? `${name.slice(0, 17)}…` : name;
    const kind = spread === 'shard' ? 'sharded' : '';
    link.append(
      parts.frame,
      element('text', { class: 'name', x: 10, y: 19 }, shown),
      element('text', { class: 'quiet kind', x: width - 10, y: 19, 'text-anchor': 'end' }, kind),
      parts.words,
    );
    link.append(parts.busyBack, parts.busy, parts.rate, parts.time, ...parts.dots.map(({ group }) => group));
    link.addEventListener('click', (event) => {
      event.preventDefault();
      const row = document.getElementById(`stage-${name}`);
      row?.scrollIntoView({ block: 'center' });
      row?.focus({ preventScroll: true });
    });
    this.svg.append(link);
    this.stages.set(name, { ...parts, width });
  }

  updateStage(stage) {
    const parts = this.stages.get(stage.name);
    const { instances, tasksPerSecond, compute, busy } = stage;
    const words = stateWords(instances);
    const ready = instances.filter(({ state }) => state === 'ready').length;
    const waiting = instances.reduce((sum, one) => sum + one.ready, 0);
    setAttribute(parts.link, 'data-state', worstOf(instances));
    setText(parts.words, words.includes(',') ? `${ready}/${instances.length} ready` : words);
    setText(parts.rate, perSecond(tasksPerSecond));
    setText(parts.time, compute === undefined ? '' : duration(compute.p50Us));
    setAttribute(parts.time, 'class', compute?.recent === false ? 'value old' : 'value');
    setAttribute(parts.busy, 'width', Math.round((busy ?? 0) * (parts.width - 20)));
    setAttribute(
      parts.link,
      'aria-label',
      `Stage ${stage.name}: ${words || 'all ready'}, ${perSecond(tasksPerSecond)}, busy ${percent(busy)}, ${waiting} waiting. Go to its row`,
    );
    for (const [i, instance] of instances.entries()) {
      const dot = parts.dots[i];
      const { state, running } = instance;
      setAttribute(dot.group, 'data-state', state);
      setText(dot.mark, STATE_MARKS[state] ?? '');
      const share = state === 'ready' ? Math.max(instance.busy ?? 0, running > 0 ? 0.15 : 0) : 0;
      setAttribute(dot.fill, 'height', (share * DOT).toFixed(1));
      setAttribute(dot.fill, 'y', (DOT - share * DOT).toFixed(1));
      const reason = instance.reason === undefined ? '' : `: ${instance.reason}`;
      setText(
        dot.title,
        `${instance.name}: ${state}${reason}; busy ${percent(instance.busy)}, ` +
          `${count(running)} running, ${count(instance.ready)} waiting`,
      );
    }
  }

  updateEdge({ from, to, messagesPerSecond, hop, unacknowledged, backlog }) {
    const parts = this.edges.get(`${from} ${to}`);
    setText(parts.rate, perSecond(messagesPerSecond));
    setText(parts.hop, hop === undefined ? '' : duration(hop.p50Us));
    setAttribute(parts.hop, 'class', hop?.recent === false ? 'quiet old' : 'quiet');
    const weight = 1.2 + Math.min(2.3, Math.log10(1 + (messagesPerSecond ?? 0)) * 0.6);
    setAttribute(parts.path, 'stroke-width', weight.toFixed(1));
    setAttribute(parts.path, 'data-state', backlog > 0 ? 'full' : undefined);
    setText(
      parts.title,
      `${from} to ${to}: ${perSecond(messagesPerSecond)}, ${unacknowledged} not acknowledged, ${backlog} waiting for room`,
    );
  }
}

// Where boxes and lines go.
function layoutOf(snapshot, narrow) {
  const graph = new dagre.graphlib.Graph();
  graph.setGraph({ rankdir: narrow ? 'TB' : 'LR', nodesep: narrow ? 14 : 26, ranksep: 20, marginx: 6, marginy: 6 });
  graph.setDefaultEdgeLabel(() => ({}));
  graph.setNode('request', { ...END });
  graph.setNode('result', { ...END });
  for (const { name, instances } of snapshot.stages) {
    graph.setNode(name, { width: narrow ? BOX.narrow : BOX.wide, height: 60 + rowsOf(instances) * (DOT + GAP) });
  }
  const label = narrow ? { width: 112, height: 18 } : { width: 76, height: 34 };
  for (const { from, to } of snapshot.edges) graph.setEdge(from, to, { ...label, labelpos: 'c' });
  dagre.layout(graph);
  return graph;
}

// The words of a state stand in the last row.
function rowsOf({ length }) {
  return Math.ceil(length / DOTS_IN_ROW) + (length > DOTS_BESIDE_WORDS ? 1 : 0);
}

// A line through the points with round corners.
function curve(points) {
  const [first, ...rest] = points;
  let path = `M${first.x} ${first.y}`;
  for (const [i, point] of rest.entries()) {
    const next = rest[i + 1];
    if (next === undefined) path += `L${point.x} ${point.y}`;
    else path += `Q${point.x} ${point.y} ${(point.x + next.x) / 2} ${(point.y + next.y) / 2}`;
  }
  return path;
}
