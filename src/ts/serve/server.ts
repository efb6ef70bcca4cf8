// An HTTP server over jobs.
//
// Invariant: it listens only once it is whole, and when it ends it refuses new work first, then waits for what runs,
// then closes every connection; nothing of a request but its number, route and status is in the log.
import type { Server as ListeningServer, Socket } from 'node:net';
import { type ErrorCode, RdmaError, systemCode } from '../core/errors.js';
import type { ServerSpans } from '../observe/spans.js';
import type { WorkflowSpec } from '../pipeline/index.js';
import type { Prepare, Readiness, ServerContext } from './context.js';
import type { JobDesk } from './desk.js';
import { eventsRoute } from './events-route.js';
import { type FastifyInstance, type FastifyReply, loadFastify } from './fastify.js';
import type { Front } from './front.js';
import { ANSWER_HEADERS, guard, requestId } from './guard.js';
import { jobRoutes } from './job-routes.js';
import { type Log, SILENT } from './log.js';
import { checkServerOptions, type ServerOptions, type ServerSettings } from './options.js';
import { pageRoutes } from './page-routes.js';
import { httpError, problemOf, PROBLEM_TYPE } from './problem.js';
import { isRawType } from './request-body.js';
import { resultRoutes } from './result-routes.js';
import { ROUTES, type RouteSpec } from './routes.js';
import { traceRequests } from './trace-requests.js';
import { UploadRoom } from './upload-room.js';
import { mediaType } from './media.js';
import { FORM_TYPE } from './multipart.js';

/** How often running work is looked at while the server drains, and how long answers may take after it. */
const DRAIN_LOOK_MS = 50;
const LAST_ANSWERS_MS = 2000;

/** What a server serves. */
export interface Served {
  desk: JobDesk;
  /** Asked for at each request: another version of a workflow may have another graph. */
  readonly spec: WorkflowSpec;
  /** Of the package, for the OpenAPI document. */
  version: string;
  prepare?: Prepare | undefined;
  log?: Log | undefined;
  /** How the work behind it is; default always `ready`. */
  readiness?: () => Exclude<Readiness, 'draining'>;
  /** Makes spans of what is asked; see openSpans(). */
  spans?: ServerSpans | undefined;
  /**
   * Adds further routes, pages for example, to a FastifyInstance; they have the same guard. Of a route's `config`,
   * `isOpen: true` says that it needs no token, and `needsOperator: true` that it needs that of an operator.
   */
  routes?(app: unknown): void | Promise<void>;
}

/** A server that listens. */
export interface Server {
  /** For example `http://127.0.0.1:8080`. */
  readonly url: string;
  /** How it is. */
  readonly readiness: Readiness;
  /** Requests that wait for a result now. */
  readonly waiting: number;
  /**
   * Refuses new work and waits until nothing runs any more, at most for `drainMs`.
   *
   * @param isQuiet tells whether nothing runs; default: no job is queued or running
   * @returns whether nothing runs any more
   */
  drain(isQuiet?: () => Promise<boolean>): Promise<boolean>;
  /** Ends whatever waits, and closes every connection. A second call answers the same promise. */
  close(): Promise<void>;
}

/**
 * Starts a server.
 *
 * @returns when it listens
 * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT; RDMA_ERR_UNAUTHENTICATED for an address that others reach, without
 *   tokens; RDMA_ERR_NOT_SUPPORTED when Fastify is not installed; EADDRINUSE, EACCES and others of listen(2)
 */
export function startServer(served: Served, options?: ServerOptions): Promise<Server>;
/**
 * @internal
 * @param front listens for it; from now on it gets the requests there
 */
