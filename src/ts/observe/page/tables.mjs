// The tables of the page: all that the graph shows, in words and figures, and what it has no room for.
//
// Invariant: a row is the same thing each second; what it says is of one snapshot.
import { bytes, clockTime, count, duration, percent, perSecond } from '../units.js';
import { element, setText, Table } from './dom.mjs';
import { stateWords, worstOf } from './graph.mjs';

const word = (title) => ({ title, kind: 'word' });

export class Tables {
  constructor() {
    this.stages = new Table(
      'Stages and instances',
      [
        word('Stage'),
        { title: 'State', kind: 'word state' },
        { title: 'Busy' },
        { title: 'Tasks' },
        { title: 'Running' },
        { title: 'Waiting' },
        { title: 'Wait p50' },
        { title: 'Wait p99' },
        { title: 'Compute p50' },
        { title: 'p95' },
        { title: 'p99' },
        { title: 'Failures' },
        { title: 'Restarts' },
        { title: 'Memory' },
      ],
      'No stage is known yet.',
    );
    this.reasons = new Table(
      'Failures and rejections',
      [
        { title: 'Count' },
        word('Outcome'),
        word('Code'),
        word('Stage'),
        word('Last'),
        { title: 'Last words', kind: 'word', wide: true },
      ],
      'No request has failed or was rejected.',
    );
    this.refused = element('p', { class: 'refused' });
    this.restarts = new Table(
      'Replaced instances',
      [word('At'), word('Instance'), { title: 'Pause' }, { title: 'Reason', kind: 'word', wide: true }],
      'No instance was replaced.',
    );
    this.tenants = new Table(
      'Tenants',
      [
        word('Tenant'),
        { title: 'Queued' },
        { title: 'Done' },
        { title: 'Failed' },
        { title: 'Late' },
        { title: 'Rejected' },
        { title: 'Cancelled' },
      ],
      'No request has ended.',
    );
    this.lanes = new Table(
      'Lanes',
      [
        word('From'),
        word('To'),
        word('State'),
        { title: 'Messages' },
        { title: 'In the lane' },
        { title: 'Not acknowledged' },
        { title: 'Oldest' },
        { title: 'Waiting' },
      ],
      'There are no lanes.',
    );
  }

  update(snapshot) {
    this.stages.update(snapshot.stages.flatMap(stageRows));
    this.reasons.update(
      snapshot.reasons.map(({ outcome, code, stage, count: times, lastMessage, lastAtMs }) => ({
        key: `${outcome} ${code} ${stage}`,
        className: outcome,
        cells: [count(times), outcome, code, stage ?? '–', clockTime(lastAtMs), lastMessage],
      })),
    );
    const refusals = Object.entries(snapshot.gateway.rejected).map(([reason, times]) => `${reason} ${count(times)}`);
    if (snapshot.gateway.hopeless > 0) refusals.push(`hopeless while queued ${count(snapshot.gateway.hopeless)}`);
    this.refused.hidden = refusals.length === 0;
    setText(this.refused, `The gateway refused: ${refusals.join(' · ')}`);
    this.restarts.update(
      snapshot.restarts.last.map(({ stage, instance, reason, at, delayMs }) => ({
        key: `${stage}/${instance} ${at}`,
        cells: [clockTime(at), `${stage}/${instance}`, delayMs === 0 ? 'none' : duration(delayMs * 1000), reason],
      })),
    );
    this.tenants.update(
      snapshot.tenants.map(({ tenant, queued, done, failed, late, rejected, cancelled }) => ({
        key: tenant,
        cells: [tenant, ...[queued, done, failed, late, rejected, cancelled].map(count)],
      })),
    );
    this.lanes.update(
      snapshot.lanes.map((lane) => ({
        key: `${lane.from} ${lane.to}`,
        className: lane.connected ? '' : 'failed',
        cells: [
          lane.from,
          lane.to,
          lane.connected ? (lane.stalledBy ? `stalled: ${lane.stalledBy}` : 'connected') : 'not connected',
          perSecond(lane.messagesPerSecond),
          lane.bytesPerSecond === null ? '–' : `${bytes(lane.bytesPerSecond)}/s`,
          count(lane.unacknowledged),
          lane.unacknowledged === 0 ? '–' : duration(lane.oldestMs * 1000),
          count(lane.backlog),
        ],
      })),
    );
  }
}

function stageRows(stage) {
  const { name, instances, busy, queue, compute, tasksPerSecond, spread } = stage;
  // Of the instances that have answered.
  const sum = (pick) => {
    const known = instances.map(pick).filter((value) => value !== null);
    return known.length === 0 ? null : known.reduce((total, value) => total + value, 0);
  };
  const words = stateWords(instances);
  const old = compute?.recent === false ? ' old' : '';
  const row = {
    key: name,
    id: `stage-${name}`,
    className: `stage ${worstOf(instances)}${old}`,
    cells: [
      name,
      words === '' ? `${instances.length} ready${spread === 'shard' ? ', sharded' : ''}` : words,
      percent(busy),
      perSecond(tasksPerSecond),
      count(sum(({ running }) => running)),
      count(sum(({ ready }) => ready)),
      duration(queue?.p50Us),
      duration(queue?.p99Us),
      duration(compute?.p50Us),
      duration(compute?.p95Us),
      duration(compute?.p99Us),
      count(sum(({ failures }) => failures)),
      count(sum((one) => one.restarts)),
      bytes(sum(({ memoryBytes }) => memoryBytes)),
    ],
  };
  const only = instances.length === 1 && instances[0].state === 'ready';
  return only ? [row] : [row, ...instances.map(instanceRow)];
}

function instanceRow(one) {
  const state = one.reason === undefined ? one.state : `${one.state}: ${one.reason}`;
  return {
    key: one.name,
    className: `instance ${one.state}`,
    cells: [
      one.name,
      state,
      percent(one.busy),
      perSecond(one.tasksPerSecond),
      count(one.running),
      count(one.ready),
      ...['', '', '', '', ''],
      count(one.failures),
      count(one.restarts),
      bytes(one.memoryBytes),
    ],
  };
}
