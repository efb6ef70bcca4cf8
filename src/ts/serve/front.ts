// A listening HTTP server that gives each request to one of several servers, the newest.
//
// Invariant: connections are its own, so a server that is replaced breaks none: the next request on a connection goes
// to the newest server, whoever had the one before. While there is none, requests are refused with a time to come back.
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { checkServerOptions, type ServerOptions } from './options.js';
import { PROBLEM_TYPE } from './problem.js';
import { answerBrokenRequest, cannotListen, headerLimits, urlOf } from './server.js';

type Handler = (request: IncomingMessage, response: ServerResponse) => void;

/** A server that is given requests, such as one of Fastify: whoever imports this needs none of its types. */
interface Routed {
  ready(): PromiseLike<unknown>;
  readonly routing: Handler;
}

const RETRY_S = 1;
/** How long answers may take once it closes. */
const LAST_ANSWERS_MS = 2000;

/** @internal */
export class Front {
  private newest: Handler = refuse;

  private constructor(
    private readonly server: Server,
    /** For example `http://127.0.0.1:8080`. */
    readonly url: string,
  ) {}

  /**
   * Listens, with the limits of a server.
   *
   * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT; EADDRINUSE, EACCES and others of listen(2)
   */
  static async listen(options: ServerOptions): Promise<Front> {
    const settings = checkServerOptions(options);
    const { host, port, requestTimeoutMs, keepAliveTimeoutMs, idleTimeoutMs, maxConnections } = settings;
    const limits = { requestTimeout: requestTimeoutMs, keepAliveTimeout: keepAliveTimeoutMs };
    const server = createServer({ ...headerLimits(settings), ...limits }, (request, response) =>
      front.newest(request, response),
    );
    server.maxConnections = maxConnections;
    server.setTimeout(idleTimeoutMs);
    server.on('clientError', answerBrokenRequest);
    await new Promise<void>((resolve, reject) => {
      server.once('error', (cause) => reject(cannotListen(cause, settings)));
      server.listen(port, host, resolve);
    });
    const front = new Front(server, urlOf(server, host));
    return front;
  }

  /** Gives requests to a server from now on. */
  async pass(app: Routed): Promise<void> {
    await app.ready();
    this.newest = (request, response) => app.routing(request, response);
  }

  /** Refuses new requests, and closes every connection. */
  async close(): Promise<void> {
    this.newest = refuse;
    const timer = setTimeout(() => this.server.closeAllConnections(), LAST_ANSWERS_MS);
    await new Promise<void>((resolve) => {
      this.server.close(() => resolve());
      this.server.closeIdleConnections();
    });
    clearTimeout(timer);
  }
}

// RFC 9457.
function refuse(_request: IncomingMessage, response: ServerResponse): void {
  const problem = { type: 'about:blank', title: 'Service Unavailable', status: 503, code: 'RDMA_ERR_CLOSED' };
  const body = JSON.stringify({ ...problem, detail: 'nothing is served now' });
  response.writeHead(503, { 'content-type': PROBLEM_TYPE, 'retry-after': String(RETRY_S), connection: 'close' });
  response.end(body);
}