export function startServer(served: Served, options: ServerOptions, front: Front | undefined): Promise<Server>;
export async function startServer(served: Served, options: ServerOptions = {}, front?: Front): Promise<Server> {
  const settings = checkServerOptions(options);
  const state = { isDraining: false, drainEndMs: 0 };
  const controller = new AbortController();
  const readiness = (): Readiness => (state.isDraining ? 'draining' : (served.readiness?.() ?? 'ready'));
  const context: ServerContext = {
    settings,
    desk: served.desk,
    get spec() {
      return served.spec;
    },
    version: served.version,
    log: served.log ?? SILENT,
    prepare: served.prepare,
    uploads: new UploadRoom(settings.maxUploadBytes),
    open: { streams: 0, waiting: 0 },
    readiness,
    drainEndMs: () => state.drainEndMs,
    ending: controller.signal,
  };
  const app = await makeApp(context, served);
  if (front === undefined) await listen(app, settings);
  else await front.pass(app);
  let closing: Promise<void> | undefined;
  const close = async () => {
    state.isDraining = true;
    controller.abort();
    const timer = setTimeout(() => app.server.closeAllConnections(), LAST_ANSWERS_MS);
    await app.close();
    clearTimeout(timer);
  };
  return {
    url: front?.url ?? urlOf(app.server, settings.host),
    get readiness() {
      return readiness();
    },
    get waiting() {
      return context.open.waiting;
    },
    drain: async (isQuiet = () => hasNoJobs(served.desk)) => {
      if (!state.isDraining) state.drainEndMs = performance.now() + settings.drainMs;
      state.isDraining = true;
      // Twice: between two of its stages' queues, work is nowhere for a moment.
      for (let quiet = 0; ; ) {
        quiet = (await isQuiet()) ? quiet + 1 : 0;
        if (quiet === 2) return true;
        const leftMs = state.drainEndMs - performance.now();
        if (leftMs <= 0) return false;
        await new Promise((resolve) => setTimeout(resolve, Math.min(DRAIN_LOOK_MS, leftMs)));
      }
    },
    close: () => {
      closing ??= close();
      return closing;
    },
  };
}

async function hasNoJobs(desk: JobDesk): Promise<boolean> {
  const open = await Promise.all([desk.jobs({ state: 'running', limit: 1 }), desk.jobs({ state: 'queued', limit: 1 })]);
  return open.every((list) => list.length === 0);
}

async function listen(app: FastifyInstance, { host, port }: ServerSettings): Promise<void> {
  try {
    await app.listen({ host, port });
  } catch (cause) {
    await app.close();
    throw cannotListen(cause, { host, port });
  }
}

/** @internal Says where. */
export function cannotListen(cause: unknown, { host, port }: Pick<ServerSettings, 'host' | 'port'>): unknown {
  const { code, errno, syscall } = cause as NodeJS.ErrnoException;
  if (code === undefined) return cause;
  const remedy = code === 'EADDRINUSE' ? 'another program listens there: choose another --port' : undefined;
  return new RdmaError(systemCode(code), `cannot listen at ${host}, port ${port}`, { errno, syscall, remedy, cause });
}

/** @internal Where a server listens. */
export function urlOf(server: ListeningServer, host: string): string {
  const { port } = server.address() as { port: number };
  return `http://${host.includes(':') ? `[${host}]` : host}:${port}`;
}

async function makeApp(context: ServerContext, served: Served): Promise<FastifyInstance> {
  const fastify = await loadFastify();
  const { settings } = context;
  const app: FastifyInstance = fastify({
    logger: false,
    genReqId: requestId,
    bodyLimit: settings.maxBodyBytes,
    connectionTimeout: settings.idleTimeoutMs,
    requestTimeout: settings.requestTimeoutMs,
    keepAliveTimeout: settings.keepAliveTimeoutMs,
    routerOptions: { maxParamLength: 512 },
    forceCloseConnections: 'idle',
    return503OnClosing: false,
    http: headerLimits(settings),
    ajv: { customOptions: { coerceTypes: false, removeAdditional: false, useDefaults: false, allErrors: false } },
    clientErrorHandler: answerBrokenRequest,
    frameworkErrors: (error, request, reply) => {
      const { status, headers, problem } = problemOf(error, request.id);
      const answer = reply as unknown as FastifyReply;
      answer
        .code(status)
        .headers({ ...ANSWER_HEADERS, ...headers })
        .send(Buffer.from(JSON.stringify(problem)));
    },
  });
  app.server.maxConnections = settings.maxConnections;
  bodies(app, settings);
  if (served.spans !== undefined) traceRequests(app, served.spans);
  guard(app, context);
  failures(app, context);
  app.addHook('onResponse', async (request, reply) => {
    const { id, method, routeOptions } = request;
    const ms = Math.round(reply.elapsedTime * 10) / 10;
    context.log.info(
      { request: id, method, route: routeOptions.url ?? null, status: reply.statusCode, ms },
      'answered',
    );
  });
  jobRoutes(app, context);
  resultRoutes(app, context);
  eventsRoute(app, context);
  pageRoutes(app, context);
  await served.routes?.(app);
  return app;
}

