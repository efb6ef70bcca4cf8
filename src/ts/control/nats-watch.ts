// One watch of a bucket: a consumer of its stream that is replaced whenever it may have missed something.
//
// Invariant: the watcher gets every record of the prefix, then `synced`, then each change; after a gap `restarted`
// and all that again. A consumer never goes on from where another one has stopped: the stream may have forgotten what
// it had.
//
// The number of pending records that the server reports does not say whether all present records have come. Where
// records are written as the consumer begins, it says 0 too early, or never (seen with nats-server 2.9.10). So the
// stream is asked which subjects it has, once the consumer is there, and something must have come of each.
import type { Feed } from './feed.js';
import type { NatsLink } from './nats-connection.js';
import type { NatsManager, NatsMessage, NatsSubscription } from './nats-module.js';
import { isUnder } from './store.js';

/** How often the server sends a heartbeat, in ns; a watch that misses three of them starts again. */
const HEARTBEAT_MS = 2000;
const NS_PER_MS = 1e6;
const RETRY_MS = 300;
/** What has not come after so long may be gone from the stream: it is asked again. */
const ASK_AGAIN_MS = 2000;
/** A consumer that nobody listens to is removed after so long. */
const INACTIVE_MS = 20_000;

export interface WatchSource {
  readonly link: NatsLink;
  readonly bucket: string;
  readonly manager: NatsManager;
  /** Makes the bucket again, if it is gone. */
  restore(error: unknown): Promise<boolean>;
}

/** @internal */
export class NatsWatch {
  private subscription: NatsSubscription | undefined;
  private consumer = '';
  /** Keys that the watcher believes to be there. */
  private readonly told = new Set<string>();
  private unseen = new Set<string>();
  private era = 0;
  private isBegun = false;
  private next = 1;
  private isSynced = false;
  /** Subjects of which something came, until it is synced. */
  private readonly seen = new Set<string>();
  /** Subjects of which something has to come before it is synced; undefined: they are not known yet. */
  private awaited: Set<string> | undefined;
  private asking: NodeJS.Timeout | undefined;
  private timer: NodeJS.Timeout | undefined;
  private isClosed = false;

  constructor(
    private readonly source: WatchSource,
    private readonly prefix: string,
    readonly feed: Feed,
  ) {
    this.start();
  }

  /** Begins again, with the present records. */
  start(): void {
    this.stop();
    if (this.isClosed || !this.source.link.isConnected) return;
    const { era } = this;
    if (this.isBegun) this.feed.push({ type: 'restarted' });
    this.isBegun = true;
    this.open(era).catch((error) => this.tryAgain(era, error));
  }

  // The server may have made a consumer though its answer came too late. Its messages would look like those of a watch
  // that works, so nobody listens to it any more.
  private async tryAgain(era: number, error: unknown): Promise<void> {
    if (era !== this.era) return;
    this.stop();
    const stopped = this.era;
    await this.source.restore(error).catch(() => false);
    if (stopped === this.era && !this.isClosed) this.alarm(RETRY_MS);
  }

  /** Tells nothing more until it is started. */
  stop(): void {
    this.era++;
    clearTimeout(this.timer);
    clearTimeout(this.asking);
    const { subscription, consumer } = this;
    const { link, manager, bucket } = this.source;
    this.subscription = undefined;
    this.consumer = '';
    subscription?.unsubscribe();
    if (consumer !== '' && link.isConnected) manager.consumers.delete(`KV_${bucket}`, consumer).catch(() => {});
  }

  close(): void {
    this.isClosed = true;
    this.stop();
  }

  private async open(era: number): Promise<void> {
    const { link, manager, bucket } = this.source;
    this.unseen = new Set(this.told);
    this.next = 1;
    this.isSynced = false;
    this.seen.clear();
    this.awaited = undefined;
    const inbox = link.inbox();
    const subscription = link.client.subscribe(inbox, {
      callback: (error, message) => {
        if (era === this.era && error === null) this.take(message);
      },
    });
    this.subscription = subscription;
    this.alarm(3 * HEARTBEAT_MS);
    const { name } = await manager.consumers.add(`KV_${bucket}`, {
      deliver_subject: inbox,
      deliver_policy: 'last_per_subject',
      ack_policy: 'none',
      filter_subject: this.filter,
      max_deliver: 1,
      flow_control: true,
      idle_heartbeat: HEARTBEAT_MS * NS_PER_MS,
      inactive_threshold: INACTIVE_MS * NS_PER_MS,
      mem_storage: true,
    });
    if (era !== this.era) return;
    this.consumer = name;
    await this.askSubjects(era);
  }

  private get filter(): string {
    const { prefix } = this;
    const suffix = prefix === '' || prefix.endsWith('.') ? `${prefix}>` : prefix;
    return `$KV.${this.source.bucket}.${suffix}`;
  }

  // The last message of each subject that is there now has come, or will; or one after it, which counts as well.
  private async askSubjects(era: number): Promise<void> {
    const { manager, bucket } = this.source;
    const { state } = await manager.streams.info(`KV_${bucket}`, { subjects_filter: this.filter });
    if (era !== this.era || this.isSynced) return;
    this.awaited = new Set(Object.keys(state.subjects ?? {}).filter((subject) => !this.seen.has(subject)));
    if (this.awaited.size === 0) {
      this.sync();
      return;
    }
    this.asking = setTimeout(() => {
      this.askSubjects(era).catch(() => {
        if (era === this.era) this.start();
      });
    }, ASK_AGAIN_MS);
    this.asking.unref();
  }

  private take(message: NatsMessage): void {
    const { headers } = message;
    this.alarm(3 * HEARTBEAT_MS);
    if (headers !== undefined && headers.code >= 100 && headers.code < 600) {
      // A heartbeat, or a question whether this one keeps up; anything else is the end of the consumer.
      if (headers.code !== 100) this.start();
      else if (message.reply) message.respond();
      else if (headers.has('Nats-Consumer-Stalled'))
        this.source.link.client.publish(headers.get('Nats-Consumer-Stalled'));
      else if (headers.has('Nats-Last-Consumer') && Number(headers.get('Nats-Last-Consumer')) !== this.next - 1)
        this.start();
      return;
    }
    // $JS.ACK.stream.consumer.delivered.sequence.number.time.pending; or with domain and account behind ACK.
    const tokens = (message.reply ?? '').split('.');
    const [revision, number] = tokens.slice(tokens.length >= 11 ? 7 : 5).map(Number);
    if (number !== this.next) {
      this.start();
      return;
    }
    this.next++;
    const key = message.subject.slice(`$KV.${this.source.bucket}.`.length);
    const isGone = headers?.has('KV-Operation') || headers?.has('Nats-Marker-Reason');
    if (isUnder(this.prefix, key)) {
      if (isGone) this.remove(key);
      else {
        this.told.add(key);
        this.unseen.delete(key);
        this.feed.push({ type: 'put', entry: { key, value: message.data.slice(), revision: revision! } });
      }
    }
    if (this.isSynced) return;
    this.seen.add(message.subject);
    if (this.awaited?.delete(message.subject) && this.awaited.size === 0) this.sync();
  }

  private remove(key: string): void {
    this.unseen.delete(key);
    if (this.told.delete(key)) this.feed.push({ type: 'delete', key });
  }

  private sync(): void {
    for (const key of [...this.unseen]) this.remove(key);
    this.isSynced = true;
    this.seen.clear();
    clearTimeout(this.asking);
    this.feed.push({ type: 'synced' });
  }

  private alarm(ms: number): void {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.start(), ms);
    this.timer.unref();
  }
}
