// The link of an outbox to its inbox, through reconnects: what is written, what completes, and how connections are lost
// and made.
//
// Invariant: there is at most one connection; a failed connection is never used again, and the next one continues where
// the inbox says. An acknowledged message is forgotten at once, in both kinds of memory; no other message is.
import { parseDocument } from '../connect/index.js';
import { RdmaError } from '../core/errors.js';
import { CompletionOpcode, CompletionStatus, completionStatusWords } from '../verbs/index.js';
import { notify } from './callback.js';
import type { Connection } from './connection.js';
import { Connector, type ConnectorParts } from './connector.js';
import { Reply } from './negotiation-messages.js';
import type { OutboxEnd } from './outbox-end.js';
import type { KeptOptions } from './outbox-options.js';
import type { PullMemory } from './pull-memory.js';
import type { CompletionDriver } from './pump.js';
import { Reconnector, refusal } from './reconnector.js';
import type { RetainedMessages } from './retained-messages.js';
import type { OutboxCounters } from './status.js';
import type { WaitList } from './wait-list.js';

// As constants of this file: what another file exports is looked up at each use, and through an index by a call.
const { SUCCESS } = CompletionStatus;
const { RECEIVE_WITH_IMM } = CompletionOpcode;
/** Completions of one poll, at most. */
const MAX_COMPLETIONS = 256;

/** Looks at a control block that has not changed for one at the completion queue. */
const LOOKS_PER_CQ = 64;

/** What a link needs of its outbox. */
export interface LinkHost {
  readonly counters: OutboxCounters;
  /** There is a connection; nothing was written on it yet. */
  connected(connection: Connection): void;
  /** There may be room again. */
  roomMade(): void;
  /** Nothing is sent any more. */
  fail(error: RdmaError): void;
}

/** What a link is made of. */
export interface LinkParts extends Omit<ConnectorParts, 'cq'> {
  host: LinkHost;
  end: OutboxEnd;
  pump: CompletionDriver;
  /** Those who wait for a message to be written or acknowledged. */
  progress: WaitList;
}

export class OutboxLink {
  /** The one that there is now. */
  connection: Connection | undefined;
  /** Highest sequence that was ever written to a lane. */
  reached = 0;
  private readonly host: LinkHost;
  private readonly end: OutboxEnd;
  private readonly options: KeptOptions;
  private readonly pump: CompletionDriver;
  private readonly retained: RetainedMessages;
  private readonly pullMemory: PullMemory;
  private readonly progress: WaitList;
  private readonly connector: Connector;
  private readonly reconnector: Reconnector;
  private lastInbox = '';
  private polling = false;
  private unpolled = 0; // looks since the completion queue was looked at
  private broken: RdmaError | undefined; // found while polling; handled after it

  constructor(parts: LinkParts) {
    const { host, end, pump } = parts;
    this.host = host;
    this.end = end;
    this.options = parts.options;
    this.pump = pump;
    this.retained = parts.retained;
    this.pullMemory = parts.pullMemory;
    this.progress = parts.progress;
    this.connector = new Connector({ ...parts, cq: pump.cq });
    this.reconnector = new Reconnector({
      clock: parts.port.clock,
      reconnectMs: parts.settings.reconnectMs,
      signal: parts.signal,
      connect: () => this.connector.connect(this.lastInbox, (connection) => this.begin(connection)),
      isHearsay: () => this.connector.isHearsay,
      settled: () => this.connection !== undefined || end.isEnded,
      fail: (error) => host.fail(error),
    });
  }

  /** Connects, or answers the attempts that are under way. */
  connect(): Promise<void> {
    return this.reconnector.start();
  }

  /** Leaves the connection there is, and makes another one; nothing while one is being made. */
  renew(reason: RdmaError): void {
    if (this.connection !== undefined) this.lose(this.connection, reason);
  }

  /** Writes what can be written now. */
  transmit(): void {
    const { connection } = this;
    if (connection === undefined) return;
    const from = connection.sent;
    try {
      connection.transmit();
    } catch (error) {
      this.lose(connection, error as RdmaError);
    }
    const { sent } = connection;
    if (from < this.reached) this.host.counters.resent += Math.min(sent, this.reached) - from;
    this.written(sent);
  }

  /** Everything up to this sequence was written to the lane. */
  written(sequence: number): void {
    if (sequence <= this.reached) return;
    this.reached = sequence;
    if (this.progress.length > 0) this.progress.wakeAny();
  }

  // ---- Completions

  /**
   * As poll() with one look. Where the lane is stored into, the completion queue, which costs more, is looked at when
   * the control block has changed, and once in {@link LOOKS_PER_CQ} looks: what has failed says so there alone.
   */
  pollOnce(): number {
    const { connection } = this;
    if (connection?.isStored === true && !connection.hasNews && ++this.unpolled < LOOKS_PER_CQ) {
      this.pump.polled();
      return 0;
    }
    this.unpolled = 0;
    return this.poll(1);
  }