/** @internal Options of Node's http.createServer(). */
export function headerLimits({ maxHeaderBytes, headersTimeoutMs }: ServerSettings) {
  return {
    maxHeaderSize: maxHeaderBytes,
    headersTimeout: headersTimeoutMs,
    connectionsCheckingInterval: Math.min(1000, Math.ceil(headersTimeoutMs / 2)),
  };
}

function bodies(app: FastifyInstance, { maxJsonBytes, maxBodyBytes }: ServerSettings): void {
  app.removeContentTypeParser(['application/json', 'text/plain']);
  const json = app.getDefaultJsonParser('error', 'error');
  const jsonLimit = Math.min(maxJsonBytes, maxBodyBytes);
  app.addContentTypeParser('application/json', { parseAs: 'string', bodyLimit: jsonLimit }, json);
  app.addContentTypeParser(FORM_TYPE, { parseAs: 'buffer' }, (_request, body, done) => done(null, body));
  app.addContentTypeParser('*', { parseAs: 'buffer' }, (request, body, done) => {
    const type = mediaType(request.headers['content-type']);
    if (type !== undefined && isRawType(type)) return done(null, body);
    done(httpError(415, 'RDMA_ERR_NOT_SUPPORTED', `bodies of type ${type ?? 'none'} are not read`));
  });
}

function failures(app: FastifyInstance, { log }: ServerContext): void {
  app.setErrorHandler((error, request, reply) => {
    const { status, headers, problem, isDefect } = problemOf(error, request.id);
    if (isDefect) log.error({ request: request.id, route: request.routeOptions.url ?? null, err: error }, 'failed');
    return reply
      .code(status)
      .headers(headers)
      .send(Buffer.from(JSON.stringify(problem)));
  });
  app.setNotFoundHandler((request) => {
    const path = request.url.split('?')[0]!;
    const methods = Object.values<RouteSpec>(ROUTES).filter(({ url }) => patternOf(url).test(path));
    if (methods.length === 0)
      throw httpError(404, 'RDMA_ERR_NOT_FOUND', 'there is nothing here', { remedy: 'see /docs' });
    const allow = [...new Set(methods.map(({ method }) => method))].join(', ');
    const error = httpError(405, 'RDMA_ERR_NOT_SUPPORTED', `${request.method} is not for this`, {
      remedy: `use ${allow}`,
    });
    throw Object.assign(error, { headers: { allow } });
  });
}

function patternOf(url: string): RegExp {
  return new RegExp(`^${url.replace(/[.]/g, '\\.').replace(/:[a-z]+/g, '[^/]+')}$`);
}

/** @internal A request that is not one: it has no number yet (Node.js documentation, "Event: 'clientError'"). */
export function answerBrokenRequest(error: NodeJS.ErrnoException, socket: Socket): void {
  if (error.code === 'ECONNRESET' || !socket.writable) {
    socket.destroy(error);
    return;
  }
  const known: Record<string, [number, ErrorCode, string]> = {
    HPE_HEADER_OVERFLOW: [431, 'RDMA_ERR_MESSAGE_TOO_LARGE', 'the headers are too large'],
    ERR_HTTP_REQUEST_TIMEOUT: [408, 'RDMA_ERR_TIMEOUT', 'the request took too long to come'],
  };
  const [status, code, words] = known[error.code ?? ''] ?? [400, 'RDMA_ERR_INVALID_ARGUMENT', 'this is not HTTP'];
  const { problem } = problemOf(httpError(status, code, words), requestId({ headers: {} }));
  const body = JSON.stringify(problem);
  socket.end(
    `HTTP/1.1 ${status} ${problem.title}\r\nContent-Type: ${PROBLEM_TYPE}\r\nContent-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`,
  );
}
