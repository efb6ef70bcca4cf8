// A workflow over HTTP: its pipeline, and the server before it.
//
// Invariant: what is wrong with the options is found before a process is started; whatever way it ends, new work is
// refused first, and no process is left.
import type { RdmaError } from '../core/errors.js';
import { LocalPipeline, type LocalPipelineOptions } from '../cluster/index.js';
import type { ServerSpans } from '../observe/spans.js';
import type { WorkflowSpec } from '../pipeline/index.js';
import type { JobDesk } from './desk.js';
import { demoRoutes } from './demo-page.js';
import { type FastifyInstance, loadFastify } from './fastify.js';
import { type Log, SILENT } from './log.js';
import { checkServerOptions, type ServerOptions } from './options.js';
import { type Server, startServer } from './server.js';
import type { Service } from './service.js';

/** A pipeline that is served: a LocalPipeline, or a ClusterPipeline. */
export interface ServedPipeline extends JobDesk {
  /** Why it does not work any more; undefined while it does. */
  readonly error: RdmaError | undefined;
  /** Requests in the stages, and waiting to be admitted. */
  readonly load: { inFlight: number; queued: number };
  /** What it runs now, where that may change; default: the workflow that is served. */
  readonly graph?: WorkflowSpec;
  /** Starts no stored job any more; what no stage has begun goes back to the store. */
  pauseJobs(): Promise<void>;
  close(): Promise<void>;
}

/** How to serve a pipeline. */
export interface ServePipelineOptions<P> extends ServerOptions {
  /** Whether its jobs outlive it; default false. */
  isDurable?: boolean;
  /** Of the package, for the OpenAPI document. */
  version: string;
  /** Where it says what happens; default nowhere. */
  log?: Log;
  /**
   * Adds further routes, a dashboard for example, to a FastifyInstance. They have the same guard: of a route's
   * `config`,
   * `isOpen: true` says that it needs no token, and `needsOperator: true` that it needs that of an operator. `/`
   * belongs to whoever adds it here; default: it leads to the demo's page or to /docs.
   */
  routes?(app: unknown, pipeline: P): void | Promise<void>;
  /** Makes spans of what the server is asked; see openSpans(). Those of the pipeline are an Observer's. */
  spans?: ServerSpans | undefined;
}

/** How to serve a workflow. */
export interface ServeOptions extends Omit<ServePipelineOptions<LocalPipeline>, 'isDurable'> {
  /** How its pipeline is started. */
  pipeline?: LocalPipelineOptions;
}

/** A workflow that is served. */
export interface Serving<P extends ServedPipeline = LocalPipeline> {
  /** For example `http://127.0.0.1:8080`. */
  readonly url: string;
  readonly pipeline: P;
  readonly server: Server;
  /**
   * Refuses new work, waits for what runs for at most `drainMs`, and ends everything. What has not finished stays in
   * the store, where that is durable.
   *
   * @returns whether everything had finished
   */
  drain(): Promise<boolean>;
  /** Ends everything at once. */
  close(): Promise<void>;
}

// In a store that outlives this process, what has not begun waits for the next one; others may work on it. So what
// this process has begun is what counts.
function pausing(pipeline: ServedPipeline, log: Log): () => Promise<boolean> {
  let isAsked = false;
  let isPaused = false;
  const pause = async () => {
    try {
      await pipeline.pauseJobs();
      isPaused = true;
    } catch (error) {
      log.warn({ err: error }, 'jobs cannot be paused');
    }
  };
  return async () => {
    if (!isAsked) void pause();
    isAsked = true;
    return isPaused && pipeline.load.inFlight + pipeline.load.queued === 0;
  };
}

/**
 * Serves a workflow.
 *
 * @returns when its stages are ready and the server listens
 * @throws as startServer() and LocalPipeline.start(); nothing is left running then
 */
export async function serve(service: Service, options: ServeOptions): Promise<Serving> {
  const { pipeline: how = {}, ...more } = options;
  const { version: _version, log: _log, routes: _routes, spans: _spans, ...serverOptions } = more;
  checkServerOptions(serverOptions);
  await loadFastify();
  const pipeline = await LocalPipeline.start(service.workflow, how);
  return servePipeline(pipeline, service, { ...more, isDurable: how.store?.isDurable === true });
}

/**
 * Serves a pipeline that runs, and closes it in the end.
 *
 * @param service the workflow that the pipeline runs
 * @throws as startServer(); the pipeline is closed then
 */
export async function servePipeline<P extends ServedPipeline>(
  pipeline: P,
  service: Service,
  options: ServePipelineOptions<P>,
): Promise<Serving<P>> {
  const { version, log = SILENT, routes, spans, isDurable = false, ...serverOptions } = options;
  let server: Server;
  try {
    await loadFastify();
    server = await startServer(
      {
        desk: pipeline,
        get spec() {
          return pipeline.graph ?? service.workflow.spec;
        },
        version,
        prepare: service.prepare,
        spans,
        log,
        readiness: () => (pipeline.error === undefined ? 'ready' : 'failed'),
        routes: async (server) => {
          const app = server as FastifyInstance;
          if (service.hasDemoPage) demoRoutes(app);
          if (routes !== undefined) await routes(app, pipeline);
          else app.get('/', (_request, reply) => reply.redirect(service.hasDemoPage ? '/demo' : '/docs'));
        },
      },
      serverOptions,
    );
  } catch (error) {
    await pipeline.close();
    throw error;
  }
  const close = async () => {
    await server.close();
    await pipeline.close();
  };
  return {
    url: server.url,
    pipeline,
    server,
    close,
    drain: async () => {
      log.info({}, 'no new work is taken; what runs may finish');
      const isQuiet = await server.drain(isDurable ? pausing(pipeline, log) : undefined);
      if (!isQuiet) log.warn({}, 'not everything has finished in time');
      await close();
      return isQuiet;
    },
  };
}