  /** Handles what has completed; answers how many there were. @param looks as in {@link CompletionQueue.poll} */
  poll(looks: number): number {
    const { connection } = this;
    if (this.polling || connection === undefined || this.pump.cq.closed) return 0;
    this.polling = true;
    this.pump.polled();
    let count = 0;
    try {
      count = this.pump.cq.poll(MAX_COMPLETIONS, looks);
      for (let i = 0; i < count; i++) this.handle(connection, i);
      if (count > 0 && this.broken === undefined) {
        connection.repost();
        this.transmit();
      }
    } catch (error) {
      this.broken ??= error instanceof RdmaError ? error : undefined;
      if (this.broken === undefined) throw error;
    } finally {
      this.polling = false;
    }
    this.afterPoll(connection, count);
    return count;
  }

  private afterPoll(connection: Connection, count: number): void {
    if (this.broken !== undefined) {
      const reason = this.broken;
      this.broken = undefined;
      this.lose(connection, reason);
      return;
    }
    if (count === 0) return;
    this.host.roomMade();
    if (connection.draining) this.drained(connection);
  }

  private handle(connection: Connection, i: number): void {
    const { completions } = this.pump.cq;
    if (completions.qpNum(i) !== connection.qp.qpNum) return; // of a connection before this one
    const status = completions.status(i);
    if (status !== SUCCESS) {
      const text = `the inbox cannot be written: ${completionStatusWords(status)}`;
      this.broken ??= new RdmaError('RDMA_ERR_PEER_GONE', text);
      return;
    }
    if (completions.opcode(i) === RECEIVE_WITH_IMM) {
      const wasDraining = connection.draining;
      const { spilled } = connection;
      const acknowledged = connection.controlArrived();
      this.host.counters.spilled += connection.spilled - spilled;
      if (acknowledged < 0)
        this.broken ??= new RdmaError('RDMA_ERR_PROTOCOL', 'the inbox acknowledges what was not sent');
      else this.acknowledgedUpTo(acknowledged);
      if (connection.draining && !wasDraining) notify(this.options.onConnection, { type: 'draining' });
    } else {
      connection.sendCompleted(completions.wrId(i));
    }
  }

  private acknowledgedUpTo(sequence: number): void {
    if (this.retained.acknowledge(sequence) === 0) return;
    this.pullMemory.acknowledge(sequence);
    this.reconnector.progress();
    if (this.progress.length > 0) this.progress.wakeAny();
    notify(this.options.onAcknowledged, this.retained.acknowledged);
  }

  // An inbox that drains is left when it has acknowledged what it got; the next one takes the rest.
  private drained(connection: Connection): void {
    if (this.retained.acknowledged < connection.sent) return;
    this.lose(connection, new RdmaError('RDMA_ERR_PEER_GONE', 'the inbox drains and takes nothing more'));
  }

  // ---- Connections come and go

  private lose(connection: Connection, reason: RdmaError): void {
    if (this.connection !== connection || this.end.isOver) return;
    this.connection = undefined;
    connection.close();
    // Completions of the old queue pair would take room from those of the next one.
    while (!this.pump.cq.closed && this.pump.cq.poll() > 0);
    notify(this.options.onConnection, { type: 'lost', reason });
    if (this.reconnector.current === undefined) void this.connect().catch(() => {});
  }

  private begin(connection: Connection): void {
    this.connection = connection;
    this.lastInbox = connection.lane.inbox;
    this.host.connected(connection);
    this.host.counters.connects++;
    const { channel } = connection;
    channel.onMessage = (document) => {
      const reply = parseDocument(Reply, document, 'message');
      if (reply.type === 'error') this.lose(connection, refusal(reply.code, reply.message));
    };
    channel.onClose = (error) => {
      this.poll(1); // its last report may be there already
      this.lose(connection, error ?? new RdmaError('RDMA_ERR_PEER_GONE', 'the inbox closed the connection'));
    };
    try {
      channel.send({ type: 'ready' });
    } catch (error) {
      this.lose(connection, error as RdmaError);
      return;
    }
    this.acknowledgedUpTo(Math.max(this.retained.acknowledged, connection.lane.acknowledged));
    notify(this.options.onConnection, { type: 'open' });
    this.transmit();
    this.host.roomMade();
    this.pump.schedule();
  }

  /** The outbox is closed: leaves the connection, and ends when no attempt to make another one is under way. */
  async close(): Promise<void> {
    const { connection } = this;
    this.connection = undefined;
    connection?.close();
    await this.reconnector.current?.catch(() => {});
  }
}
