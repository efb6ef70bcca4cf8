// What every request passes before its route sees it: its number, the name it came for, who asks, and room for its
// body.
//
// Invariant: no route runs for a request that named another host, that a page of another origin sent, or that has no
// token where tokens are; and every answer forbids browsers what no answer needs.
import { randomUUID } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import type { ServerContext } from './context.js';
import type { FastifyInstance, FastifyRequest } from './fastify.js';
import { httpError } from './problem.js';
import type { Access } from './tokens.js';

const REQUEST_ID = /^[A-Za-z0-9._-]{1,64}$/;

/** The number of a request: its client's, or a random one. */
export function requestId(raw: { headers: IncomingMessage['headers'] }): string {
  const given = raw.headers['x-request-id'];
  return typeof given === 'string' && REQUEST_ID.test(given) ? given : randomUUID();
}

/** Headers of every answer that does not say otherwise. */
export const ANSWER_HEADERS: Readonly<Record<string, string>> = {
  'cache-control': 'no-store',
  'content-security-policy': "default-src 'none'; frame-ancestors 'none'; sandbox",
  'cross-origin-resource-policy': 'same-origin',
  'referrer-policy': 'no-referrer',
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
};

interface Asked {
  access: Access | undefined;
  giveBack: (() => void) | undefined;
}

const asked = new WeakMap<FastifyRequest, Asked>();

/** Who asks; undefined where there are no tokens. */
export function accessOf(request: FastifyRequest): Access | undefined {
  return asked.get(request)?.access;
}

/** Tells that the body of a request is not in use any more. */
export function releaseBody(request: FastifyRequest): void {
  asked.get(request)?.giveBack?.();
}

/** What a route says about itself to the guard, as `config` of Fastify's route. */
export interface GuardConfig {
  /** It needs no token. */
  isOpen?: boolean;
  /** It tells of all tenants: of those who have a token, only an operator may ask. */
  needsOperator?: boolean;
  /** It brings new work. */
  takesRequest?: boolean;
}

/** Puts the guard before every route. */
export function guard(app: FastifyInstance, context: ServerContext): void {
  const { settings, uploads } = context;
  app.addHook('onRequest', async (request, reply) => {
    reply.headers(ANSWER_HEADERS).header('x-request-id', request.id);
    const { headers, method } = request;
    checkHost(headers.host, settings.names);
    if (method !== 'GET' && method !== 'HEAD') checkOrigin(request);
    const config = request.routeOptions.config as GuardConfig;
    const access = config.isOpen ? undefined : authorize(request, context);
    if (config.needsOperator && access !== undefined && !access.isOperator) {
      throw httpError(403, 'RDMA_ERR_REFUSED', 'this tells of all tenants', {
        remedy: 'ask with the token of an operator',
      });
    }
    let giveBack: (() => void) | undefined;
    if (config.takesRequest) {
      checkReady(context);
      const length = Number(headers['content-length'] ?? settings.maxBodyBytes);
      if (length > settings.maxBodyBytes) throw tooLarge(length, settings.maxBodyBytes);
      giveBack = uploads.take(length);
      if (giveBack === undefined) {
        throw httpError(503, 'RDMA_ERR_BUSY', 'too many bodies are being received', { retryAfterMs: 1000 });
      }
    }
    asked.set(request, { access, giveBack });
  });
  app.addHook('onResponse', async (request) => releaseBody(request));
  app.addHook('onRequestAbort', async (request) => releaseBody(request));
}

const tooLarge = (bytes: number, most: number) =>
  httpError(413, 'RDMA_ERR_MESSAGE_TOO_LARGE', `the body has ${bytes} bytes; at most ${most}`);

function checkReady({ readiness, drainEndMs }: ServerContext): void {
  const state = readiness();
  if (state === 'ready') return;
  const retryAfterMs = state === 'draining' ? Math.max(1000, drainEndMs() - performance.now()) : 1000;
  const words = {
    starting: 'the stages are starting',
    draining: 'the server ends and takes no new work',
    failed: 'the pipeline has failed',
  };
  throw httpError(503, 'RDMA_ERR_CLOSED', words[state], { retryAfterMs });
}

// The Host header without its port, in lower case (RFC 9110, section 7.2).
function hostName(host: string): string {
  const name = /^\[([^\]]*)\](?::\d+)?$/.exec(host)?.[1] ?? /^([^:]*)(?::\d+)?$/.exec(host)?.[1] ?? host;
  return name.toLowerCase();
}

function checkHost(host: string | undefined, names: ReadonlySet<string> | undefined): void {
  if (names === undefined || (host !== undefined && names.has(hostName(host)))) return;
  throw httpError(421, 'RDMA_ERR_REFUSED', 'this server has another name', {
    remedy: 'ask it under its address, or start it with --name NAME',
  });
}

// A page of another origin may send forms here, with the credentials that the browser keeps; it cannot hide where it is
// from (Fetch standard, "Origin header"; Fetch Metadata).
function checkOrigin({ headers }: FastifyRequest): void {
  const { origin, host } = headers;
  const isForeign = origin !== undefined && origin !== `http://${host}` && origin !== `https://${host}`;
  if (!isForeign && headers['sec-fetch-site'] !== 'cross-site') return;
  throw httpError(403, 'RDMA_ERR_REFUSED', 'pages of another origin may not ask this server');
}

function authorize(request: FastifyRequest, { settings }: ServerContext): Access | undefined {
  if (settings.tokens === undefined) return undefined;
  const access = settings.tokens.authorize(request.headers.authorization);
  if (access !== undefined) return access;
  const text = request.headers.authorization === undefined ? 'a token is needed' : 'the token is not known';
  const error = httpError(401, 'RDMA_ERR_UNAUTHENTICATED', text, { remedy: 'send Authorization: Bearer TOKEN' });
  throw Object.assign(error, { headers: { 'www-authenticate': 'Bearer realm="onepiece", Basic realm="onepiece"' } });
}
