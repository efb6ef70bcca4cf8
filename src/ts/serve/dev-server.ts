// A workflow over HTTP on one machine, which follows its file: new code is started beside the old one.
//
// Invariant: there is always one version that takes requests, from the first one on. The next one takes them when all
// of its places work; one that does not load, or does not start, changes nothing. The one before ends when what it has
// begun has, or its time is over. Jobs are in one store: whatever version is asked knows them all, and what the old one
// has not begun the new one does.
import { resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { LocalCluster, type LocalClusterOptions } from '../cluster/index.js';
import { followAbort } from '../core/abort.js';
import { asRdmaError, RdmaError } from '../core/errors.js';
import { tellerOf } from '../core/event-teller.js';
import { checkAbortSignal } from '../core/validate.js';
import { type JobStore, memoryStore } from '../jobs/index.js';
import { Observer, observePlugin } from '../observe/index.js';
import type { JobDesk } from './desk.js';
import { demoRoutes } from './demo-page.js';
import { type FastifyInstance, loadFastify } from './fastify.js';
import { FileWatch } from './file-watch.js';
import { Front } from './front.js';
import { type Log, SILENT } from './log.js';
import { checkServerOptions, type ServerOptions } from './options.js';
import { type Server, startServer } from './server.js';
import { DEMO_NAME, loadService, type Service } from './service.js';

/** What happens at a {@link DevServer}. */
export type DevEvent =
  /** Its file has changed: the new code is being started. */
  | { readonly type: 'changed' }
  /** The new code takes the requests. */
  | { readonly type: 'reloaded'; readonly version: number; readonly workflow: string }
  /** The new code does not load or start: the old one goes on. */
  | { readonly type: 'kept'; readonly version: number; readonly error: RdmaError }
  /** The old code has ended. `isQuiet`: nothing of it was under way any more. */
  | { readonly type: 'ended'; readonly version: number; readonly isQuiet: boolean };

/** How to serve what is being developed. */
export interface DevServerOptions extends ServerOptions {
  /** Which workflow, when the module exports several. */
  readonly exportName?: string | undefined;
  /** How its cluster is started. */
  readonly cluster?: Omit<LocalClusterOptions, 'store' | 'signal'>;
  /** Of the package, for the OpenAPI document. */
  readonly version: string;
  /** Where it says what happens; default nowhere. */
  readonly log?: Log;
  readonly onEvent?: (event: DevEvent) => void;
  /** Gives the start up. */
  readonly signal?: AbortSignal;
}

interface Version {
  readonly number: number;
  readonly service: Service;
  readonly cluster: LocalCluster;
  readonly observer: Observer;
  readonly server: Server;
}

const DRAIN_LOOK_MS = 50;

/** Made by {@link DevServer.start}. */
export class DevServer {
  private readonly emit: (event: DevEvent) => void;
  private readonly jobs: JobStore = memoryStore();
  private readonly desk: JobDesk;
  private readonly watch: FileWatch | undefined;
  private current!: Version;
  private starting = new AbortController();
  private reloading: Promise<void> | undefined;
  private retiring: Promise<unknown> = Promise.resolve();
  private isDue = false;
  private isClosed = false;
  private closing: Promise<void> | undefined;

  private constructor(
    private readonly name: string,
    private readonly options: DevServerOptions,
    private readonly server: ServerOptions,
    private readonly front: Front,
  ) {
    this.emit = tellerOf('onEvent', options.onEvent ?? (() => {}));
    // Asked of the newest, also by a request that came before it.
    this.desk = {
      submit: (request, how) => this.current.cluster.pipeline.submit(request, how),
      job: (id) => this.current.cluster.pipeline.job(id),
      jobs: (filter) => this.current.cluster.pipeline.jobs(filter),
    };
    if (name !== DEMO_NAME) this.watch = new FileWatch(resolve(name), () => this.onChange());
  }

  /**
   * Loads a workflow, starts it, listens, and follows its file.
   *
   * @param name as of loadService()
   * @throws as loadService(), startServer() and LocalCluster.start(); nothing is left running then
   */
  static async start(name: string, options: DevServerOptions): Promise<DevServer> {
    const { exportName, cluster: _cluster, version: _version, log: _log, onEvent: _onEvent, ...more } = options;
    const { signal: given, ...server } = more;
    const signal = checkAbortSignal('signal', given);
    checkServerOptions(server);
    await loadFastify();
    const service = await loadService(name, exportName);
    const front = await Front.listen(server);
    const dev = new DevServer(name, options, server, front);
    const giveUp = () => dev.starting.abort(signal?.reason);
    const stopListening = followAbort(signal, giveUp);
    try {
      await dev.watch?.start();
      dev.current = await dev.startVersion(1, service);
    } catch (error) {
      await dev.close();
      throw error;
    } finally {
      stopListening();
    }
    return dev;
  }

  /** For example `http://127.0.0.1:8080`. */
  get url(): string {
    return this.front.url;
  }

  /** What takes the requests now. */
  get service(): Service {
    return this.current.service;
  }

  /** The cluster that takes the requests now. */
  get cluster(): LocalCluster {
    return this.current.cluster;
  }

  /** Of what takes the requests: 1, and one more after each reload. */
  get version(): number {
    return this.current.number;
  }

  private async startVersion(number: number, service: Service): Promise<Version> {
    const { options, jobs, starting, front } = this;
    const { version, log = SILENT, cluster: how = {} } = options;
    const cluster = await LocalCluster.start(service.workflow, { ...how, store: jobs, signal: starting.signal });
    const observer = Observer.attach(cluster);
    try {
      await cluster.pipeline.jobs({ limit: 1 }); // from now on it does what is in the store
      const server = await startServer(
        {
          desk: this.desk,
          spec: service.workflow.spec,
          version,
          prepare: service.prepare,
          log,
          readiness: () => (cluster.pipeline.error === undefined ? 'ready' : 'failed'),
          routes: async (server) => {
            const app = server as FastifyInstance;
            if (service.hasDemoPage) demoRoutes(app);
            await app.register(observePlugin(observer));
          },
        },
        this.server,
        front,
      );
      return { number, service, cluster, observer, server };
    } catch (error) {
      observer.close();
      await cluster.close();
      throw error;
    }
  }

  // ---- Reloading

  private onChange(): void {
    if (this.isClosed) return;
    this.isDue = true;
    // What is being started is old already.
    this.starting.abort(new RdmaError('RDMA_ERR_ABORTED', 'the file has changed again'));
    this.reloading ??= this.reload().finally(() => {
      this.reloading = undefined;
    });
  }

  private async reload(): Promise<void> {
    while (this.isDue && !this.isClosed) {
      this.isDue = false;
      this.starting = new AbortController();
      this.emit({ type: 'changed' });
      const before = this.current;
      try {
        const service = await this.loadAnew();
        this.current = await this.startVersion(before.number + 1, service);
      } catch (error) {
        if (this.isDue || this.isClosed) continue; // what has come since decides
        this.emit({ type: 'kept', version: before.number, error: asRdmaError(error, (error as Error).message) });
        continue;
      }
      const { number, service } = this.current;
      this.emit({ type: 'reloaded', version: number, workflow: service.workflow.name });
      this.retiring = Promise.all([this.retiring, this.retire(before)]);
    }
  }

  // A module that waits for something as it is loaded shall not keep the next one from being tried.
  private async loadAnew(): Promise<Service> {
    const { signal } = this.starting;
    const given = new Promise<never>((_resolve, reject) => {
      signal.addEventListener('abort', () => reject(signal.reason), { once: true });
    });
    return await Promise.race([loadService(this.name, this.options.exportName, true), given]);
  }

  private async retire({ number, cluster, observer, server }: Version): Promise<void> {
    const isQuiet = await this.whenQuiet(cluster, server);
    await server.close();
    observer.close();
    await cluster.close();
    if (!this.isClosed) this.emit({ type: 'ended', version: number, isQuiet });
  }

  // Nothing of it is under way, and nobody waits for an answer of it.
  private async whenQuiet({ pipeline }: LocalCluster, server: Server): Promise<boolean> {
    const { drainMs } = checkServerOptions(this.server);
    const endMs = performance.now() + drainMs;
    let isPaused = false;
    const paused = pipeline.pauseJobs().then(
      () => {
        isPaused = true;
      },
      () => {
        isPaused = true; // it is closed
      },
    );
    const isQuiet = () => isPaused && server.waiting === 0 && pipeline.load.inFlight + pipeline.load.queued === 0;
    // Twice: between two of its stages' queues, work is nowhere for a moment.
    for (let quiet = 0; quiet < 2 && performance.now() < endMs && !this.isClosed; ) {
      quiet = isQuiet() ? quiet + 1 : 0;
      await sleep(DRAIN_LOOK_MS);
    }
    if (isQuiet()) await paused;
    return isQuiet();
  }

  // ---- The end

  /**
   * Refuses new work, waits for what runs for at most `drainMs`, and ends everything. @returns whether all had ended
   */
  async drain(): Promise<boolean> {
    this.watch?.close();
    this.starting.abort(new RdmaError('RDMA_ERR_CLOSED', 'the server ends'));
    this.isDue = false;
    await this.reloading;
    const isQuiet = await this.current.server.drain();
    await this.close();
    return isQuiet;
  }

  /** Ends everything at once. A second call answers the same promise. */
  close(): Promise<void> {
    this.closing ??= this.closeNow();
    return this.closing;
  }

  private async closeNow(): Promise<void> {
    this.isClosed = true;
    this.watch?.close();
    this.starting.abort(new RdmaError('RDMA_ERR_CLOSED', 'the server ends'));
    await this.reloading;
    const current = this.current as Version | undefined; // none, when the first one did not start
    await current?.server.close();
    await this.front.close();
    current?.observer.close();
    await Promise.all([current?.cluster.close(), this.retiring]);
    await this.jobs.close();
  }
}
